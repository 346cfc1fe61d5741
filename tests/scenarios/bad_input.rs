//! What a hostile or clumsy neighbour, administrator or bus can do to vrrpd: nothing that it does not survive, count
//! and explain.

use std::net::Ipv4Addr;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Seen};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::wire::{Advert, Wire, ip};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 10);
const MALLORY: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 66);

/// One director of the NAT pair, alone with a neighbour.
struct Site {
    trivet: Trivet,
    wire: Wire,
    capture: Capture,
    director: Host,
    _mallory: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let director = lab.lone_director();
        let mallory = lab.host("mallory", &[("eth0", "inside", "192.168.100.66/22")]);
        let capture = Capture::start(&mallory, "eth0");
        let wire = Wire::open(&mallory, "eth0");
        let trivet = Trivet::start(&director, "nat-pair/lvs1", &["vrrpd"]);
        let site = Self { trivet, wire, capture, director, _mallory: mallory, _lab: lab };
        site.expect_state("Active");
        site
    }

    fn expect_state(&self, state: &str) {
        self.trivet.wait_for_property(&router("State"), &format!("s \"{state}\""));
    }

    fn counter(&self, name: &str) -> u64 {
        let all = self.trivet.property(&router("Counters")).unwrap_or_default();
        let mut words = all.split_whitespace();
        let found = words.find(|word| word.trim_matches('"') == name).is_some();
        assert!(found || all.is_empty(), "there is no counter {name} in {all}");
        words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    fn expect_counter(&self, name: &str, value: u64) {
        wait_for(&format!("counter {name}"), &value, || self.counter(name));
    }

    /// It is alive and Active if it goes on advertising.
    fn expect_adverts(&self) {
        let since = now();
        wait("two more advertisements", PATIENCE, || {
            let own =
                |seen: &Seen| matches!(seen, Seen::Advert { from, priority: 100, .. } if *from != MALLORY);
            let adverts = self.capture.since(since).into_iter().filter(|(_, seen)| own(seen));
            (adverts.count() >= 2).then_some(())
        });
    }

    fn holds(&self) -> bool {
        self.director.namespace().addresses("eth1").contains(&ADDRESS)
    }
}

fn router(name: &'static str) -> Property {
    Property::router("gateway", name)
}

/// One that the director must believe: of a higher priority, so it would yield to it.
fn advert() -> Advert {
    Advert {
        from: MALLORY,
        ttl: 255,
        version: 2,
        kind: 1,
        vrid: 1,
        priority: 200,
        addresses: vec![ADDRESS, Ipv4Addr::new(10, 0, 10, 50)],
        authentication: 1,
        interval: 1,
        password: *b"XXX999XX",
        checksum_error: 0,
    }
}

// RFC 9568: -7.1-ttl -7.1-version -7.1-type -7.1-length -7.1-checksum -7.1-count +7.1-counters
#[test]
fn each_kind_of_bad_advertisement_is_dropped_counted_and_changes_nothing() {
    let site = Site::new();
    let bad: [(&str, Vec<u8>); 9] = [
        ("DiscardedTtl", Advert { ttl: 254, ..advert() }.packet()),
        ("DiscardedVersion", Advert { version: 3, ..advert() }.packet()),
        ("DiscardedType", Advert { kind: 2, ..advert() }.packet()),
        ("DiscardedLength", ip(MALLORY, 255, &advert().packet()[20..30])),
        ("DiscardedChecksum", Advert { checksum_error: 1, ..advert() }.packet()),
        ("DiscardedNoAddresses", Advert { addresses: Vec::new(), ..advert() }.packet()),
        ("DiscardedIntervalMismatch", Advert { interval: 7, ..advert() }.packet()),
        ("DiscardedAuthenticationType", Advert { authentication: 0, ..advert() }.packet()),
        ("DiscardedPassword", Advert { password: *b"guessed!", ..advert() }.packet()),
    ];
    for (counter, packet) in &bad {
        let before = site.counter(counter);
        for _ in 0..3 {
            site.wire.multicast(packet);
        }
        site.expect_counter(counter, before + 3);
    }
    site.expect_state("Active");
    site.expect_adverts();
    assert!(site.holds());

    // The same without a mistake is believed: it was the mistakes that were seen.
    wait("the director yields to a right advertisement", PATIENCE, || {
        site.wire.multicast(&advert().packet());
        (site.trivet.property(&router("State"))? == "s \"Backup\"").then_some(())
    });
    wait("its addresses go", PATIENCE, || (!site.holds()).then_some(()));
}

