//! What an earlier run knew, until the watchers of its targets come back; and what a later run is to know.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::{Checks, Cursor, Key, Registry};
use crate::check::Check;
use crate::target::{Change, Judgement, Memory, State};

/// What is older than this and than [`INTERVALS`] is not believed any more.
pub const OLD: Duration = Duration::from_secs(10 * 60);
/// Of the check.
pub const INTERVALS: u32 = 10;

/// One target's memory, with the check that made it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub key: Key,
    /// [`Check::fingerprint`]
    pub fingerprint: u64,
    pub memory: Memory,
}

/// What nobody has asked for yet, and whether there is news for a later run.
#[derive(Debug, Default)]
pub(super) struct Memories {
    /// In an order, so that they can be written a portion a turn.
    kept: BTreeMap<Key, Memory>,
    /// When those that nobody asked for are forgotten.
    until: Option<Instant>,
    /// A state or a weight changed, or a target went.
    changed: bool,
    /// Something was judged: what was written is older than what is known.
    aged: bool,
}

/// How urgently a later run's memory should be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unsaved {
    Nothing,
    /// The same as before, seen again.
    Age,
    Changes,
}

impl Memories {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.until
    }

    pub(super) fn expire(&mut self, now: Instant) {
        if self.until.is_some_and(|until| until <= now) {
            *self = Self { changed: self.changed, aged: self.aged, ..Self::default() };
        }
    }

    pub(super) fn on_judged(&mut self, change: Change, weighs_otherwise: bool) {
        self.aged = true;
        self.changed |= change == Change::State || weighs_otherwise;
    }

    pub(super) fn on_set_changed(&mut self) {
        self.changed = true;
    }

    /// A watcher has come for this target, which knows what we know of it.
    pub(super) fn claim(&mut self, key: &Key) {
        self.kept.remove(key);
    }

    /// This check asks something else now, or is not there any more.
    pub(super) fn on_question_changed(&mut self, name: &str, checks: &Checks) {
        self.changed = true;
        if !checks.contains_key(name) {
            self.kept.retain(|key, _| &*key.0 != name);
        }
        for (_, memory) in self.kept.iter_mut().filter(|(key, _)| &*key.0 == name) {
            memory.provisional = true;
            memory.held = None;
        }
    }
}

impl Registry {
    /// What an earlier run left, of several records of one target the first. How many of them can be used.
    pub fn remember(&mut self, now: Instant, records: Vec<Record>) -> usize {
        let fingerprints: HashMap<&str, u64> =
            self.checks.iter().map(|(name, check)| (name.as_str(), check.fingerprint())).collect();
        for Record { key, fingerprint, mut memory } in records {
            let Some(check) = self.checks.get(&*key.0).filter(|check| is_fresh(now, check, &memory)) else {
                continue;
            };
            if fingerprints.get(&*key.0) != Some(&fingerprint) {
                memory.provisional = true;
                memory.held = None;
            }
            if check.damping.is_none() {
                memory.held = None;
            }
            self.memories.kept.entry(key).or_insert(memory);
        }
        let count = self.memories.kept.len();
        self.memories.until = (count > 0).then(|| now + OLD);
        count
    }

    /// What an earlier run knew of a target. Who only probes it once leaves that for a watcher ([`Memories::claim`]).
    pub(super) fn recall(&self, now: Instant, key: &Key) -> Option<Judgement> {
        let mut memory = self.memories.kept.get(key)?.clone();
        let check = self.checks.get(&*key.0)?;
        // A reload may have ended damping meanwhile: nobody would let it go.
        if check.damping.is_none() {
            memory.held = None;
        }
        is_fresh(now, check, &memory).then(|| Judgement::remembered(memory))
    }

    pub fn unsaved(&self) -> Unsaved {
        match (self.memories.changed, self.memories.aged) {
            (true, _) => Unsaved::Changes,
            (false, true) => Unsaved::Age,
            (false, false) => Unsaved::Nothing,
        }
    }

    /// Writing of [`Registry::records`] begins: what changes from now on is news.
    pub fn on_saving(&mut self) {
        self.memories.changed = false;
        self.memories.aged = false;
    }

    /// What is known of the next `room` targets, and where to go on; `None`: that was the end.
    pub fn records(
        &self,
        from: Cursor,
        room: usize,
    ) -> (impl Iterator<Item = (&Key, Memory)>, Option<Cursor>) {
        let (targets, next) = self.targets.portion(from, room);
        (targets.filter_map(|target| Some((&target.key, target.judgement.memory()?))), next)
    }

    /// What an earlier run knew and nobody has asked for yet: the next `room` of them after this one, if there are so
    /// many.
    pub fn unclaimed(&self, after: Option<&Key>, room: usize) -> impl Iterator<Item = (&Key, &Memory)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.memories.kept.range((start, Bound::Unbounded)).take(room)
    }
}

fn is_fresh(now: Instant, check: &Check, memory: &Memory) -> bool {
    let state = if memory.is_up { State::Up } else { State::Down };
    // What was judged in the future was not judged on this clock.
    now.checked_duration_since(memory.judged)
        .is_some_and(|age| age <= OLD.max(check.interval_in(state).saturating_mul(INTERVALS)))
}
