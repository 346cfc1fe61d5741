//! Two routers that share addresses over IPv6, and a client that uses them: what is on the wire is what RFC 9568 wants,
//! and the client's neighbour cache follows the Active router without a question.

use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Mac, mac};
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::forge::GROUP_V6;
use trivet_tests::frames::Frame;
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::tap::{Sent, Stamp, Tap};
use trivet_tests::trivet::Trivet;

const ROUTER: &str = "gateway";
const SHARED: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
const LINK_LOCAL: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 9);
const INTERVAL: Duration = Duration::from_millis(100);
/// Three intervals and 156/256 of one (RFC 9568, 6.1).
const ACTIVE_DOWN_INTERVAL: Duration = Duration::from_millis(361);
/// Longer than that a machine may not stand still, or nothing can be said about times.
const BEARABLE: Duration = Duration::from_millis(100);
const SLACK: Duration = Duration::from_millis(300);

struct Site {
    trivets: [Trivet; 2],
    tap: Tap,
    hosts: [Host; 2],
    client: Host,
    _lab: Lab,
}

fn state() -> Property {
    Property::router(ROUTER, "State")
}

fn drop_in(priority: u8) -> String {
    format!(
        "interface = 'eth0'\nvirtual_router_id = 7\npriority = {priority}\nadvert_interval = '100ms'\n\
         addresses = ['{LINK_LOCAL}/64', '{SHARED}/64']\n"
    )
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let hosts = [1, 2].map(|number| {
            lab.host(&format!("n{number}"), &[("eth0", "lan", &format!("2001:db8::{number}/64"))])
        });
        let client = lab.host("client", &[("eth0", "lan", "2001:db8::100/64")]);
        let tap = Tap::start(&lab, &["n1-eth0", "n2-eth0"]);
        let trivets = [0, 1].map(|index: usize| {
            let text = drop_in(if index == 0 { 110 } else { 100 });
            let mut trivet = Trivet::with_files(&hosts[index], &[("vrrp.d/gateway.toml", &text)]);
            trivet.start_bus(&hosts[index]);
            trivet.run(&hosts[index], "vrrpd");
            trivet
        });
        let site = Self { trivets, tap, hosts, client, _lab: lab };
        site.trivets[0].wait_for_property(&state(), "s \"Active\"");
        site.trivets[1].wait_for_property(&state(), "s \"Backup\"");
        site
    }

    fn mac(&self, index: usize) -> Mac {
        mac(&self.hosts[index], "eth0")
    }

    fn link_local(&self, index: usize) -> IpAddr {
        let text = self.hosts[index].sh("ip -6 -o addr show dev eth0 scope link");
        let words: Vec<&str> = text.lines().flat_map(str::split_whitespace).collect();
        let found = words.iter().filter_map(|word| word.split('/').next()?.parse::<Ipv6Addr>().ok());
        IpAddr::V6(found.into_iter().find(|address| *address != LINK_LOCAL).expect("it has one of its own"))
    }

    /// The client reaches the shared address.
    fn expect_answers(&self) {
        wait("the shared address answers", PATIENCE, || {
            let script = format!("ping -6 -c 1 -W 1 {SHARED} >/dev/null && echo yes || echo no");
            (self.client.sh(&script).trim() == "yes").then_some(())
        });
    }

    /// Where the client believes the shared address to be.
    fn expect_neighbour(&self, index: usize) {
        let mac = self.mac(index).map(|byte| format!("{byte:02x}")).join(":");
        wait(&format!("the client's cache has {mac}"), PATIENCE, || {
            self.client.sh(&format!("ip -6 neigh show {SHARED} dev eth0")).contains(&mac).then_some(())
        });
    }

    fn announcement(&self, index: usize, since: Stamp) -> Sent {
        let wanted = Some(Frame::Announcement { address: IpAddr::V6(SHARED), mac: self.mac(index) });
        wait(&format!("n{} announces the address", index + 1), PATIENCE, || {
            self.tap.find(since, |sent| sent.by == index && sent.frame == wanted)
        })
    }
}

