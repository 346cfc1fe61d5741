//! How late the loop's timers are, as a figure that an operator can ask for: a histogram that never allocates. Pure.

use std::time::Duration;

/// Each power of two of microseconds has so many buckets: what is told is at most an eighth too much.
const PARTS: usize = 8;
/// The last bucket begins at more than a minute.
const BUCKETS: usize = 25 * PARTS;

/// One measurement for each turn of the loop in which timers were due: from the earliest deadline until all that were
/// due have done what they had to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lateness {
    counts: [u64; BUCKETS],
    most: u64,
}

impl Default for Lateness {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], most: 0 }
    }
}

impl Lateness {
    pub fn record(&mut self, late: Duration) {
        let usec = u64::try_from(late.as_micros()).unwrap_or(u64::MAX);
        self.counts[bucket(usec)] += 1;
        self.most = self.most.max(usec);
    }

    /// For the bus: how often it was measured, percentiles and the most, in microseconds.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let total = self.counts.iter().sum();
        let percentile = |thousandths: u64| self.percentile(total, thousandths);
        [
            ("Turns", total),
            ("MedianUsec", percentile(500)),
            ("P99Usec", percentile(990)),
            ("P999Usec", percentile(999)),
            ("MaxUsec", self.most),
        ]
        .into_iter()
    }

    /// What so many thousandths of all did not exceed.
    fn percentile(&self, total: u64, thousandths: u64) -> u64 {
        let wanted = (total * thousandths).div_ceil(1000);
        let mut so_far = 0;
        let reaches = |count: &u64| {
            so_far += count;
            so_far >= wanted
        };
        self.counts.iter().position(reaches).map_or(0, |bucket| end(bucket).min(self.most))
    }
}

/// The first buckets hold one microsecond each; then each is an eighth of its power of two.
fn bucket(usec: u64) -> usize {
    if usec < 8 {
        return usize::try_from(usec).expect("less than eight");
    }
    let power = usize::try_from(usec.ilog2()).expect("less than 64");
    let part = usize::try_from(usec >> (power - 3) & 7).expect("three bits");
    ((power - 2) * PARTS + part).min(BUCKETS - 1)
}

/// The most microseconds that a bucket holds, if it is not the last.
fn end(bucket: usize) -> u64 {
    if bucket < PARTS {
        return u64::try_from(bucket).expect("less than eight");
    }
    let parts = u64::try_from(PARTS + bucket % PARTS + 1).expect("at most sixteen");
    (parts << (bucket / PARTS - 1)) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(lateness: &Lateness) -> Vec<u64> {
        lateness.rows().map(|(_, value)| value).collect()
    }

    #[test]
    fn nothing_measured_is_all_zero() {
        assert_eq!(rows(&Lateness::default()), [0; 5]);
    }

    #[test]
    fn percentiles_are_at_most_an_eighth_too_much_and_never_too_little() {
        let mut lateness = Lateness::default();
        for usec in 1..=10_000 {
            lateness.record(Duration::from_micros(usec));
        }
        let rows = rows(&lateness);
        assert_eq!((rows[0], rows[4]), (10_000, 10_000));
        for (told, truth) in rows[1..4].iter().zip([5_000, 9_900, 9_990]) {
            assert!((truth..=truth * 9 / 8).contains(told), "{told}, not {truth}");
        }
    }

    #[test]
    fn every_time_is_in_the_bucket_that_ends_at_or_after_it() {
        for usec in (0..5_000).chain([65_535, 65_536, 1_000_000, 59_999_999]) {
            let bucket = bucket(usec);
            assert!(usec <= end(bucket), "{usec}");
            assert!(bucket == 0 || usec > end(bucket - 1), "{usec}");
        }
        let mut lateness = Lateness::default();
        lateness.record(Duration::MAX);
        assert_eq!(lateness.counts[BUCKETS - 1], 1, "an absurd one is in the last");
    }
}
