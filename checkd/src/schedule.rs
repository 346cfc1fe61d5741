//! When each target is looked at next: an ordered set of deadlines, and the seeded spreading of first probes.
//!
//! Exactly one deadline per target (its next probe, or the end of the running one's time); what it means, the
//! target knows. Moving a deadline costs O(log n), so tens of thousands of targets need no timer each.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::time::{Duration, Instant};

/// Names one target for as long as it is watched; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// First probes of many targets are spread over at most this long…
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// …and over no more than this for each, so that a few targets are known at once.
const FIRST_ROUND_PER_TARGET: Duration = Duration::from_millis(1);

#[derive(Debug)]
pub struct Schedule {
    due: BTreeSet<(Instant, TargetId)>,
    seed: u64,
}

impl Schedule {
    /// Equal seeds give equal times; two directors should differ in theirs.
    pub fn new(seed: u64) -> Self {
        Self { due: BTreeSet::new(), seed }
    }

    pub fn add(&mut self, at: Instant, id: TargetId) {
        self.due.insert((at, id));
    }

    /// `at` is the time that it was added with.
    pub fn remove(&mut self, at: Instant, id: TargetId) {
        self.due.remove(&(at, id));
    }

    /// The earliest time at which something is to be done.
    pub fn deadline(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Take out the earliest, if it is due.
    pub fn pop(&mut self, now: Instant) -> Option<TargetId> {
        if self.deadline()? > now {
            return None;
        }
        self.due.pop_first().map(|(_, id)| id)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }

    /// How long a new target waits for its first probe when `together` targets are new in the same turn: never
    /// all at once, and never longer than an interval.
    pub fn first_delay(&self, key: &impl Hash, together: usize, interval: Duration) -> Duration {
        let together = u32::try_from(together).unwrap_or(u32::MAX);
        let window = FIRST_ROUND.min(interval).min(FIRST_ROUND_PER_TARGET.saturating_mul(together));
        self.fraction_of(window, key)
    }

    /// From the start of a target's first probe to that of its second: between half an interval and a whole one,
    /// so that the first round's crowd is spread over the interval from then on.
    pub fn second_delay(&self, key: &impl Hash, interval: Duration) -> Duration {
        interval - self.fraction_of(interval / 2, &(key, "second"))
    }

    /// A seeded part of `window`, from none of it to almost all.
    fn fraction_of(&self, window: Duration, key: &impl Hash) -> Duration {
        let mut hasher = Mixer(self.seed);
        key.hash(&mut hasher);
        let part = u32::try_from(hasher.finish() >> 48).expect("16 bits fit");
        window * part / 65_536
    }
}

/// A hasher whose result depends on the seed and the key only (the standard library's is unspecified between
/// versions): FNV-1a, then SplitMix64's finish to spread it over all bits.
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut z = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use daemon::event_loop::Clock;

    const INTERVAL: Duration = Duration::from_secs(6);

    fn keys(count: u16) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        (0..count).map(|port| ("tcp", SocketAddr::from(([10, 0, 0, 1], port))))
    }

    #[test]
    fn what_is_due_comes_out_in_order_and_only_when_due() {
        let start = Clock::new().unwrap().now();
        let mut schedule = Schedule::new(1);
        for (milliseconds, id) in [(30, 3), (10, 1), (20, 2), (40, 4)] {
            schedule.add(start + Duration::from_millis(milliseconds), TargetId(id));
        }
        schedule.remove(start + Duration::from_millis(20), TargetId(2));
        assert_eq!(schedule.deadline(), Some(start + Duration::from_millis(10)));
        let now = start + Duration::from_millis(30);
        assert_eq!(schedule.pop(now), Some(TargetId(1)));
        assert_eq!(schedule.pop(now), Some(TargetId(3)));
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.deadline(), Some(start + Duration::from_millis(40)));
    }

    #[test]
    fn a_few_new_targets_are_probed_within_milliseconds() {
        let schedule = Schedule::new(7);
        for key in keys(2) {
            assert!(schedule.first_delay(&key, 2, INTERVAL) < Duration::from_millis(2));
        }
    }

    #[test]
    fn many_new_targets_are_spread_over_a_second_and_never_longer_than_an_interval() {
        let schedule = Schedule::new(7);
        let mut tenths = [0_u32; 10];
        for key in keys(10_000) {
            let delay = schedule.first_delay(&key, 10_000, INTERVAL);
            assert!(delay < Duration::from_secs(1));
            tenths[usize::try_from(delay.as_millis() / 100).unwrap()] += 1;
            assert!(
                schedule.first_delay(&key, 10_000, Duration::from_millis(200)) < Duration::from_millis(200)
            );
        }
        assert!(tenths.iter().all(|count| (850..1_150).contains(count)), "{tenths:?}");
    }

    #[test]
    fn the_second_round_is_spread_over_half_an_interval_and_is_never_late() {
        let schedule = Schedule::new(7);
        let delays: Vec<_> = keys(10_000).map(|key| schedule.second_delay(&key, INTERVAL)).collect();
        assert!(delays.iter().all(|delay| *delay > INTERVAL / 2 && *delay <= INTERVAL));
        let early = delays.iter().filter(|delay| **delay < INTERVAL * 3 / 4).count();
        assert!((4_500..5_500).contains(&early), "{early}");
    }

    #[test]
    fn equal_seeds_give_equal_times_and_other_seeds_other_ones() {
        let delays = |seed| {
            keys(50).map(|key| Schedule::new(seed).first_delay(&key, 5_000, INTERVAL)).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
