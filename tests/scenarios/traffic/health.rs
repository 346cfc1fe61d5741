//! What health does to clients: checkd asks real web servers, which fall sick one after the other and recover, and five
//! services make of it what each is told to.

use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::ipvs;

use crate::site::{Site, alternate, at};

/// Keeps servers that failed, with weight 0.
const INHIBITED: u16 = 8301;
/// Lets those that return start slowly.
const SLOW: u16 = 8302;
/// Needs both servers, and has a sorry server.
const BOTH: u16 = 8303;
/// Needs one of them, and has a sorry server.
const ONE: u16 = 8304;

const CHECK: &str = "type = \"http\"\ninterval = \"1s\"\ntimeout = \"5s\"\npath = \"/\"\nstatus = [200]\n";
/// The services are translated; the sorry server answers by itself.
const SORRY: &str = "sorry_server = { address = \"192.168.100.103\", forward = \"route\" }";

fn files() -> [(&'static str, String); 5] {
    let service = |port: u16, options: &str, weight: u32| {
        let server = |number: u8| {
            format!("[[server]]\naddress = \"192.168.100.10{number}:{port}\"\nweight = {weight}\n")
        };
        format!(
            "address = \"{}\"\nscheduler = \"rr\"\ncheck = \"index\"\n{options}\n{}{}",
            at(port),
            server(1),
            server(2)
        )
    };
    [
        ("check.d/index.toml", CHECK.to_owned()),
        ("ipvs.d/inhibited.toml", service(INHIBITED, "inhibit_on_failure = true", 1)),
        ("ipvs.d/slow.toml", service(SLOW, "slow_start = \"12s\"", 100)),
        ("ipvs.d/both.toml", service(BOTH, &format!("quorum = 2\n{SORRY}"), 1)),
        ("ipvs.d/one.toml", service(ONE, SORRY, 1)),
    ]
}

fn server(number: u8, port: u16) -> String {
    format!("192.168.100.10{number}:{port}")
}

impl Site {
    /// Waits until the servers of a service, by their numbers, have these weights.
    #[track_caller]
    fn expect_weights(&self, what: &str, port: u16, wanted: &[(u8, u32)]) {
        let named: Vec<_> = wanted.iter().map(|(number, weight)| (server(*number, port), *weight)).collect();
        let wanted: Vec<_> = named.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
        self.expect(what, port, &wanted);
    }
}

#[test]
fn servers_fall_sick_and_recover_and_clients_are_answered_by_whoever_should() {
    let files = files();
    let files = files.each_ref().map(|(name, text)| (*name, text.as_str()));
    let site = Site::new(3, &["checkd", "ipvsd"], &files);
    for port in [INHIBITED, BOTH, ONE] {
        site.expect_weights("both are well", port, &[(1, 1), (2, 1)]);
    }
    site.expect_weights("at the first start nothing is slow", SLOW, &[(1, 100), (2, 100)]);
    assert!(alternate(&site.answers(at(BOTH), 4)), "the servers answer, not the sorry one");

    one_falls_sick(&site);
    the_other_falls_sick(&site);
    both_recover(&site);
}

fn one_falls_sick(site: &Site) {
    let (a, b) = (site.hold(INHIBITED), site.hold(INHIBITED));
    site.webs[0].sick(true);
    site.expect_weights("it gets no new connections", INHIBITED, &[(1, 0), (2, 1)]);
    for mut held in [a, b] {
        let answer = held.ask();
        assert!(
            answer.as_deref() == Ok("web1 is sick") || answer.as_deref() == Ok("web2"),
            "open connections go on, also to the sick one: {answer:?}"
        );
    }
    assert_eq!(site.answers(at(INHIBITED), 3), vec!["web2"; 3]);
    site.expect_weights("it leaves the table", SLOW, &[(2, 100)]);
    site.expect_weights("the other one is enough", ONE, &[(2, 1)]);
    assert_eq!(site.answers(at(ONE), 3), vec!["web2"; 3]);

    site.expect_weights("one is not enough: the sorry server answers", BOTH, &[(3, 1)]);
    assert_eq!(site.answers(at(BOTH), 3), vec!["web3"; 3]);
    let sorry = &ipvs::servers(&site.director, &at(BOTH).to_string())[0];
    assert_eq!(sorry.forward, "Route", "in its own way");
    site.says("both", "State", "sorry");
    site.says("both", "Reason", "weight 1 of 2 is usable");
    site.says("both", "HasQuorum", "false");
    site.says("one", "HasQuorum", "true");
}

fn the_other_falls_sick(site: &Site) {
    site.webs[1].sick(true);
    site.expect_weights("nobody is left: the sorry server answers", ONE, &[(3, 1)]);
    assert_eq!(site.answers(at(ONE), 3), vec!["web3"; 3]);
    site.says("one", "State", "sorry");
    site.expect_weights("both are kept, idle", INHIBITED, &[(1, 0), (2, 0)]);
    site.says("inhibited", "State", "no-servers");
    site.expect_weights("both are gone", SLOW, &[]);
    assert!(site.ask(at(SLOW)).is_err(), "clients are refused");
}

fn both_recover(site: &Site) {
    let recovered = now();
    site.webs[..2].iter().for_each(|web| web.sick(false));
    let seen = wait("the first one's whole weight", PATIENCE, {
        let mut seen: Vec<u32> = Vec::new();
        move || {
            let servers = ipvs::servers(&site.director, &at(SLOW).to_string());
            let weight = servers.iter().find(|found| found.address == server(1, SLOW))?.weight;
            if seen.last() != Some(&weight) {
                seen.push(weight);
            }
            (weight == 100).then(|| seen.clone())
        }
    });
    assert!(seen.is_sorted() && seen[0] < 50 && seen.len() >= 4, "its weight grows step by step: {seen:?}");
    assert!((now() - recovered).as_secs() >= 11, "over its time");
    for port in [INHIBITED, BOTH, ONE] {
        site.expect_weights("both are back, alone", port, &[(1, 1), (2, 1)]);
        assert!(alternate(&site.answers(at(port), 4)), "the servers answer again");
    }
    site.says("both", "State", "forwarding");
    site.says("both", "HasQuorum", "true");
}
