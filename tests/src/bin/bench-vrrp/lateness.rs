//! How punctual advertisements are at an interval of 10 ms, and whether a Backup is misled, while the machine has other
//! work: gaps between two advertisements of the Active one, less the interval.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use trivet_tests::clock::pace;
use trivet_tests::figures::{Figures, microseconds};

use crate::lan::{Pair, SENDERS};
use crate::load::{Load, Loading};
use crate::say;
use crate::subject::{Journal, Plan, Scheduling, Subject};
use crate::wire::{Frame, RouterKey, What};

const INTERVAL: Duration = Duration::from_millis(10);
const PRIORITIES: [u8; 2] = [200, 100];
/// How long each is watched, in each of the rounds.
const WATCH: Duration = Duration::from_secs(4);

/// As their units start them, and as somebody would who reads the manual.
fn subjects(bus: bool) -> [Subject; 4] {
    [
        Subject::Keepalived { detail: false, bus, scheduling: Scheduling::Normal },
        Subject::Keepalived { detail: false, bus, scheduling: Scheduling::RealTime },
        Subject::Vrrpd { journal: Journal::Read, scheduling: Scheduling::Nice },
        Subject::Vrrpd { journal: Journal::Read, scheduling: Scheduling::RealTime },
    ]
}

#[derive(Debug, Default)]
struct Watched {
    late: Vec<i64>,
    takeovers: usize,
    done: usize,
}

pub(crate) fn run(runs: usize) {
    let rounds = runs.div_ceil(30);
    println!("\n### Lateness of advertisements at 10 ms, µs\n");
    println!(
        "The time between two advertisements of a router, less the interval, over {rounds} times {} s; takeovers by the \
         Backup, a second process of the same kind under the same load, for which there was no reason. Priorities: 200, \
         and 100 for the Backup, whose Active_Down_Interval is 36 ms. Calls or packets: what the load got done.\n",
        WATCH.as_secs()
    );
    println!("| routers | while | program | adverts | p50 | p99.9 | most | takeovers | calls or packets |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for routers in [1, 100] {
        for load in Load::ALL {
            say(&format!("lateness: {routers} routers, {}", load.name()));
            let subjects = subjects(load.needs_bus());
            let mut watched: [Watched; 4] = Default::default();
            for _ in 0..rounds {
                for (subject, watched) in subjects.into_iter().zip(&mut watched) {
                    watch(subject, routers, load, watched);
                }
            }
            for (subject, watched) in subjects.into_iter().zip(watched) {
                row(routers, load, subject, watched);
            }
        }
    }
}

fn watch(subject: Subject, routers: u8, load: Load, watched: &mut Watched) {
    let plans = PRIORITIES.map(|priority| Plan {
        segments: 1,
        vrids: routers,
        interval: INTERVAL,
        priority,
        preempt: true,
    });
    let mut pair = Pair::start(subject, plans);
    // Both have said and done what there is at the start.
    pace(Duration::from_secs(1));
    let loading = Loading::start(load, &pair);
    pace(Duration::from_millis(300));
    pair.wire.forget();
    let before = loading.done.load(Ordering::Relaxed);
    pace(WATCH);
    let frames = pair.wire.frames();
    watched.done += loading.done.load(Ordering::Relaxed) - before;
    count(frames, watched);
    drop(loading);
    pair.running.iter().flatten().for_each(|running| running.check());
}

fn count(frames: &[Frame], watched: &mut Watched) {
    let interval = i64::try_from(INTERVAL.as_nanos()).expect("a short time");
    let mut last: BTreeMap<RouterKey, [Option<i64>; 2]> = BTreeMap::new();
    let mut speaker: BTreeMap<RouterKey, usize> = BTreeMap::new();
    for frame in frames.iter().filter(|frame| matches!(frame.what, What::Advert { .. })) {
        let Some(side) = SENDERS.iter().position(|sender| *sender == frame.sender) else { continue };
        let former = last.entry(frame.router).or_default()[side].replace(frame.at);
        if side == 0 {
            watched.late.extend(former.map(|former| frame.at - former - interval));
        }
        let before = speaker.insert(frame.router, side);
        watched.takeovers += usize::from(side == 1 && before != Some(1));
    }
}

fn row(routers: u8, load: Load, subject: Subject, watched: Watched) {
    let Watched { late, takeovers, done } = watched;
    let late = Figures::new(late.into_iter());
    println!(
        "| {routers} | {} | {} | {} | {} | {} | {} | {takeovers} | {} |",
        load.name(),
        subject.name(),
        late.count(),
        microseconds(late.median()),
        microseconds(late.at(0.999)),
        microseconds(late.max()),
        if done == 0 { String::from("–") } else { done.to_string() },
    );
}
