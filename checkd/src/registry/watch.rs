//! A watcher's new set on its way in, a portion a turn, so that tens of thousands of targets hold no probe up: first
//! each target is found or made, then those that were made get their first probes, then the set replaces the watcher's
//! former one, and then the answer is put together. What changes meanwhile is read again at the end: the answer holds
//! for everything up to its generation, as if all of it had been done in that moment.

use std::time::Instant;

use super::{Key, Phase, Registry, Standing, Target};
use crate::schedule::TargetId;

/// Those that found a target changed are looked for again this often, in portions that double, until none is.
const DOUBLINGS: u32 = 16;

#[derive(Debug)]
pub struct Watch {
    caller: String,
    /// Each once.
    keys: Vec<Key>,
    /// Their targets, as far as they were found or made: held by this watch until the set is the watcher's.
    ids: Vec<TargetId>,
    /// Those that were made.
    fresh: Vec<TargetId>,
    /// In the order of the keys, with the revision of the target that was read.
    answers: Vec<(u16, Standing)>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug)]
enum Stage {
    Find,
    /// The first probe of this one of the fresh ones.
    Begin(usize),
    Read,
    /// What has changed since it was read, for the so-manyeth time.
    ReadAgain(u32),
}

impl Watch {
    /// `caller` wants exactly these targets, each of which is named once.
    pub fn new(caller: String, keys: Vec<Key>) -> Self {
        let (ids, answers) = (Vec::with_capacity(keys.len()), Vec::with_capacity(keys.len()));
        Self { caller, keys, ids, fresh: Vec::new(), answers, stage: Stage::Find }
    }

    pub fn caller(&self) -> &str {
        &self.caller
    }

    /// The targets that it holds by itself.
    #[cfg(test)]
    pub(super) fn held(&self) -> &[TargetId] {
        match self.stage {
            Stage::Find | Stage::Begin(_) => &self.ids,
            Stage::Read | Stage::ReadAgain(_) => &[],
        }
    }

    fn first_unread(&self) -> usize {
        self.answers.len()
    }
}

impl Registry {
    /// The next portion of a watch, of at most `room` targets. `Some`: that was the last; the answer has a standing for
    /// each key, and holds for everything up to the generation.
    pub fn on_watch(&mut self, now: Instant, watch: &mut Watch, room: usize) -> Option<(u64, Vec<Standing>)> {
        match watch.stage {
            Stage::Find => self.find(now, watch, room),
            Stage::Begin(from) => {
                let end = from.saturating_add(room).min(watch.fresh.len());
                for id in &watch.fresh[from..end] {
                    self.start_first(now, *id, watch.fresh.len());
                }
                watch.stage = Stage::Begin(end);
                if end == watch.fresh.len() {
                    let former = self.watchers.replace(&watch.caller, watch.ids.as_slice().into());
                    self.release(now, former);
                    watch.stage = Stage::Read;
                }
            }
            Stage::Read => {
                let from = watch.first_unread();
                let end = from.saturating_add(room).min(watch.ids.len());
                for id in &watch.ids[from..end] {
                    let answer = self.targets.get(*id).map(|target| (target.revision, target.standing()));
                    watch.answers.push(answer.expect("the watcher's set holds it: nobody else takes it out"));
                }
                if end == watch.ids.len() {
                    watch.stage = Stage::ReadAgain(0);
                }
            }
            Stage::ReadAgain(time) => {
                let room = room.saturating_mul(1 << time.min(DOUBLINGS));
                watch.stage = Stage::ReadAgain(time + 1);
                if self.read_again(watch, room) {
                    let answers = std::mem::take(&mut watch.answers);
                    return Some((self.generation, answers.into_iter().map(|(_, answer)| answer).collect()));
                }
            }
        }
        None
    }

    /// The target of each key, made if there is none.
    fn find(&mut self, now: Instant, watch: &mut Watch, room: usize) {
        let from = watch.ids.len();
        let end = from.saturating_add(room).min(watch.keys.len());
        for key in &watch.keys[from..end] {
            let id = self.ids.get(key).copied().unwrap_or_else(|| {
                let id = self.insert(now, key.clone());
                watch.fresh.push(id);
                id
            });
            let held = self.alter(id, |target| {
                target.watches += 1;
                target.watches
            });
            if held == Some(1) {
                self.memories.claim(key);
            }
            watch.ids.push(id);
        }
        if end == watch.keys.len() {
            watch.keys = Vec::new();
            watch.stage = Stage::Begin(0);
        }
    }

    /// At most `room` of those that have changed since they were read. Whether that was all.
    fn read_again(&self, watch: &mut Watch, mut room: usize) -> bool {
        for (id, (revision, standing)) in watch.ids.iter().zip(&mut watch.answers) {
            let Some(target) = self.targets.get(*id) else { continue };
            if target.revision == *revision {
                continue;
            }
            let Some(rest) = room.checked_sub(1) else { return false };
            room = rest;
            (*revision, *standing) = (target.revision, target.standing());
        }
        true
    }

    /// Let the first probe of a target come, one of `together`: at once, but not all in the same moment. What an
    /// earlier run knows waits for its place in the interval.
    pub(super) fn start_first(&mut self, now: Instant, id: TargetId, together: usize) {
        let Some(target) = self.targets.get(id).filter(|target| target.phase == Phase::Unconfigured) else {
            return;
        };
        if let Some(at) = self.first_probe(now, target, together) {
            self.set_phase(id, Phase::Waiting { at, postponed: false });
        }
    }

    /// `None`: there cannot be one.
    fn first_probe(&self, now: Instant, target: &Target, together: usize) -> Option<Instant> {
        let check = self.checks.get(&*target.key.0)?;
        if super::misfit(check, target.key.1).is_some() {
            return None;
        }
        if target.judgement.is_settled() {
            let interval = check.interval_in(target.judgement.state());
            return Some(self.schedule.next_place(target.place, now, interval));
        }
        Some(now + crate::schedule::Schedule::first_delay(target.place, together, check.interval))
    }
}

#[cfg(test)]
mod tests;
