//! Scenario A, the article on a redundant load balancer: two directors with NAT, each a machine with a real systemd in
//! which the package is installed, IPVS in the kernel, two real web servers, and a client outside.

use std::time::{Duration, Instant};

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Mac, Seen, mac};
use trivet_tests::client::{Client, Manner, cost};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::holding::Holding;
use trivet_tests::installed::Installed;
use trivet_tests::ipvs;
use trivet_tests::nat_pair::{INSIDE, NatPair, OUTSIDE, SERVERS, SERVICE};

/// What an emulated machine may add to a time that the protocol sets.
const SLACK: Duration = Duration::from_millis(2500);
/// RFC 9568, 6.1 with one second and priority 100, the longer of the two: 156/256 s, and three intervals more.
const SKEW_TIME: Duration = Duration::from_millis(610);
const ACTIVE_DOWN_INTERVAL: Duration = Duration::from_millis(3610);
const LASTING: [[&str; 2]; 2] = [["10.0.10.51", "192.168.100.11"], ["10.0.10.52", "192.168.100.12"]];

struct Site {
    machines: [Installed; 2],
    client: Client,
    capture: Capture,
    outside: Holding,
    inside: Holding,
    pair: NatPair,
}

impl Site {
    fn new() -> Self {
        ipvs::require();
        let pair = NatPair::new();
        let machines = [Installed::boot(&pair.directors[0]), Installed::boot(&pair.directors[1])];
        for (number, machine) in machines.iter().enumerate() {
            machine.install(&format!("nat-pair/lvs{}", number + 1));
        }
        let outside = Holding::watch(&pair.directors, OUTSIDE);
        let inside = Holding::watch(&pair.directors, INSIDE);
        let capture = Capture::start(&pair.client, "eth0");
        let client = Client::start(&pair.client, NatPair::service(), Manner::default());
        let site = Self { machines, client, capture, outside, inside, pair };
        site.expect_servers("both web servers are in both tables", &SERVERS);
        site
    }

    fn active(&self) -> usize {
        wait("one director holds both addresses, the other none", PATIENCE, || self.pair.active())
    }

    fn expect_servers(&self, what: &str, servers: &[&str]) {
        let wanted: Vec<_> = servers.iter().map(|server| ((*server).to_owned(), 1)).collect();
        for director in &self.pair.directors {
            wait_for(what, &wanted, || ipvs::weights(director, SERVICE));
        }
    }

    fn expect_state(&self, director: usize, state: &str) {
        self.machines[director].wait_for_property(&router("State"), &format!("s \"{state}\""));
    }

    /// The last advertisement of a director within what the inside saw, seen from the client's side by its ARP.
    fn announcement(&self, director: usize, since: Instant) -> Instant {
        let mine: Mac = mac(&self.pair.directors[director], "eth0");
        self.capture.first(
            &format!("lvs{} announces the outside address", director + 1),
            since,
            |seen| matches!(seen, Seen::Announcement { address: OUTSIDE, mac } if *mac == mine),
        )
    }

    fn expect_alternating(&self) {
        let answers = self.client.answers(now(), 6);
        assert!(answers.windows(2).all(|two| two[0] != two[1]), "the answers alternate: {answers:?}");
    }

    fn report(&self, what: &str, since: Instant) {
        let cost = cost(&self.client.requests(), since);
        eprintln!("{what}: the client had no answer for {:?}; {} requests failed", cost.gap, cost.failed);
    }
}

fn router(property: &'static str) -> Property {
    Property::router("gateway", property)
}

#[test]
fn a_pair_of_directors_balances_fails_over_and_recovers() {
    let mut site = Site::new();
    let first = site.active();
    site.expect_alternating();
    the_bus_shows_it(&site, first);
    stopping_the_active_director_moves_both_addresses_within_the_skew_time(&site, first);
    a_returning_director_stays_backup(&site, first);
    a_dead_web_server_leaves_the_table_and_comes_back(&mut site);
    a_power_failure_moves_both_addresses_within_active_down_interval(&mut site, 1 - first);
    a_rebooted_director_stays_backup(&mut site, 1 - first);
    site.outside.assert_never_both();
    site.inside.assert_never_both();
}

