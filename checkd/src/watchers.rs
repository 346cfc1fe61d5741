//! Who watches what. Every watcher has one set of targets, which it replaces as a whole; a watcher that has left
//! keeps its set for a while, so that one that restarts is answered at once and nothing is probed anew.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::schedule::TargetId;

/// Each target once.
pub type Set = Box<[TargetId]>;

/// How long the targets of a watcher that left are still probed.
pub const LINGER: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub struct Watchers {
    /// By unique bus name.
    present: HashMap<String, Set>,
    departed: Vec<Departed>,
}

#[derive(Debug)]
struct Departed {
    until: Instant,
    set: Set,
}

impl Watchers {
    /// How many there are on the bus.
    pub fn count(&self) -> usize {
        self.present.len()
    }

    /// Replace a watcher's set; its former one. An empty set ends the watch.
    pub fn replace(&mut self, watcher: &str, set: Set) -> Set {
        if set.is_empty() {
            return self.present.remove(watcher).unwrap_or_default();
        }
        self.present.insert(watcher.to_owned(), set).unwrap_or_default()
    }

    /// A name left the bus. Whether it was a watcher's.
    pub fn on_gone(&mut self, now: Instant, watcher: &str) -> bool {
        let Some(set) = self.present.remove(watcher) else { return false };
        self.departed.push(Departed { until: now + LINGER, set });
        true
    }

    /// This is a new connection to the bus: all former names mean nothing any more, the same one may be somebody
    /// else's. Whoever stood behind them has from now on time to come back.
    pub fn on_new_bus(&mut self, now: Instant) {
        let sets = self.present.drain().map(|(_, set)| Departed { until: now + LINGER, set });
        self.departed.extend(sets);
    }

    /// When [`Watchers::take_expired`] has something to give.
    pub fn deadline(&self) -> Option<Instant> {
        self.departed.iter().map(|departed| departed.until).min()
    }

    /// The sets of those who did not come back in time.
    pub fn take_expired(&mut self, now: Instant) -> Vec<Set> {
        let is_over = |departed: &mut Departed| departed.until <= now;
        self.departed.extract_if(.., is_over).map(|departed| departed.set).collect()
    }

    #[cfg(test)]
    pub(crate) fn set(&self, watcher: &str) -> &[TargetId] {
        self.present.get(watcher).map_or(&[], |set| set)
    }

    /// All sets' targets, one after the other.
    #[cfg(test)]
    pub(crate) fn all(&self) -> impl Iterator<Item = &TargetId> {
        let departed = self.departed.iter().map(|departed| &departed.set);
        self.present.values().chain(departed).flatten()
    }
}
