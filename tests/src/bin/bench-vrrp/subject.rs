//! What is measured: keepalived 2.3.3 of the tests' image and our vrrpd, each as one would run it, and their
//! configurations, which mean the same.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::unistd::Pid;
use trivet_tests::bus::{self, Bus};
use trivet_tests::host::{Host, Process};
pub(crate) use trivet_tests::journal::Journal;
use trivet_tests::journal::JournalSocket;
use trivet_tests::namespace::sh;
use trivet_tests::trivet::program;

use crate::wire::RouterKey;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Keepalived { detail: bool, bus: bool, scheduling: Scheduling },
    Vrrpd { journal: Journal, scheduling: Scheduling },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheduling {
    Normal,
    /// `Nice=-15`
    Nice,
    /// keepalived's `vrrp_rt_priority`; our unit's way: the loop alone, when the threads have been started
    RealTime,
}

impl Subject {
    pub(crate) fn name(self) -> String {
        let (mut name, scheduling) = match self {
            Self::Keepalived { detail: false, scheduling, .. } => ("keepalived".to_owned(), scheduling),
            Self::Keepalived { detail: true, scheduling, .. } => {
                ("keepalived, detailed log".to_owned(), scheduling)
            }
            Self::Vrrpd { journal: Journal::Read, scheduling } => ("vrrpd".to_owned(), scheduling),
            Self::Vrrpd { journal: Journal::Blocked, scheduling } => {
                ("vrrpd, journal blocked".to_owned(), scheduling)
            }
        };
        name.push_str(match scheduling {
            Scheduling::Normal => "",
            Scheduling::Nice => ", nice -15",
            Scheduling::RealTime => ", real time",
        });
        name
    }
}

/// One side's configuration.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) segments: u8,
    /// On each segment, from 1.
    pub(crate) vrids: u8,
    pub(crate) interval: Duration,
    pub(crate) priority: u8,
    pub(crate) preempt: bool,
}

impl Plan {
    pub(crate) fn routers(&self) -> impl Iterator<Item = RouterKey> {
        let vrids = self.vrids;
        (0..self.segments).flat_map(move |segment| (1..=vrids).map(move |vrid| (segment, vrid)))
    }

    fn keepalived(&self, bus: bool, scheduling: Scheduling) -> String {
        let mut text = String::from("global_defs {\n vrrp_version 3\n");
        text.push_str(if bus { " enable_dbus\n" } else { "" });
        text.push_str(match scheduling {
            Scheduling::Normal => "",
            Scheduling::Nice => " vrrp_priority -15\n",
            Scheduling::RealTime => " vrrp_rt_priority 50\n",
        });
        text.push_str("}\n");
        let preempt = if self.preempt { "" } else { " nopreempt\n" };
        for (segment, vrid) in self.routers() {
            write!(
                text,
                "vrrp_instance r{segment}_{vrid} {{\n state BACKUP\n interface eth{segment}\n virtual_router_id {vrid}\n priority {}\n advert_int {}\n{preempt} virtual_ipaddress {{\n  10.{segment}.1.{vrid}/32 dev eth{segment}\n }}\n}}\n",
                self.priority,
                self.interval.as_secs_f64()
            )
            .expect("writing to a String");
        }
        text
    }

    fn vrrpd(&self, root: &Path) {
        let directory = root.join("etc/trivet/vrrp.d");
        std::fs::create_dir_all(&directory).expect("making directories in the lab");
        for (segment, vrid) in self.routers() {
            let text = format!(
                "interface = \"eth{segment}\"\nvirtual_router_id = {vrid}\npriority = {}\npreempt = {}\nadvert_interval = \"{}ms\"\naddresses = [\"10.{segment}.1.{vrid}/32\"]\n",
                self.priority,
                self.preempt,
                self.interval.as_millis()
            );
            std::fs::write(directory.join(format!("r{segment}_{vrid}.toml")), text)
                .expect("writing a drop-in");
        }
    }
}

/// One of them, running on a host. It is a session of its own, as a service of systemd is.
#[derive(Debug)]
pub(crate) struct Running {
    process: Process,
    _bus: Option<Bus>,
    pub(crate) bus_address: String,
    /// Ours only.
    journal: Option<JournalSocket>,
}

