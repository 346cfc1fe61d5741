//! The kinds of service that `clients` shows over IPv4, over IPv6: ranges, firewall marks, all ports, persistence by
//! network, SCTP, and datagrams one by one.

use std::net::{Ipv6Addr, SocketAddr};

use trivet_tests::client::ask_from;
use trivet_tests::ipvs;

use crate::namer::{Namer, associate, datagrams};
use crate::site::{CLIENT_V6, OTHER_V6, SHORT, Site, VIRTUAL_V6, alternate};

const SERVERS: &str =
    "[[server]]\naddress = \"2001:db8:100::101\"\n[[server]]\naddress = \"2001:db8:100::102\"\n";
const fn address(last: u16) -> Ipv6Addr {
    Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, last)
}
/// The two ends of a range.
const RANGE: [Ipv6Addr; 2] = [address(0x60), address(0x61)];
/// Marked by the firewall, on ports 8003 and 8004.
const MARKED: Ipv6Addr = address(0x62);
/// All ports.
const WHOLE: Ipv6Addr = address(0x63);
const SINGLE: u16 = 5300;
const SCTP: u16 = 5400;
const PREFIX: u16 = 8006;

/// As the services' drop-ins.
const SERVICES: [(&str, &str); 6] = [
    ("ipvs.d/range.toml", "address = \"[2001:db8:10::60-61]:8001-8002\"\nscheduler = \"rr\"\n"),
    ("ipvs.d/marked.toml", "mark = 9\nscheduler = \"rr\"\npersistence = \"5min\"\n"),
    ("ipvs.d/whole.toml", "address = \"[2001:db8:10::63]:*\"\nscheduler = \"rr\"\npersistence = \"5min\"\n"),
    (
        "ipvs.d/single.toml",
        "address = \"[2001:db8:10::50]:5300\"\nprotocol = \"udp\"\none_packet = true\nscheduler = \"rr\"\nforward = \"route\"\n",
    ),
    ("ipvs.d/sctp.toml", "address = \"[2001:db8:10::50]:5400\"\nprotocol = \"sctp\"\nscheduler = \"rr\"\n"),
    (
        "ipvs.d/prefix.toml",
        "address = \"[2001:db8:10::50]:8006\"\nscheduler = \"rr\"\npersistence = \"5min\"\npersistence_prefix = 48\n",
    ),
];
/// The range is four of the kernel's services.
const FRONTS: usize = SERVICES.len() + 3;

#[test]
fn over_ipv6_the_next_connection_goes_to_the_server_that_the_settings_say() {
    let site = Site::with_services(&SERVICES, SERVERS);
    site.mark(&format!("ip6 daddr {MARKED} tcp dport {{ 8003, 8004 }} meta mark set 9"));
    site.expect_table(FRONTS, FRONTS * 2);

    each_of_a_range_is_balanced(&site);
    a_mark_joins_two_ports(&site);
    all_ports_are_one(&site);
    networks_are_one_client(&site);
    let _servers = [0, 1].map(|index: usize| {
        let host = &site.web_hosts[index];
        (Namer::udp(host, (VIRTUAL_V6, SINGLE).into()), Namer::sctp(host, SCTP))
    });
    let answers = datagrams(&site, CLIENT_V6, (VIRTUAL_V6, SINGLE).into(), 6);
    assert!(alternate(&answers), "each datagram goes to another server: {answers:?}");
    let answers: Vec<_> = (0..4).map(|_| associate(&site, CLIENT_V6, (VIRTUAL_V6, SCTP).into())).collect();
    assert!(alternate(&answers), "associations alternate: {answers:?}");
}

fn each_of_a_range_is_balanced(site: &Site) {
    for target in RANGE.into_iter().flat_map(|address| [(address, 8001), (address, 8002)]) {
        let answers = site.answers(target.into(), 4);
        assert!(alternate(&answers), "{target:?}: {answers:?}");
    }
    assert!(site.ask((RANGE[0], 8003).into()).is_err(), "a port beyond the range is none of its");
}

fn a_mark_joins_two_ports(site: &Site) {
    let of = |client: Ipv6Addr| [8003, 8004, 8004, 8003].map(|port| (client, (MARKED, port)));
    let (first, other) = (site.one_answers(&of(CLIENT_V6)), site.one_answers(&of(OTHER_V6)));
    assert_ne!(first, other, "the next client has the next server");
    let unmarked = ask_from(&site.client, CLIENT_V6.into(), SocketAddr::from((MARKED, 8001)), SHORT);
    assert!(unmarked.is_err(), "only what is marked belongs to it: {unmarked:?}");
}

fn all_ports_are_one(site: &Site) {
    let of = |client: Ipv6Addr| [8001, 8005, 8009].map(|port| (client, (WHOLE, port)));
    let (first, other) = (site.one_answers(&of(CLIENT_V6)), site.one_answers(&of(OTHER_V6)));
    assert_ne!(first, other, "the next client has the next server");
}

fn networks_are_one_client(site: &Site) {
    let of = |client: Ipv6Addr| (client, (VIRTUAL_V6, PREFIX));
    site.one_answers(&[of(CLIENT_V6), of(OTHER_V6), of(CLIENT_V6)]);
    let table = ipvs::table(&site.director);
    assert!(table.contains("persistent 300 mask 48"), "{table}");
}
