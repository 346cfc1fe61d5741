//! Two hosts on one segment or on several, and who runs on them: a pair of the same program, of which one is Active.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use trivet_tests::clock::{PATIENCE, pace, wait};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;

use crate::subject::{Plan, Running, Subject};
use crate::wire::{RouterKey, What, Wire};

/// The two hosts' last octets, of addresses and of hardware addresses.
pub(crate) const SENDERS: [u8; 2] = [1, 2];

/// Fields are in the order in which they must end.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) subject: Subject,
    pub(crate) plans: [Plan; 2],
    pub(crate) running: [Option<Running>; 2],
    pub(crate) wire: Wire,
    pub(crate) hosts: [Host; 2],
    /// Somebody else on the first segment.
    pub(crate) stranger: Host,
    _lab: Lab,
}

impl Pair {
    /// The first host's program is Active and the second's Backup when it returns.
    pub(crate) fn start(subject: Subject, plans: [Plan; 2]) -> Self {
        let lab = Lab::new();
        let segments = plans[0].segments;
        (0..segments).for_each(|segment| lab.segment(&format!("seg{segment}")));
        let hosts = SENDERS.map(|sender| host(&lab, sender, segments));
        let stranger = lab.host("stranger", &[("eth0", "seg0", "10.0.0.9/16")]);
        let wire = Wire::open(lab.switch(), segments);
        let mut pair = Self { subject, plans, running: [None, None], wire, hosts, stranger, _lab: lab };
        pair.run(0);
        pair.wait_until_active(0);
        pair.run(1);
        wait("its log reaches the journal", PATIENCE, || {
            pair.running.iter().flatten().all(Running::is_logging).then_some(())
        });
        pair.wire.forget();
        pair.wait_until_heard();
        pair
    }

    /// Starts one side's program; it listens when this returns.
    pub(crate) fn run(&mut self, side: usize) {
        self.begin(side);
        self.wait_until_listening(side);
    }

    /// Starts one side's program.
    pub(crate) fn begin(&mut self, side: usize) {
        self.running[side] = Some(Running::start(self.subject, &self.hosts[side], &self.plans[side]));
    }

    pub(crate) fn wait_until_listening(&self, side: usize) {
        let running = self.running[side].as_ref().expect("it was started");
        let wanted = usize::from(self.plans[side].segments);
        wait("it listens to advertisements", PATIENCE, || {
            running.check();
            let groups = std::fs::read_to_string(format!("/proc/{}/net/igmp", running.pid())).ok()?;
            // 224.0.0.18, as the kernel prints it.
            (groups.matches("120000E0").count() == wanted).then_some(())
        });
        running.promote(self.subject);
    }

    /// Long enough to have heard every router's advertisement.
    pub(crate) fn wait_until_heard(&self) {
        pace(self.plans[0].interval * 5 / 4 + Duration::from_millis(40));
    }

    /// Which side is Active for all routers, by what was said last about each.
    pub(crate) fn speaker(&mut self) -> Option<usize> {
        let adverts = self.wire.frames().iter().filter(|frame| matches!(frame.what, What::Advert { .. }));
        let last: BTreeMap<RouterKey, u8> = adverts.map(|frame| (frame.router, frame.sender)).collect();
        let wanted = self.plans[0].routers().count();
        let one = |sender: &u8| last.len() == wanted && last.values().all(|said| said == sender);
        SENDERS.iter().position(one)
    }

    fn wait_until_active(&mut self, side: usize) {
        self.wire.forget();
        let wanted = self.plans[side].routers().count();
        let wire = &mut self.wire;
        wait("every router is Active", PATIENCE, || {
            let mut seen: Vec<_> = wire
                .frames()
                .iter()
                .filter(|frame| frame.sender == SENDERS[side])
                .map(|frame| frame.router)
                .collect();
            seen.sort_unstable();
            seen.dedup();
            (seen.len() == wanted).then_some(())
        });
    }

    /// The processes of one side, parent first.
    pub(crate) fn pids(&self, side: usize) -> Vec<Pid> {
        self.running[side].as_ref().expect("it runs").pids()
    }

    /// All of them at one moment: no parent restarts its child, and no child hears of its parent's death.
    pub(crate) fn kill(&mut self, side: usize) {
        let pids = self.pids(side);
        for signal in [Signal::SIGSTOP, Signal::SIGKILL] {
            pids.iter().for_each(|pid| kill(*pid, signal).expect("it runs"));
        }
    }

    /// Forgets the ended program, and what a killed one left in the kernel.
    pub(crate) fn clear(&mut self, side: usize) {
        let running = self.running[side].take().expect("it ran");
        wait("it has ended", PATIENCE, || running.has_ended().then_some(()));
        drop(running);
        for segment in 0..self.plans[side].segments {
            self.hosts[side].sh(&format!("ip -4 addr flush dev eth{segment} to 10.{segment}.1.0/24"));
        }
    }
}

/// Interfaces eth0… with the addresses 10.SEGMENT.0.SENDER/16.
fn host(lab: &Lab, sender: u8, segments: u8) -> Host {
    let words: Vec<_> = (0..segments)
        .map(|segment| {
            (format!("eth{segment}"), format!("seg{segment}"), format!("10.{segment}.0.{sender}/16"))
        })
        .collect();
    let interfaces: Vec<_> = words.iter().map(|(a, b, c)| (a.as_str(), b.as_str(), c.as_str())).collect();
    let host = lab.host(&format!("h{sender}"), &interfaces);
    for segment in 0..segments {
        host.sh(&format!("ip link set eth{segment} address 02:00:00:00:{segment:02x}:{sender:02x}"));
    }
    host
}