/// RFC 9568, 6.4.1: R=1, S=0, O=1; RFC 4861, 4.4 and 7.1.2: hop limit 255, an address of the interface as the source.
fn assert_announcement_is_right(sent: &Sent, mac: Mac) {
    let bytes = &sent.bytes;
    assert_eq!(bytes[..6], [0x33, 0x33, 0, 0, 0, 1], "to all nodes");
    assert_eq!(bytes[6..12], mac, "from the interface");
    assert_eq!((bytes[20], bytes[21]), (58, 255), "ICMPv6 with hop limit 255");
    assert_eq!(bytes[22..38], SHARED.octets(), "its source");
    assert_eq!((bytes[54], bytes[55]), (136, 0), "type and code");
    assert_eq!(bytes[58], 0xa0, "R=1 S=0 O=1");
    assert_eq!(bytes[62..78], SHARED.octets(), "its target");
    assert_eq!(bytes[78..80], [2, 1], "target link-layer address");
    assert_eq!(bytes[80..86], mac);
}

// RFC 9568: +5.1.2 +6.4.3-answer
#[test]
fn the_addresses_move_to_the_other_router_and_back_and_the_client_follows() {
    judge(BEARABLE, move_and_return);
}

fn move_and_return() {
    let mut site = Site::new();
    site.expect_answers();
    site.expect_neighbour(0);
    let advert = site.tap.last_advert(0, Stamp::now()).expect("it advertises");
    let fields = advert.advert().expect("it is one");
    assert_eq!((fields.from, fields.to), (site.link_local(0), GROUP_V6));
    assert_eq!((fields.hop_limit, fields.version, fields.vrid, fields.count), (255, 3, 7, 2));
    assert_eq!(fields.mac, site.mac(0));

    let stopped = Stamp::now();
    site.trivets[0].stop("vrrpd");
    let announced = site.announcement(1, stopped);
    assert_announcement_is_right(&announced, site.mac(1));
    assert!(announced.at.since(stopped) < INTERVAL + SLACK, "{:?}", announced.at.since(stopped));
    site.expect_neighbour(1);
    site.expect_answers();
    let left = site.hosts[0].sh("ip -6 -o addr show dev eth0");
    assert!(!left.contains(&SHARED.to_string()), "who stopped has it still: {left}");

    let started = Stamp::now();
    site.trivets[0].run(&site.hosts[0], "vrrpd");
    site.announcement(0, started);
    site.trivets[0].wait_for_property(&state(), "s \"Active\"");
    site.trivets[1].wait_for_property(&state(), "s \"Backup\"");
    site.expect_neighbour(0);
    site.expect_answers();
}

// RFC 9568: +6.4.2-timer
#[test]
fn a_router_that_lost_its_power_is_followed_within_its_down_interval() {
    judge(BEARABLE, lose_power);
}

fn lose_power() {
    let site = Site::new();
    site.expect_answers();
    let cut = Stamp::now();
    site.hosts[0].freeze();
    let announced = site.announcement(1, cut);
    let silence = announced.at.since(site.tap.last_advert(0, announced.at).expect("it advertised").at);
    assert!(silence > ACTIVE_DOWN_INTERVAL - INTERVAL, "early: {silence:?}");
    assert!(silence < ACTIVE_DOWN_INTERVAL + SLACK, "late: {silence:?}");
    site.expect_neighbour(1);
    site.expect_answers();
}

#[test]
fn a_router_waits_for_duplicate_address_detection_says_so_and_needs_no_nudge_when_it_is_over() {
    let lab = Lab::new();
    lab.segment("lan");
    let host = lab.host("n1", &[("eth0", "lan", "10.0.0.1/24")]);
    // Ten seconds during which nothing may be sent from it.
    host.sh("ip link set eth0 down && sysctl -qw net.ipv6.conf.eth0.dad_transmits=10 && ip link set eth0 up");
    let mut trivet = Trivet::with_files(&host, &[("vrrp.d/gateway.toml", &drop_in(100))]);
    trivet.start_bus(&host);
    trivet.run(&host, "vrrpd");
    trivet.wait_for_text(
        &Property::router(ROUTER, "Reason"),
        "waiting for duplicate address detection of fe80::",
    );
    trivet.wait_for_property(&state(), "s \"Active\"");
    wait_for("nothing was tried in vain", &0, || trivet.counter(ROUTER, "SendErrors"));

    host.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1");
    trivet.wait_for_text(&Property::router(ROUTER, "Reason"), "no IPv6 link-local address");
    trivet.wait_for_property(&state(), "s \"Fault\"");
    host.sh("sysctl -qw net.ipv6.conf.eth0.disable_ipv6=0");
    trivet.wait_for_property(&state(), "s \"Active\"");
    wait("the addresses are back", PATIENCE, || {
        host.sh("ip -6 -o addr show dev eth0").contains(&SHARED.to_string()).then_some(())
    });
}
