//! The whole state of checkd without its sockets: which checks there are, who watches which targets, what is known
//! about each, and what is to be done next. One probe per (check, target), whoever asks.
//!
//! Pure: the clock is an argument, what is to be done comes back as [`Action`]s.

mod address;
mod memory;
mod reload;
mod rows;
mod slots;
mod target;
mod units;
mod wanted;
mod watch;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::address::misfit;
pub use self::address::{parse_address, spell};
use self::memory::Memories;
pub use self::memory::{INTERVALS, OLD, Record, Unsaved};
pub use self::rows::{Detail, Judged, Row};
pub use self::slots::Cursor;
use self::slots::Slots;
use self::target::{Counts, Phase, Target};
pub use self::wanted::{Standing, Wanted};
pub use self::watch::Watch;
use crate::check::Check;
use crate::probe::Outcome;
use crate::schedule::{Schedule, TargetId};
use crate::target::{Change, Judgement, Moment, NOT_PROBED_YET, WallClock};
use crate::watchers::{Set, Watchers};

/// The configured checks by name.
pub type Checks = BTreeMap<String, Arc<Check>>;

/// A check's name and a server's address: one target.
pub type Key = (Arc<str>, SocketAddr);

/// Probes that are this late were held up by more than other probes: the machine was suspended, or we were stopped.
const OVERDUE: Duration = Duration::from_secs(1);

/// What the daemon has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection and feed what happens on it to a new probe.
    Start { id: TargetId, check: Arc<Check>, address: SocketAddr },
    /// The running probe's time is over since `late`: end it, and report the outcome.
    TimeOut { id: TargetId, late: Duration },
    /// End the running probe; nobody wants its outcome.
    Cancel(TargetId),
    /// As `Cancel`, and whoever asked for a probe of this target gets none.
    Gone(TargetId),
}

/// Sets that nobody watches any more: their targets are let go a portion a turn.
#[derive(Debug, Default)]
struct Releasing {
    sets: VecDeque<Vec<TargetId>>,
    /// When the first of them came.
    since: Option<Instant>,
}

#[derive(Debug)]
pub struct Registry {
    checks: Arc<Checks>,
    targets: Slots<Target>,
    ids: HashMap<Key, TargetId>,
    watchers: Watchers,
    releasing: Releasing,
    schedule: Schedule,
    counts: Counts,
    generation: u64,
    /// Targets whose state, reason or weight reads differently since the last publication.
    changed: BTreeSet<TargetId>,
    /// How many were due together when nothing had happened for a while; 0: that is not so.
    crowd: usize,
    memories: Memories,
    /// The reason of the last target that was judged.
    last_said: Arc<str>,
}

impl Registry {
    /// `seed` spreads the probes after `now`: see [`Schedule::new`].
    pub fn new(checks: Checks, seed: u64, now: Instant) -> Self {
        Self {
            checks: Arc::new(checks),
            targets: Slots::new(),
            ids: HashMap::new(),
            watchers: Watchers::default(),
            releasing: Releasing::default(),
            schedule: Schedule::new(seed, now),
            counts: Counts::default(),
            generation: 0,
            changed: BTreeSet::new(),
            crowd: 0,
            memories: Memories::default(),
            last_said: NOT_PROBED_YET.into(),
        }
    }

    /// The same `Arc` until a reload changes something.
    pub fn checks(&self) -> &Arc<Checks> {
        &self.checks
    }

    pub fn watcher_count(&self) -> usize {
        self.watchers.count()
    }

    /// How many watched targets are unknown, up and down.
    pub fn counts(&self) -> [usize; 3] {
        self.counts.get()
    }

    /// Targets of one check among the next `room` ones, in no order, and where to go on; `None`: that was the end.
    pub fn details(&self, check: &str, from: Cursor, room: usize) -> (Vec<Detail>, Option<Cursor>) {
        let rules = self.checks.get(check).map(|check| check.rules());
        let (targets, next) = self.targets.portion(from, room);
        let targets = targets.filter(|target| &*target.key.0 == check && target.watches > 0);
        (targets.map(|target| target.detail(rules)).collect(), next)
    }

