//! How long after the end of theory the heir speaks and announces: pairs of which the Active one is killed or stopped,
//! again and again, with keepalived and ours in turn.

use std::collections::BTreeMap;
use std::time::Duration;

use nix::sys::signal::Signal;
use trivet_tests::clock::{now, pace};
use trivet_tests::figures::{Figures, Ratio, microseconds};

use crate::lan::{Pair, SENDERS};
use crate::say;
use crate::subject::{Journal, Plan, Scheduling, Subject};
use crate::wire::{Frame, RouterKey, What};

/// keepalived's default and ours: announcements of an address in the first burst.
const BURST: usize = 5;
const PRIORITY: u8 = 100;
/// From one takeover to the next, so that none disturbs another.
const APART: Duration = Duration::from_millis(120);
/// Longer than any of them may take.
const LIMIT: Duration = Duration::from_secs(10);

const SUBJECTS: [Subject; 4] = [
    Subject::Keepalived { detail: false, bus: false, scheduling: Scheduling::Nice },
    Subject::Keepalived { detail: true, bus: false, scheduling: Scheduling::Nice },
    Subject::Vrrpd { journal: Journal::Read, scheduling: Scheduling::Nice },
    Subject::Vrrpd { journal: Journal::Blocked, scheduling: Scheduling::Nice },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    Killed,
    Stopped,
}

/// What one router did in one takeover, nanoseconds after the end of theory.
struct Sample {
    advert: i64,
    announced: i64,
}

/// One row of the table before it is one: all samples of a subject.
type Samples = BTreeMap<usize, Vec<Sample>>;

/// `only`: "takeover" for everything, or "takeover:ROUTERS:MILLISECONDS".
pub(crate) fn run(runs: usize, only: &str) {
    println!("\n### Takeover: from the end of theory, µs\n");
    println!(
        "To the first advertisement, and to the last gratuitous ARP of the first burst ({BURST} for each address); every \
         router of every run is one sample (100 routers at 10 ms: a third of the runs). Killed: theory ends Active_Down_Interval after the last advertisement. \
         Stopped: Skew_Time after priority 0. Programs of both kinds run with nice -15. Ratio: to keepalived without \
         logging, of the medians and of the p99s.\n"
    );
    println!(
        "| routers | interval | event | program | advert p50 | p99 | last ARP p50 | p99 | ratio advert | ratio ARP | samples |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for routers in [1, 100] {
        for interval in [10, 100, 1000] {
            if only == "takeover" || only == format!("takeover:{routers}:{interval}") {
                cell(routers, Duration::from_millis(interval), runs);
            }
        }
    }
}

/// How many pairs of each subject run side by side: as many as leave the machine idle between the events.
fn side_by_side(routers: u8, interval: Duration, runs: usize) -> usize {
    let most = match (routers, interval.as_millis()) {
        (1, 10) => 1,
        (1, _) => 3,
        (_, 1000) => 2,
        (_, 100) => 1,
        // Their advertisements alone keep the machine busy: one subject after the other.
        _ => 0,
    };
    most.min(runs)
}

fn cell(routers: u8, interval: Duration, runs: usize) {
    say(&format!("takeover: {routers} routers, {} ms", interval.as_millis()));
    let plan = Plan { segments: 1, vrids: routers, interval, priority: PRIORITY, preempt: false };
    let (mut killed, mut stopped) = (Samples::new(), Samples::new());
    let mut all = [(Manner::Killed, &mut killed), (Manner::Stopped, &mut stopped)];
    let mut phase = 0;
    let together = side_by_side(routers, interval, runs);
    if together > 0 {
        let mut pairs: Vec<_> = (0..SUBJECTS.len() * together)
            .map(|number| {
                (
                    number % SUBJECTS.len(),
                    Pair::start(SUBJECTS[number % SUBJECTS.len()], [plan.clone(), plan.clone()]),
                )
            })
            .collect();
        let mut active = vec![0; pairs.len()];
        for _ in 0..runs.div_ceil(together) {
            for (manner, samples) in &mut all {
                round(&mut pairs, &mut active, *manner, &mut phase, samples);
            }
        }
    } else {
        // A third of the runs: each has a hundred samples, and each program has the machine to itself.
        let runs = runs.div_ceil(3);
        let at_once = runs.min(5);
        for _ in 0..runs.div_ceil(at_once) {
            for (number, subject) in SUBJECTS.into_iter().enumerate() {
                let mut pairs = [(number, Pair::start(subject, [plan.clone(), plan.clone()]))];
                let mut active = [0];
                for _ in 0..at_once {
                    for (manner, samples) in &mut all {
                        round(&mut pairs, &mut active, *manner, &mut phase, samples);
                    }
                }
            }
        }
    }
    for (manner, samples) in &all {
        rows(routers, interval, *manner, samples);
    }
}

