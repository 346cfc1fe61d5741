//! What the registry tells: rows for the bus, and results for the log.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::target::{Progress, State, WallClock};

/// What is known about one target, as the bus tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub check: String,
    pub address: String,
    pub state: State,
    pub reason: String,
    pub since: WallClock,
    /// What the check gives the server while it is up.
    pub weight: Option<u16>,
}

impl Row {
    pub(super) fn unknown(check: &str, address: &str, reason: String) -> Self {
        Self {
            check: check.to_owned(),
            address: address.to_owned(),
            state: State::Unknown,
            reason,
            since: WallClock::default(),
            weight: None,
        }
    }
}

/// A [`Row`] with what only the check's own object tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    pub row: Row,
    /// As the row spells it.
    pub address: SocketAddr,
    pub last_duration: Option<Duration>,
    /// When the next probe starts; `None` while one runs, or if there is none to come.
    pub next: Option<Instant>,
    pub is_probing: bool,
    pub progress: Progress,
    /// That were judged in this run.
    pub probes: u64,
    /// Of the state, in this run.
    pub changes: u64,
    /// Damping keeps it down…
    pub is_held: bool,
    /// …until then, if it goes on passing; `None`: it is not held, or does not pass.
    pub held_until: Option<WallClock>,
}

/// A result that was taken in, for the log and for those who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub row: Row,
    /// The state before it.
    pub before: State,
    pub took: Duration,
    /// Whether somebody watches the target, and did not just ask for one probe of it.
    pub is_watched: bool,
}
