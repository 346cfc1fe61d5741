//! The same scenes with two vrrpd (`ours`), two keepalived (`theirs`) and one of each (`mixed`, both ways), against every
//! release of keepalived that can be had here. What keepalived itself fails is listed in `expected.rs`.
//!
//! TRIVET_MATRIX=full: every cell, not only those that stand for all. TRIVET_CELLS=TEXT: those whose line contains it.
//! TRIVET_JOBS: how many at once. TRIVET_PCAP=DIR: keep what was captured.

mod cell;
mod dissect;
mod expected;
mod render;
mod report;
mod scenes;
mod site;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use trivet_tests::clock::now;
use trivet_tests::keepalived::Release;
use trivet_tests::stalls::Stalls;
use trivet_tests::tap::Sent;

use cell::{Cell, Scene};
use report::{Result, Row};
use site::{Pairing, Site};

/// Runs that mostly wait for timers: several for each processor.
const JOBS_PER_PROCESSOR: usize = 4;

/// This machine's keepalived and that of the image, if they differ.
fn releases() -> Vec<Release> {
    let mut releases: Vec<Release> =
        [Release::installed(), Release::of_image()].into_iter().flatten().collect();
    releases.sort_by(|one, other| one.version.cmp(&other.version));
    releases.dedup_by(|one, other| one.version == other.version);
    for wanted in ["2.2.7", "2.3.3"] {
        match releases.iter().find(|release| release.version == wanted) {
            Some(_) => println!("keepalived {wanted} is under test"),
            None => {
                println!(
                    "LEFT OUT: keepalived {wanted} is neither installed here nor in tests/image's image"
                );
            }
        }
    }
    assert!(!releases.is_empty(), "there is no keepalived to compare with: tests/run installs it");
    releases
}

fn cells() -> Vec<Cell> {
    let full = std::env::var("TRIVET_MATRIX").is_ok_and(|value| value == "full");
    if full { Cell::all() } else { Cell::representative() }
}

fn runs() -> VecDeque<(Cell, Pairing)> {
    let mut pairings = vec![Pairing::Ours];
    for release in releases() {
        pairings.extend([
            Pairing::Theirs(release.clone()),
            Pairing::OursFirst(release.clone()),
            Pairing::TheirsFirst(release),
        ]);
    }
    let wanted = std::env::var("TRIVET_CELLS").unwrap_or_default();
    let all =
        cells().into_iter().flat_map(|cell| pairings.iter().map(move |pairing| (cell, pairing.clone())));
    let mut runs: Vec<_> =
        all.filter(|(cell, pairing)| format!("{cell} {pairing}").contains(&wanted)).collect();
    // The slow ones first, so that none of them is alone at the end.
    runs.sort_by_key(|(cell, _)| std::cmp::Reverse(cell.interval()));
    runs.into()
}

/// One run: its outcome, and what was on the wire.
fn run(cell: Cell, pairing: &Pairing) -> (site::Outcome<scenes::Times>, Vec<Sent>) {
    let mut site = Site::new(cell, pairing.clone());
    let outcome = site.play();
    (outcome, site.tap.everything())
}

/// What a run can bear of the machine: at 10 ms another router takes over after 36 ms.
fn bearable(cell: &Cell) -> Duration {
    if cell.scene == Scene::TenMilliseconds { Duration::from_millis(10) } else { Duration::from_millis(100) }
}

/// A run that fails while the machine stood still has been no run: it is repeated, loudly, and no more than twice.
fn run_and_tell(cell: Cell, pairing: Pairing, stalls: &Stalls) -> Row {
    let mut attempts = 0;
    loop {
        let began = now();
        let (outcome, sent) = run(cell, &pairing);
        let result = Result::new(&cell, &pairing, outcome);
        let stall = stalls.longest(began);
        attempts += 1;
        if attempts < 3 && stall > bearable(&cell) && result.is_failure() {
            println!("AGAIN {cell} | {pairing}: the machine stood still for {stall:?}; {}", result.why());
            continue;
        }
        result.tell(&cell, &pairing);
        return Row { cell, pairing, result, sent };
    }
}

fn run_all(runs: VecDeque<(Cell, Pairing)>, jobs: usize, stalls: &Stalls) -> Vec<Row> {
    let runs = Mutex::new(runs);
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    let next = runs.lock().expect("no panic while locked").pop_front();
                    let Some((cell, pairing)) = next else { return };
                    let row = run_and_tell(cell, pairing, stalls);
                    rows.lock().expect("no panic while locked").push(row);
                }
            });
        }
    });
    rows.into_inner().expect("no thread panicked")
}

// RFC 9568: +5.1.1 +5.1.2 +6.4.3-answer
#[test]
fn vrrpd_and_keepalived_share_an_address_alone_with_their_own_kind_and_with_each_other() {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let jobs = std::env::var("TRIVET_JOBS").ok().and_then(|jobs| jobs.parse().ok());
    let (fast, slow): (VecDeque<_>, VecDeque<_>) =
        runs().into_iter().partition(|(cell, _)| cell.scene == Scene::TenMilliseconds);
    let stalls = Stalls::watch();
    let mut rows = run_all(slow, jobs.unwrap_or(processors * JOBS_PER_PROCESSOR), &stalls);
    rows.extend(run_all(fast, processors, &stalls));
    assert!(!rows.is_empty(), "TRIVET_CELLS names no run of the matrix");
    report::print(&rows);
    let failed: Vec<String> =
        rows.iter().filter(|row| row.result.is_failure()).map(|row| row.to_string()).collect();
    let wrong = dissect::by_tshark(&rows);
    assert!(
        wrong.is_empty(),
        "tshark finds {} packets wrong:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(20)].join("\n")
    );
    assert!(failed.is_empty(), "{} of {} runs failed:\n{}", failed.len(), rows.len(), failed.join("\n"));
}

#[test]
fn the_cells_that_stand_for_all_have_every_pair_of_properties() {
    let (all, some) = (Cell::all(), Cell::representative());
    assert_eq!(all.len(), 104, "(8 of version 2) * 6 + (4 + 4 of version 3) * 7");
    assert!(some.len() < 25, "{}", some.len());
    for cell in all {
        let text = cell.to_string();
        let words: Vec<_> = text.split(' ').collect();
        for (one, other) in words.iter().flat_map(|one| words.iter().map(move |other| (one, other))) {
            let has = |cell: &Cell| {
                let text = cell.to_string();
                let words: Vec<_> = text.split(' ').collect();
                words.contains(one) && words.contains(other)
            };
            assert!(some.iter().any(has), "{one} with {other}");
        }
    }
}
