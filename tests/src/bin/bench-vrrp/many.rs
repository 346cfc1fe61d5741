//! Four thousand virtual routers: what they cost while nothing happens, and how long it takes until all of them have
//! moved from one host to the other when the first is stopped.

use std::time::Duration;

use nix::sys::signal::Signal;
use trivet_tests::clock::{PATIENCE, now, pace, wait};
use trivet_tests::cost::{memory, processor_time};
use trivet_tests::figures::{Figures, ratio};

use crate::clock::realtime;
use crate::lan::{Pair, SENDERS};
use crate::moves::Moves;
use crate::say;
use crate::subject::{Journal, Plan, Scheduling, Subject};
use crate::wire::{Frame, What};

const SEGMENTS: u8 = 16;
const VRIDS: u8 = 250;
const INTERVAL: Duration = Duration::from_secs(1);
const PRIORITIES: [u8; 2] = [200, 100];
/// How long processor time is measured.
const WATCH: Duration = Duration::from_secs(5);

const SUBJECTS: [Subject; 2] = [
    Subject::Keepalived { detail: false, bus: false, scheduling: Scheduling::Nice },
    Subject::Vrrpd { journal: Journal::Read, scheduling: Scheduling::Nice },
];

/// One row of the table.
const ROWS: [&str; 8] = [
    "memory as Active, PSS, KiB",
    "memory as Active, RSS, KiB",
    "processor time as Active, µs per second",
    "processor time as Backup, µs per second",
    "stopped: from SIGTERM to the last priority 0, µs",
    "stopped: from SIGTERM until its last address is gone, µs",
    "stopped: from SIGTERM until the process has ended, µs",
    "taken over: from the end of theory to the last address in the kernel, µs",
];

pub(crate) fn run(runs: usize) {
    let rounds = runs.div_ceil(15);
    let routers = usize::from(SEGMENTS) * usize::from(VRIDS);
    println!(
        "\n### {routers} virtual routers on {SEGMENTS} interfaces, one address each, every second an advertisement\n"
    );
    println!(
        "Medians of {rounds} rounds; all processes of each side together. The first is stopped (SIGTERM); theory ends Skew_Time after its last priority 0.\n"
    );
    let mut measured = SUBJECTS.map(|_| ROWS.map(|_| Vec::new()));
    for round in 0..rounds {
        for (subject, rows) in SUBJECTS.into_iter().zip(&mut measured) {
            say(&format!("many: {} (round {} of {rounds})", subject.name(), round + 1));
            for (row, figure) in rows.iter_mut().zip(once(subject)) {
                row.push(figure);
            }
        }
    }
    println!("| | keepalived | vrrpd | ratio |");
    println!("|---|---|---|---|");
    for (number, row) in ROWS.iter().enumerate() {
        let median = |subject: usize| Figures::new(measured[subject][number].iter().copied()).median();
        let (theirs, ours) = (median(0), median(1));
        println!("| {row} | {theirs} | {ours} | {:.3} |", ratio(ours, theirs));
    }
}

fn once(subject: Subject) -> [i64; ROWS.len()] {
    let plans = PRIORITIES.map(|priority| Plan {
        segments: SEGMENTS,
        vrids: VRIDS,
        interval: INTERVAL,
        priority,
        preempt: true,
    });
    let mut pair = Pair::start(subject, plans);
    let all = pair.plans[0].routers().count();
    let sides = [pair.pids(0), pair.pids(1)];
    let spent = || [0, 1].map(|side| processor_time(&sides[side]));
    pace(Duration::from_secs(2));
    let (before, began) = (spent(), now());
    pace(WATCH);
    let (after, watched) = (spent(), now() - began);
    let per_second = |side: usize| {
        let nanoseconds = u128::from(after[side] - before[side]);
        i64::try_from(nanoseconds * 1_000_000 / watched.as_nanos()).expect("less than a second a second")
    };
    let used = memory(&sides[0]);
    let moves = [0, 1].map(|side| Moves::watch(pair.hosts[side].namespace()));
    pair.wire.forget();
    let stopped = realtime();
    pair.running[0].as_ref().expect("it runs").process().signal(Signal::SIGTERM);
    let ended = wait("the stopped one has ended", PATIENCE, || {
        pair.running[0].as_ref().expect("it ran").has_ended().then(realtime)
    });
    wait("all addresses have moved", PATIENCE, || {
        (moves[0].seen().went >= all && moves[1].seen().came >= all).then_some(())
    });
    let last_word = pair
        .wire
        .frames()
        .iter()
        .filter(|frame| is_release(frame))
        .map(|frame| frame.at)
        .max()
        .expect("it said so");
    let theory = last_word + skew(PRIORITIES[1]);
    let us = |nanoseconds: i64| nanoseconds / 1000;
    [
        i64::try_from(used.proportional).expect("memory fits"),
        i64::try_from(used.resident).expect("memory fits"),
        per_second(0),
        per_second(1),
        us(last_word - stopped),
        us(moves[0].seen().last_went - stopped),
        us(ended - stopped),
        us(moves[1].seen().last_came - theory),
    ]
}

fn is_release(frame: &Frame) -> bool {
    frame.sender == SENDERS[0] && frame.what == What::Advert { priority: 0 }
}

fn skew(priority: u8) -> i64 {
    i64::try_from(INTERVAL.as_nanos()).expect("a short time") * (256 - i64::from(priority)) / 256
}