    /// When [`Registry::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        let probes = self.schedule.deadline();
        let all = [probes, self.watchers.deadline(), self.memories.deadline(), self.releasing.since];
        all.into_iter().flatten().min()
    }

    /// A name left the bus. Whether it was a watcher's.
    pub fn on_watcher_gone(&mut self, now: Instant, watcher: &str) -> bool {
        self.watchers.on_gone(now, watcher)
    }

    /// There is a new connection to the bus: see [`Watchers::on_new_bus`].
    pub fn on_new_bus(&mut self, now: Instant) {
        self.watchers.on_new_bus(now);
    }

    /// Somebody wants a probe now, and its outcome. One that is running will do.
    ///
    /// # Errors
    /// Why there cannot be one.
    pub fn on_probe_wanted(&mut self, now: Instant, check: &str, address: &str) -> Result<TargetId, String> {
        let key = (Arc::from(check), parse_address(address)?);
        if let Some(obstacle) = self.obstacle(&key) {
            return Err(obstacle);
        }
        let id = self.ids.get(&key).copied().unwrap_or_else(|| self.insert(now, key));
        let is_probing = self.alter(id, |target| {
            target.asked = true;
            target.is_probing()
        });
        if is_probing == Some(false) {
            self.set_phase(id, Phase::Waiting { at: now, postponed: false });
        }
        Ok(id)
    }

    /// Do what is due, at most `limit` probes of it, and let so many targets go at most; what remains is still due.
    #[must_use]
    pub fn on_time(&mut self, now: Instant, limit: usize) -> Vec<Action> {
        self.memories.expire(now);
        for set in self.watchers.take_expired(now) {
            self.release(now, set);
        }
        let mut actions = self.let_go(limit);
        let is_overdue = self.schedule.deadline().is_some_and(|at| at + OVERDUE < now);
        // As many as there were when it began: it takes several turns to see them all.
        self.crowd = if is_overdue { self.crowd.max(self.schedule.count_due(now)) } else { 0 };
        for _ in 0..limit {
            let Some(id) = self.schedule.pop(now) else { break };
            actions.extend(self.on_due(now, id));
        }
        actions
    }

    fn on_due(&mut self, now: Instant, id: TargetId) -> Option<Action> {
        let target = self.targets.get_mut(id)?;
        match target.phase {
            Phase::Unconfigured => None,
            Phase::Waiting { at, postponed } => {
                let check = Arc::clone(self.checks.get(&*target.key.0)?);
                // Once: a machine that cannot keep up must not put off the same ones for ever.
                let (phase, action) = if self.crowd > 0 && at + OVERDUE < now && !postponed {
                    let delay = Schedule::first_delay(target.place, self.crowd, check.interval);
                    (Phase::Waiting { at: now + delay, postponed: true }, None)
                } else {
                    let deadline = now + check.timeout + check.kind.grace();
                    let start = Action::Start { id, check, address: target.key.1 };
                    (Phase::Probing { started: now, deadline }, Some(start))
                };
                // `pop` has taken the former deadline out.
                self.schedule.add_after(now, phase.deadline()?, id);
                target.phase = phase;
                action
            }
            // Stays in this phase, without a deadline, until the outcome comes in.
            Phase::Probing { deadline, .. } => Some(Action::TimeOut { id, late: now - deadline }),
        }
    }

    /// A probe ended. `None` if nobody knows of it any more.
    pub fn on_outcome(
        &mut self,
        now: Instant,
        wall: WallClock,
        id: TargetId,
        outcome: Outcome,
    ) -> Option<Judged> {
        let target = self.targets.get(id)?;
        let Phase::Probing { started, .. } = target.phase else { return None };
        let check = Arc::clone(self.checks.get(&*target.key.0)?);
        let before = target.judgement.state();
        let took = now - started;
        let is_local = matches!(outcome, Outcome::Local(_));
        let (change, weighs_otherwise) = self.alter(id, |target| {
            target.asked = false;
            target.stumbles = if is_local { target.stumbles.saturating_add(1) } else { 0 };
            let weight = target.judgement.weight();
            let change = target.judgement.on_outcome(check.rules(), outcome, took, Moment { now, wall });
            (change, weight != target.judgement.weight())
        })?;
        let at = self.next_probe(now, id, started, &check)?;
        let target = self.targets.get_mut(id)?;
        target.judgement.share(&mut self.last_said);
        if let Some(deadline) = target.phase.deadline() {
            self.schedule.remove(deadline, id);
        }
        target.phase = Phase::Waiting { at, postponed: false };
        self.schedule.add_after(now, at, id);
        self.memories.on_judged(change, weighs_otherwise);
        if change != Change::Nothing {
            self.tell(id);
        }
        let target = self.targets.get(id)?;
        let is_watched = target.watches > 0;
        let judged = Judged { row: target.row(), before, took, is_watched };
        if !is_watched {
            self.remove(id);
        }
        Some(judged)
    }

    /// When the probe after one that started at `started` and has ended now is to start.
    fn next_probe(&self, now: Instant, id: TargetId, started: Instant, check: &Check) -> Option<Instant> {
        let target = self.targets.get(id)?;
        let interval = check.interval_in(target.judgement.state());
        let regular = self.schedule.next_regular(target.place, started, interval);
        let retry = if target.stumbles > 0 {
            // What this machine cannot do now, it may not be able to do for hours: each time twice as long.
            let doubled = 2_u32.saturating_pow(u32::from(target.stumbles) - 1);
            Some(check.retry_interval.saturating_mul(doubled)).filter(|retry| *retry < interval)
        } else {
            target.judgement.is_changing().then_some(check.retry_interval)
        };
        let count = target.judgement.probes().wrapping_add(u64::from(target.stumbles));
        let soon = retry.map(|retry| now + Schedule::retry_delay(target.place, count, retry));
        Some(soon.map_or(regular, |soon| soon.min(regular)).max(now))
    }

    /// Whether [`Registry::take_changes`] may have something to tell.
    pub fn has_changes(&self) -> bool {
        !self.changed.is_empty()
    }

    /// What changed since it was told last, at most `limit` rows of it, with the generation that this makes.
    pub fn take_changes(&mut self, limit: usize) -> Option<(u64, Vec<Row>)> {
        let mut rows = Vec::new();
        while rows.len() < limit
            && let Some(id) = self.changed.pop_first()
        {
            let target = self.targets.get(id).filter(|target| target.watches > 0);
            rows.extend(target.map(Target::row));
        }
        if rows.is_empty() {
            return None;
        }
        self.generation += 1;
        Some((self.generation, rows))
    }

    /// Why there cannot be a probe of this; `None`: there can.
    fn obstacle(&self, key: &Key) -> Option<String> {
        match self.checks.get(&*key.0) {
            Some(check) => misfit(check, key.1),
            None => Some(no_such_check(&key.0)),
        }
    }

    /// A target that nobody watches yet and that is not probed yet.
    fn insert(&mut self, now: Instant, key: Key) -> TargetId {
        let mut judgement = match self.obstacle(&key) {
            Some(obstacle) => Judgement::unknown(obstacle),
            None => self.recall(now, &key).unwrap_or_else(|| Judgement::unknown(NOT_PROBED_YET)),
        };
        judgement.share(&mut self.last_said);
        let place = self.schedule.place_of(&key);
        let id = self.targets.insert(Target::new(key.clone(), judgement, place));
        self.ids.insert(key, id);
        id
    }

    /// Let the first probes with these targets' checks come.
    fn start_first_round(&mut self, now: Instant, fresh: &[TargetId]) {
        for id in fresh {
            self.start_first(now, *id, fresh.len());
        }
    }

    /// One set less holds each of these targets, from one of the next turns on.
    fn release(&mut self, now: Instant, set: Set) {
        if !set.is_empty() {
            self.releasing.sets.push_back(set.into_vec());
            self.releasing.since.get_or_insert(now);
        }
    }

    /// Let `room` targets go at most; those that nobody wants any more end.
    fn let_go(&mut self, room: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        for _ in 0..room {
            let Some(set) = self.releasing.sets.front_mut() else { break };
            let Some(id) = set.pop() else {
                self.releasing.sets.pop_front();
                continue;
            };
            let wanted = self.alter(id, |target| {
                target.watches -= 1;
                target.watches > 0 || target.asked
            });
            if wanted == Some(false) {
                actions.extend(self.remove(id).then_some(Action::Cancel(id)));
            }
        }
        if self.releasing.sets.is_empty() {
            self.releasing.since = None;
        }
        actions
    }

    /// Its state, reason or weight reads differently now.
    fn tell(&mut self, id: TargetId) {
        if let Some(target) = self.targets.get_mut(id) {
            target.revision = target.revision.wrapping_add(1);
            self.changed.insert(id);
        }
    }

    /// Whether a probe of it was running.
    fn remove(&mut self, id: TargetId) -> bool {
        self.set_phase(id, Phase::Unconfigured)
            .inspect(|_| {
                if let Some(target) = self.targets.remove(id) {
                    self.counts.shift(target.counted_as(), None);
                    self.ids.remove(&target.key);
                    self.memories.on_set_changed();
                }
            })
            .is_some_and(Phase::is_probing)
    }

    /// The only way to another phase from outside of [`Registry::on_due`]: keeps the schedule in step. The former one.
    fn set_phase(&mut self, id: TargetId, phase: Phase) -> Option<Phase> {
        let target = self.targets.get_mut(id)?;
        if let Some(at) = target.phase.deadline() {
            self.schedule.remove(at, id);
        }
        if let Some(at) = phase.deadline() {
            self.schedule.add(at, id);
        }
        Some(std::mem::replace(&mut target.phase, phase))
    }

    /// The only way to change a target's judgement or its watches: keeps the counts in step.
    fn alter<R>(&mut self, id: TargetId, change: impl FnOnce(&mut Target) -> R) -> Option<R> {
        let target = self.targets.get_mut(id)?;
        let before = target.counted_as();
        let result = change(target);
        self.counts.shift(before, target.counted_as());
        Some(result)
    }
}

fn no_such_check(name: &str) -> String {
    format!("no check '{name}' is configured")
}

#[cfg(test)]
use crate::target::State;

/// All of a watch at once, as the daemon does it over several turns.
#[cfg(test)]
impl Registry {
    pub(crate) fn watch_at_once(
        &mut self,
        now: Instant,
        caller: &str,
        rows: &[(String, String)],
    ) -> (u64, Vec<Row>, Vec<Action>) {
        let mut wanted = Wanted::default();
        rows.iter().for_each(|(check, address)| wanted.add(check, address));
        let mut watch = Watch::new(caller.to_owned(), wanted.take_keys());
        let (generation, standings) = loop {
            if let Some(answer) = self.on_watch(now, &mut watch, usize::MAX) {
                break answer;
            }
        };
        let answer = |(number, (check, address)): (usize, &(String, String))| {
            wanted.answer(number, check.clone(), address.clone(), &standings)
        };
        let answers = rows.iter().enumerate().map(answer).collect();
        (generation, answers, self.let_go(usize::MAX))
    }
}

#[cfg(test)]
mod crowds;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod tests;
