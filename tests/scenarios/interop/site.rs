//! A pair of hosts on a switch with a tap, each with vrrpd or a keepalived, for one run of one cell.

use std::fmt;
use std::time::Duration;

use nix::sys::signal::Signal;
use trivet_tests::clock::{now, pace};
use trivet_tests::host::{Host, Process};
use trivet_tests::keepalived::Release;
use trivet_tests::lab::Lab;
use trivet_tests::residence::Residence;
use trivet_tests::tap::{Sent, Stamp, Tap};
use trivet_tests::trivet::Trivet;

use crate::cell::Cell;
use crate::render::{self, Checksum};

/// What a busy machine may add to anything that is not the protocol's own time: every namespace that is made or taken
/// apart keeps the kernel's one lock of all network configuration, and whoever changes an address waits for it.
pub(crate) const MARGIN: Duration = Duration::from_secs(3);
/// What a program may take to start.
pub(crate) const START: Duration = Duration::from_secs(5);

/// Who runs on the first host and on the second.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Pairing {
    Ours,
    Theirs(Release),
    /// vrrpd is the first.
    OursFirst(Release),
    TheirsFirst(Release),
}

impl fmt::Display for Pairing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ours => f.write_str("ours"),
            Self::Theirs(release) => write!(f, "theirs {}", release.version),
            Self::OursFirst(release) => write!(f, "mixed, ours Active, {}", release.version),
            Self::TheirsFirst(release) => write!(f, "mixed, theirs Active, {}", release.version),
        }
    }
}

impl Pairing {
    pub(crate) fn release(&self) -> Option<&Release> {
        match self {
            Self::Ours => None,
            Self::Theirs(release) | Self::OursFirst(release) | Self::TheirsFirst(release) => Some(release),
        }
    }

    /// The release of keepalived on a host, or none: vrrpd.
    fn keepalived(&self, host: usize) -> Option<&Release> {
        match (self, host) {
            (Self::Theirs(release), _) | (Self::OursFirst(release), 1) | (Self::TheirsFirst(release), 0) => {
                Some(release)
            }
            (Self::Ours | Self::OursFirst(_) | Self::TheirsFirst(_), _) => None,
        }
    }

    pub(crate) fn is_ours(&self, host: usize) -> bool {
        self.keepalived(host).is_none()
    }

    /// 2.2.7 knows one form only; everybody else speaks the RFC's.
    pub(crate) fn checksum(&self) -> Checksum {
        match self.release() {
            Some(release) if release.version.starts_with("2.2") => Checksum::PseudoHeader,
            Some(_) | None => Checksum::Rfc,
        }
    }
}

pub(crate) type Outcome<T> = Result<T, String>;

#[derive(Debug)]
enum Daemon {
    Ours(Trivet),
    Theirs(Process),
}

impl Daemon {
    fn process(&self) -> &Process {
        match self {
            Self::Ours(trivet) => trivet.process("vrrpd"),
            Self::Theirs(process) => process,
        }
    }
}

/// Fields in the order in which they must go.
#[derive(Debug)]
pub(crate) struct Site {
    pub(crate) cell: Cell,
    pub(crate) pairing: Pairing,
    daemons: [Option<Daemon>; 2],
    pub(crate) tap: Tap,
    pub(crate) residence: Residence,
    pub(crate) hosts: [Host; 2],
    _lab: Lab,
}

