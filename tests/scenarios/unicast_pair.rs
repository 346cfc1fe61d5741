//! Two routers on two links, with a third between them that forwards: a cloud without multicast. They hear each other
//! by unicast, through one hop, and nobody else.

use std::net::IpAddr;
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::capture::mac;
use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::forge::{Forged, GROUP_V4, group_mac};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::trivet::Trivet;
use trivet_tests::wire::Wire;

/// Longer than that a machine may not stand still, or it is a reason to move: two of the intervals.
const BEARABLE: Duration = Duration::from_millis(200);
const ROUTER: &str = "cloud";
const FILE: &str = "vrrp.d/cloud.toml";

/// The addresses of one family.
struct Plan {
    ends: [&'static str; 2],
    hops: [&'static str; 2],
    length: u8,
    shared: &'static str,
    stranger: &'static str,
}

const IPV4: Plan = Plan {
    ends: ["10.1.0.1", "10.2.0.1"],
    hops: ["10.1.0.254", "10.2.0.254"],
    length: 24,
    shared: "10.9.9.9/32",
    stranger: "10.1.0.66",
};
const IPV6: Plan = Plan {
    ends: ["2001:db8:1::1", "2001:db8:2::1"],
    hops: ["2001:db8:1::254", "2001:db8:2::254"],
    length: 64,
    shared: "2001:db8:9::9/128",
    stranger: "2001:db8:1::66",
};

struct Site {
    trivets: [Trivet; 2],
    hosts: [Host; 2],
    wire: Wire,
    _stranger: Host,
    _hop: Host,
    _lab: Lab,
}

impl Site {
    /// `peer`: what stands in an end's file for the other one, whose address is ADDRESS.
    fn new(plan: &Plan, peer: &str) -> Self {
        let lab = Lab::new();
        lab.segment("left");
        lab.segment("right");
        let with_length = |address: &str| format!("{address}/{}", plan.length);
        let [left, right] = plan.hops.map(with_length);
        let hop = lab.host("hop", &[("eth0", "left", &left), ("eth1", "right", &right)]);
        hop.sh("sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1");
        let end = |index: usize, name, segment| {
            let host = lab.host(name, &[("eth0", segment, &with_length(plan.ends[index]))]);
            host.sh(&format!("ip route add default via {} dev eth0", plan.hops[index]));
            host
        };
        let hosts = [end(0, "a", "left"), end(1, "b", "right")];
        let stranger = lab.host("stranger", &[("eth0", "left", &with_length(plan.stranger))]);
        let wire = Wire::open(&stranger, "eth0");
        let trivets = [0, 1].map(|index: usize| {
            let peer = peer.replace("ADDRESS", plan.ends[1 - index]);
            let text = format!(
                "interface = 'eth0'\nvirtual_router_id = 5\npriority = {}\nadvert_interval = '100ms'\n\
                 addresses = ['{}']\n[unicast]\nsource = '{}'\npeers = [{peer}]\n",
                110 - index * 10,
                plan.shared,
                plan.ends[index]
            );
            let mut trivet = Trivet::with_files(&hosts[index], &[(FILE, &text)]);
            trivet.start_bus(&hosts[index]);
            trivet.run(&hosts[index], "vrrpd");
            trivet
        });
        Self { trivets, hosts, wire, _stranger: stranger, _hop: hop, _lab: lab }
    }

    fn expect(&self, states: [&str; 2]) {
        for (trivet, state) in self.trivets.iter().zip(states) {
            trivet.wait_for_property(&Property::router(ROUTER, "State"), &format!("s \"{state}\""));
        }
    }

    fn holds(&self, index: usize, address: &str) -> bool {
        self.hosts[index].sh("ip -o addr show dev eth0").contains(address)
    }

    fn expect_counter(&self, index: usize, name: &str, least: u64) {
        wait(&format!("counter {name} reaches {least}"), PATIENCE, || {
            (self.trivets[index].counter(ROUTER, name) >= least).then_some(())
        });
    }

    /// Believable, but for where it comes from: it has a priority to which every router would yield.
    fn forged(plan: &Plan, from: &str) -> Forged {
        let parse = |text: &str| text.parse::<IpAddr>().expect("written above");
        let shared = plan.shared.split('/').next().expect("the address before its length");
        Forged {
            from: parse(from),
            to: parse(plan.ends[0]),
            ttl: 255,
            vrid: 5,
            priority: 250,
            interval: 10,
            addresses: vec![parse(shared)],
        }
    }

    fn deliver(&self, forged: &Forged) {
        self.wire.deliver(mac(&self.hosts[0], "eth0"), &forged.packet());
    }
}

/// One hop takes one from 255.
const PEER: &str = "{ address = 'ADDRESS', min_ttl = 254, max_ttl = 254 }";

fn moves_to_and_fro(plan: &Plan) {
    let mut site = Site::new(plan, PEER);
    site.expect(["Active", "Backup"]);
    wait("the Active has the address", PATIENCE, || site.holds(0, plan.shared).then_some(()));
    site.expect_counter(1, "AdvertisementsReceived", 10);
    assert_eq!(site.trivets[1].counter(ROUTER, "DiscardedTtl"), 0);

    let host = &site.hosts[0];
    site.trivets[0].stop("vrrpd");
    site.trivets[1].wait_for_property(&Property::router(ROUTER, "State"), "s \"Active\"");
    wait("the other has the address", PATIENCE, || site.holds(1, plan.shared).then_some(()));
    assert!(!site.holds(0, plan.shared), "who stopped has it still");

    site.trivets[0].run(host, "vrrpd");
    site.expect(["Active", "Backup"]);
    site.trivets[0].kill("vrrpd");
    site.trivets[1].wait_for_property(&Property::router(ROUTER, "State"), "s \"Active\"");
}

#[test]
fn an_ipv4_pair_beyond_a_hop_shares_an_address_by_unicast() {
    moves_to_and_fro(&IPV4);
}

#[test]
fn an_ipv6_pair_beyond_a_hop_shares_an_address_by_unicast() {
    moves_to_and_fro(&IPV6);
}

#[test]
fn a_peer_that_is_not_said_to_be_beyond_a_hop_is_not_believed_from_there_and_that_is_said() {
    let site = Site::new(&IPV4, "'ADDRESS'");
    site.expect(["Active", "Active"]);
    for index in 0..2 {
        site.expect_counter(index, "DiscardedTtl", 3);
        wait("it says why", PATIENCE, || {
            let said = site.trivets[index].process("vrrpd").log();
            said.contains("sends with TTL 254, not 255").then_some(())
        });
    }
}

fn strangers_are_ignored(plan: &Plan) {
    let site = Site::new(plan, PEER);
    site.expect(["Active", "Backup"]);
    for count in 1..=20 {
        site.deliver(&Site::forged(plan, plan.stranger));
        site.expect_counter(0, "DiscardedSource", count);
    }
    // In the peer's name, but from this link: the peer's come through a hop.
    site.deliver(&Site::forged(plan, plan.ends[1]));
    site.expect_counter(0, "DiscardedTtl", 1);
    site.expect(["Active", "Backup"]);
    assert_eq!(site.trivets[0].counter(ROUTER, "BecameActive"), 1, "it never left");

    // The same is believed where nobody asks who it is: it was the source that was checked.
    site.trivets[0].edit(FILE, "[unicast]", "[unicast]\ncheck_source = false");
    site.trivets[0].reload("vrrpd");
    let state = Property::router(ROUTER, "State");
    let since = now();
    wait("it yields to the stranger", PATIENCE, || {
        site.deliver(&Forged { ttl: 254, ..Site::forged(plan, plan.stranger) });
        (site.trivets[0].property(&state)? == "s \"Backup\"").then_some(())
    });
    assert!(since.elapsed() < PATIENCE);
}

#[test]
fn valid_advertisements_of_a_stranger_over_ipv4_are_counted_and_change_nothing() {
    judge(BEARABLE, || strangers_are_ignored(&IPV4));
}

#[test]
fn valid_advertisements_of_a_stranger_over_ipv6_are_counted_and_change_nothing() {
    judge(BEARABLE, || strangers_are_ignored(&IPV6));
}

#[test]
fn a_router_with_unicast_peers_does_not_listen_to_the_group() {
    let site = Site::new(&IPV4, PEER);
    site.expect(["Active", "Backup"]);
    let multicast = Forged { to: GROUP_V4, ..Site::forged(&IPV4, IPV4.ends[1]) };
    for _ in 0..20 {
        site.wire.deliver(group_mac(&multicast.packet()), &multicast.packet());
    }
    site.deliver(&Site::forged(&IPV4, IPV4.stranger));
    site.expect_counter(0, "DiscardedSource", 1);
    let dropped = site.trivets[0].counter(ROUTER, "DiscardedDestination");
    assert_eq!(dropped, 0, "the kernel is not even asked for the group");
    site.expect(["Active", "Backup"]);
}
