//! The programs themselves, each as it is run where nothing of it is to wait: keepalived without a syslog, its checkers
//! alone, and both daemons with a log that is a file.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trivet_tests::clock::{now, pace};
use trivet_tests::trivet::program;

use crate::checkd::{Bus, Checkd};
use crate::plan::{self, Plan, Up};

/// Whatever takes longer has failed.
pub(crate) const LIMIT: Duration = Duration::from_secs(1_500);
const SOON: Duration = Duration::from_millis(2);
/// What systemd gives ipvsd.
const UNIT: &str = include_str!("../../../../units/ipvsd.service");
/// What keepalived says at the end of a reload.
const RELOADED: &str = "Reload complete";
/// What a track file holds to fail: keepalived.conf(5).
const FAILED: &str = "-2147483648\n";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Keepalived,
    Ipvsd,
    Ipvsadm,
    Bare,
}

pub(crate) const SUBJECTS: [Subject; 4] =
    [Subject::Keepalived, Subject::Ipvsd, Subject::Ipvsadm, Subject::Bare];

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Keepalived => "keepalived",
            Self::Ipvsd => "ipvsd",
            Self::Ipvsadm => "ipvsadm",
            Self::Bare => "bare",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        SUBJECTS.into_iter().find(|subject| subject.name() == name)
    }
}

/// One of the two daemons.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    directory: PathBuf,
    ours: Option<Ours>,
}

#[derive(Debug)]
struct Ours {
    checkd: Checkd,
    ready: Arc<AtomicUsize>,
    bus: Bus,
}

/// Where a daemon is to be started: everything but itself is there.
#[derive(Debug)]
pub(crate) struct Stage {
    directory: PathBuf,
    command: Command,
    ours: Option<Ours>,
}

impl Stage {
    /// `strace`: where it is to write down system calls.
    pub(crate) fn new(subject: Subject, directory: &Path, plan: Plan, strace: Option<&Path>) -> Self {
        std::fs::create_dir_all(directory).expect("making a directory");
        let mut words = vec![];
        if let Some(log) = strace {
            words.extend(["strace", "-D", "-f", "-qq", "-e", "raw=all", "-o"].map(PathBuf::from));
            words.push(log.to_owned());
        }
        let ours = if subject == Subject::Ipvsd {
            let root = directory.join("root");
            plan.ipvsd(&root);
            words.push(program("ipvsd"));
            words.extend([PathBuf::from("--root"), root]);
            let bus = Bus::start(directory);
            Some(Ours { checkd: Checkd::start(&bus), ready: listen(&directory.join("notify")), bus })
        } else {
            let file = directory.join("keepalived.conf");
            std::fs::write(&file, plan.keepalived(directory)).expect("writing keepalived.conf");
            words.extend(["keepalived", "--dont-fork", "--check", "--no-syslog"].map(PathBuf::from));
            words.extend([PathBuf::from("--log-console"), PathBuf::from("--use-file"), file]);
            for (option, name) in [("--pid", "keepalived.pid"), ("--checkers_pid", "checkers.pid")] {
                words.extend([PathBuf::from(option), directory.join(name)]);
            }
            None
        };
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env_remove("JOURNAL_STREAM");
        if let Some(ours) = &ours {
            command.env("DBUS_SYSTEM_BUS_ADDRESS", &ours.bus.address);
            command.env("NOTIFY_SOCKET", directory.join("notify"));
            let settings = UNIT.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='));
            command.envs(settings);
        }
        let stage = Self { directory: directory.to_owned(), command, ours };
        write_health(directory, Up::All);
        stage
    }

    pub(crate) fn start(mut self) -> Running {
        let log = File::create(self.directory.join("log")).expect("making a log");
        self.command.stdin(Stdio::null()).stdout(log.try_clone().expect("a descriptor")).stderr(log);
        let child = self.command.spawn().expect("running the program");
        Running { child, directory: self.directory, ours: self.ours }
    }
}

