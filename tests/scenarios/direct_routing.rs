//! Scenario B, the article on direct routing: two directors and two web servers on one segment, VRID 200, an HTTP
//! check of `/` that expects 200. Requests go through the director, answers do not; and only the director answers for
//! the virtual address, since the web servers hold it on their loopback without ARP.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Seen, mac};
use trivet_tests::client::{Client, Manner};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::ipvs::{self, weights};
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::web::Web;
use trivet_tests::wire::Asker;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
const SERVICE: &str = "10.0.0.1:80";

struct Site {
    trivets: [Trivet; 2],
    webs: [Web; 2],
    web_hosts: [Host; 2],
    client: Host,
    directors: [Host; 2],
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        ipvs::require();
        let lab = Lab::new();
        lab.segment("lan");
        let directors =
            [1, 2].map(|n| lab.host(&format!("lb{n}"), &[("eth1", "lan", &format!("10.0.0.{}/24", n + 1))]));
        let client = lab.host("client", &[("eth0", "lan", "10.0.0.100/24")]);
        let web_hosts = [1, 2].map(|number| web_host(&lab, number));
        let webs = [Web::start(&web_hosts[0]), Web::start(&web_hosts[1])];
        let start = |n: usize| {
            let fixture = format!("direct-routing/lb{}", n + 1);
            Trivet::start(&directors[n], &fixture, &["checkd", "ipvsd", "vrrpd"])
        };
        let trivets = [start(0), start(1)];
        Self { trivets, webs, web_hosts, client, directors, _lab: lab }
    }

    fn active(&self) -> usize {
        wait("one director has the address", PATIENCE, || {
            let holds =
                [0, 1].map(|n: usize| self.directors[n].namespace().addresses("eth1").contains(&ADDRESS));
            match holds {
                [true, false] => Some(0),
                [false, true] => Some(1),
                [true, true] | [false, false] => None,
            }
        })
    }

    fn expect(&self, what: &str, servers: &[&str]) {
        let wanted: Vec<_> = servers.iter().map(|server| ((*server).to_owned(), 1)).collect();
        for director in &self.directors {
            wait_for(what, &wanted, || weights(director, SERVICE));
        }
    }
}

fn web_host(lab: &Lab, number: u8) -> Host {
    let web = lab.host(&format!("web{number}"), &[("eth0", "lan", &format!("10.0.0.{}/24", number + 4))]);
    web.sh(&format!("ip addr add {ADDRESS}/32 dev lo"));
    web.sh("sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2");
    web
}

fn alternate(answers: &[String]) -> bool {
    answers.windows(2).all(|two| two[0] != two[1])
}

#[test]
fn requests_go_through_the_director_and_answers_come_from_the_web_servers_themselves() {
    let mut site = Site::new();
    let active = site.active();
    site.expect("both web servers pass their HTTP check", &["10.0.0.5:80", "10.0.0.6:80"]);
    assert_eq!(ipvs::servers(&site.directors[active], SERVICE)[0].forward, "Route");

    let capture = Capture::start(&site.client, "eth0");
    let from = Ipv4Addr::new(10, 0, 0, 100);
    let _asker = Asker::start(&site.client, "eth0", ADDRESS, from, Duration::from_millis(50));
    let client = Client::start(&site.client, SocketAddr::from((ADDRESS, 80)), Manner::default());
    let since = now();
    let answers = client.answers(since, 8);
    assert!(alternate(&answers), "the answers alternate: {answers:?}");

    let directors = [mac(&site.directors[0], "eth1"), mac(&site.directors[1], "eth1")];
    let webs = [mac(&site.web_hosts[0], "eth0"), mac(&site.web_hosts[1], "eth0")];
    for (_, seen) in capture.since(since) {
        match seen {
            Seen::Accepted { address: ADDRESS, mac } => {
                assert!(webs.contains(&mac), "an answer through a director");
            }
            Seen::Answer { address: ADDRESS, mac } => {
                assert_eq!(mac, directors[active], "the wrong one answers ARP");
            }
            Seen::Accepted { .. } | Seen::Answer { .. } | Seen::Advert { .. } | Seen::Announcement { .. } => {
            }
        }
    }

    let stopped = now();
    site.trivets[active].stop("vrrpd");
    capture.first(
        "the other director announces the address",
        stopped,
        |seen| matches!(seen, Seen::Announcement { address: ADDRESS, mac } if *mac == directors[1 - active]),
    );
    assert!(alternate(&client.answers(now(), 8)), "the other director balances as well");
}

#[test]
fn a_web_server_whose_page_is_not_200_leaves_the_table_and_comes_back_by_itself() {
    let site = Site::new();
    let active = site.active();
    site.expect("both web servers pass their HTTP check", &["10.0.0.5:80", "10.0.0.6:80"]);
    site.webs[0].sick(true);
    site.expect("the sick one leaves both tables", &["10.0.0.6:80"]);
    site.trivets[active].wait_for_text(&Property::service("web", "Servers"), "503");

    let client = Client::start(&site.client, SocketAddr::from((ADDRESS, 80)), Manner::default());
    let since = now();
    assert_eq!(client.answers(since, 6), vec!["web2"; 6], "only the healthy one is asked");
    site.webs[0].sick(false);
    site.expect("the recovered one is back", &["10.0.0.5:80", "10.0.0.6:80"]);
    assert!(alternate(&client.answers(now(), 8)), "both answer again");
}
