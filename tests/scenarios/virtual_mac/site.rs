//! Two directors between a client's segment and a server's, with virtual router 51 on each, so that the same VRID is
//! used twice on one machine. The client reaches the server through the virtual address of its own segment.

use std::net::{IpAddr, Ipv4Addr};
use std::process::Command;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Mac, Seen};
use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::frames::Frame;
use trivet_tests::host::{Host, Process};
use trivet_tests::lab::Lab;
use trivet_tests::tap::{Sent, Stamp, Tap};
use trivet_tests::trivet::Trivet;

/// RFC 9568, 7.3.
pub(crate) const VIRTUAL_MAC: Mac = [0, 0, 0x5e, 0, 1, 51];
pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 50);
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(10, 1, 0, 9);

/// Fields in the order in which they must go.
pub(crate) struct Site {
    pub(crate) directors: [Trivet; 2],
    pub(crate) neighbours: Process,
    pub(crate) tap: Tap,
    pub(crate) capture: Capture,
    pub(crate) hosts: [Host; 2],
    pub(crate) client: Host,
    pub(crate) server: Host,
    pub(crate) lab: Lab,
}

/// The router of one segment.
pub(crate) fn router(interface: &str, net: u8, priority: u8, more: &str) -> String {
    format!(
        "interface = \"{interface}\"\nvirtual_router_id = 51\npriority = {priority}\nadvert_interval = \"100ms\"\n\
         addresses = [\"10.{net}.0.50/24\"]\n{more}\n"
    )
}