/// Counts how often it was said that it is ready. Read all the time: a socket that is full would cost the very word.
fn listen(path: &Path) -> Arc<AtomicUsize> {
    let socket = UnixDatagram::bind(path).expect("binding the socket that systemd would have");
    let ready = Arc::new(AtomicUsize::new(0));
    let shared = Arc::clone(&ready);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(count) = socket.recv(&mut buffer) {
            if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == "READY=1") {
                shared.fetch_add(1, Ordering::Release);
            }
        }
    });
    ready
}

fn write_health(directory: &Path, up: Up) {
    let text = |is_up| if is_up { "0\n" } else { FAILED };
    let one = text(up == Up::All);
    let all = text(up != Up::None);
    for (name, wanted) in [("one", one), ("all", all)] {
        let file = directory.join(name);
        if std::fs::read_to_string(&file).is_ok_and(|there| there == wanted) {
            continue;
        }
        std::fs::write(file, wanted).expect("writing a track file");
    }
}

impl Running {
    /// Parent first.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let pid = self.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let is_tracer = |pid: &Pid| {
            std::fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.trim() == "strace")
        };
        let children = list.split_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw));
        std::iter::once(pid).chain(children.filter(|pid| !is_tracer(pid))).collect()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"))
    }

    pub(crate) fn check(&mut self) {
        let ended = self.child.try_wait().expect("asking for its end");
        assert!(ended.is_none(), "it ended by itself:\n{}", self.end_of_log());
    }

    pub(crate) fn end_of_log(&self) -> String {
        let text = std::fs::read(self.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&text[text.len().saturating_sub(3_000)..]).into_owned()
    }

    /// Whether it has been told of the health of all that it asked for.
    pub(crate) fn is_told(&self) -> bool {
        self.ours
            .as_ref()
            .is_none_or(|ours| ours.checkd.watched() == usize::try_from(plan::SERVERS).expect("32 bits fit"))
    }

    pub(crate) fn write(&self, plan: Plan) {
        if self.ours.is_some() {
            plan.ipvsd(&self.directory.join("root"));
        } else {
            let text = plan.keepalived(&self.directory);
            std::fs::write(self.directory.join("keepalived.conf"), text).expect("writing keepalived.conf");
        }
    }

    /// How often ipvsd reads the table while nothing happens.
    pub(crate) fn write_interval(&self, text: &str) {
        let folder = self.directory.join("root/etc/trivet");
        std::fs::write(folder.join("ipvsd.toml"), text).expect("writing ipvsd.toml");
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("it runs");
    }

    /// Until it says that it is done.
    pub(crate) fn reload(&mut self) {
        let ready = self.ours.as_ref().map(|ours| Arc::clone(&ours.ready));
        let before = ready.as_ref().map(|ready| ready.load(Ordering::Acquire));
        let mut log = File::open(self.directory.join("log")).expect("its log");
        log.seek(SeekFrom::End(0)).expect("a file");
        self.signal(Signal::SIGHUP);
        let end = now() + LIMIT;
        let mut said = String::new();
        loop {
            let done = match (&ready, before) {
                (Some(ready), Some(before)) => ready.load(Ordering::Acquire) > before,
                (Some(_) | None, _) => {
                    let _ = log.read_to_string(&mut said);
                    said.contains(RELOADED)
                }
            };
            if done {
                return;
            }
            assert!(now() < end, "it has not reloaded within {LIMIT:?}:\n{}", self.end_of_log());
            pace(SOON);
        }
    }

    /// Which servers are up.
    pub(crate) fn set_health(&self, before: Up, up: Up) {
        let Some(ours) = &self.ours else { return write_health(&self.directory, up) };
        let last_only = before == Up::AllButOne || up == Up::AllButOne;
        ours.checkd.say(&plan::targets(last_only), up == Up::All);
    }

    /// End it as systemd does.
    pub(crate) fn stop(&mut self) {
        self.signal(Signal::SIGTERM);
        self.child.wait().expect("it ends");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
