//! The judgement of one (check, target): which state follows from which results, since when, and why.
//!
//! Unknown is not down: it means that nobody has looked yet. The first result decides at once; after that a state
//! changes only when `rise` or `fall` results in a row say so. A probe that could not run for reasons of this
//! machine says nothing about the server and never counts.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::probe::Outcome;

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

/// Microseconds of CLOCK_REALTIME, as the bus tells them; 0 is "never".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct WallClock(pub u64);

/// How many results in a row change the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thresholds {
    /// Passes that take a server from down to up.
    pub rise: NonZeroU32,
    /// Failures that take a server from up to down. keepalived's `retry` is one less.
    pub fall: NonZeroU32,
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

/// What is known about one target.
#[derive(Clone, Debug)]
pub struct Judgement {
    state: State,
    since: WallClock,
    /// Why the state is what it is: the text of the result that last agreed with it.
    verdict: String,
    /// What has happened since that does not (yet) agree with it.
    note: Option<String>,
    /// Results in a row that disagree with the state.
    against: u32,
    /// Whether the next result decides at once: at the start, and after the check was changed.
    provisional: bool,
    last_duration: Option<Duration>,
    /// As the last pass gave it.
    weight: Option<u16>,
}

impl Judgement {
    /// Unknown, because of `why`.
    pub fn unknown(why: impl Into<String>) -> Self {
        Self {
            state: State::Unknown,
            since: WallClock::default(),
            verdict: why.into(),
            note: None,
            against: 0,
            provisional: true,
            last_duration: None,
            weight: None,
        }
    }

    pub fn state(&self) -> State {
        self.state
    }

    /// When the state last changed; 0 if it never did.
    pub fn since(&self) -> WallClock {
        self.since
    }

    /// How long the last probe that was judged took.
    pub fn last_duration(&self) -> Option<Duration> {
        self.last_duration
    }

    /// The weight that the check gives the server, which it does only while it is up.
    pub fn weight(&self) -> Option<u16> {
        self.weight.filter(|_| self.state == State::Up)
    }

    /// Whether results are under way that may change the state: look again soon.
    pub fn is_changing(&self) -> bool {
        self.against > 0
    }

    /// Why the state is what it is, for the operator.
    pub fn reason(&self) -> String {
        match &self.note {
            None => self.verdict.clone(),
            Some(note) => format!("{note}; before: {}", self.verdict),
        }
    }

    /// A probe ended after `took`, at `wall`.
    pub fn on_outcome(
        &mut self,
        thresholds: Thresholds,
        outcome: Outcome,
        took: Duration,
        wall: WallClock,
    ) -> Change {
        let (says, text, weight, needed) = match outcome {
            Outcome::Pass(text) => (State::Up, text, None, thresholds.rise.get()),
            Outcome::PassWithWeight(text, weight) => (State::Up, text, Some(weight), thresholds.rise.get()),
            Outcome::Fail(text) => (State::Down, text, None, thresholds.fall.get()),
            Outcome::Local(text) => return self.set_note(format!("could not probe: {text}")),
        };
        self.last_duration = Some(took);
        if says == self.state {
            return self.settle(text, weight);
        }
        self.against = self.against.saturating_add(1);
        if !self.provisional && self.against < needed {
            let word = if says == State::Up { "pass" } else { "failure" };
            return self.set_note(format!("{text} ({word} {} of {needed})", self.against));
        }
        let _ = self.settle(text, weight);
        self.state = says;
        self.since = wall;
        Change::State
    }

    /// The check behind this target is another one now: the state stays until the next result, which decides.
    pub fn on_check_changed(&mut self) -> Change {
        self.provisional = true;
        self.against = 0;
        match self.state {
            State::Unknown => {
                self.verdict = NOT_PROBED_YET.to_owned();
                self.note = None;
                Change::Reason
            }
            State::Up | State::Down => {
                self.set_note("the check was changed, not probed with it yet".to_owned())
            }
        }
    }

    /// There is nothing to probe with any more: unknown, since `wall`, because of `why`.
    pub fn forget(&mut self, why: String, wall: WallClock) {
        let since = if self.state == State::Unknown { self.since } else { wall };
        *self = Self { since, ..Self::unknown(why) };
    }

