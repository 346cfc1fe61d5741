//! Scenario E: lvs1 runs Debian's keepalived with the article's own keepalived.conf, lvs2 runs Trivet with the same
//! settings. The addresses can move in both directions, in order and after a power failure, and are never held twice.

use std::net::Ipv4Addr;
use std::time::Instant;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Mac, Seen, mac};
use trivet_tests::client::{Client, Manner};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::holding::Holding;
use trivet_tests::host::Process;
use trivet_tests::nat_pair::{INSIDE, NatPair, OUTSIDE, SERVERS, SERVICE};
use trivet_tests::trivet::Trivet;
use trivet_tests::{ipvs, keepalived};

const CONFIGURATION: &str = include_str!("../fixtures/nat-pair/keepalived/lvs1.conf");
const KEEPALIVED: usize = 0;
const TRIVET: usize = 1;

struct Mixed {
    trivet: Trivet,
    keepalived: Option<Process>,
    client: Client,
    capture: Capture,
    outside: Holding,
    inside: Holding,
    pair: NatPair,
}

impl Mixed {
    /// keepalived is first, so it has the addresses: nobody preempts here.
    fn new() -> Self {
        ipvs::require();
        let pair = NatPair::new();
        let outside = Holding::watch(&pair.directors, OUTSIDE);
        let inside = Holding::watch(&pair.directors, INSIDE);
        let capture = Capture::start(&pair.client, "eth0");
        let keepalived = Some(keepalived::start(&pair.directors[KEEPALIVED], CONFIGURATION));
        wait("keepalived has both addresses", PATIENCE, || (pair.active() == Some(KEEPALIVED)).then_some(()));
        let trivet = Trivet::start(&pair.directors[TRIVET], "nat-pair/lvs2", &["checkd", "ipvsd", "vrrpd"]);
        for director in &pair.directors {
            let both = SERVERS.map(|server| (server.to_owned(), 1)).to_vec();
            wait_for("both web servers in the table", &both, || ipvs::weights(director, SERVICE));
        }
        let client = Client::start(&pair.client, NatPair::service(), Manner::default());
        Self { trivet, keepalived, client, capture, outside, inside, pair }
    }

    fn expect_active(&self, director: usize, since: Instant) {
        let what = format!("both addresses move to lvs{}", director + 1);
        wait(&what, PATIENCE, || (self.pair.active() == Some(director)).then_some(()));
        let mine: Mac = mac(&self.pair.directors[director], "eth0");
        self.capture.first(
            "its announcement",
            since,
            |seen| matches!(seen, Seen::Announcement { address: OUTSIDE, mac } if *mac == mine),
        );
        let answers = self.client.answers(now(), 6);
        assert!(answers.windows(2).all(|two| two[0] != two[1]), "the answers alternate: {answers:?}");
    }

    /// For the second time: the log has the first one's, too.
    fn start_keepalived_again(&mut self) {
        let keepalived = keepalived::start(&self.pair.directors[KEEPALIVED], CONFIGURATION);
        wait("keepalived is a backup", PATIENCE, || {
            let log = keepalived.log();
            let of_this_one = log.split("Starting VRRP child process").nth(2)?;
            of_this_one.contains("Entering BACKUP STATE").then_some(())
        });
        self.keepalived = Some(keepalived);
    }

    /// The other one hears the Active director, and believes it: nothing moves for longer than Active_Down_Interval.
    fn expect_peace(&self, active: usize) {
        let inside = Capture::start(&self.pair.web_hosts[0], "eth0");
        let since = now();
        let own = Ipv4Addr::new(192, 168, 100, if active == KEEPALIVED { 11 } else { 12 });
        let from_active = |seen: &Seen| matches!(seen, Seen::Advert { from, .. } if *from == own);
        wait("five more advertisements of the Active director", PATIENCE, || {
            let adverts = inside.since(since).into_iter().filter(|(_, seen)| from_active(seen));
            (adverts.count() >= 5).then_some(())
        });
        assert_eq!(self.pair.active(), Some(active), "the other did not accept lvs{}", active + 1);
    }

    fn expect_state(&self, state: &str) {
        self.trivet.wait_for_property(&Property::router("gateway", "State"), &format!("s \"{state}\""));
    }

    fn assert_never_both(&self) {
        self.outside.assert_never_both();
        self.inside.assert_never_both();
    }
}

#[test]
fn keepalived_and_trivet_take_over_from_each_other_in_order() {
    let mut mixed = Mixed::new();
    mixed.expect_peace(KEEPALIVED);
    mixed.expect_state("Backup");

    let stopped = now();
    mixed.keepalived.take().expect("it runs").stop();
    mixed.expect_active(TRIVET, stopped);
    mixed.expect_state("Active");

    mixed.start_keepalived_again();
    mixed.expect_peace(TRIVET);
    mixed.expect_state("Active");
    let stopped = now();
    mixed.trivet.stop("vrrpd");
    mixed.expect_active(KEEPALIVED, stopped);

    mixed.trivet.run(&mixed.pair.directors[TRIVET], "vrrpd");
    mixed.expect_peace(KEEPALIVED);
    mixed.expect_state("Backup");
    mixed.assert_never_both();
}

#[test]
fn keepalived_and_trivet_take_over_from_each_other_after_a_power_failure() {
    let mut mixed = Mixed::new();
    mixed.expect_peace(KEEPALIVED);

    let failed = now();
    mixed.pair.directors[KEEPALIVED].power_off(&["10.0.10.51", "192.168.100.11"]);
    mixed.keepalived = None;
    mixed.expect_active(TRIVET, failed);

    mixed.pair.directors[KEEPALIVED].plug();
    mixed.start_keepalived_again();
    mixed.expect_peace(TRIVET);
    let failed = now();
    mixed.pair.directors[TRIVET].power_off(&["10.0.10.52", "192.168.100.12"]);
    mixed.expect_active(KEEPALIVED, failed);
    mixed.assert_never_both();
}