impl Site {
    /// Nothing runs on the directors yet.
    pub(crate) fn bare() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        lab.segment("dmz");
        let hosts = ["a", "b"].map(|name| {
            let number = if name == "a" { 1 } else { 2 };
            let (lan, dmz) = (format!("10.0.0.{number}/24"), format!("10.1.0.{number}/24"));
            let host = lab.host(name, &[("eth0", "lan", &lan), ("eth1", "dmz", &dmz)]);
            host.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=1");
            host
        });
        let client = lab.host("client", &[("eth0", "lan", "10.0.0.100/24")]);
        client.sh("ip route add 10.1.0.0/24 via 10.0.0.50");
        let server = lab.host("server", &[("eth0", "dmz", "10.1.0.9/24")]);
        server.sh("ip route add 10.0.0.0/24 via 10.1.0.50");
        let tap = Tap::start(&lab, &["a-eth0", "b-eth0", "a-eth1", "b-eth1"]);
        let capture = Capture::start(&client, "eth0");
        let mut monitor = Command::new("ip");
        monitor.args(["monitor", "neigh"]);
        let neighbours = client.spawn("neighbours", &mut monitor);
        let directors = [0, 1].map(|number: usize| Trivet::with_files(&hosts[number], &[]));
        Self { directors, neighbours, tap, capture, hosts, client, server, lab }
    }

    /// Both directors run, the first is Active for both segments. `lan`: more keys of the client's router.
    pub(crate) fn new(lan: &str) -> Self {
        let mut site = Self::bare();
        for number in [0, 1] {
            site.configure(number, lan);
            site.start(number);
        }
        site.expect(0, "Active");
        site.expect(1, "Backup");
        site
    }

    pub(crate) fn configure(&mut self, number: usize, lan: &str) {
        let priority = if number == 0 { 150 } else { 100 };
        let lan = router("eth0", 0, priority, lan);
        let dmz = router("eth1", 1, priority, "vmac = { name = \"vrrp-dmz.51\" }");
        let files = [("vrrp.d/lan.toml", lan.as_str()), ("vrrp.d/dmz.toml", dmz.as_str())];
        self.directors[number] = Trivet::with_files(&self.hosts[number], &files);
    }

    pub(crate) fn start(&mut self, number: usize) {
        self.directors[number].start_bus(&self.hosts[number]);
        self.directors[number].run(&self.hosts[number], "vrrpd");
    }

    #[track_caller]
    pub(crate) fn expect(&self, number: usize, state: &str) {
        for router in ["lan", "dmz"] {
            self.directors[number]
                .wait_for_property(&Property::router(router, "State"), &format!("s \"{state}\""));
        }
    }

    #[track_caller]
    pub(crate) fn expect_reason(&self, number: usize, text: &str) {
        self.directors[number].wait_for_text(&Property::router("lan", "Reason"), text);
    }

    /// When the client's router of a director entered its state.
    pub(crate) fn since(&self, number: usize) -> Option<String> {
        self.directors[number].property(&Property::router("lan", "StateSince"))
    }

    /// Whether an echo request of the client is answered within a second.
    pub(crate) fn pings(&self, address: Ipv4Addr) -> bool {
        let ping = || Command::new("ping").args(["-c1", "-W1", &address.to_string()]).output();
        self.client.namespace().within(ping).expect("ping is installed").status.success()
    }

    #[track_caller]
    pub(crate) fn expect_ping(&self, address: Ipv4Addr) {
        wait(&format!("the client reaches {address}"), PATIENCE, || self.pings(address).then_some(()));
    }

    /// The client has never had another MAC address for the virtual address than the virtual one, and has that now.
    #[track_caller]
    pub(crate) fn expect_one_mac(&self) {
        let entry = self.client.sh(&format!("ip neigh show {ADDRESS}"));
        assert!(entry.contains("00:00:5e:00:01:33"), "the client's entry: {entry:?}");
        let all = self.neighbours.log();
        let other = |line: &&str| {
            line.starts_with("10.0.0.50 ") && line.contains("lladdr") && !line.contains("00:00:5e:00:01:33")
        };
        assert_eq!(all.lines().find(other), None, "an entry of another MAC address");
    }

    /// The MAC addresses that have answered the client for an address.
    pub(crate) fn answers(&self, wanted: Ipv4Addr) -> Vec<Mac> {
        let seen = self.capture.since(now() - PATIENCE).into_iter();
        let mut macs: Vec<Mac> = seen
            .filter_map(|(_, seen)| match seen {
                Seen::Answer { address, mac } if address == wanted => Some(mac),
                Seen::Answer { .. }
                | Seen::Announcement { .. }
                | Seen::Advert { .. }
                | Seen::Accepted { .. } => None,
            })
            .collect();
        macs.sort_unstable();
        macs.dedup();
        macs
    }

    /// Nobody but the virtual MAC address has answered the client for the virtual address.
    #[track_caller]
    pub(crate) fn expect_answers_from_the_virtual_mac_only(&self) {
        assert_eq!(self.answers(ADDRESS), [VIRTUAL_MAC]);
    }

    /// Whether a director has something, by a shell command that says so.
    pub(crate) fn has(&self, number: usize, command: &str) -> bool {
        let shell = || Command::new("sh").args(["-c", command]).output();
        self.hosts[number].namespace().within(shell).expect("a shell").status.success()
    }

    #[track_caller]
    pub(crate) fn wait_until(&self, number: usize, command: &str, wanted: bool) {
        let what = format!("{} {command}: {wanted}", self.hosts[number].name());
        wait(&what, PATIENCE, || (self.has(number, command) == wanted).then_some(()));
    }

    /// The first advertisement of a director since then.
    #[track_caller]
    pub(crate) fn advert(&self, number: usize, since: Stamp) -> Sent {
        self.sent("an advertisement", since, |sent| sent.by == number && sent.advert().is_some())
    }

    #[track_caller]
    pub(crate) fn sent(&self, what: &str, since: Stamp, wanted: impl Fn(&Sent) -> bool) -> Sent {
        wait(what, PATIENCE, || self.tap.find(since, &wanted))
    }

    /// Every MAC address from which a director has sent an advertisement or announced the virtual address since then.
    pub(crate) fn macs(&self, number: usize, since: Stamp) -> Vec<Mac> {
        let mac = |sent: &Sent| match sent.frame.as_ref()? {
            Frame::Advert(advert) => Some(advert.mac),
            Frame::Announcement { address: IpAddr::V4(ADDRESS), mac } => Some(*mac),
            Frame::Announcement { .. } => None,
        };
        let of = self.tap.since(since).into_iter().filter(|sent| sent.by == number);
        let mut macs: Vec<Mac> = of.filter_map(|sent| mac(&sent)).collect();
        macs.sort_unstable();
        macs.dedup();
        macs
    }
}