/// One takeover of every pair, one after the other; then the ended ones are started again, as Backup.
fn round(
    pairs: &mut [(usize, Pair)],
    active: &mut [usize],
    manner: Manner,
    phase: &mut u32,
    samples: &mut Samples,
) {
    let mut under_way = Vec::new();
    for ((_, pair), active) in pairs.iter_mut().zip(active.iter_mut()) {
        // At any moment between two advertisements, not always at the same.
        *phase = (*phase + 37) % 64;
        pace(APART + pair.plans[0].interval * *phase / 64);
        let speaker = pair.speaker();
        under_way.push(speaker.is_some());
        let Some(speaker) = speaker else { continue };
        *active = speaker;
        match manner {
            Manner::Killed => pair.kill(*active),
            Manner::Stopped => {
                pair.running[*active].as_ref().expect("it runs").process().signal(Signal::SIGTERM);
            }
        }
    }
    for (number, (subject, pair)) in pairs.iter_mut().enumerate() {
        let seen = if under_way[number] { observe(pair, active[number], manner) } else { Vec::new() };
        under_way[number] = !seen.is_empty();
        samples.entry(*subject).or_default().extend(seen);
    }
    for (number, (_, pair)) in pairs.iter_mut().enumerate() {
        if under_way[number] {
            pair.clear(active[number]);
            pair.begin(active[number]);
            active[number] = 1 - active[number];
        } else {
            // Something else disturbed it: on a busy machine a Backup can be misled.
            say(&format!("not counted: {} ({manner:?})", pair.subject.name()));
            *pair = Pair::start(pair.subject, pair.plans.clone());
            active[number] = 0;
        }
    }
    for ((_, pair), active) in pairs.iter_mut().zip(active.iter()) {
        pair.wait_until_listening(1 - *active);
        pair.wire.forget();
    }
    if let Some((_, pair)) = pairs.first() {
        pair.wait_until_heard();
    }
}

/// Waits until the heir has announced everything, and says when; nothing if that did not happen.
fn observe(pair: &mut Pair, victim: usize, manner: Manner) -> Vec<Sample> {
    let deadline = now() + LIMIT;
    let plan = pair.plans[0].clone();
    let wanted = plan.routers().count();
    loop {
        let samples = samples(pair.wire.frames(), victim, &plan, manner);
        if samples.len() == wanted {
            return samples;
        }
        if now() >= deadline {
            return Vec::new();
        }
        pace(Duration::from_millis(5));
    }
}

/// Of every router that the heir has taken over and announced.
fn samples(frames: &[Frame], victim: usize, plan: &Plan, manner: Manner) -> Vec<Sample> {
    let mut routers: BTreeMap<RouterKey, Vec<&Frame>> = BTreeMap::new();
    for frame in frames {
        routers.entry(frame.router).or_default().push(frame);
    }
    routers.values().filter_map(|frames| sample(frames, victim, plan, manner)).collect()
}

fn sample(frames: &[&Frame], victim: usize, plan: &Plan, manner: Manner) -> Option<Sample> {
    let by = |side: usize| move |frame: &&&Frame| frame.sender == SENDERS[side];
    let last = frames.iter().filter(by(victim)).rfind(|frame| matches!(frame.what, What::Advert { .. }))?;
    let interval = i64::try_from(plan.interval.as_nanos()).expect("a short time");
    let skew = interval * (256 - i64::from(plan.priority)) / 256;
    let theory = match (manner, last.what) {
        (Manner::Killed, _) => last.at + 3 * interval + skew,
        (Manner::Stopped, What::Advert { priority: 0 }) => last.at + skew,
        (Manner::Stopped, _) => return None,
    };
    let heirs: Vec<_> = frames.iter().filter(by(1 - victim)).filter(|frame| frame.at > last.at).collect();
    let advert = heirs.iter().find(|frame| matches!(frame.what, What::Advert { .. }))?;
    let announced = heirs.iter().filter(|frame| frame.what == What::Announcement).nth(BURST - 1)?;
    Some(Sample { advert: advert.at - theory, announced: announced.at - theory })
}

fn rows(routers: u8, interval: Duration, manner: Manner, samples: &Samples) {
    let figures = |subject: usize| {
        let samples = samples.get(&subject).filter(|samples| !samples.is_empty());
        let samples = samples.expect("at least one takeover was not disturbed");
        let adverts = Figures::new(samples.iter().map(|sample| sample.advert));
        (adverts, Figures::new(samples.iter().map(|sample| sample.announced)))
    };
    let (base_advert, base_announced) = figures(0);
    for (number, subject) in SUBJECTS.into_iter().enumerate() {
        let (advert, announced) = figures(number);
        println!(
            "| {routers} | {} ms | {manner:?} | {} | {} | {} | {} | {} | {} | {} | {} |",
            interval.as_millis(),
            subject.name().trim_end_matches(", nice -15"),
            microseconds(advert.median()),
            microseconds(advert.at(0.99)),
            microseconds(announced.median()),
            microseconds(announced.at(0.99)),
            Ratio::of(&advert, &base_advert),
            Ratio::of(&announced, &base_announced),
            advert.count(),
        );
    }
}