impl Running {
    pub(crate) fn start(subject: Subject, host: &Host, plan: &Plan) -> Self {
        match subject {
            Subject::Keepalived { detail, bus, scheduling } => {
                keepalived(host, plan, detail, bus, scheduling)
            }
            Subject::Vrrpd { journal, scheduling } => vrrpd(host, plan, journal, scheduling),
        }
    }

    /// What the unit does once the daemon is ready.
    pub(crate) fn promote(&self, subject: Subject) {
        if let Subject::Vrrpd { scheduling: Scheduling::RealTime, .. } = subject {
            sh(&format!("chrt --rr --reset-on-fork --pid 1 {}", self.pid()));
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        self.process.pid()
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Parent first.
    pub(crate) fn pids(&self) -> Vec<Pid> {
        let pid = self.pid();
        let list = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        let children = list.split_whitespace().filter_map(|word| word.parse().ok().map(Pid::from_raw));
        std::iter::once(pid).chain(children).collect()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.process.has_ended()
    }

    /// Whether its log is read, if it is to be: otherwise the comparison would not be the one that it says it is.
    pub(crate) fn is_logging(&self) -> bool {
        let unread = |journal: &JournalSocket| journal.is_read() && journal.lines() == 0;
        !self.journal.as_ref().is_some_and(unread)
    }

    pub(crate) fn check(&self) {
        assert!(!self.has_ended(), "it ended by itself: {:?}\n{}", self.process, self.process.log());
    }
}

/// keepalived lives in a mount namespace in which the image's programs and configuration are this machine's. Never with a
/// syslog (-G): without a reader its own log calls would stall it, and the comparison would be dishonest.
fn keepalived(host: &Host, plan: &Plan, detail: bool, with_bus: bool, scheduling: Scheduling) -> Running {
    let directory = host.directory();
    let file = directory.join("keepalived.conf");
    std::fs::write(&file, plan.keepalived(with_bus, scheduling)).expect("writing keepalived.conf");
    let bus = with_bus.then(|| Bus::start(host));
    let mut command = Command::new("setsid");
    command.args(["unshare", "--mount", "sh", "-c"]);
    command.arg("mount --bind \"$0/usr\" /usr && mount --bind \"$0/etc\" /etc && exec keepalived \"$@\"");
    command.arg(image_root()).args(["--dont-fork", "--vrrp", "--no-syslog", "--use-file"]).arg(&file);
    if detail {
        command.args(["--log-console", "--log-detail"]);
    }
    for (option, name) in [
        ("--pid", "keepalived.pid"),
        ("--vrrp_pid", "vrrp.pid"),
        ("--checkers_pid", "checkers.pid"),
        ("--bfd_pid", "bfd.pid"),
    ] {
        let file = directory.join(name);
        // That of a killed one: its child may wait to be reaped, and be taken for alive.
        let _ = std::fs::remove_file(&file);
        command.arg(option).arg(file);
    }
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus::address(host));
    let process = host.spawn("keepalived", &mut command);
    Running { process, _bus: bus, bus_address: bus::address(host), journal: None }
}

fn vrrpd(host: &Host, plan: &Plan, journal: Journal, scheduling: Scheduling) -> Running {
    let root = host.directory().join("root");
    plan.vrrpd(&root);
    let bus = Bus::start(host);
    let socket = JournalSocket::open(host, journal);
    let mut command = socket.launcher();
    match scheduling {
        Scheduling::Normal => {}
        Scheduling::Nice | Scheduling::RealTime => {
            command.args(["nice", "-n", "-15"]);
        }
    }
    command.arg(program("vrrpd")).arg("--root").arg(&root);
    command.env("DBUS_SYSTEM_BUS_ADDRESS", bus::address(host));
    let process = host.spawn("vrrpd", &mut command);
    Running { process, _bus: Some(bus), bus_address: bus::address(host), journal: Some(socket) }
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
    let output = output.expect("running unshare");
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.lines().next().unwrap_or_default().to_owned()
}
