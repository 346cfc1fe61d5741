//! Scenario D, the article on inhibit_on_failure: a web server that fails its check of /drupal/ stays in the table
//! with weight 0, as the article's `ipvsadm` shows it, and gets no more requests; it comes back by itself.

use std::net::SocketAddr;
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::client::{Client, Manner, ask};
use trivet_tests::clock::{now, wait_for};
use trivet_tests::host::Host;
use trivet_tests::ipvs::{self, weights};
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::web::Web;

const SERVICE: &str = "192.168.1.6:80";
/// Of a request that must be answered, in an emulated machine.
const TIMEOUT: Duration = Duration::from_secs(10);

/// As in the article: the director is 192.168.1.6, and the web servers 10.0.0.2 and .3 use it as their gateway.
struct Site {
    trivet: Trivet,
    webs: [Web; 2],
    web_hosts: [Host; 2],
    client: Host,
    director: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        ipvs::require();
        let lab = Lab::new();
        lab.segment("outside");
        lab.segment("inside");
        let networks = [("eth0", "outside", "192.168.1.6/24"), ("eth1", "inside", "10.0.0.1/24")];
        let director = lab.host("lvs", &networks);
        director.sh("sysctl -qw net.ipv4.ip_forward=1");
        let client = lab.host("client", &[("eth0", "outside", "192.168.1.100/24")]);
        let web_hosts = [2, 3].map(|number| {
            let web = lab
                .host(&format!("web{}", number - 1), &[("eth0", "inside", &format!("10.0.0.{number}/24"))]);
            web.sh("ip route add default via 10.0.0.1");
            web
        });
        let webs = [Web::start(&web_hosts[0]), Web::start(&web_hosts[1])];
        let trivet = Trivet::start(&director, "inhibit/lvs", &["checkd", "ipvsd"]);
        let site = Self { trivet, webs, web_hosts, client, director, _lab: lab };
        site.expect("both web servers carry weight", 1, 1);
        site
    }

    fn expect(&self, what: &str, first: u32, second: u32) {
        let wanted = vec![("10.0.0.2:80".to_owned(), first), ("10.0.0.3:80".to_owned(), second)];
        wait_for(what, &wanted, || weights(&self.director, SERVICE));
    }

    fn target() -> SocketAddr {
        SocketAddr::from(([192, 168, 1, 6], 80))
    }
}

#[test]
fn a_stopped_web_server_stays_in_the_table_with_weight_0_and_comes_back() {
    let mut site = Site::new();
    site.webs[0].kill();
    site.expect("the stopped server has weight 0", 0, 1);
    assert_eq!(ipvs::servers(&site.director, SERVICE)[0].forward, "Masq");

    let client =
        Client::start(&site.client, Site::target(), Manner { timeout: TIMEOUT, ..Manner::default() });
    let since = now();
    assert_eq!(client.answers(since, 6), vec!["web2"; 6], "no request goes to the stopped server");
    let failed: Vec<_> = client.since(since).into_iter().filter(|request| request.answer.is_err()).collect();
    assert!(failed.is_empty(), "no request fails while it is out: {failed:?}");
    site.trivet.wait_for_text(&Property::service("web", "Servers"), "connection refused");

    let Site { webs, web_hosts, .. } = &mut site;
    webs[0].resume(&web_hosts[0]);
    site.expect("the server is back with its weight", 1, 1);
    let answers = client.answers(now(), 6);
    assert!(answers.windows(2).all(|two| two[0] != two[1]), "the answers alternate again: {answers:?}");
}

#[test]
fn a_web_server_that_answers_503_is_inhibited_and_the_bus_says_why() {
    let site = Site::new();
    site.webs[1].sick(true);
    site.expect("the sick server has weight 0", 1, 0);
    site.trivet.wait_for_text(&Property::service("web", "Servers"), "503");
    let answer = site.client.namespace().within(|| ask(Site::target(), "/", TIMEOUT)).answer;
    assert_eq!(answer.as_deref(), Ok("web1"));

    site.webs[1].sick(false);
    site.expect("the server is back with its weight", 1, 1);
}
