//! When the results are written: soon after a change but not all the time, now and then so that they do not grow old,
//! and at the end; a portion a turn, so that no probe waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::event_loop::Clock;

use super::{Message, Timeline, Writer, write_end, write_head, write_row};
use crate::registry::{Checks, Cursor, Key, Registry, Unsaved};
use crate::target::Memory;

/// From the beginning of one file to that of the next, at least: a crash forgets what changed in it.
const GAP: Duration = Duration::from_secs(1);
/// The same if nothing has changed: memories are believed for some minutes.
const REFRESH: Duration = Duration::from_secs(60);
/// Targets looked at in one turn: about a hundred microseconds of work.
const ROOM: usize = 512;
/// A writer that is behind is given this long.
const RETRY: Duration = Duration::from_millis(20);
/// What the end of the process waits for the last file.
const LAST: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub struct Saver {
    writer: Writer,
    stage: Stage,
    /// When the last file was begun; at the start there is nothing to write.
    begun: Option<Instant>,
    /// What the writer has not taken yet, and when to try again.
    pending: VecDeque<Message>,
    retry: Option<Instant>,
    /// What every file begins with, the checks' numbers in it, and of which checks it is.
    head: String,
    numbers: HashMap<String, usize>,
    checks: Option<Arc<Checks>>,
    rows: usize,
}

#[derive(Clone, Debug)]
enum Stage {
    Idle,
    Targets(Cursor),
    /// What an earlier run knew and nobody has asked for, after this one.
    Rest(Option<Key>),
}

impl Saver {
    pub fn new(writer: Writer) -> Self {
        Self {
            writer,
            stage: Stage::Idle,
            begun: None,
            pending: VecDeque::new(),
            retry: None,
            head: String::new(),
            numbers: HashMap::new(),
            checks: None,
            rows: 0,
        }
    }

    /// When [`Saver::advance`] has something to do.
    pub fn deadline(&self, now: Instant, registry: &Registry) -> Option<Instant> {
        if self.retry.is_some() {
            return self.retry;
        }
        let gap = match (&self.stage, registry.unsaved()) {
            (Stage::Targets(_) | Stage::Rest(_), _) => return Some(now),
            (Stage::Idle, Unsaved::Nothing) => return None,
            (Stage::Idle, Unsaved::Changes) => GAP,
            (Stage::Idle, Unsaved::Age) => REFRESH,
        };
        Some(self.begun.map_or(now, |begun| begun + gap))
    }

    /// One portion, if it is time.
    pub fn advance(&mut self, now: Instant, registry: &mut Registry, clock: Clock) {
        if self.deadline(now, registry).is_none_or(|at| at > now) {
            return;
        }
        if self.pending.is_empty() {
            if matches!(self.stage, Stage::Idle) {
                registry.on_saving();
                self.begun = Some(now);
            }
            self.next_stage(registry, &Timeline::new(clock, now));
        }
        self.retry = None;
        while let Some(message) = self.pending.pop_front() {
            if let Err(message) = self.writer.send(message) {
                self.pending.push_front(message);
                self.retry = Some(now + RETRY);
                return;
            }
        }
    }

    /// The process ends: all of it, now.
    pub fn finish(&mut self, now: Instant, registry: &Registry, clock: Clock) {
        let timeline = Timeline::new(clock, now);
        self.pending.clear();
        self.stage = Stage::Idle;
        self.next_stage(registry, &timeline);
        while !matches!(self.stage, Stage::Idle) {
            self.next_stage(registry, &timeline);
        }
        if !self.writer.finish(std::mem::take(&mut self.pending).into(), LAST) {
            log::warn!("the results could not be written within {LAST:?}: the next start knows older ones");
        }
    }

    fn next_stage(&mut self, registry: &Registry, timeline: &Timeline) {
        let mut text = String::new();
        let (before, next, after) = match std::mem::replace(&mut self.stage, Stage::Idle) {
            Stage::Idle => {
                self.prepare_head(registry.checks());
                text.push_str(&self.head);
                self.rows = 0;
                (Some(Message::Begin), Stage::Targets(Cursor::default()), None)
            }
            Stage::Targets(from) => {
                let (records, next) = registry.records(from, ROOM);
                self.write_rows(&mut text, records, timeline);
                (None, next.map_or(Stage::Rest(None), Stage::Targets), None)
            }
            Stage::Rest(after) => {
                let mut last = None;
                let unclaimed =
                    registry.unclaimed(after.as_ref(), ROOM).inspect(|(key, _)| last = Some(*key));
                self.write_rows(&mut text, unclaimed.map(|(key, memory)| (key, memory.clone())), timeline);
                match last {
                    Some(last) => (None, Stage::Rest(Some(last.clone())), None),
                    None => {
                        write_end(&mut text, self.rows);
                        (None, Stage::Idle, Some(Message::End))
                    }
                }
            }
        };
        self.stage = next;
        self.pending.extend(before.into_iter().chain([Message::Portion(text)]).chain(after));
    }

    /// Anew only when checks have changed: a fingerprint is a digest of the whole check.
    fn prepare_head(&mut self, checks: &Arc<Checks>) {
        if !self.checks.as_ref().is_some_and(|known| Arc::ptr_eq(known, checks)) {
            self.head.clear();
            self.numbers = write_head(&mut self.head, checks);
            self.checks = Some(Arc::clone(checks));
        }
    }

    fn write_rows<'a>(
        &mut self,
        text: &mut String,
        records: impl Iterator<Item = (&'a Key, Memory)>,
        timeline: &Timeline,
    ) {
        for (key, memory) in records {
            // A check that came while the file was written is in the next one.
            let Some(number) = self.numbers.get(&*key.0) else { continue };
            write_row(text, *number, key, &memory, timeline);
            self.rows += 1;
        }
    }
}

#[cfg(test)]
mod tests;
