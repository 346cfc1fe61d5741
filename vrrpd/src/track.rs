//! What a router tracks, what is known of it, and what follows for its priority. Pure: `daemon/tracking.rs` brings the
//! facts, from the interfaces and from the bus thread.
//!
//! Unknown is not down. What was known once stays true, marked stale, when its source is gone. Of what was never known
//! the worst is believed while the router starts: a weight is not earned, and where a fault would follow, the router
//! waits for [`GRACE`] and then takes part as the last choice, with priority 1. So a machine that boots with its checkd
//! not yet up neither preempts a healthy peer nor falls back a moment later; and if nothing ever answers, on both
//! machines, one of them still has the addresses.

pub mod knowledge;
pub mod news;
pub mod target;
pub mod units;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::types::Priority;
pub use knowledge::{Knowledge, Known, Told, Verdict};
pub use target::Target;

/// How long a starting router waits to hear of what it tracks. ipvsd's `health_grace` has the same default.
pub const GRACE: Duration = Duration::from_secs(10);

/// Something that can be up or down. As text: `unit nginx.service`, `check web of 10.0.0.1:80`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum What {
    Interface(Arc<str>),
    /// A unit of systemd, by its full name.
    Unit(Arc<str>),
    /// A check of checkd, and what it is run against.
    Check(Arc<str>, Target),
    /// A virtual service of ipvsd: whether it has a quorum.
    Service(Arc<str>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Interface(name) => write!(f, "interface {name}"),
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::Check(check, Target::MACHINE) => write!(f, "check {check}"),
            Self::Check(check, target) => write!(f, "check {check} of {target}"),
            Self::Service(name) => write!(f, "service {name}"),
        }
    }
}

/// One element of the key `track`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracker {
    pub what: What,
    /// Positive: added to the priority while it is up; negative: taken from it while it is down, as keepalived has it.
    /// `None`: while it is down, the router is in Fault. Never 0; from -253 to 253.
    pub weight: Option<i16>,
    /// Down counts as up, and up as down.
    pub reverse: bool,
}

/// What becomes of a weight of which nothing is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    /// The router is starting: as if it were down.
    Worst,
    /// It was added to a router that runs: the priority stays as it is.
    None,
    /// The router goes on where a former run of it left off: as if it were up.
    Best,
}

/// What one router tracks.
#[derive(Debug)]
pub struct Tracking {
    trackers: Vec<(Tracker, Doubt)>,
    /// Until then a starting router waits.
    grace: Instant,
}

/// A tracker's part in the whole, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    pub tracker: Tracker,
    pub known: Known,
    /// What it adds to the priority now; negative: what it takes.
    pub contribution: i16,
}

/// What follows from all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Take part, with this priority.
    Fit(Priority),
    /// Take part with the least priority: of this nothing has been heard in time, and it might be down.
    LastChoice(What),
    /// Do not begin yet: of this nothing has been heard.
    Wait(What),
    /// Do not take part: this is down, and why.
    Down(What, String),
}

impl Tracking {
    /// Of a router that starts now.
    pub fn new(now: Instant, trackers: &[Tracker]) -> Self {
        let trackers = trackers.iter().map(|tracker| (tracker.clone(), Doubt::Worst)).collect();
        Self { trackers, grace: now + GRACE }
    }

    /// The router does not start but goes on: of what is not known yet, the best is believed.
    pub fn resume(&mut self) {
        for (_, doubt) in &mut self.trackers {
            *doubt = Doubt::Best;
        }
    }

    /// The configuration changed. `is_running`: the router is Backup or Active.
    pub fn reconfigure(&mut self, trackers: &[Tracker], is_running: bool) {
        let doubt = if is_running { Doubt::None } else { Doubt::Worst };
        let former = std::mem::take(&mut self.trackers);
        let doubt_of = |tracker: &Tracker| {
            let same = former.iter().find(|(other, _)| other.what == tracker.what);
            same.map_or(doubt, |(_, doubt)| *doubt)
        };
        self.trackers = trackers.iter().map(|tracker| (tracker.clone(), doubt_of(tracker))).collect();
    }

    pub fn is_empty(&self) -> bool {
        self.trackers.is_empty()
    }

    pub fn whats(&self) -> impl Iterator<Item = &What> {
        self.trackers.iter().map(|(tracker, _)| &tracker.what)
    }

    /// When waiting is over.
    pub fn grace(&self) -> Instant {
        self.grace
    }

    pub fn parts<'a>(&'a self, knowledge: &'a Knowledge) -> impl Iterator<Item = Part> + 'a {
        self.trackers.iter().map(|(tracker, doubt)| {
            let known = knowledge.get(&tracker.what);
            let contribution = contribution(tracker, *doubt, verdict(tracker, &known));
            Part { tracker: tracker.clone(), known, contribution }
        })
    }

    /// What follows for a router of the configured priority `base`.
    pub fn standing(&self, now: Instant, base: Priority, knowledge: &Knowledge) -> Standing {
        let mut unknown = None;
        for (tracker, doubt) in self.trackers.iter().filter(|(tracker, _)| tracker.weight.is_none()) {
            let known = knowledge.get(&tracker.what);
            match (verdict(tracker, &known), doubt) {
                (Verdict::Down, _) => return Standing::Down(tracker.what.clone(), why(tracker, &known)),
                (Verdict::Unknown, Doubt::Worst) => unknown = unknown.or(Some(&tracker.what)),
                (Verdict::Unknown, Doubt::None | Doubt::Best) | (Verdict::Up, _) => {}
            }
        }
        match unknown {
            Some(what) if now < self.grace => Standing::Wait(what.clone()),
            Some(what) => Standing::LastChoice(what.clone()),
            None => Standing::Fit(self.priority(base, knowledge)),
        }
    }

    fn priority(&self, base: Priority, knowledge: &Knowledge) -> Priority {
        if base == Priority::OWNER {
            return base;
        }
        let sum: i32 = self.parts(knowledge).map(|part| i32::from(part.contribution)).sum();
        let effective = (i32::from(base.0) + sum).clamp(1, 254);
        Priority(u8::try_from(effective).expect("it was just made to fit"))
    }
}

/// What is said of it, turned round where that was asked for.
fn verdict(tracker: &Tracker, known: &Known) -> Verdict {
    match (known.verdict, tracker.reverse) {
        (Verdict::Unknown, _) => Verdict::Unknown,
        (Verdict::Up, false) | (Verdict::Down, true) => Verdict::Up,
        (Verdict::Down, false) | (Verdict::Up, true) => Verdict::Down,
    }
}

fn contribution(tracker: &Tracker, doubt: Doubt, verdict: Verdict) -> i16 {
    let weight = tracker.weight.unwrap_or(0);
    let (while_up, while_down) = (weight.max(0), weight.min(0));
    match (verdict, doubt) {
        (Verdict::Up, _) | (Verdict::Unknown, Doubt::Best) => while_up,
        (Verdict::Down, _) | (Verdict::Unknown, Doubt::Worst) => while_down,
        (Verdict::Unknown, Doubt::None) => 0,
    }
}

fn why(tracker: &Tracker, known: &Known) -> String {
    let is = if tracker.reverse { "is up" } else { "is down" };
    if known.reason.is_empty() { is.to_owned() } else { format!("{is}: {}", known.reason) }
}

#[cfg(test)]
mod tests;