impl Site {
    pub(crate) fn new(cell: Cell, pairing: Pairing) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let hosts = ["a", "b"].map(|name| {
            let number = if name == "a" { 1 } else { 2 };
            let host = lab.host(name, &[("eth0", "lan", &format!("10.0.0.{number}/24"))]);
            host.sh(&format!(
                "ip link set eth0 addrgenmode none && ip -6 addr flush dev eth0
                 ip -6 addr add fe80::{number}/64 dev eth0 nodad && ip -6 addr add fd00::{number}/64 dev eth0 nodad"
            ));
            host
        });
        let tap = Tap::start(&lab, &["a-eth0", "b-eth0"]);
        let residence = Residence::watch(&hosts, cell.address());
        Self { cell, pairing, daemons: [None, None], tap, residence, hosts, _lab: lab }
    }

    /// Starts what runs on a host. In real time, so that the rest of a busy machine does not make it late.
    pub(crate) fn start(&mut self, host: usize) {
        let (on, before) = (&self.hosts[host], trivet_tests::trivet::real_time());
        let checksum = self.pairing.checksum();
        let daemon = match self.pairing.keepalived(host) {
            Some(release) => {
                let text = render::keepalived(&self.cell, host, checksum);
                Daemon::Theirs(release.start(on, before, &text))
            }
            None => {
                let text = render::toml(&self.cell, host, checksum, !self.pairing.is_ours(1 - host));
                let mut trivet = Trivet::with_files(on, &[("vrrp.d/v.toml", &text)]);
                trivet.run_under(on, before, "vrrpd");
                Daemon::Ours(trivet)
            }
        };
        self.daemons[host] = Some(daemon);
    }

    /// SIGTERM; `reap` follows.
    pub(crate) fn terminate(&self, host: usize) {
        if let Some(daemon) = &self.daemons[host] {
            daemon.process().signal(Signal::SIGTERM);
        }
    }

    /// Waits until what was terminated has ended.
    pub(crate) fn reap(&mut self, host: usize) -> Outcome<()> {
        let Some(daemon) = &self.daemons[host] else { return Ok(()) };
        until("it ends", Duration::from_secs(10), || daemon.process().has_ended().then_some(()))?;
        self.daemons[host] = None;
        Ok(())
    }

    /// SIGKILL to everything; what systemd does then, for ours (`ExecStopPost=`): no address is left.
    pub(crate) fn kill(&mut self, host: usize) {
        // All at once: keepalived's children notice the end of their parent, and end in order.
        self.hosts[host].signal_all(Signal::SIGSTOP);
        self.hosts[host].signal_all(Signal::SIGKILL);
        // As after a reboot: 2.2.7 believes the file of a process that nobody has reaped yet.
        for name in ["keepalived", "vrrp", "checkers", "bfd"] {
            let _ = std::fs::remove_file(self.hosts[host].directory().join(format!("{name}.pid")));
        }
        if let Some(Daemon::Ours(trivet)) = self.daemons[host].take() {
            trivet.release(&self.hosts[host]);
        }
    }

    pub(crate) fn signal(&self, host: usize, signal: Signal) {
        self.hosts[host].signal_all(signal);
    }

    /// Whether both programs that should run do.
    pub(crate) fn alive(&self) -> Outcome<()> {
        for (host, daemon) in self.daemons.iter().enumerate() {
            if daemon.as_ref().is_some_and(|daemon| daemon.process().has_ended()) {
                return Err(format!("the program on host {host} has ended"));
            }
        }
        Ok(())
    }

    /// The first frame of a host since a time that suits.
    pub(crate) fn first(
        &self,
        what: &str,
        since: Stamp,
        limit: Duration,
        by: usize,
        wanted: impl Fn(&Sent) -> bool,
    ) -> Outcome<Sent> {
        until(what, limit, || self.tap.find(since, |sent| sent.by == by && wanted(sent)))
    }

    /// What the two hosts sent and held last, for a failure's report.
    pub(crate) fn story(&self, began: Stamp) -> String {
        let mut lines: Vec<String> = Vec::new();
        let mut last = None;
        for sent in self.tap.since(began) {
            let what = (sent.by, sent.frame.clone());
            if last.as_ref() != Some(&what) && sent.frame.is_some() {
                lines.push(format!("{:9.3} {} {:?}", seconds(sent.at, began), sent.by, sent.frame));
            }
            last = Some(what);
        }
        for (at, state) in self.residence.changes() {
            lines.push(format!("{:9.3} held: {state:?}", seconds(at, began)));
        }
        lines.sort();
        let logs = self.daemons.iter().enumerate().filter_map(|(host, daemon)| {
            let log = daemon.as_ref()?.process().log();
            let skip = log.lines().count().saturating_sub(30);
            let end: Vec<_> = log.lines().skip(skip).collect();
            Some(format!("-- host {host} says:\n{}", end.join("\n")))
        });
        lines.extend(logs.collect::<Vec<_>>());
        lines.join("\n")
    }
}

fn seconds(at: Stamp, began: Stamp) -> f64 {
    at.since(began).as_secs_f64()
}

/// Looks until there is something.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> Outcome<T> {
    let deadline = now() + limit;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        if now() >= deadline {
            return Err(format!("waited {limit:?} in vain: {what}"));
        }
        pace(Duration::from_millis(10));
    }
}
