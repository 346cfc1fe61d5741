//! When what of the kernel is read again: the list of services at each interval, the servers of the services in slices
//! between, round after round. A table of usual size is one slice; a huge one never keeps the loop for long, nor takes
//! more than its share of a processor.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::table::ServiceKey;

/// How long a slice should take.
const SLICE: Duration = Duration::from_millis(5);
/// Before anything is known of their cost, and at least: services of one slice.
const FEW: usize = 16;
/// The servers may take one part in this many of our time, and so may the list.
const SHARE: u32 = 20;

#[derive(Debug, Default)]
pub(super) struct Rounds {
    /// When the list is read next.
    pub(super) list_at: Option<Instant>,
    /// When the next slice of the round is due; `None`: there is no round.
    slice_at: Option<Instant>,
    /// The last service of the last slice; `None`: the round has just begun, or there is nothing after it.
    after: Option<ServiceKey>,
    /// Somebody changes the table: the round goes on without a pause.
    is_hurried: bool,
    /// What it took to read the servers of one service.
    cost: Option<Duration>,
    /// When the servers of each service were read last.
    pub(super) read_at: HashMap<ServiceKey, Instant>,
}

impl Rounds {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.list_at.into_iter().chain(self.slice_at).min()
    }

    /// The list was read: when it is read next.
    pub(super) fn listed(&mut self, now: Instant, interval: Duration, took: Duration) {
        self.list_at = Some(now + interval.max(took * SHARE));
    }

    /// Begin a round, unless there is one.
    pub(super) fn begin(&mut self, now: Instant) {
        if self.slice_at.is_none() {
            (self.slice_at, self.after, self.is_hurried) = (Some(now), None, false);
        }
    }

    /// Begin anew, without pauses.
    pub(super) fn hurry(&mut self, now: Instant) {
        if !self.is_hurried {
            (self.slice_at, self.after, self.is_hurried) = (Some(now), None, true);
        }
    }

    /// The whole table was read, or nothing can be.
    pub(super) fn stop(&mut self) {
        self.slice_at = None;
        self.after = None;
    }

    /// The services to read now, if that is due. `all`: those from a key on, in their order.
    pub(super) fn slice<'a, I>(
        &mut self,
        now: Instant,
        all: impl FnOnce(Option<ServiceKey>) -> I,
    ) -> Vec<ServiceKey>
    where
        I: Iterator<Item = &'a ServiceKey>,
    {
        if self.slice_at.is_none_or(|due| due > now) {
            return Vec::new();
        }
        let number = self.cost.map_or(FEW, |cost| fitting(cost).max(FEW));
        let mut all = all(self.after);
        let keys: Vec<ServiceKey> = all.by_ref().take(number).copied().collect();
        self.after = all.next().and(keys.last()).copied();
        // Until it is known what it took.
        self.slice_at = None;
        keys
    }

    /// So many services were read, as a slice, at `now`.
    pub(super) fn sliced(&mut self, now: Instant, number: usize, took: Duration) {
        self.cost = Some(took / u32::try_from(number.max(1)).unwrap_or(u32::MAX));
        let pause = if self.is_hurried { Duration::ZERO } else { took * (SHARE - 1) };
        // Without a last one there is nothing more: the round is over.
        self.slice_at = self.after.map(|_| now + pause);
        self.is_hurried &= self.after.is_some();
    }
}

fn fitting(cost: Duration) -> usize {
    let number = SLICE.as_nanos() / cost.as_nanos().max(1);
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::ops::Bound;

    use super::*;
    use crate::director::scene::key;

    fn now() -> Instant {
        #[expect(clippy::disallowed_methods, reason = "a test needs some point to count from")]
        Instant::now()
    }

    /// Rounds over so many services, each of which takes so long; how long each slice and each pause was.
    fn round(services: u8, each: Duration, hurried: bool) -> (usize, Duration) {
        let all: BTreeSet<ServiceKey> = (0..services).map(key).collect();
        let from = |after: Option<ServiceKey>| {
            all.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
        };
        let (mut rounds, began, mut read) = (Rounds::default(), now(), Vec::new());
        let mut at = began;
        rounds.begin(at);
        if hurried {
            rounds.hurry(at);
        }
        let mut slices = 0;
        while let Some(due) = rounds.deadline() {
            at = at.max(due);
            let keys = rounds.slice(at, from);
            if keys.is_empty() {
                break;
            }
            let took = each * u32::try_from(keys.len()).unwrap();
            assert!(took <= SLICE.max(each * u32::try_from(FEW).unwrap()));
            at += took;
            slices += 1;
            rounds.sliced(at, keys.len(), took);
            read.extend(keys);
        }
        assert_eq!(read, all.into_iter().collect::<Vec<_>>(), "each of them once");
        (slices, at - began)
    }

    #[test]
    fn a_small_table_is_read_in_few_slices_and_a_large_one_with_pauses_unless_somebody_changes_it() {
        let (slices, took) = round(200, Duration::from_micros(10), false);
        assert!(slices <= 2 && took < Duration::from_millis(10), "{slices} slices in {took:?}");
        let each = Duration::from_micros(300);
        let (slices, took) = round(200, each, false);
        assert!(slices >= 10 && took >= each * 200 * SHARE / 2, "{slices} slices in {took:?}");
        let (_, took) = round(200, each, true);
        assert_eq!(took, each * 200);
    }
}
