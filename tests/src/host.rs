//! A host: a network namespace with ports on the lab's switch, a directory, and processes. It can be cut off, frozen,
//! and lose its power, as a machine can.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::namespace::{self, Namespace};

/// Interface -> (segment, port on the switch).
type Ports = BTreeMap<String, (String, String)>;

#[derive(Debug)]
pub struct Host {
    name: String,
    namespace: Namespace,
    directory: PathBuf,
    switch: PathBuf,
    ports: Ports,
}

impl Host {
    pub(crate) fn new(
        name: &str,
        namespace: Namespace,
        directory: PathBuf,
        switch: PathBuf,
        ports: Ports,
    ) -> Self {
        Self { name: name.to_owned(), namespace, directory, switch, ports }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn namespace(&self) -> &Namespace {
        &self.namespace
    }

    /// A directory of its own: its daemons' `--root`, its logs.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Runs a shell command on the host, which must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        self.namespace.sh(script)
    }

    /// Starts a program on the host; what it prints goes to NAME.log in the host's directory.
    #[track_caller]
    pub fn spawn(&self, name: &str, command: &mut Command) -> Process {
        let log = self.directory.join(format!("{name}.log"));
        let open = || File::options().create(true).append(true).open(&log).expect("opening a log in the lab");
        command.stdin(Stdio::null()).stdout(open()).stderr(open());
        let child = self.namespace.within(|| command.spawn());
        let child = child.unwrap_or_else(|error| panic!("starting {name} ({command:?}): {error}"));
        Process { name: format!("{} {name}", self.name), child: Arc::new(Mutex::new(child)), log }
    }

    /// Pulls every plug at the switch: the carrier stays, as behind a switch that failed further on.
    pub fn cut(&self) {
        self.at_switch(|port, _| format!("ip link set {port} nomaster"));
    }

    /// The opposite of `cut`.
    pub fn plug(&self) {
        self.at_switch(|port, segment| format!("ip link set {port} master {segment}"));
    }

    /// Takes the carrier from one interface, or gives it back.
    pub fn carrier(&self, interface: &str, on: bool) {
        let (_, port) = &self.ports[interface];
        let state = if on { "up" } else { "down" };
        self.on_switch(&format!("ip link set {port} {state}"));
    }

    /// Stops every process of the host where it stands, with the cable out: a suspended machine.
    pub fn freeze(&self) {
        self.signal_all(Signal::SIGSTOP);
        self.cut();
    }

    /// The processes go on, the cable is still out (`plug` comes next).
    pub fn thaw(&self) {
        self.signal_all(Signal::SIGCONT);
    }

    /// Loses its power: the cable is dead, every process gone, and so are the addresses that only the kernel held.
    pub fn power_off(&self, lasting: &[&str]) {
        // All of it in a moment: the other machine waits for its down interval only.
        let mut forget = String::from("true");
        for interface in self.ports.keys() {
            for address in self.namespace.addresses(interface) {
                if !lasting.contains(&address.to_string().as_str()) {
                    let _ = write!(
                        forget,
                        " && ip -4 addr del \"$(ip -4 -o addr show dev {interface} | grep -o '{address}/[0-9]*')\" dev {interface}"
                    );
                }
            }
        }
        // Stopped first: who sees his parent die would tidy up (keepalived), and a dead machine does not.
        self.freeze();
        self.signal_all(Signal::SIGKILL);
        self.sh(&forget);
        // A tmpfs on a real machine.
        let _ = std::fs::remove_dir_all(self.directory.join("root/run"));
    }

    /// To every process of the host.
    pub fn signal_all(&self, signal: Signal) {
        let pids = namespace::sh(&format!("ip netns pids {}", self.namespace.name()));
        for pid in pids.lines().filter_map(|line| line.parse().ok()) {
            // A process may have ended meanwhile.
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }

    fn at_switch(&self, command: impl Fn(&str, &str) -> String) {
        let lines: Vec<_> = self.ports.values().map(|(segment, port)| command(port, segment)).collect();
        self.on_switch(&lines.join(" && "));
    }

    #[track_caller]
    fn on_switch(&self, script: &str) {
        namespace::sh(&format!("nsenter --net={} sh -c '{script}'", self.switch.display()));
    }
}

/// A program that runs on a host. Killed and reaped on drop; a panicking test shows the end of its log.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Arc<Mutex<Child>>,
    log: PathBuf,
}

impl Process {
    pub fn pid(&self) -> Pid {
        let id = self.child.lock().expect("no panic while locked").id();
        Pid::from_raw(i32::try_from(id).expect("a pid fits"))
    }

    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Whether it has ended, without waiting.
    pub fn has_ended(&self) -> bool {
        self.child.lock().expect("no panic while locked").try_wait().is_ok_and(|status| status.is_some())
    }

    /// Asks it to end (SIGTERM) and waits until it has.
    #[track_caller]
    pub fn stop(&self) {
        self.signal(Signal::SIGTERM);
        crate::clock::wait(&format!("{} ends", self.name), crate::clock::PATIENCE, || {
            self.has_ended().then_some(())
        });
    }

    /// Everything it has printed.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> u64 {
        resident_kib(self.pid())
    }
}

/// Resident memory of a process in KiB (VmRSS), 0 if it is gone.
pub fn resident_kib(pid: Pid) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok()).unwrap_or(0)
}

impl Drop for Process {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.log();
            let from = log.lines().count().saturating_sub(25);
            eprintln!("---- the end of the log of {}", self.name);
            log.lines().skip(from).for_each(|line| eprintln!("{line}"));
        }
        let mut child = self.child.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let _ = child.kill();
        let _ = child.wait();
    }
}
