//! One target in the registry: what is known of it, who wants it, and where it stands between two probes.

use std::time::Instant;

use super::{Detail, Key, Row, Standing, spell};
use crate::schedule::Place;
use crate::target::{Judgement, Progress, Rules, State};

#[derive(Debug)]
pub(super) struct Target {
    pub(super) key: Key,
    pub(super) judgement: Judgement,
    pub(super) phase: Phase,
    pub(super) place: Place,
    /// How many sets it is in.
    pub(super) watches: u32,
    /// Probes in a row that could not run for reasons of this machine.
    pub(super) stumbles: u8,
    /// Somebody asked for a probe now and waits for the outcome.
    pub(super) asked: bool,
    /// Another one whenever it reads differently.
    pub(super) revision: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is no such check.
    Unconfigured,
    Waiting {
        at: Instant,
        /// It was due before, with too many others.
        postponed: bool,
    },
    Probing {
        started: Instant,
        deadline: Instant,
    },
}

impl Phase {
    pub(super) fn deadline(self) -> Option<Instant> {
        match self {
            Self::Unconfigured => None,
            Self::Waiting { at, .. } => Some(at),
            Self::Probing { deadline, .. } => Some(deadline),
        }
    }

    pub(super) fn is_probing(self) -> bool {
        match self {
            Self::Unconfigured | Self::Waiting { .. } => false,
            Self::Probing { .. } => true,
        }
    }
}

impl Target {
    pub(super) fn new(key: Key, judgement: Judgement, place: Place) -> Self {
        let phase = Phase::Unconfigured;
        Self { key, judgement, phase, place, watches: 0, stumbles: 0, asked: false, revision: 0 }
    }

    pub(super) fn is_probing(&self) -> bool {
        self.phase.is_probing()
    }

    /// `None`: nobody watches it.
    pub(super) fn counted_as(&self) -> Option<State> {
        (self.watches > 0).then(|| self.judgement.state())
    }

    pub(super) fn standing(&self) -> Standing {
        let judgement = &self.judgement;
        let (state, since) = (judgement.state(), judgement.since());
        Standing { state, reason: judgement.shared_reason(), since, weight: judgement.weight() }
    }

    pub(super) fn row(&self) -> Row {
        let Standing { state, reason, since, weight } = self.standing();
        let (check, address) = (self.key.0.as_ref().to_owned(), spell(self.key.1));
        Row { check, address, state, reason: reason.to_string(), since, weight }
    }

    /// `rules` are its check's, if it has one.
    pub(super) fn detail(&self, rules: Option<Rules>) -> Detail {
        let next = match self.phase {
            Phase::Waiting { at, .. } => Some(at),
            Phase::Unconfigured | Phase::Probing { .. } => None,
        };
        let judgement = &self.judgement;
        let nowhere = Progress { against: 0, needed: 0 };
        Detail {
            row: self.row(),
            address: self.key.1,
            last_duration: judgement.last_duration(),
            next,
            is_probing: self.is_probing(),
            progress: rules.map_or(nowhere, |rules| judgement.progress(rules.thresholds)),
            probes: judgement.probes(),
            changes: judgement.changes(),
            is_held: judgement.is_held(),
            held_until: rules.and_then(|rules| judgement.held_until(rules)),
        }
    }
}

/// How many watched targets are in which state.
#[derive(Debug, Default)]
pub(super) struct Counts([usize; 3]);

impl Counts {
    /// Unknown, up, down.
    pub(super) fn get(&self) -> [usize; 3] {
        self.0
    }

    /// A target is counted as `after`, and was as `before`.
    pub(super) fn shift(&mut self, before: Option<State>, after: Option<State>) {
        if let Some(before) = before {
            self.0[Self::index(before)] -= 1;
        }
        if let Some(after) = after {
            self.0[Self::index(after)] += 1;
        }
    }

    fn index(state: State) -> usize {
        match state {
            State::Unknown => 0,
            State::Up => 1,
            State::Down => 2,
        }
    }
}
