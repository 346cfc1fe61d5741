//! Who gets the next connection: datagrams one by one, SCTP, firewall marks, all ports, persistence, and hashing.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};

use trivet_tests::client::ask_from;
use trivet_tests::ipvs;

use crate::namer::{Namer, associate, datagrams};
use crate::site::{CLIENT, SHORT, Site, alternate, at};

const SERVERS: &str =
    "[[server]]\naddress = \"192.168.100.101\"\n[[server]]\naddress = \"192.168.100.102\"\n";
/// Marked by the firewall, on ports 80 and 443.
const MARKED: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 60);
/// All ports.
const WHOLE: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 61);
const SINGLE: u16 = 5300;
const TALK: u16 = 5301;
const SCTP: u16 = 5400;
const PREFIX: u16 = 8201;
const HASHED: u16 = 8202;

/// As the services' drop-ins.
const SERVICES: [(&str, &str); 8] = [
    (
        "ipvs.d/single.toml",
        "address = \"10.0.10.50:5300\"\nprotocol = \"udp\"\none_packet = true\nscheduler = \"rr\"\nforward = \"route\"\n",
    ),
    (
        "ipvs.d/talk.toml",
        "address = \"10.0.10.50:5301\"\nprotocol = \"udp\"\nscheduler = \"rr\"\nforward = \"route\"\n",
    ),
    ("ipvs.d/sctp.toml", "address = \"10.0.10.50:5400\"\nprotocol = \"sctp\"\nscheduler = \"rr\"\n"),
    ("ipvs.d/marked.toml", "mark = 7\nscheduler = \"rr\"\npersistence = \"5min\"\n"),
    ("ipvs.d/whole.toml", "address = \"10.0.10.61:*\"\nscheduler = \"rr\"\npersistence = \"5min\"\n"),
    // One port of that address has a service of its own.
    ("ipvs.d/part.toml", "address = \"10.0.10.61:8009\"\nscheduler = \"rr\"\n"),
    (
        "ipvs.d/prefix.toml",
        "address = \"10.0.10.50:8201\"\nscheduler = \"rr\"\npersistence = \"5min\"\npersistence_prefix = 24\n",
    ),
    ("ipvs.d/hashed.toml", "address = \"10.0.10.50:8202\"\nscheduler = \"sh\"\n"),
];

#[test]
fn the_next_connection_goes_to_the_server_that_the_settings_say() {
    let site = Site::with_services(&SERVICES, SERVERS);
    site.mark(&format!("ip daddr {MARKED} tcp dport {{ 80, 443 }} meta mark set 7"));
    site.expect_table(SERVICES.len(), SERVICES.len() * 2);

    datagrams_go_one_by_one_or_stay_together(&site);
    associations_alternate(&site);
    a_mark_joins_two_ports(&site);
    all_ports_are_one_but_those_that_have_a_service(&site);
    neighbours_are_one_client(&site);
    a_client_is_hashed_to_its_server(&site);
}

fn datagrams_go_one_by_one_or_stay_together(site: &Site) {
    let _servers =
        [0, 1].map(|index: usize| [SINGLE, TALK].map(|port| Namer::udp(&site.web_hosts[index], at(port))));
    let answers = datagrams(site, CLIENT, at(SINGLE), 6);
    assert!(alternate(&answers), "each datagram goes to another server: {answers:?}");
    let answers = datagrams(site, CLIENT, at(TALK), 6);
    assert!(answers.iter().all(|answer| *answer == answers[0]), "a talk stays with its server: {answers:?}");
    let known = |port: u16| {
        let service = at(port).to_string();
        ipvs::connections(&site.director).iter().filter(|found| found.service == service).count()
    };
    assert_eq!((known(SINGLE), known(TALK)), (0, 1), "single datagrams are not remembered");
}

fn associations_alternate(site: &Site) {
    let _servers = [0, 1].map(|index: usize| Namer::sctp(&site.web_hosts[index], SCTP));
    let answers: Vec<_> = (0..4).map(|_| associate(site, CLIENT, at(SCTP))).collect();
    assert!(alternate(&answers), "associations alternate: {answers:?}");
    let known = ipvs::connections(&site.director);
    let of_sctp = known.iter().filter(|found| found.protocol == "SCTP").count();
    assert_eq!(of_sctp, 4, "{known:?}");
}

fn a_mark_joins_two_ports(site: &Site) {
    let client = CLIENT.octets();
    let first = site.one_answers(&[
        (client, (MARKED, 80)),
        (client, (MARKED, 443)),
        (client, (MARKED, 443)),
        (client, (MARKED, 80)),
    ]);
    let other = site.one_answers(&[([10, 0, 21, 1], (MARKED, 443)), ([10, 0, 21, 1], (MARKED, 80))]);
    assert_ne!(first, other, "the next client has the next server");
    let unmarked = ask_from(&site.client, CLIENT.into(), SocketAddr::from((MARKED, 8001)), SHORT);
    assert!(unmarked.is_err(), "only what is marked belongs to it: {unmarked:?}");
    let known = ipvs::connections(&site.director);
    let remembered = |found: &&ipvs::Connection| found.service == "0.0.0.7:0" && found.client.ends_with(":0");
    assert_eq!(known.iter().filter(remembered).count(), 2, "two clients are remembered: {known:#?}");
}

fn all_ports_are_one_but_those_that_have_a_service(site: &Site) {
    let client = CLIENT.octets();
    let first = site.one_answers(&[(client, (WHOLE, 80)), (client, (WHOLE, 8001)), (client, (WHOLE, 443))]);
    let other = site.one_answers(&[([10, 0, 22, 1], (WHOLE, 8001)), ([10, 0, 22, 1], (WHOLE, 80))]);
    assert_ne!(first, other, "the next client has the next server");
    let answers: Vec<_> = (0..4).map(|_| site.asked_by(client, (WHOLE, 8009))).collect();
    assert!(alternate(&answers), "a port with a service of its own: {answers:?}");
}

fn neighbours_are_one_client(site: &Site) {
    let service = at(PREFIX);
    let from = |net: u8, last: u8| ([10, 0, net, last], (crate::site::VIRTUAL, service.port()));
    let first = site.one_answers(&[from(21, 1), from(21, 2), from(21, 3)]);
    let other = site.one_answers(&[from(22, 1), from(22, 4)]);
    assert_ne!(first, other, "another network has the next server");
    let table = ipvs::table(&site.director);
    assert!(table.contains("persistent 300 mask 255.255.255.0"), "{table}");
}

fn a_client_is_hashed_to_its_server(site: &Site) {
    let target = (crate::site::VIRTUAL, HASHED);
    let ask = |client: [u8; 4]| site.one_answers(&[(client, target), (client, target), (client, target)]);
    let clients = [21, 22].into_iter().flat_map(|net| (1..=4).map(move |last| [10, 0, net, last]));
    let servers: BTreeSet<_> = clients.map(ask).collect();
    assert_eq!(servers.len(), 2, "eight clients have both servers between them");
}
