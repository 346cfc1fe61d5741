//! When each target is looked at next: ordered sets of deadlines, and the seeded spreading of probes.
//!
//! Exactly one deadline per target (its next probe, or the end of the running one's time); what it means, the
//! target knows. Moving a deadline costs O(log n), so tens of thousands of targets need no timer each. Every target
//! has a place of its own within its interval, to which it returns whatever brought many together: a start, a
//! reload, an outage.

use std::collections::BTreeSet;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::mix::mix;

/// Names one target for as long as it is watched; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u64);

/// Where a target stands in any span of time, as a part of 2^64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// From none of `span` to almost all.
    fn within(self, span: Duration) -> Duration {
        let part = (u128::from(nanoseconds(span)) * u128::from(self.0)) >> 64;
        Duration::from_nanos(u64::try_from(part).expect("less than the whole"))
    }

    /// An unrelated one.
    fn another(self, number: u64) -> Self {
        Self(mix(self.0, &number))
    }
}

/// First probes of many targets are spread over at most this long…
const FIRST_ROUND: Duration = Duration::from_secs(1);
/// …and over no more than this for each, so that a few targets are known at once.
const FIRST_ROUND_PER_TARGET: Duration = Duration::from_millis(1);

/// Who waits for so long anyhow…
const PATIENT: Duration = Duration::from_millis(500);
/// …waits for this long more where there are so many that several become due meanwhile: thousands of probes a second
/// share their wake-ups.
const GATHERING: Duration = Duration::from_millis(1);
const CROWD: usize = 1000;

#[derive(Debug)]
pub struct Schedule {
    /// Those that are looked at when their time comes.
    prompt: BTreeSet<(Instant, TargetId)>,
    /// Those that may wait for [`GATHERING`] longer. Whatever wakes us before takes them along.
    patient: BTreeSet<(Instant, TargetId)>,
    seed: u64,
    /// From where places in an interval are counted.
    epoch: Instant,
}

impl Schedule {
    /// Equal seeds give equal times after `epoch`; two directors should differ in theirs.
    pub fn new(seed: u64, epoch: Instant) -> Self {
        Self { prompt: BTreeSet::new(), patient: BTreeSet::new(), seed, epoch }
    }

    pub fn add(&mut self, at: Instant, id: TargetId) {
        self.prompt.insert((at, id));
    }

    /// As [`Schedule::add`], of one that may wait for a moment longer if it has to wait anyhow and is not alone.
    pub fn add_after(&mut self, now: Instant, at: Instant, id: TargetId) {
        let is_crowd = self.prompt.len() + self.patient.len() >= CROWD;
        let is_patient = is_crowd && at.saturating_duration_since(now) >= PATIENT;
        let set = if is_patient { &mut self.patient } else { &mut self.prompt };
        set.insert((at, id));
    }

    /// `at` is the time that it was added with.
    pub fn remove(&mut self, at: Instant, id: TargetId) {
        let _ = self.patient.remove(&(at, id)) || self.prompt.remove(&(at, id));
    }

    /// The earliest time at which something is to be done.
    pub fn deadline(&self) -> Option<Instant> {
        let prompt = self.prompt.first().map(|(at, _)| *at);
        let patient = self.patient.first().map(|(at, _)| *at + GATHERING);
        prompt.into_iter().chain(patient).min()
    }

    /// Take out the earliest, if it is due.
    pub fn pop(&mut self, now: Instant) -> Option<TargetId> {
        let firsts = [&self.prompt, &self.patient].map(|set| set.first().filter(|(at, _)| *at <= now));
        let set = match firsts {
            [None, None] => return None,
            [Some(prompt), Some(patient)] if patient < prompt => &mut self.patient,
            [Some(_), _] => &mut self.prompt,
            [None, Some(_)] => &mut self.patient,
        };
        set.pop_first().map(|(_, id)| id)
    }

    /// How many are due at `then`.
    pub fn count_due(&self, then: Instant) -> usize {
        let all = ..=(then, TargetId(u64::MAX));
        self.prompt.range(all).count() + self.patient.range(all).count()
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.prompt.len() + self.patient.len()
    }

    pub fn place_of(&self, key: &impl Hash) -> Place {
        Place(mix(self.seed, key))
    }

    /// How long a target waits for its first probe when `together` targets begin in the same turn: never all at
    /// once, and never longer than an interval.
    pub fn first_delay(place: Place, together: usize, interval: Duration) -> Duration {
        let together = u32::try_from(together).unwrap_or(u32::MAX);
        place.within(FIRST_ROUND.min(interval).min(FIRST_ROUND_PER_TARGET.saturating_mul(together)))
    }

