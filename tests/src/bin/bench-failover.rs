//! Failover times of the NAT pair with two Trivet directors and with two keepalived directors in the same lab, and the
//! resident memory of both. tests/bench failover runs it where the kernel has IPVS. Figures only: nothing is asserted.

use std::time::{Duration, Instant};

use trivet_tests::capture::{Capture, Seen, mac};
use trivet_tests::client::{Client, Manner, cost};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::director::{Director, Kind};
use trivet_tests::ipvs;
use trivet_tests::nat_pair::{NatPair, OUTSIDE, SERVERS, SERVICE};

/// One event: until the heir's announcement on the wire, and the longest time without an answer.
struct Sample {
    announced: Duration,
    gap: Duration,
    failed: usize,
}

struct Bench {
    directors: [Director; 2],
    client: Client,
    capture: Capture,
    pair: NatPair,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let pair = NatPair::new();
        let directors = [0, 1].map(|number| Director::start(&pair, number, kind));
        wait("one director holds both addresses", PATIENCE, || pair.active());
        let client = Client::start(&pair.client, NatPair::service(), Manner::default());
        let capture = Capture::start(&pair.client, "eth0");
        let bench = Self { directors, client, capture, pair };
        bench.settle();
        bench
    }

    /// Both directors know both servers, and the client is answered.
    fn settle(&self) {
        for director in &self.pair.directors {
            let both = SERVERS.map(|server| (server.to_owned(), 1)).to_vec();
            wait_for("both web servers in the table", &both, || ipvs::weights(director, SERVICE));
        }
        self.client.answers(now(), 10);
    }

    fn stopped(&mut self) -> Sample {
        let active = wait("one is active", PATIENCE, || self.pair.active());
        let since = now();
        self.directors[active].stop();
        let sample = self.sample(1 - active, since);
        self.directors[active].start_again(&self.pair);
        self.settle();
        sample
    }

    fn power_failed(&mut self) -> Sample {
        let active = wait("one is active", PATIENCE, || self.pair.active());
        let since = now();
        self.directors[active].power_off(&self.pair.directors[active]);
        let sample = self.sample(1 - active, since);
        self.pair.directors[active].plug();
        self.directors[active].start_again(&self.pair);
        self.settle();
        sample
    }

    fn sample(&self, heir: usize, since: Instant) -> Sample {
        let mine = mac(&self.pair.directors[heir], "eth0");
        let announced = self.capture.first(
            "the heir announces the address",
            since,
            |seen| matches!(seen, Seen::Announcement { address: OUTSIDE, mac } if *mac == mine),
        );
        self.client.answers(now(), 10);
        let cost = cost(&self.client.requests(), since);
        Sample { announced: announced - since, gap: cost.gap, failed: cost.failed }
    }
}

fn main() {
    ipvs::require();
    let rounds = std::env::args().nth(1).and_then(|word| word.parse().ok()).unwrap_or(5);
    println!(
        "Times in ms over {rounds} rounds: least, median, most. From the event to the heir's gratuitous ARP, and the"
    );
    println!(
        "longest time in which the client, who asks every 20 ms, had no answer; median of failed requests.\n"
    );
    println!(
        "{:<12} {:<10} {:>22} {:>22} {:>8}   theory",
        "directors", "event", "announced", "no answer", "failed"
    );
    for kind in [Kind::Keepalived, Kind::Trivet] {
        let mut bench = Bench::new(kind);
        let stopped: Vec<_> = (0..rounds).map(|_| bench.stopped()).collect();
        row(kind, "stopped", &stopped, "Skew_Time: 605 or 609");
        let failed: Vec<_> = (0..rounds).map(|_| bench.power_failed()).collect();
        row(kind, "power off", &failed, "Active_Down_Interval (3605 or 3609) less up to 1000");
        for (process, kib) in bench.directors[0].resident() {
            println!("{:<12} resident {process}: {kib} KiB", "");
        }
    }
}

fn row(kind: Kind, event: &str, samples: &[Sample], theory: &str) {
    let announced = spread(samples.iter().map(|sample| sample.announced.as_millis()).collect());
    let gap = spread(samples.iter().map(|sample| sample.gap.as_millis()).collect());
    let mut failed: Vec<_> = samples.iter().map(|sample| sample.failed).collect();
    failed.sort_unstable();
    let failed = failed[failed.len() / 2];
    println!("{:<12} {event:<10} {announced:>22} {gap:>22} {failed:>8}   {theory}", format!("{kind:?}"));
}

/// Least, median and most.
fn spread(mut values: Vec<u128>) -> String {
    values.sort_unstable();
    format!("{} / {} / {}", values[0], values[values.len() / 2], values[values.len() - 1])
}