fn the_bus_shows_it(site: &Site, active: usize) {
    site.expect_state(active, "Active");
    site.expect_state(1 - active, "Backup");
    for service in ["org.trivet.Vrrp1", "org.trivet.Ipvs1", "org.trivet.Check1"] {
        eprint!(
            "$ busctl tree {service}\n{}",
            site.machines[active].machine.sh(&format!("busctl tree {service}"))
        );
    }
    for object in [router("State"), Property::service("web", "State"), Property::check("web", "State")] {
        let command = format!("busctl introspect {} {}", object.service, object.path);
        // Its columns are as wide as the longest value.
        let narrow = format!("{command} | sed -E 's/ {{3,}}/   /g'");
        eprint!("$ {command}\n{}", site.machines[active].machine.sh(&narrow));
    }
}

fn stopping_the_active_director_moves_both_addresses_within_the_skew_time(site: &Site, active: usize) {
    let inside = Capture::start(&site.pair.web_hosts[0], "eth0");
    let stopped = now();
    site.machines[active].machine.sh("systemctl stop vrrpd");
    let gave_up = inside.first("it gives up with priority 0", stopped, |seen| {
        matches!(seen, Seen::Advert { vrid: 1, priority: 0, .. })
    });
    let taken = site.announcement(1 - active, stopped);
    assert!(taken - gave_up < SKEW_TIME + SLACK, "took {:?}; Skew_Time is {SKEW_TIME:?}", taken - gave_up);
    inside.first("the inside address is announced as well", stopped, |seen| {
        let heir = mac(&site.pair.directors[1 - active], "eth1");
        matches!(seen, Seen::Announcement { address: INSIDE, mac } if *mac == heir)
    });
    assert_eq!(site.active(), 1 - active);
    site.expect_alternating();
    site.report("stopped in order", stopped);
}

fn a_returning_director_stays_backup(site: &Site, returning: usize) {
    let inside = Capture::start(&site.pair.web_hosts[0], "eth0");
    let back = now();
    site.machines[returning].machine.sh("systemctl start vrrpd");
    site.expect_state(returning, "Backup");
    // Longer than Active_Down_Interval: whatever it wanted to do, it would have done.
    wait("five more advertisements of the other", PATIENCE, || {
        let adverts = inside.since(back).into_iter().filter(|(_, seen)| matches!(seen, Seen::Advert { .. }));
        (adverts.count() >= 5).then_some(())
    });
    site.expect_state(returning, "Backup");
    assert_eq!(site.active(), 1 - returning);
}

fn a_dead_web_server_leaves_the_table_and_comes_back(site: &mut Site) {
    let killed = now();
    site.pair.webs[0].kill();
    site.expect_servers("the dead web server leaves both tables", &SERVERS[1..]);
    assert_eq!(site.client.answers(now(), 6), vec!["web2"; 6], "only the living one answers");
    site.report("a web server died", killed);
    let NatPair { webs, web_hosts, .. } = &mut site.pair;
    webs[0].resume(&web_hosts[0]);
    site.expect_servers("it comes back by itself", &SERVERS);
    site.expect_alternating();
}

fn a_power_failure_moves_both_addresses_within_active_down_interval(site: &mut Site, active: usize) {
    let failed = now();
    site.pair.directors[active].power_off(&LASTING[active]);
    let taken = site.announcement(1 - active, failed);
    site.machines[active].machine.power_off();
    let within = ACTIVE_DOWN_INTERVAL + SLACK;
    assert!(
        taken - failed < within,
        "took {:?}, Active_Down_Interval is {ACTIVE_DOWN_INTERVAL:?}",
        taken - failed
    );
    assert_eq!(site.active(), 1 - active);
    site.expect_alternating();
    site.report("power failure", failed);
}

fn a_rebooted_director_stays_backup(site: &mut Site, returning: usize) {
    site.pair.directors[returning].sh("ipvsadm -C");
    site.pair.directors[returning].plug();
    site.machines[returning].machine.boot(&site.pair.directors[returning]);
    site.machines[returning].machine.wait_until_up();
    site.machines[returning].wait_until_active();
    site.expect_state(returning, "Backup");
    site.expect_servers("its table is complete again", &SERVERS);
    assert_eq!(site.active(), 1 - returning);
    site.expect_alternating();
}
