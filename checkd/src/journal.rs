//! What goes to the log: one line for each transition with everything in it, or, when very many servers change at
//! once, some of them and how many more; and, at a bounded rate, that probes could not run here.

use std::time::{Duration, Instant};

use daemon::units::format_duration;

use crate::registry::Judged;
use crate::target::State;

/// MESSAGE_ID of the journal entries; they never change. Each has its text in units/trivet.catalog.
const SERVER_DOWN: &str = "5b6a2ff1d4d94b4c8e4a35f4cbe1a6d0";
const SERVER_UP: &str = "e6c4c7e0f9514b0c9f0e5a0f7ac2d7b3";
const SERVERS_CHANGED: &str = "1feceddb35ec48bfa950ef6d30662157";

/// One warning about ourselves in this time.
const WARNING_PERIOD: Duration = Duration::from_secs(10);
/// Transitions that get a line of their own…
const LINES: u32 = 50;
/// …within this time. The others get one together.
const PERIOD: Duration = Duration::from_secs(1);

/// Which checks that need no file are not there all the same.
pub fn tell_disabled(names: &[&str]) {
    for name in names {
        log::info!("the check '{name}' is disabled: check.d/{name}.toml is a link to /dev/null, or empty");
    }
}

#[derive(Debug, Default)]
pub struct Journal {
    next_warning: Option<Instant>,
    /// Probes that could not run since the last warning.
    unsaid: u64,
    flood: Flood,
}

impl Journal {
    /// A watched target changed its state.
    pub fn on_transition(&mut self, now: Instant, judged: &Judged) {
        let Judged { row, before, took, is_watched: _ } = judged;
        let state = row.state;
        // That a server is up at first is nothing to report.
        let is_first = state == State::Up && *before == State::Unknown;
        if !is_first && !self.flood.admits(now, state) {
            return;
        }
        let text = format!(
            "check {}: {} {} -> {}: {} (in {})",
            row.check,
            row.address,
            before.as_str(),
            state.as_str(),
            row.reason,
            format_duration(*took)
        );
        let (check, target, reason) = (row.check.as_str(), row.address.as_str(), row.reason.as_str());
        let (from, to, duration) = (before.as_str(), state.as_str(), took.as_micros());
        match state {
            State::Down => log::warn!(
                MESSAGE_ID = SERVER_DOWN, TRIVET_CHECK = check, TRIVET_TARGET = target, STATE = to,
                STATE_FROM = from, REASON = reason, DURATION_USEC:% = duration; "{text}"
            ),
            State::Up if is_first => log::debug!("{text}"),
            State::Up => log::info!(
                MESSAGE_ID = SERVER_UP, TRIVET_CHECK = check, TRIVET_TARGET = target, STATE = to,
                STATE_FROM = from, REASON = reason, DURATION_USEC:% = duration; "{text}"
            ),
            State::Unknown => log::info!("{text}"),
        }
    }

    /// When [`Journal::on_time`] has something to say.
    pub fn deadline(&self) -> Option<Instant> {
        self.flood.deadline()
    }

    pub fn on_time(&mut self, now: Instant) {
        let Some(Unsaid { down, up }) = self.flood.end(now) else { return };
        let text = format!(
            "{} more servers changed within a second: {down} are down, {up} are up; the checks' Targets tell which",
            down + up
        );
        if down > 0 {
            log::warn!(MESSAGE_ID = SERVERS_CHANGED, DOWN = down, UP = up; "{text}");
        } else {
            log::info!(MESSAGE_ID = SERVERS_CHANGED, DOWN = down, UP = up; "{text}");
        }
    }

    /// A probe could not run for reasons of this machine.
    pub fn on_local_failure(&mut self, now: Instant, reason: &str) {
        self.unsaid += 1;
        if self.next_warning.is_some_and(|next| now < next) {
            return;
        }
        log::warn!("{} probes could not run, their targets keep their states: {reason}", self.unsaid);
        self.unsaid = 0;
        self.next_warning = Some(now + WARNING_PERIOD);
    }
}

/// Keeps the log readable, and from being lost line by line, when ten thousand servers change in a second.
#[derive(Debug, Default)]
struct Flood {
    /// When the time that is counted ends; `None`: nothing has happened in it.
    until: Option<Instant>,
    lines: u32,
    unsaid: Unsaid,
}

/// Transitions that had no line of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Unsaid {
    down: u64,
    up: u64,
}

impl Flood {
    /// Whether a transition to this state gets a line.
    fn admits(&mut self, now: Instant, state: State) -> bool {
        self.until.get_or_insert(now + PERIOD);
        if self.lines < LINES {
            self.lines += 1;
            return true;
        }
        match state {
            State::Down => self.unsaid.down += 1,
            State::Up | State::Unknown => self.unsaid.up += 1,
        }
        false
    }

    fn deadline(&self) -> Option<Instant> {
        self.until
    }

    /// The time is over: what is to be said about those without a line, if there were any.
    fn end(&mut self, now: Instant) -> Option<Unsaid> {
        if self.until.is_none_or(|until| now < until) {
            return None;
        }
        let unsaid = std::mem::take(self).unsaid;
        (unsaid != Unsaid::default()).then_some(unsaid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::event_loop::Clock;

    #[test]
    fn some_transitions_of_a_second_have_lines_and_the_others_one_together() {
        let start = Clock::new().unwrap().now();
        let mut flood = Flood::default();
        assert_eq!((flood.deadline(), flood.end(start)), (None, None));
        let lines = (0..10_000).filter(|_| flood.admits(start, State::Down)).count();
        assert_eq!(lines, 50);
        assert!(!flood.admits(start + PERIOD / 2, State::Up));
        assert_eq!((flood.deadline(), flood.end(start)), (Some(start + PERIOD), None));
        assert_eq!(flood.end(start + PERIOD), Some(Unsaid { down: 9_950, up: 1 }));
        assert_eq!((flood.deadline(), flood.end(start + PERIOD)), (None, None), "said once");
        assert!(flood.admits(start + PERIOD * 2, State::Down));
        assert_eq!(flood.end(start + PERIOD * 3), None, "all of them had lines");
    }
}
