//! The judgement of one (check, target): which state follows from which results, since when, and why.
//!
//! Unknown is not down: it means that nobody has looked yet. The first result decides at once; after that a state
//! changes only when `rise` or `fall` results in a row say so. A probe that could not run for reasons of this
//! machine says nothing about the server and never counts. With damping, a server that flaps stays down for longer.

mod damping;
mod time;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::units::format_duration;

use crate::probe::Outcome;

pub use self::damping::Damping;
use self::damping::Flaps;
pub use self::time::WallClock;

/// One moment on both clocks: ours, which spans of time are measured with, and the wall's, for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    pub now: Instant,
    pub wall: WallClock,
}

impl Moment {
    /// So much later on both.
    fn later(self, by: Duration) -> Self {
        let microseconds = u64::try_from(by.as_micros()).unwrap_or(u64::MAX);
        Self { now: self.now + by, wall: WallClock(self.wall.0.saturating_add(microseconds)) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Unknown,
    Up,
    Down,
}

impl State {
    /// The word on the bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// How many results in a row change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that take a server from down to up.
    pub rise: NonZeroU32,
    /// Failures that take a server from up to down. keepalived's `retry` is one less.
    pub fall: NonZeroU32,
}

/// What it takes to believe a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    pub thresholds: Thresholds,
    pub damping: Option<Damping>,
}

/// What a result changed, as far as a watcher can see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Change {
    Nothing,
    /// The state is the same; the reason or the weight is another one.
    Reason,
    State,
}

impl Change {
    pub fn is_news(self) -> bool {
        self != Self::Nothing
    }
}

/// What is known about one target.
#[derive(Clone, Debug)]
pub struct Judgement {
    state: State,
    since: WallClock,
    /// Why the state is what it is: the text of the result that last agreed with it.
    verdict: Arc<str>,
    /// What has happened since that does not (yet) agree with it.
    note: Option<String>,
    /// Results in a row that disagree with the state.
    against: u32,
    /// Whether the next result decides at once: at the start, and after the check was changed.
    provisional: bool,
    last: Option<Last>,
    /// As the last pass gave it.
    weight: Option<u16>,
    /// Nothing where there is no damping, or nothing to damp yet.
    flaps: Option<Box<Flaps>>,
    probes: u64,
    changes: u64,
}

/// The last probe that was judged.
#[derive(Clone, Copy, Debug)]
struct Last {
    ended: Instant,
    took: Duration,
}

/// How far a target is from another state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Results in a row that disagree with the state…
    pub against: u32,
    /// …and how many change it.
    pub needed: u32,
}

/// What outlives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    pub is_up: bool,
    pub since: WallClock,
    pub reason: String,
    /// When it was last judged.
    pub judged: Instant,
    pub weight: Option<u16>,
    /// The check is another one than that which judged.
    pub provisional: bool,
    /// Damping keeps it down; since when it has been good, if it is.
    pub held: Option<Option<Moment>>,
}

impl Judgement {
    /// Unknown, because of `why`.
    pub fn unknown(why: impl Into<Arc<str>>) -> Self {
        Self {
            state: State::Unknown,
            since: WallClock::default(),
            verdict: why.into(),
            note: None,
            against: 0,
            provisional: true,
            last: None,
            weight: None,
            flaps: None,
            probes: 0,
            changes: 0,
        }
    }

    /// As an earlier run left it. Its results count as if there had been no restart.
    pub fn remembered(memory: Memory) -> Self {
        let Memory { is_up, since, reason, judged, weight, provisional, held } = memory;
        let note = if provisional { CHECK_CHANGED } else { RESTARTED };
        Self {
            state: if is_up { State::Up } else { State::Down },
            since,
            note: Some(note.to_owned()),
            provisional,
            last: Some(Last { ended: judged, took: Duration::ZERO }),
            weight,
            flaps: held.map(|good_since| Box::new(Flaps::held(good_since))),
            ..Self::unknown(reason)
        }
    }

