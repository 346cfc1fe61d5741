//! Which virtual router's deadline comes next, without asking all of them. Pure.
//!
//! A heap with at most one entry per router as long as deadlines move away, as they do with every advertisement that
//! a Backup hears: such an entry is looked at when its time comes, and put back for the deadline that holds then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Instant;

use super::index::RouterId;

#[derive(Clone, Copy, Debug, Default)]
struct Timer {
    deadline: Option<Instant>,
    /// The time of its entry in the heap. Any other entry of its own there is an old one.
    queued: Option<Instant>,
}

#[derive(Debug, Default)]
pub(super) struct Timers {
    /// By the number of the router.
    timers: Vec<Timer>,
    heap: BinaryHeap<Reverse<(Instant, RouterId)>>,
}

impl Timers {
    /// The router's deadline is this one now; `None`: it has none.
    pub(super) fn set(&mut self, router: RouterId, deadline: Option<Instant>) {
        let number = router.number();
        if number >= self.timers.len() {
            self.timers.resize(number + 1, Timer::default());
        }
        let timer = &mut self.timers[number];
        timer.deadline = deadline;
        if let Some(at) = deadline
            && timer.queued.is_none_or(|queued| at < queued)
        {
            timer.queued = Some(at);
            self.heap.push(Reverse((at, router)));
        }
    }

    /// The earliest deadline.
    pub(super) fn next(&mut self) -> Option<Instant> {
        while let Some(Reverse((at, router))) = self.heap.peek().copied() {
            let timer = &mut self.timers[router.number()];
            if timer.queued == Some(at) && timer.deadline == Some(at) {
                return Some(at);
            }
            self.heap.pop();
            // Its own entry, which came too early; any other is an old one.
            if timer.queued == Some(at) {
                timer.queued = timer.deadline;
                self.heap.extend(timer.deadline.map(|later| Reverse((later, router))));
            }
        }
        None
    }

    /// Put every router whose deadline has come into `due`, the earliest first, and tell its deadline. Each is to be
    /// `set` again.
    pub(super) fn take_due(&mut self, now: Instant, due: &mut Vec<RouterId>) -> Option<Instant> {
        let earliest = self.next().filter(|at| *at <= now);
        while self.next().is_some_and(|at| at <= now) {
            let Some(Reverse((_, router))) = self.heap.pop() else { break };
            self.timers[router.number()] = Timer::default();
            due.push(router);
        }
        earliest
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::testing::Random;

    fn due(timers: &mut Timers, now: Instant) -> Vec<usize> {
        let mut due = Vec::new();
        timers.take_due(now, &mut due);
        due.into_iter().map(RouterId::number).collect()
    }

    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_earliest_deadline_is_next_and_those_that_have_come_are_taken_in_their_order() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut timers = Timers::default();
        for (number, seconds) in [(0, 3), (1, 1), (2, 2)] {
            timers.set(RouterId::new(number), Some(start + seconds * second));
        }
        assert_eq!(timers.next(), Some(start + second));
        assert_eq!(due(&mut timers, start), [0; 0]);
        assert_eq!(due(&mut timers, start + 2 * second), [1, 2]);
        assert_eq!(due(&mut timers, start + 2 * second), [0; 0], "each is taken once");
        assert_eq!(timers.next(), Some(start + 3 * second));
        timers.set(RouterId::new(0), None);
        assert_eq!(timers.next(), None);
    }

    #[test]
    fn a_deadline_that_moves_away_with_every_advertisement_leaves_one_entry() {
        let (start, second) = (start(), Duration::from_secs(1));
        let mut timers = Timers::default();
        for heard in 0..1_000 {
            timers.set(RouterId::new(0), Some(start + heard * second));
        }
        assert_eq!(timers.heap.len(), 1);
        assert_eq!(timers.next(), Some(start + 999 * second));
        timers.set(RouterId::new(0), Some(start + second));
        assert_eq!(timers.next(), Some(start + second), "one that comes nearer is not missed");
    }

    #[test]
    fn whatever_is_set_the_same_is_next_as_if_all_were_asked() {
        let start = start();
        let mut random = Random::new(11);
        let (mut timers, mut all) = (Timers::default(), BTreeMap::new());
        let mut now = start;
        for _ in 0..20_000 {
            let number = random.below(50);
            let at = (random.below(8) > 0).then(|| now + Duration::from_millis(random.below(100)));
            timers.set(RouterId::new(usize::try_from(number).unwrap()), at);
            all.insert(number, at);
            if random.below(4) == 0 {
                now += Duration::from_millis(random.below(20));
                let mut taken = due(&mut timers, now);
                taken.sort_unstable();
                let come = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
                let expected = all.iter().filter(|(_, at)| come(at)).map(|(number, _)| *number);
                let expected: Vec<_> = expected.map(|number| usize::try_from(number).unwrap()).collect();
                assert_eq!(taken, expected);
                all.retain(|_, at| !come(at));
            }
            assert_eq!(timers.next(), all.values().flatten().min().copied());
        }
    }
}