#[test]
fn ten_thousand_packets_of_noise_do_not_stop_it() {
    let site = Site::new();
    let mut noise: u32 = 0x2545_f491;
    let mut next = || {
        noise ^= noise << 13;
        noise ^= noise >> 17;
        noise ^= noise << 5;
        noise.to_be_bytes()
    };
    for round in 0..10_000_usize {
        let mut payload: Vec<u8> = std::iter::repeat_with(&mut next).flatten().take(round % 64).collect();
        // Every other one begins like one of ours, so that it gets further.
        if round % 2 == 0 && payload.len() > 8 {
            payload[..5].copy_from_slice(&[0x21, 1, 200, u8::try_from(round % 5).expect("below 5"), 1]);
        }
        site.wire.multicast(&ip(MALLORY, 255, &payload));
    }
    site.expect_adverts();
    site.expect_state("Active");
    assert!(site.holds());
}

#[test]
fn a_bad_reload_names_the_mistakes_and_changes_nothing() {
    let site = Site::new();
    site.trivet.edit("vrrp.d/gateway.toml", "priority = 100", "prioritty = 100");
    site.trivet.edit("vrrp.d/gateway.toml", "virtual_router_id = 1", "virtual_router_id = 256");
    let check = site.trivet.check("vrrpd");
    let said = String::from_utf8_lossy(&check.stderr).into_owned();
    assert_eq!(check.status.code(), Some(78), "{said}");
    assert!(
        said.contains("gateway.toml:5:") && said.contains("priority"),
        "where, and the nearest key: {said}"
    );
    assert!(said.contains("gateway.toml:3:") && said.contains("255"), "both mistakes in one run: {said}");

    site.trivet.reload("vrrpd");
    site.expect_adverts();
    site.expect_state("Active");
    site.trivet.wait_for_property(&router("Priority"), "y 100");
    assert!(site.holds());

    site.trivet.edit("vrrp.d/gateway.toml", "prioritty = 100", "priority = 120");
    site.trivet.edit("vrrp.d/gateway.toml", "virtual_router_id = 256", "virtual_router_id = 1");
    site.trivet.reload("vrrpd");
    site.trivet.wait_for_property(&router("Priority"), "y 120");
    site.expect_state("Active");
    assert!(site.holds(), "a changed priority takes no address away");
}

#[test]
fn a_missing_interface_is_a_fault_with_that_reason_until_it_appears() {
    let lab = Lab::new();
    lab.segment("inside");
    let director = lab.host("lvs1", &[("eth0", "inside", "10.0.10.51/24")]);
    let trivet = Trivet::start(&director, "nat-pair/lvs1", &["vrrpd"]);
    trivet.wait_for_property(&router("State"), "s \"Fault\"");
    trivet.wait_for_text(&router("Reason"), "eth1");

    let check = trivet.check("vrrpd");
    assert_eq!(check.status.code(), Some(0), "an interface that is not there yet is a warning only");

    director.sh("ip link add eth1 type veth peer name other && ip addr add 192.168.100.11/22 dev eth1");
    director.sh("ip link set other up && ip link set eth1 up");
    trivet.wait_for_property(&router("State"), "s \"Active\"");
    wait("it has the address", PATIENCE, || {
        director.namespace().addresses("eth1").contains(&ADDRESS).then_some(())
    });

    director.sh("ip link del eth1");
    trivet.wait_for_property(&router("State"), "s \"Fault\"");
    wait("the other interface gives the address up as well", PATIENCE, || {
        let outside = Ipv4Addr::new(10, 0, 10, 50);
        (!director.namespace().addresses("eth0").contains(&outside)).then_some(())
    });
}

#[test]
fn a_lost_carrier_is_a_fault_and_its_return_ends_it() {
    let site = Site::new();
    site.director.carrier("eth1", false);
    site.expect_state("Fault");
    site.trivet.wait_for_text(&router("Reason"), "eth1");
    site.director.carrier("eth1", true);
    site.expect_state("Active");
    wait("it has the address", PATIENCE, || site.holds().then_some(()));
}

#[test]
fn a_virtual_address_that_somebody_deletes_is_put_back_and_announced() {
    let site = Site::new();
    let deleted = now();
    site.director.sh("ip addr del 192.168.100.10/22 dev eth1");
    wait("the address is back", PATIENCE, || site.holds().then_some(()));
    site.capture.first("it is announced again", deleted, |seen| {
        matches!(seen, Seen::Announcement { address: ADDRESS, .. })
    });
    site.expect_counter("AddressesRestored", 1);
    site.expect_state("Active");
}

#[test]
fn a_bus_that_dies_and_returns_finds_the_objects_again_and_the_protocol_never_stopped() {
    let mut site = Site::new();
    site.trivet.kill_bus();
    site.expect_adverts();
    assert!(site.holds());
    site.trivet.start_bus(&site.director);
    site.expect_state("Active");
    site.expect_adverts();
}
