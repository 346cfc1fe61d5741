//! What a program has spent and what it holds.

use nix::unistd::Pid;
use trivet_tests::clock::pace;
use trivet_tests::cost::processor_time;

use std::time::Duration;

const STEP: Duration = Duration::from_millis(500);
/// So much of a step is still rest: nanoseconds.
const IDLE: u64 = 10_000_000;
const STEPS: usize = 120;

/// Until they have nothing more to do.
pub(crate) fn settle(pids: &[Pid]) {
    let mut before = processor_time(pids);
    for _ in 0..STEPS {
        pace(STEP);
        let now = processor_time(pids);
        if now.saturating_sub(before) < IDLE {
            return;
        }
        before = now;
    }
}

/// The most that they ever held, KiB.
pub(crate) fn peak(pids: &[Pid]) -> u64 {
    let of = |pid: &Pid| -> u64 {
        let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    };
    pids.iter().map(of).sum()
}
