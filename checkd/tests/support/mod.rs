//! What the tests of the whole daemon need: a bus of their own, checkd on it, a watcher, and servers that behave or
//! not. Everything is on the loopback interface and ends with its owner.

#![allow(dead_code, unreachable_pub, reason = "each test program uses its part of this")]
#![allow(clippy::unwrap_used, reason = "clippy does not know that these are tests, too")]

pub mod authority;
pub mod commands;
pub mod datagrams;
pub mod dns;
pub mod mysql;
pub mod openssl;
pub mod script;
pub mod servers;
pub mod systemd;
pub mod watcher;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use daemon::event_loop::Clock;
use daemon::testing::TempRoot;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long anything may take that happens at once on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn now() -> Instant {
    Clock::new().unwrap().now()
}

/// Try until it is there; yields the processor between tries.
pub fn until<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + PATIENCE;
    let (_never, pause) = std::sync::mpsc::channel::<()>();
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(now() < deadline, "not within {PATIENCE:?}: {what}");
        let _ = pause.recv_timeout(Duration::from_millis(20));
        // The sender lives: this is a pause, not a closed channel.
    }
}

/// A file system root with a socket path for a bus, which may come and go.
pub struct World {
    pub root: TempRoot,
    /// What systemd would hear. That there is one also makes the log go to stderr.
    systemd: UnixDatagram,
}

impl World {
    pub fn new() -> Self {
        let root = TempRoot::new();
        let systemd = UnixDatagram::bind(root.path().join("notify")).unwrap();
        systemd.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { root, systemd }
    }

    /// Read what systemd is told, until it is this.
    pub fn wait_for_systemd_to_hear(&self, message: &str) {
        let mut buffer = [0; 4096];
        loop {
            let count = self.systemd.recv(&mut buffer).expect("another message to systemd");
            if String::from_utf8_lossy(&buffer[..count]).lines().any(|line| line == message) {
                return;
            }
        }
    }

    /// Take in what systemd was told, so that nobody waits to tell it more.
    pub fn let_systemd_hear(&self) {
        self.systemd.set_nonblocking(true).unwrap();
        while self.systemd.recv(&mut [0; 4096]).is_ok() {}
        self.systemd.set_nonblocking(false).unwrap();
    }

    pub fn check(&self, name: &str, text: &str) {
        self.root.write(&format!("etc/trivet/check.d/{name}.toml"), text);
    }

    pub fn bus_address(&self) -> String {
        format!("unix:path={}", self.root.path().join("bus").display())
    }

    pub fn start_bus(&self) -> Bus {
        let socket = self.root.path().join("bus");
        let _ = fs::remove_file(&socket);
        self.root.write("bus.conf", &BUS_CONFIGURATION.replace("ADDRESS", &self.bus_address()));
        let mut child = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", self.root.path().join("bus.conf").display()))
            .args(["--nofork", "--print-address=1"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon can be started: install dbus-daemon");
        let mut address = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut address).unwrap();
        assert!(address.starts_with("unix:path="), "dbus-daemon does not listen: {address:?}");
        Bus(child)
    }

    pub fn start_checkd(&self) -> Checkd {
        self.start_checkd_by("exec \"$0\" \"$@\"")
    }

    /// `script` is a shell's, which runs checkd as `"$0" "$@"`.
    pub fn start_checkd_by(&self, script: &str) -> Checkd {
        let log = self.root.path().join("log");
        let child = Command::new("sh")
            .args(["-c", script, env!("CARGO_BIN_EXE_checkd"), "--root"])
            .arg(self.root.path())
            .env("DBUS_SYSTEM_BUS_ADDRESS", self.bus_address())
            .env_remove("JOURNAL_STREAM")
            .env("NOTIFY_SOCKET", self.root.path().join("notify"))
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Checkd { child, log }
    }
}

const BUS_CONFIGURATION: &str = r#"<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <type>session</type>
  <listen>ADDRESS</listen>
  <auth>EXTERNAL</auth>
  <!-- As on the system bus. -->
  <limit name="max_match_rules_per_connection">512</limit>
  <policy context="default">
    <allow user="*"/>
    <allow own="*"/>
    <allow send_destination="*"/>
    <allow receive_sender="*"/>
  </policy>
</busconfig>
"#;

pub struct Bus(Child);

impl Bus {
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.0.id()).unwrap()), signal).unwrap();
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub struct Checkd {
    child: Child,
    log: PathBuf,
}

impl Checkd {
    pub fn reload(&self) {
        self.signal(Signal::SIGHUP);
    }

    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// How many files it has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// What its threads have spent so far.
    pub fn processor_time(&self) -> Duration {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let spent = threads.map(|thread| {
            let text = fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap();
            let nanoseconds = text.split_whitespace().next().unwrap();
            Duration::from_nanos(nanoseconds.parse().unwrap())
        });
        spent.sum()
    }

    /// The most memory that it ever had, KiB.
    pub fn memory_at_most(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Wait for a line of the log.
    pub fn wait_for_log(&self, text: &str) {
        until(&format!("'{text}' in the log"), || self.log().contains(text).then_some(()));
    }

    /// SIGTERM, and its exit.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        self.signal(Signal::SIGTERM);
        until("the end of checkd", || self.child.try_wait().unwrap())
    }
}

impl Drop for Checkd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("checkd's log:\n{}", self.log());
        }
    }
}
