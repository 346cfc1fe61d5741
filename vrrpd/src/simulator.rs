//! Machines with virtual routers on simulated segments, and a virtual clock that jumps from one wake-up to the next. It
//! loses, delays and doubles advertisements, cuts segments, stops and freezes machines, pulls cables, takes addresses
//! away, and lets a hostile machine speak. The same seed gives the same run.
//!
//! `TRIVET_SEEDS=1000` makes each test run through so many times its usual seeds; `TRIVET_SEED=7 cargo test -p vrrpd
//! simulator::NAME -- --nocapture` replays one, and prints what happened, in order. A failure says which.

mod arrivals;
mod checks;
mod groups;
mod lan;
mod plan;
mod properties;
mod runner;
mod station;

/// One-way delay, and lateness of timers, are at most this part of the shortest interval.
const PROMPT: u32 = 20;
