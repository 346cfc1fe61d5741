//! A peer that is configured otherwise: vrrpd says in its own words what the peer does and what it does itself, once,
//! counts every packet, and neither takes over from it nor yields to it where the RFC says so.

use std::net::Ipv4Addr;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Mac, mac};
use trivet_tests::clock::{now, wait_for};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::wire::{Advert, Wire, ip_to};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 100);
const OURS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const PEER: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
/// More than a person wants to read about.
const PACKETS: u64 = 40;

/// What it says when it believes the peer.
const YIELDS: &str = "Active -> Backup: 10.0.0.2 has the higher priority 200";

/// What is configured here, and what the peer sends.
#[derive(Debug, Clone)]
struct Row {
    /// Keys after interface, router and addresses.
    keys: &'static str,
    packet: Vec<u8>,
    /// Of the counters that of each packet.
    counter: &'static str,
    /// What vrrpd says.
    sentence: &'static str,
    /// Whether it is believed all the same: its priority is the higher one.
    believed: bool,
}

const V2: &str = "version = 2\n";
const V2_PASS: &str = "version = 2\n[authentication]\ntype = \"pass\"\npassword = \"XXX999XX\"\n";
const V3: &str = "";
const UNICAST: &str = "[unicast]\nsource = \"10.0.0.1\"\npeers = [\"10.0.0.2\"]\n";
const UNICAST_WITH_ANOTHER: &str = "[unicast]\nsource = \"10.0.0.1\"\npeers = [\"10.0.0.3\"]\n";

fn v2() -> Advert {
    Advert {
        from: PEER,
        ttl: 255,
        version: 2,
        kind: 1,
        vrid: 51,
        priority: 200,
        addresses: vec![ADDRESS],
        authentication: 0,
        interval: 1,
        password: [0; 8],
        checksum_error: 0,
    }
}

/// Every second.
fn v3() -> Advert {
    Advert { version: 3, authentication: 0, interval: 100, ..v2() }
}

fn pass(password: &[u8; 8]) -> Advert {
    Advert { authentication: 1, password: *password, ..v2() }
}

/// To our own address instead of the group: the checksum does not cover either.
fn unicast(advert: &Advert) -> Vec<u8> {
    ip_to(PEER, OURS, advert.ttl, &advert.packet()[20..])
}

fn dropped(keys: &'static str, advert: &Advert, counter: &'static str, sentence: &'static str) -> Row {
    Row { keys, packet: advert.packet(), counter, sentence, believed: false }
}

fn odd(keys: &'static str, packet: Vec<u8>, counter: &'static str, sentence: &'static str) -> Row {
    Row { keys, packet, counter, sentence, believed: true }
}

fn rows() -> Vec<Row> {
    vec![
        dropped(V3, &v2(), "DiscardedVersion", "peer 10.0.0.2 sends version 2; this router speaks 3"),
        dropped(V2, &v3(), "DiscardedVersion", "peer 10.0.0.2 sends version 3; this router speaks 2"),
        dropped(V3, &Advert { version: 4, ..v3() }, "DiscardedVersion", "peer 10.0.0.2 sends version 4"),
        dropped(
            V3,
            &Advert { ttl: 254, ..v3() },
            "DiscardedTtl",
            "peer 10.0.0.2 sends with TTL 254, not 255",
        ),
        dropped(V3, &Advert { kind: 2, ..v3() }, "DiscardedType", "peer 10.0.0.2 sends packets of type 2"),
        dropped(
            V3,
            &Advert { checksum_error: 1, ..v3() },
            "DiscardedChecksum",
            "peer 10.0.0.2 sends wrong checksums",
        ),
        dropped(
            V3,
            &Advert { addresses: vec![], ..v3() },
            "DiscardedNoAddresses",
            "peer 10.0.0.2 sends no addresses",
        ),
        dropped(
            V3,
            &Advert { interval: 0, ..v3() },
            "DiscardedIntervalZero",
            "peer 10.0.0.2 sends the interval 0",
        ),
        dropped(
            V2,
            &Advert { interval: 3, ..v2() },
            "DiscardedIntervalMismatch",
            "peer 10.0.0.2 sends the interval 3s; this router has 1s",
        ),
        dropped(
            V2_PASS,
            &pass(b"guessed!"),
            "DiscardedPassword",
            "peer 10.0.0.2 sends another password than this router's",
        ),
        dropped(
            V2_PASS,
            &v2(),
            "DiscardedAuthenticationType",
            "peer 10.0.0.2 sends no password; this router has one",
        ),
        dropped(
            V2,
            &pass(b"XXX999XX"),
            "DiscardedAuthenticationType",
            "peer 10.0.0.2 sends a password; this router has none",
        ),
        dropped(
            V2_PASS,
            &Advert { authentication: 2, ..v2() },
            "DiscardedAuthenticationType",
            "peer 10.0.0.2 sends authentication type 2; only PASS (1) is supported",
        ),
        Row {
            packet: unicast(&v3()),
            ..dropped(
                UNICAST_WITH_ANOTHER,
                &v3(),
                "DiscardedSource",
                "peer 10.0.0.2 is none of the unicast peers of this router",
            )
        },
        Row {
            packet: unicast(&Advert { ttl: 64, ..v3() }),
            ..dropped(UNICAST, &v3(), "DiscardedTtl", "peer 10.0.0.2 sends with TTL 64, not 255")
        },
        odd(
            V3,
            Advert { addresses: vec![ADDRESS, Ipv4Addr::new(10, 0, 0, 101)], ..v3() }.packet(),
            "AddressListMismatch",
            "peer 10.0.0.2 advertises other addresses than are configured here",
        ),
        odd(
            V3,
            Advert { interval: 10, ..v3() }.packet(),
            "AdvertisementsReceived",
            "peer 10.0.0.2 has the interval 100ms; this router has 1s and follows it while it is a Backup",
        ),
        odd(
            "checksum = \"rfc\"\n",
            v3().packet_with_pseudo_header(),
            "ChecksumWithPseudoHeader",
            "peer 10.0.0.2 sends the checksum with a pseudo-header, as keepalived does; this router sends the RFC's",
        ),
        odd(
            "checksum = \"keepalived\"\n",
            v3().packet(),
            "AdvertisementsReceived",
            "peer 10.0.0.2 sends the RFC's checksum; this router sends keepalived's",
        ),
    ]
}

