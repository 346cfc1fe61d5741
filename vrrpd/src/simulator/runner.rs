//! Runs a property over many seeds, in parallel, and tells of a failure how to have it again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::lan::Lan;

/// One run of a property: the world in which it happened, and what was wrong.
pub(super) struct Run {
    pub(super) lan: Lan,
    pub(super) result: Result<(), String>,
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok()?.parse().ok()
}

/// Try `property` with `seeds` seeds, more or one as the environment says. `name` is the test's.
pub(super) fn try_seeds(name: &str, seeds: u64, property: impl Fn(u64, bool) -> Run + Sync) {
    if let Some(seed) = number("TRIVET_SEED") {
        let Run { lan, result } = property(seed, true);
        println!("{name}, seed {seed}:\n{}", lan.trace());
        assert_eq!(result, Ok(()), "seed {seed}");
        return;
    }
    let seeds = seeds * number("TRIVET_SEEDS").unwrap_or(1);
    let (next, steps) = (AtomicU64::new(1), AtomicU64::new(0));
    let failed: Mutex<Option<u64>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed > seeds || failed.lock().unwrap().is_some() {
                        break;
                    }
                    let Run { lan, result } = property(seed, false);
                    steps.fetch_add(lan.steps, Ordering::Relaxed);
                    if result.is_err() {
                        let mut first = failed.lock().unwrap();
                        *first = Some(first.map_or(seed, |other| other.min(seed)));
                    }
                }
            });
        }
    });
    println!("{name}: {} steps with {seeds} seeds", steps.into_inner());
    if let Some(seed) = failed.into_inner().unwrap() {
        let Run { lan, result } = property(seed, true);
        panic!(
            "{}\n{}seed {seed}; replay with TRIVET_SEED={seed} cargo test -p vrrpd simulator::{name} -- --nocapture",
            result
                .err()
                .unwrap_or_else(|| "it did not fail again: the run depends on more than its seed".into()),
            lan.trace()
        );
    }
}
