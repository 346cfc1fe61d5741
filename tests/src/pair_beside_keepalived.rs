//! Trivet under systemd as a user has it, preferred, and Debian's keepalived beside it as the Backup, seen from a third
//! host on the wire: what a restart, a crash or a stop of Trivet looks like from outside.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use crate::bus::Property;
use crate::capture::{Capture, Seen};
use crate::clock::{PATIENCE, now, wait, wait_for};
use crate::holding::Holding;
use crate::host::{Host, Process};
use crate::installed::Installed;
use crate::keepalived;
use crate::lab::Lab;
use crate::namespace::holds_here;
use crate::trivet::{copy, fixtures};

pub const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 51);
pub const THEIRS: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 52);
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 50);
const CONFIGURATION: &str = "/etc/trivet/vrrp.d/gateway.toml";

/// Fields are in the order in which they must end: programs, hosts, lab.
#[derive(Debug)]
pub struct PairBesideKeepalived {
    pub trivet: Installed,
    pub keepalived: Process,
    pub capture: Capture,
    pub holding: Holding,
    pub hosts: [Host; 2],
    pub watcher: Host,
    pub lab: Lab,
}

impl PairBesideKeepalived {
    /// With Trivet as the Active router, and keepalived as a Backup that hears it. Both advertise every `interval`.
    pub fn new(interval: Duration) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let ours = lab.host("lvs1", &[("eth0", "lan", &format!("{OURS}/24"))]);
        let theirs = lab.host("lvs2", &[("eth0", "lan", &format!("{THEIRS}/24"))]);
        let watcher = lab.host("watcher", &[("eth0", "lan", "10.0.10.100/24")]);
        let trivet = Installed::boot(&ours);
        trivet.machine.wait_until_up();
        trivet.machine.sh("dpkg -i /root/trivet.deb");
        copy(&fixtures().join("life/lvs1"), trivet.machine.root());
        let capture = Capture::start(&watcher, "eth0");
        let configuration =
            std::fs::read_to_string(fixtures().join("life/keepalived.conf")).expect("reading a fixture");
        let seconds = format!("advert_int {}", interval.as_secs_f64());
        let keepalived = keepalived::start(&theirs, &configuration.replace("advert_int 1", &seconds));
        let hosts = [ours, theirs];
        let holding = Holding::watch(&hosts, ADDRESS);
        let pair = Self { trivet, keepalived, capture, holding, hosts, watcher, lab };
        pair.edit("1s", &format!("{}ms", interval.as_millis()));
        pair.trivet.machine.sh("systemctl reload vrrpd");
        pair.expect_ours();
        pair
    }

    /// Replaces text in our router's file.
    #[track_caller]
    pub fn edit(&self, from: &str, to: &str) {
        self.trivet
            .machine
            .sh(&format!("grep -q '{from}' {CONFIGURATION} && sed -i 's|{from}|{to}|' {CONFIGURATION}"));
    }

    /// Waits until Trivet is Active, and nobody else.
    #[track_caller]
    pub fn expect_ours(&self) {
        self.trivet.wait_for_property(&Property::router("gateway", "State"), "s \"Active\"");
        self.expect_holders([true, false]);
    }

    #[track_caller]
    pub fn expect_holders(&self, holders: [bool; 2]) {
        wait_for("who holds the address: Trivet, keepalived", &holders, || {
            [0, 1].map(|host: usize| self.hosts[host].namespace().within(|| holds_here(ADDRESS.into())))
        });
    }

    /// When a router advertised since an instant, and which priority.
    pub fn adverts(&self, router: Ipv4Addr, since: Instant) -> Vec<(Instant, u8)> {
        let advert = |(at, seen)| {
            let Seen::Advert { from, priority, .. } = seen else { return None };
            (from == router).then_some((at, priority))
        };
        self.capture.since(since).into_iter().filter_map(advert).collect()
    }

    /// Waits for this many advertisements of ours, from now on.
    #[track_caller]
    pub fn expect_adverts(&self, count: usize) {
        let since = now();
        wait("advertisements of ours", PATIENCE, || (self.adverts(OURS, since).len() >= count).then_some(()));
    }

    /// Nobody but us could notice anything since `since`: keepalived did not speak, we never gave up, the address was
    /// never away. Returns the longest silence.
    #[track_caller]
    pub fn assert_no_failover(&self, since: Instant) -> Duration {
        let theirs = self.adverts(THEIRS, since);
        assert!(theirs.is_empty(), "keepalived took over: {} advertisements", theirs.len());
        let ours = self.adverts(OURS, since);
        assert!(ours.iter().all(|(_, priority)| *priority == 150), "not only priority 150: {ours:?}");
        self.assert_address_stayed(since);
        let times: Vec<_> = ours.iter().map(|(at, _)| *at).collect();
        times.windows(2).map(|two| two[1] - two[0]).max().unwrap_or_default()
    }

    /// It was ours all the time.
    #[track_caller]
    pub fn assert_address_stayed(&self, since: Instant) {
        let moved: Vec<_> = self.holding.changes().into_iter().filter(|(at, _)| *at >= since).collect();
        assert!(moved.is_empty(), "the address was away: {moved:?}");
    }

    /// Waits until these, in their order, are the addresses of our interface, and no others.
    #[track_caller]
    pub fn expect_addresses(&self, addresses: &[&str]) {
        let wanted: Vec<Ipv4Addr> = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        wait_for("our addresses", &wanted, || {
            let mut held = self.hosts[0].namespace().addresses("eth0");
            held.sort_unstable();
            held
        });
    }

    /// The first advertisement of keepalived as the Active router since an instant.
    #[track_caller]
    pub fn expect_takeover(&self, since: Instant) -> Instant {
        self.capture.first(
            "keepalived takes over",
            since,
            |seen| matches!(seen, Seen::Advert { from, priority, .. } if *from == THEIRS && *priority > 0),
        )
    }

    /// When the address left us, after `since`.
    #[track_caller]
    pub fn expect_released(&self, since: Instant) -> Instant {
        wait("the address leaves us", PATIENCE, || {
            self.holding
                .changes()
                .into_iter()
                .find(|(at, holders)| *at >= since && !holders[0])
                .map(|(at, _)| at)
        })
    }

    /// What vrrpd and its unit have written since the machine was booted.
    pub fn journal(&self) -> String {
        self.trivet.machine.sh("journalctl -u vrrpd --no-pager -o cat")
    }

    #[track_caller]
    pub fn expect_in_journal(&self, text: &str) {
        wait(&format!("the journal says {text:?}"), PATIENCE, || self.journal().contains(text).then_some(()));
    }

    /// SIGKILL and the like, to the daemon itself.
    pub fn signal(&self, signal: &str) {
        self.trivet.machine.sh(&format!("kill -{signal} {}", self.trivet.unit("vrrpd", "MainPID")));
    }

    /// As `signal`, and waits until systemd has noticed. Returns when it no longer ran.
    #[track_caller]
    pub fn crash(&self, signal: &str) -> Instant {
        let before = self.trivet.unit("vrrpd", "MainPID");
        self.signal(signal);
        let crashed = now();
        wait("systemd notices the crash", PATIENCE, || {
            (self.trivet.unit("vrrpd", "MainPID") != before).then_some(())
        });
        crashed
    }

    /// Another value for one setting of the unit.
    pub fn drop_in(&self, text: &str) {
        self.trivet.machine.sh(&format!(
            "mkdir -p /run/systemd/system/vrrpd.service.d && printf '{text}' >/run/systemd/system/vrrpd.service.d/life.conf && systemctl daemon-reload"
        ));
    }
}