struct Site {
    trivet: Trivet,
    wire: Wire,
    mac: Mac,
    director: Host,
    _peer: Host,
    _lab: Lab,
}

impl Site {
    /// A router of priority 100, Active.
    fn new(keys: &str) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let director = lab.host("director", &[("eth0", "lan", &format!("{OURS}/24"))]);
        let peer = lab.host("peer", &[("eth0", "lan", &format!("{PEER}/24"))]);
        let wire = Wire::open(&peer, "eth0");
        let mac = mac(&director, "eth0");
        let text = format!(
            "interface = \"eth0\"\nvirtual_router_id = 51\npriority = 100\naddresses = [\"{ADDRESS}/24\"]\n{keys}"
        );
        let mut trivet = Trivet::with_files(&director, &[("vrrp.d/v.toml", &text)]);
        trivet.start_bus(&director);
        trivet.run(&director, "vrrpd");
        let site = Self { trivet, wire, mac, director, _peer: peer, _lab: lab };
        site.expect_state("Active");
        site
    }

    fn expect_state(&self, state: &str) {
        self.trivet.wait_for_property(&Property::router("v", "State"), &format!("s \"{state}\""));
    }

    fn counter(&self, name: &str) -> u64 {
        let all = self.trivet.property(&Property::router("v", "Counters")).unwrap_or_default();
        let mut words = all.split_whitespace().skip_while(|word| word.trim_matches('"') != name);
        words
            .nth(1)
            .and_then(|number| number.parse().ok())
            .unwrap_or_else(|| panic!("no counter {name} in {all}"))
    }

    fn said(&self, sentence: &str) -> usize {
        self.trivet.process("vrrpd").log().lines().filter(|line| line.contains(sentence)).count()
    }
}

fn play(row: &Row) {
    println!("{:30} {}", row.counter, row.sentence);
    let site = Site::new(row.keys);
    assert_eq!(site.counter(row.counter), 0, "{}", row.sentence);
    for _ in 0..PACKETS {
        if row.keys.contains("[unicast]") {
            site.wire.to_station(site.mac, &row.packet);
        } else {
            site.wire.multicast(&row.packet);
        }
    }
    wait_for(row.counter, &PACKETS, || site.counter(row.counter));
    wait_for(row.sentence, &1, || site.said(row.sentence));
    // busctl writes an apostrophe as in C.
    site.trivet.wait_for_text(&Property::router("v", "Remarks"), &row.sentence.replace('\'', "\\'"));
    let peers = site.trivet.wait_for_text(&Property::router("v", "Peers"), &PEER.to_string());
    assert!(peers.contains(&format!(" {PACKETS}")), "all are counted for this peer: {peers}");
    // What is dropped moves nothing; what is odd but right makes us yield, until it is silent again.
    if row.believed {
        wait_for("it yields", &1, || site.said(YIELDS));
    } else {
        site.expect_state("Active");
        assert_eq!(site.said(YIELDS), 0, "{}", row.sentence);
    }
}

// RFC 9568: -7.1-version -7.1-first +7.1-addresses +7.1-counters
#[test]
fn a_peer_that_is_configured_otherwise_is_explained_once_and_counted_always() {
    // Each has a site of its own; they wait most of the time.
    let rows = rows();
    for some in rows.chunks(6) {
        std::thread::scope(|scope| {
            let running: Vec<_> = some.iter().map(|row| scope.spawn(|| play(row))).collect();
            for run in running {
                run.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            }
        });
    }
}

/// With `checksum = "auto"`, the default, both forms are understood and neither is worth a word.
// RFC 9568: +5.2.8-others
#[test]
fn a_peer_with_the_other_checksum_is_followed_without_a_word() {
    let site = Site::new(V3);
    site.wire.multicast(&v3().packet_with_pseudo_header());
    wait_for("it yields", &1, || site.said(YIELDS));
    wait_for("it was that form", &1, || site.counter("ChecksumWithPseudoHeader"));
    assert_eq!(site.said("checksum"), 0);
}

/// An own packet that comes back, or another machine with our address: told, and no storm of answers.
// RFC 9568: +6.4.3-own
#[test]
fn an_advertisement_with_our_own_address_is_told_and_not_answered() {
    let site = Site::new(V3);
    // The kernel itself drops such packets where it is not told otherwise.
    site.director.sh("echo 1 >/proc/sys/net/ipv4/conf/all/accept_local");
    let looped = Advert { from: OURS, priority: 100, ..v3() };
    let sent = site.counter("AdvertisementsSent");
    let began = now();
    for _ in 0..PACKETS {
        site.wire.multicast(&looped.packet());
    }
    wait_for("all of them are read", &PACKETS, || site.counter("AdvertisementsReceived"));
    wait_for("it is told once", &1, || site.said("has the address of this router"));
    site.expect_state("Active");
    let answers = site.counter("AdvertisementsSent") - sent;
    assert!(answers <= began.elapsed().as_secs() + 2, "{answers} answers to {PACKETS} looped packets");
}
