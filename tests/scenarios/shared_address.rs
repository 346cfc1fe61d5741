//! Scenario C, the article on two servers with one address: keep1 (priority 101) has it, is suspended as a whole, and
//! later goes on. The address goes to keep2 and comes back, and once keep1 is reachable again, two machines never
//! answer for it for longer than it takes to hear one advertisement.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Mac, Seen, mac};
use trivet_tests::clock::now;
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::trivet::Trivet;
use trivet_tests::wire::Asker;

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 153);
const PEERS: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 168, 1, 151), Ipv4Addr::new(192, 168, 1, 152)];
/// Scheduling and the asker's own rhythm.
const SLACK: Duration = Duration::from_millis(500);
/// Longer than that a machine may not stand still, or two are reachable without hearing each other.
const BEARABLE: Duration = Duration::from_millis(100);
const ADVERT_INTERVAL: Duration = Duration::from_secs(1);
/// RFC 9568, 6.1 with priority 100 and one second: 3 s and 156/256 s.
const ACTIVE_DOWN_INTERVAL: Duration = Duration::from_millis(3609);

struct Site {
    trivets: [Trivet; 2],
    capture: Capture,
    _asker: Asker,
    keeps: [Host; 2],
    _client: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let keeps = [1, 2].map(|number| {
            lab.host(&format!("keep{number}"), &[("ens32", "lan", &format!("192.168.1.15{number}/24"))])
        });
        let client = lab.host("client", &[("eth0", "lan", "192.168.1.100/24")]);
        let capture = Capture::start(&client, "eth0");
        let asked_by = Ipv4Addr::new(192, 168, 1, 100);
        let asker = Asker::start(&client, "eth0", ADDRESS, asked_by, Duration::from_millis(20));
        let start = |number: usize| {
            Trivet::start(&keeps[number], &format!("shared-address/keep{}", number + 1), &["vrrpd"])
        };
        let trivets = [start(0), start(1)];
        trivets[0].wait_for_property(&state(), "s \"Active\"");
        trivets[1].wait_for_property(&state(), "s \"Backup\"");
        Self { trivets, capture, _asker: asker, keeps, _client: client, _lab: lab }
    }

    fn mac(&self, keep: usize) -> Mac {
        mac(&self.keeps[keep], "ens32")
    }

    fn first_answer(&self, keep: usize, since: Instant) -> Instant {
        let mine = self.mac(keep);
        self.capture.first(
            &format!("keep{} answers", keep + 1),
            since,
            |seen| matches!(seen, Seen::Answer { address: ADDRESS, mac } if *mac == mine),
        )
    }

    /// The last answer of a keep between two instants.
    fn last_answer(&self, keep: usize, from: Instant, to: Instant) -> Option<Instant> {
        let mine = self.mac(keep);
        let mut answers = self.capture.since(from).into_iter().filter(|(at, seen)| {
            *at < to && matches!(seen, Seen::Answer { address: ADDRESS, mac } if *mac == mine)
        });
        answers.next_back().map(|(at, _)| at)
    }

    fn first_advert(&self, keep: usize, since: Instant) -> Instant {
        self.capture.first(
            &format!("keep{} advertises", keep + 1),
            since,
            |seen| matches!(seen, Seen::Advert { from, vrid: 51, .. } if *from == PEERS[keep]),
        )
    }

    fn announcement(&self, keep: usize, since: Instant) -> Instant {
        let mine = self.mac(keep);
        self.capture.first(
            &format!("keep{} announces the address", keep + 1),
            since,
            |seen| matches!(seen, Seen::Announcement { address: ADDRESS, mac } if *mac == mine),
        )
    }
}

fn state() -> Property {
    Property::router("keepalive_vi", "State")
}

// RFC 9568: +2.5 +6.4.2-silent +6.4.3-answer
#[test]
fn a_suspended_active_machine_loses_the_address_and_gets_it_back_without_two_answering() {
    judge(BEARABLE, suspend_and_resume);
}

fn suspend_and_resume() {
    let site = Site::new();
    site.first_answer(0, now());

    let suspended = now();
    site.keeps[0].freeze();
    let taken = site.announcement(1, suspended);
    site.first_answer(1, taken);
    site.trivets[1].wait_for_property(&state(), "s \"Active\"");
    // It held its breath for Active_Down_Interval since the last advertisement, at most one interval old.
    assert!(
        taken - suspended > ACTIVE_DOWN_INTERVAL - ADVERT_INTERVAL,
        "keep2 was early: {:?}",
        taken - suspended
    );
    assert!(taken - suspended < ACTIVE_DOWN_INTERVAL + SLACK, "keep2 was late: {:?}", taken - suspended);

    let resumed = now();
    site.keeps[0].plug();
    site.keeps[0].thaw();
    let heard = site.first_advert(1, resumed);
    let back = site.announcement(0, resumed);
    site.first_answer(0, back);
    site.trivets[0].wait_for_property(&state(), "s \"Active\"");
    site.trivets[1].wait_for_property(&state(), "s \"Backup\"");

    // It has the address, and answers, from its first advertisement on.
    let spoke = site.first_advert(0, resumed);
    if let Some(stale) = site.last_answer(0, resumed, spoke) {
        let (stale, heard) = (stale - resumed, heard - resumed);
        assert!(
            stale < heard + SLACK,
            "keep1 still answered {stale:?} after waking; it could hear keep2 after {heard:?}"
        );
    }
    assert!(
        spoke - resumed >= ADVERT_INTERVAL,
        "keep1 must listen first, but spoke after {:?}",
        spoke - resumed
    );
    let last = site.last_answer(1, resumed, now()).expect("keep2 answered until keep1 was back");
    assert!(last < spoke + SLACK, "keep2 still answered {:?} after keep1 had advertised", last - spoke);
}

// RFC 9568: +6.4.3-shutdown
#[test]
fn the_address_moves_at_once_when_the_active_machine_is_stopped_in_order() {
    judge(BEARABLE, stop_in_order);
}

fn stop_in_order() {
    let mut site = Site::new();
    let stopped = now();
    site.trivets[0].stop("vrrpd");
    let left = site.capture.first(
        "keep1 gives up with priority 0",
        stopped,
        |seen| matches!(seen, Seen::Advert { from, priority: 0, .. } if *from == PEERS[0]),
    );
    let taken = site.announcement(1, stopped);
    assert!(
        taken - left < ADVERT_INTERVAL + SLACK,
        "keep2 must wait for Skew_Time only, not {:?}",
        taken - left
    );
    assert!(
        !site.keeps[0].namespace().addresses("ens32").contains(&ADDRESS),
        "keep1 still holds the address"
    );
}