    /// The result agrees with the state.
    fn settle(&mut self, text: String, weight: Option<u16>) -> Change {
        self.against = 0;
        self.provisional = false;
        let same = self.note.take().is_none() && self.verdict == text && self.weight == weight;
        self.verdict = text;
        self.weight = weight;
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

#[cfg(test)]
mod tests {
    use super::*;

    const TOOK: Duration = Duration::from_millis(3);

    fn thresholds(rise: u32, fall: u32) -> Thresholds {
        Thresholds { rise: NonZeroU32::new(rise).unwrap(), fall: NonZeroU32::new(fall).unwrap() }
    }

    /// Feeds one letter per result: p(ass), f(ail), l(ocal); returns one letter per state after it.
    fn states(rise: u32, fall: u32, results: &str) -> String {
        let mut judgement = Judgement::unknown(NOT_PROBED_YET);
        let mut states = String::new();
        for (step, result) in (1..).zip(results.chars()) {
            let outcome = match result {
                'p' => Outcome::Pass("connected".into()),
                'f' => Outcome::Fail("connection refused".into()),
                _ => Outcome::Local("too many open files".into()),
            };
            let before = judgement.state();
            let change = judgement.on_outcome(thresholds(rise, fall), outcome, TOOK, WallClock(step));
            assert_eq!(change == Change::State, before != judgement.state());
            assert_eq!(change == Change::State, judgement.since() == WallClock(step));
            states.push(match judgement.state() {
                State::Unknown => '?',
                State::Up => 'U',
                State::Down => 'D',
            });
        }
        states
    }

    #[test]
    fn the_first_result_decides_at_once_whatever_rise_and_fall_say() {
        assert_eq!(states(3, 3, "p"), "U");
        assert_eq!(states(3, 3, "f"), "D");
    }

    #[test]
    fn later_changes_need_rise_or_fall_results_in_a_row() {
        assert_eq!(states(2, 3, "pffpfffpfpp"), "UUUUUUDDDDU");
        assert_eq!(states(1, 1, "pfpf"), "UDUD");
        assert_eq!(states(1, 2, "pfpfpfpff"), "UUUUUUUUD");
    }

    #[test]
    fn a_probe_that_could_not_run_here_never_counts_in_either_direction() {
        assert_eq!(states(1, 2, "lll"), "???");
        assert_eq!(states(1, 2, "pllllflf"), "UUUUUUUD");
        assert_eq!(states(1, 2, "flllp"), "DDDDU");
    }

    #[test]
    fn the_reason_tells_what_is_under_way_and_what_was_before() {
        let mut judgement = Judgement::unknown(NOT_PROBED_YET);
        let two = thresholds(2, 2);
        let fail = |text: &str, judgement: &mut Judgement| {
            judgement.on_outcome(two, Outcome::Fail(text.into()), TOOK, WallClock(9))
        };
        assert_eq!(
            judgement.on_outcome(two, Outcome::Pass("status 200".into()), TOOK, WallClock(1)),
            Change::State
        );
        assert_eq!(judgement.reason(), "status 200");
        assert_eq!(fail("status 500", &mut judgement), Change::Reason);
        assert_eq!(judgement.reason(), "status 500 (failure 1 of 2); before: status 200");
        assert!(judgement.is_changing());
        assert_eq!(fail("status 502", &mut judgement), Change::State);
        assert_eq!(judgement.reason(), "status 502");
        assert_eq!(fail("status 502", &mut judgement), Change::Nothing);
        assert_eq!(fail("status 503", &mut judgement), Change::Reason);
        let local = Outcome::Local("too many open files".into());
        assert_eq!(judgement.on_outcome(two, local.clone(), TOOK, WallClock(9)), Change::Reason);
        assert_eq!(judgement.on_outcome(two, local, TOOK, WallClock(9)), Change::Nothing);
        assert_eq!(judgement.reason(), "could not probe: too many open files; before: status 503");
        assert_eq!(judgement.state(), State::Down);
    }

    #[test]
    fn a_weight_is_that_of_the_last_pass_and_there_is_none_while_the_server_is_down() {
        let mut judgement = Judgement::unknown(NOT_PROBED_YET);
        let mut see = |outcome| {
            let change = judgement.on_outcome(thresholds(1, 2), outcome, TOOK, WallClock(1));
            (change, judgement.weight())
        };
        let pass = |weight| Outcome::PassWithWeight("load is low".into(), weight);
        let fail = || Outcome::Fail("exit 1".into());
        assert_eq!(see(pass(30)), (Change::State, Some(30)));
        assert_eq!(see(pass(30)), (Change::Nothing, Some(30)));
        assert_eq!(see(pass(7)), (Change::Reason, Some(7)), "a weight is told, though nothing else changed");
        assert_eq!(see(fail()), (Change::Reason, Some(7)), "it is still up");
        assert_eq!(see(fail()), (Change::State, None));
        assert_eq!(see(pass(9)), (Change::State, Some(9)));
        assert_eq!(see(Outcome::Pass("load is low".into())), (Change::Reason, None));
    }

    #[test]
    fn a_changed_check_keeps_the_state_until_its_first_result_which_decides() {
        let mut judgement = Judgement::unknown(NOT_PROBED_YET);
        let three = thresholds(3, 3);
        let _ = judgement.on_outcome(three, Outcome::Pass("status 200".into()), TOOK, WallClock(1));
        assert_eq!(judgement.on_check_changed(), Change::Reason);
        assert_eq!(judgement.state(), State::Up);
        assert!(judgement.reason().contains("changed") && judgement.reason().contains("status 200"));
        let fail = Outcome::Fail("status 404".into());
        assert_eq!(judgement.on_outcome(three, fail, TOOK, WallClock(2)), Change::State);
        assert_eq!((judgement.state(), judgement.since()), (State::Down, WallClock(2)));
    }
}
