//! What goes to the log: one line for each transition with everything in it, and, at a bounded rate, that probes
//! could not run here.

use std::time::{Duration, Instant};

use daemon::units::format_duration;

use crate::registry::Judged;
use crate::target::State;

/// MESSAGE_ID of the journal entries; they never change.
const SERVER_DOWN: &str = "5b6a2ff1d4d94b4c8e4a35f4cbe1a6d0";
const SERVER_UP: &str = "e6c4c7e0f9514b0c9f0e5a0f7ac2d7b3";

/// One warning about ourselves in this time.
const WARNING_PERIOD: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub struct Journal {
    next_warning: Option<Instant>,
    /// Probes that could not run since the last warning.
    unsaid: u64,
}

impl Journal {
    /// A watched target changed its state.
    pub fn on_transition(&self, judged: &Judged) {
        let Judged { row, before, took, is_watched: _ } = judged;
        let text = format!(
            "check {}: {} {} -> {}: {} (in {})",
            row.check,
            row.address,
            before.as_str(),
            row.state.as_str(),
            row.reason,
            format_duration(*took)
        );
        let (check, address) = (row.check.as_str(), row.address.as_str());
        match row.state {
            State::Down => {
                log::warn!(MESSAGE_ID = SERVER_DOWN, TRIVET_CHECK = check, TRIVET_TARGET = address; "{text}");
            }
            State::Up if *before == State::Unknown => log::debug!("{text}"),
            State::Up => {
                log::info!(MESSAGE_ID = SERVER_UP, TRIVET_CHECK = check, TRIVET_TARGET = address; "{text}");
            }
            State::Unknown => log::info!("{text}"),
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