    /// What a later run should know; nothing about what is unknown.
    pub fn memory(&self) -> Option<Memory> {
        let is_up = match self.state {
            State::Unknown => return None,
            State::Up => true,
            State::Down => false,
        };
        Some(Memory {
            is_up,
            since: self.since,
            reason: self.verdict.to_string(),
            judged: self.last?.ended,
            weight: self.weight(),
            provisional: self.provisional,
            held: self.flaps.as_deref().filter(|flaps| flaps.is_held()).map(Flaps::good_since),
        })
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state last changed; 0 if it never did.
    pub fn since(&self) -> WallClock {
        self.since
    }

    /// How long the last probe that was judged took; `None`: there was none in this run.
    pub fn last_duration(&self) -> Option<Duration> {
        self.last.filter(|_| self.probes > 0).map(|last| last.took)
    }

    /// How many probes were judged in this run.
    pub fn probes(&self) -> u64 {
        self.probes
    }

    /// How often the state changed in this run.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// The weight that the check gives the server, which it does only while it is up.
    pub fn weight(&self) -> Option<u16> {
        self.weight.filter(|_| self.state == State::Up)
    }

    /// Whether results are under way that may change the state: look again soon.
    pub fn is_changing(&self) -> bool {
        self.against > 0 && !self.is_held()
    }

    pub fn progress(&self, thresholds: Thresholds) -> Progress {
        let needed = match self.state {
            State::Unknown => 1,
            State::Up | State::Down if self.provisional => 1,
            State::Up => thresholds.fall.get(),
            State::Down => thresholds.rise.get(),
        };
        Progress { against: self.against, needed }
    }

    /// Whether it is known, and by the check as it is now.
    pub fn is_settled(&self) -> bool {
        self.state != State::Unknown && !self.provisional
    }

    /// Whether damping keeps it down.
    pub fn is_held(&self) -> bool {
        self.flaps.as_ref().is_some_and(|flaps| flaps.is_held())
    }

    /// When damping will let it up, if it passes until then; `None`: it is not held, or does not pass.
    pub fn held_until(&self, rules: Rules) -> Option<WallClock> {
        let good_since = self.flaps.as_ref()?.good_since()?;
        Some(good_since.later(rules.damping?.hold).wall)
    }

    /// Why the state is what it is, for the operator.
    pub fn reason(&self) -> String {
        self.shared_reason().as_ref().to_owned()
    }

    /// The same, without a copy where there are many.
    pub fn shared_reason(&self) -> Arc<str> {
        match &self.note {
            None => Arc::clone(&self.verdict),
            Some(note) => format!("{note}; before: {}", self.verdict).into(),
        }
    }

    /// Tens of thousands of targets say the same: keep it once. `last` is what the last of them said.
    pub fn share(&mut self, last: &mut Arc<str>) {
        if self.verdict == *last {
            self.verdict = Arc::clone(last);
        } else {
            *last = Arc::clone(&self.verdict);
        }
    }

    /// A probe ended after `took`.
    pub fn on_outcome(&mut self, rules: Rules, outcome: Outcome, took: Duration, at: Moment) -> Change {
        let Thresholds { rise, fall } = rules.thresholds;
        let (says, text, weight, needed) = match outcome {
            Outcome::Pass(text) => (State::Up, text, None, rise.get()),
            Outcome::PassWithWeight(text, weight) => (State::Up, text, Some(weight), rise.get()),
            Outcome::Fail(text) => (State::Down, text, None, fall.get()),
            Outcome::Local(text) => return self.set_note(format!("could not probe: {text}")),
        };
        self.last = Some(Last { ended: at.now, took });
        self.probes += 1;
        if says == self.state {
            return self.settle(text, weight);
        }
        self.against = self.against.saturating_add(1);
        if !self.provisional && self.against < needed {
            let word = if says == State::Up { "pass" } else { "failure" };
            return self.set_note(format!("{text} ({word} {} of {needed})", self.against));
        }
        if let Some(note) = self.damp(rules, says, &text, at) {
            return self.set_note(note);
        }
        let _ = self.settle(text, weight);
        self.changes += 1;
        self.state = says;
        self.since = at.wall;
        Change::State
    }

    /// The state is about to change to this. Why it does not, if damping is against it.
    fn damp(&mut self, rules: Rules, says: State, text: &str, at: Moment) -> Option<String> {
        let damping = rules.damping?;
        if self.state == State::Unknown || self.provisional {
            return None;
        }
        let flaps = self.flaps.get_or_insert_default();
        if says != State::Up || flaps.may_rise(damping, at) {
            if !flaps.is_held() {
                flaps.on_change(damping, at.now);
            }
            return None;
        }
        let good_since = flaps.good_since()?;
        let until = good_since.later(damping.hold);
        let (count, within) = (damping.changes, format_duration(damping.within));
        Some(format!(
            "{text}; kept down after {count} changes within {within}: passes since {}, up at {} if it goes on so",
            good_since.wall, until.wall
        ))
    }

    /// The check behind this target is another one now: the state stays until the next result, which decides.
    pub fn on_check_changed(&mut self) -> Change {
        self.provisional = true;
        self.against = 0;
        self.flaps = None;
        match self.state {
            State::Unknown => {
                self.verdict = NOT_PROBED_YET.into();
                self.note = None;
                Change::Reason
            }
            State::Up | State::Down => self.set_note(CHECK_CHANGED.to_owned()),
        }
    }

    /// The check asks the same, and judges by these rules from now on.
    pub fn on_rules_changed(&mut self, rules: Rules) -> Change {
        let was_held = self.is_held();
        if rules.damping.is_none() {
            self.flaps = None;
        }
        if was_held && !self.is_held() { self.set_note(NOT_HELD.to_owned()) } else { Change::Nothing }
    }

    /// There is nothing to probe with any more: unknown, since `wall`, because of `why`.
    pub fn forget(&mut self, why: String, wall: WallClock) {
        let since = if self.state == State::Unknown { self.since } else { wall };
        *self = Self { since, probes: self.probes, changes: self.changes, ..Self::unknown(why) };
    }

    /// The result agrees with the state, or makes it.
    fn settle(&mut self, text: String, weight: Option<u16>) -> Change {
        self.against = 0;
        self.provisional = false;
        let same = self.note.take().is_none() && *self.verdict == *text && self.weight == weight;
        if *self.verdict != *text {
            self.verdict = text.into();
        }
        self.weight = weight;
        if let Some(flaps) = &mut self.flaps
            && self.state == State::Down
        {
            flaps.on_failure();
        }
        if same { Change::Nothing } else { Change::Reason }
    }

    fn set_note(&mut self, note: String) -> Change {
        if self.note.as_ref() == Some(&note) {
            return Change::Nothing;
        }
        self.note = Some(note);
        Change::Reason
    }
}

/// The reason of a target whose first probe has not ended.
pub const NOT_PROBED_YET: &str = "not probed yet";
const CHECK_CHANGED: &str = "the check was changed, not probed with it yet";
const NOT_HELD: &str = "damping was taken out of the check, the next passes count";
const RESTARTED: &str = "not probed since checkd's restart";

#[cfg(test)]
mod tests;
