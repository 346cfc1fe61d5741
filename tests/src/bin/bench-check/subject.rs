//! What is measured: keepalived 2.3.3 of the tests' image (its checker alone) and our checkd, each with somebody who
//! reads its log, both on the first processor.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use trivet_tests::bus::{self, Bus};
use trivet_tests::clock::{now, pace, wait};
use trivet_tests::host::{Host, Process};
use trivet_tests::journal::{Journal, JournalSocket};
use trivet_tests::trivet::program;

use crate::clock::monotonic;
use crate::lan::Lan;
use crate::plan::{self, Plan};
use crate::watcher::{News, State, Watcher};

/// A reload that takes longer is none.
const LIMIT: Duration = Duration::from_secs(300);
/// What keepalived says at the end of one.
const RELOADED: &str = "Reload complete";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Keepalived,
    Checkd,
}

pub(crate) const SUBJECTS: [Subject; 2] = [Subject::Keepalived, Subject::Checkd];

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::Checkd => "checkd",
        }
    }

    /// Its place in a table.
    pub(crate) fn column(self) -> usize {
        match self {
            Self::Keepalived => 0,
            Self::Checkd => 1,
        }
    }
}

/// One of them, running on the director.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    directory: PathBuf,
    /// keepalived's: how much of what the stub of IPVS wrote has been read.
    read: Mutex<usize>,
    /// Ours: who watches, and what systemd would hear.
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    watcher: Watcher,
    systemd: Systemd,
    _journal: JournalSocket,
    _bus: Bus,
}

impl Running {
    pub(crate) fn start(subject: Subject, lan: &Lan, plan: &Plan) -> Self {
        match subject {
            Subject::Keepalived => keepalived(&lan.director, plan),
            Subject::Checkd => checkd(&lan.director, plan),
        }
    }

    /// Parent first.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let pid = self.process.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = list.split_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw));
        std::iter::once(pid).chain(children).collect()
    }

    /// Whoever listens on the bus: ours only.
    pub(crate) fn watcher(&self) -> Option<&Watcher> {
        self.ours.as_ref().map(|ours| &ours.watcher)
    }

    pub(crate) fn check(&self) {
        // Dropping the process shows the end of its log.
        assert!(!self.process.has_ended(), "it ended by itself");
    }

    pub(crate) fn write(&self, plan: &Plan) {
        if self.ours.is_some() {
            plan.checkd(&self.directory.join("root"));
        } else {
            std::fs::write(self.directory.join("keepalived.conf"), plan.keepalived())
                .expect("writing keepalived.conf");
        }
    }

    /// SIGHUP, and how long it was until it said that it was done, nanoseconds.
    pub(crate) fn reload(&self) -> i64 {
        let before = self.ours.as_ref().map_or_else(|| self.reloads(), |ours| ours.systemd.count());
        let began = monotonic();
        self.process.signal(Signal::SIGHUP);
        if let Some(ours) = &self.ours {
            return ours.systemd.wait_until_ready(before + 1) - began;
        }
        let end = now() + LIMIT;
        while self.reloads() == before {
            assert!(now() < end, "keepalived has not reloaded within {LIMIT:?}");
            pace(Duration::from_millis(1));
        }
        monotonic() - began
    }

    /// keepalived's reloads so far, by its log.
    fn reloads(&self) -> usize {
        self.process.log().matches(RELOADED).count()
    }

    /// What was told of servers since this was last asked: on the bus, or, by keepalived, to IPVS.
    pub(crate) fn take_news(&self) -> Vec<News> {
        match &self.ours {
            Some(ours) => ours.watcher.take_news(),
            None => self.ipvs_changes(),
        }
    }

    /// What the stub of IPVS wrote down. A server that is taken out is down.
    fn ipvs_changes(&self) -> Vec<News> {
        let text = std::fs::read_to_string(self.directory.join("ipvs")).unwrap_or_default();
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let from = std::mem::replace(&mut *self.read.lock().expect("no panic while locked"), whole);
        text[from..whole].lines().filter_map(ipvs_change).collect()
    }
}