    /// When the probe after one that started at `started` is to start: an interval later at most, and not before
    /// half of it is over. It is the target's place, if that can be; else on the way to it, so that all targets are
    /// in their places two probes after whatever brought them together.
    pub fn next_regular(&self, place: Place, started: Instant, interval: Duration) -> Instant {
        let until = self.until_place(place, started, interval);
        started + if until > interval / 2 { until } else { (until + interval) / 2 }
    }

    /// The target's place in the interval that begins at `now`.
    pub fn next_place(&self, place: Place, now: Instant, interval: Duration) -> Instant {
        now + self.until_place(place, now, interval)
    }

    /// More than nothing, and an interval at most.
    fn until_place(&self, place: Place, from: Instant, interval: Duration) -> Duration {
        let interval = nanoseconds(interval).max(1);
        let place = nanoseconds(place.within(Duration::from_nanos(interval)));
        let elapsed = nanoseconds(from.saturating_duration_since(self.epoch)) % interval;
        let until = if place > elapsed { place - elapsed } else { place + interval - elapsed };
        Duration::from_nanos(until)
    }

    /// From the end of probe number `count` to the next where the result may change the state: `retry`, or up to a
    /// quarter less, so that servers that fail together are not asked again together.
    pub fn retry_delay(place: Place, count: u64, retry: Duration) -> Duration {
        retry - place.another(count).within(retry / 4)
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use super::*;
    use daemon::event_loop::Clock;

    const INTERVAL: Duration = Duration::from_secs(6);

    fn start() -> Instant {
        Clock::new().unwrap().now()
    }

    fn schedule(seed: u64) -> Schedule {
        Schedule::new(seed, start())
    }

    fn places(schedule: &Schedule, count: u16) -> Vec<Place> {
        let keys = (0..count).map(|port| ("tcp", SocketAddr::from(([10, 0, 0, 1], port))));
        keys.map(|key| schedule.place_of(&key)).collect()
    }

    /// How many of the moments fall into each tenth of `span`, counted from `from`.
    fn tenths(moments: impl Iterator<Item = Instant>, from: Instant, span: Duration) -> [u32; 10] {
        let mut tenths = [0_u32; 10];
        for moment in moments {
            let tenth = (moment - from).as_nanos() * 10 / span.as_nanos() % 10;
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        tenths
    }

    fn is_even(tenths: &[u32; 10]) -> bool {
        tenths.iter().all(|count| (850..1_150).contains(count))
    }

    #[test]
    fn a_crowd_is_waited_for_by_those_who_wait_anyhow_and_by_nobody_else() {
        let start = start();
        let mut schedule = Schedule::new(1, start);
        let [soon, late] = [PATIENT / 2, 2 * PATIENT].map(|wait| start + wait);
        schedule.add_after(start, late, TargetId(0));
        assert_eq!(schedule.deadline(), Some(late), "one alone gains nothing by waiting");
        schedule.remove(late, TargetId(0));
        for id in 0..2_000 {
            schedule.add_after(start, late + GATHERING / 2_000 * u32::try_from(id).unwrap(), TargetId(id));
        }
        // The first thousand were no crowd yet.
        for id in 0..1_000 {
            let at = late + GATHERING / 2_000 * u32::try_from(id).unwrap();
            schedule.remove(at, TargetId(id));
            schedule.add_after(start, at, TargetId(id));
        }
        assert_eq!(schedule.deadline(), Some(late + GATHERING));
        schedule.add_after(start, soon, TargetId(2_000));
        assert_eq!(schedule.deadline(), Some(soon), "who comes soon is not kept waiting");
        let after = late + GATHERING / 2;
        let taken: Vec<u64> = std::iter::from_fn(|| schedule.pop(after)).map(|TargetId(id)| id).collect();
        let expected: Vec<u64> = std::iter::once(2_000).chain(0..=1_000).collect();
        assert_eq!(taken, expected, "whatever wakes us takes all along that are due, in order");
        assert_eq!((schedule.count_due(late + GATHERING), schedule.len()), (999, 999));
    }

    #[test]
    fn what_is_due_comes_out_in_order_and_only_when_due() {
        let start = start();
        let mut schedule = Schedule::new(1, start);
        for (milliseconds, id) in [(30, 3), (10, 1), (20, 2), (40, 4)] {
            schedule.add(start + Duration::from_millis(milliseconds), TargetId(id));
        }
        schedule.remove(start + Duration::from_millis(20), TargetId(2));
        assert_eq!(schedule.deadline(), Some(start + Duration::from_millis(10)));
        let now = start + Duration::from_millis(30);
        assert_eq!(schedule.count_due(now), 2);
        assert_eq!(schedule.pop(now), Some(TargetId(1)));
        assert_eq!(schedule.pop(now), Some(TargetId(3)));
        assert_eq!(schedule.pop(now), None);
        assert_eq!(schedule.deadline(), Some(start + Duration::from_millis(40)));
    }

    #[test]
    fn a_few_new_targets_are_probed_within_milliseconds() {
        for place in places(&schedule(7), 2) {
            assert!(Schedule::first_delay(place, 2, INTERVAL) < Duration::from_millis(2));
        }
    }

    #[test]
    fn many_new_targets_are_spread_over_a_second_and_never_longer_than_an_interval() {
        let schedule = schedule(7);
        let delays: Vec<_> = places(&schedule, 10_000)
            .into_iter()
            .map(|place| Schedule::first_delay(place, 10_000, INTERVAL))
            .collect();
        let second = Duration::from_secs(1);
        assert!(delays.iter().all(|delay| *delay < second));
        let start = start();
        let tenths = tenths(delays.iter().map(|delay| start + *delay), start, second);
        assert!(is_even(&tenths), "{tenths:?}");
        let short = Duration::from_millis(200);
        let within = |place| Schedule::first_delay(place, 10_000, short) < short;
        assert!(places(&schedule, 10_000).into_iter().all(within));
    }

    #[test]
    fn a_crowd_is_spread_over_the_whole_interval_two_probes_later_and_no_probe_is_late_or_early() {
        let schedule = schedule(7);
        let crowd = schedule.epoch + Duration::from_millis(12_345);
        let mut moments = Vec::new();
        for place in places(&schedule, 10_000) {
            let mut started = crowd;
            for _ in 0..2 {
                let next = schedule.next_regular(place, started, INTERVAL);
                assert!(next - started > INTERVAL / 2 && next - started <= INTERVAL);
                started = next;
            }
            moments.push(started);
            // From here on it keeps its place, a loop that is late by some milliseconds notwithstanding.
            let late = started + Duration::from_millis(5);
            assert_eq!(schedule.next_regular(place, late, INTERVAL), started + INTERVAL);
        }
        let tenths = tenths(moments.into_iter(), schedule.epoch, INTERVAL);
        assert!(is_even(&tenths), "{tenths:?}");
    }

    #[test]
    fn places_in_the_interval_that_begins_now_are_spread_over_all_of_it() {
        let schedule = schedule(7);
        let now = schedule.epoch + Duration::from_millis(999);
        let moments: Vec<_> = places(&schedule, 10_000)
            .into_iter()
            .map(|place| schedule.next_place(place, now, INTERVAL))
            .collect();
        assert!(moments.iter().all(|moment| *moment > now && *moment <= now + INTERVAL));
        let tenths = tenths(moments.into_iter(), now, INTERVAL);
        assert!(is_even(&tenths), "{tenths:?}");
    }

    #[test]
    fn who_failed_together_is_asked_again_apart_and_no_later_than_the_retry_interval() {
        let second = Duration::from_secs(1);
        let places = places(&schedule(7), 10_000);
        let mut in_millisecond = std::collections::HashMap::new();
        for place in &places {
            let delay = Schedule::retry_delay(*place, 3, second);
            assert!(delay > second * 3 / 4 && delay <= second);
            *in_millisecond.entry(delay.as_millis()).or_insert(0_u32) += 1;
        }
        let most = in_millisecond.values().max().unwrap();
        assert!(*most < 100, "{most} of 10,000 in one millisecond");
        let again = Schedule::retry_delay(places[0], 4, second);
        assert_ne!(again, Schedule::retry_delay(places[0], 3, second), "not in step from one to the next");
    }

    #[test]
    fn equal_seeds_give_equal_times_and_other_seeds_other_ones() {
        let delays = |seed| {
            let places = places(&schedule(seed), 50);
            places.into_iter().map(|place| Schedule::first_delay(place, 5_000, INTERVAL)).collect::<Vec<_>>()
        };
        assert_eq!(delays(1), delays(1));
        assert_ne!(delays(1), delays(2));
    }
}