/// Whom checkd tells that it is ready. It reads all the time: a socket that is full would cost the very word that we
/// wait for.
#[derive(Debug)]
struct Systemd {
    ready: Arc<Mutex<Vec<i64>>>,
    stop: Arc<AtomicBool>,
}

impl Systemd {
    fn open(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).expect("binding the socket that systemd would have");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
        let (ready, stop) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (times, ended) = (Arc::clone(&ready), Arc::clone(&stop));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                let Ok(count) = socket.recv(&mut buffer) else { continue };
                if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == "READY=1") {
                    times.lock().expect("no panic while locked").push(monotonic());
                }
            }
        });
        Self { ready, stop }
    }

    /// When it said so for the nth time.
    fn wait_until_ready(&self, times: usize) -> i64 {
        wait("checkd says that it is ready", LIMIT, || {
            self.ready.lock().expect("no panic while locked").get(times - 1).copied()
        })
    }

    fn count(&self) -> usize {
        self.ready.lock().expect("no panic while locked").len()
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// It lives in a mount namespace in which the image's programs and configuration are this machine's. Never with a syslog
/// (-G): without a reader its own log calls would stall it.
fn keepalived(host: &Host, plan: &Plan) -> Running {
    let directory = host.directory().to_owned();
    let file = directory.join("keepalived.conf");
    std::fs::write(&file, plan.keepalived()).expect("writing keepalived.conf");
    let stub = std::env::var_os("TRIVET_NO_IPVS").unwrap_or_default();
    let mut command = Command::new("setsid");
    command.args(["taskset", "--cpu-list", "0", "unshare", "--mount", "sh", "-c"]);
    command.arg(
        "mount --bind \"$0/usr\" /usr && mount --bind \"$0/etc\" /etc && LD_PRELOAD=\"$STUB\" exec keepalived \"$@\"",
    );
    command.arg(image_root()).args(["--dont-fork", "--check", "--no-syslog", "--log-console", "--use-file"]);
    command.arg(&file).env("STUB", stub).env("NO_IPVS_LOG", directory.join("ipvs"));
    for (option, name) in [("--pid", "keepalived.pid"), ("--checkers_pid", "checkers.pid")] {
        command.arg(option).arg(directory.join(name));
    }
    Running { process: host.spawn("keepalived", &mut command), directory, read: Mutex::default(), ours: None }
}

fn checkd(host: &Host, plan: &Plan) -> Running {
    let directory = host.directory().to_owned();
    let root = directory.join("root");
    plan.checkd(&root);
    let bus = Bus::start(host);
    let journal = JournalSocket::open(host, Journal::Read);
    let notify = directory.join("notify");
    let systemd = Systemd::open(&notify);
    let watcher = Watcher::start(bus::address(host), plan.targets());
    let mut command = journal.launcher();
    command.args(["taskset", "--cpu-list", "0"]).arg(program("checkd")).arg("--root").arg(&root);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus::address(host)).env("NOTIFY_SOCKET", &notify);
    let process = host.spawn("checkd", &mut command);
    let ours = Ours { watcher, systemd, _journal: journal, _bus: bus };
    ours.systemd.wait_until_ready(1);
    Running { process, directory, read: Mutex::default(), ours: Some(ours) }
}

/// One line of the stub's: when, what, address, and more.
fn ipvs_change(line: &str) -> Option<News> {
    let mut words = line.split(' ');
    let at = words.next()?.parse().ok()?;
    let state = if words.next()? == "del" { State::Down } else { State::Up };
    let server = plan::server(words.next()?.parse().ok()?);
    Some(News { at, server, state })
}

/// TRIVET_ROOTFS: the tree of tests/image.
fn image_root() -> PathBuf {
    std::env::var_os("TRIVET_ROOTFS")
        .expect("TRIVET_ROOTFS names the tests' Debian 13: use tests/bench")
        .into()
}

/// What `keepalived --version` says of itself.
pub(crate) fn keepalived_version() -> String {
    let script = "mount --bind \"$0/usr\" /usr && mount --bind \"$0/etc\" /etc && exec keepalived --version";
    let output = Command::new("unshare").args(["--mount", "sh", "-c", script]).arg(image_root()).output();
    let text = String::from_utf8_lossy(&output.expect("running unshare").stderr).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}
