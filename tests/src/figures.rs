//! Medians, percentiles and ratios of many times.

use std::fmt;

/// Times in nanoseconds, in order.
#[derive(Debug)]
pub struct Figures(Vec<i64>);

impl Figures {
    pub fn new(times: impl Iterator<Item = i64>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        assert!(!times.is_empty(), "nothing was measured");
        Self(times)
    }

    pub fn median(&self) -> i64 {
        self.at(0.5)
    }

    /// The smallest time that this share of all do not exceed.
    pub fn at(&self, share: f64) -> i64 {
        let all = u32::try_from(self.0.len()).expect("fewer than 2^32 samples");
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the count"
        )]
        let rank = (f64::from(all) * share).ceil() as usize;
        self.0[rank.clamp(1, self.0.len()) - 1]
    }

    pub fn max(&self) -> i64 {
        self.at(1.0)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }
}

/// Whole microseconds.
pub fn microseconds(nanoseconds: i64) -> String {
    (nanoseconds / 1000).to_string()
}

/// Of the medians and of the p99s of two measurements.
#[derive(Debug)]
pub struct Ratio(f64, f64);

impl Ratio {
    pub fn of(ours: &Figures, theirs: &Figures) -> Self {
        Self(ratio(ours.median(), theirs.median()), ratio(ours.at(0.99), theirs.at(0.99)))
    }
}

/// A program may be early, by the other's rounding; a ratio says something only of times that are positive.
pub fn ratio(ours: i64, theirs: i64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a ratio with two digits")]
    let ratio = ours.max(1) as f64 / theirs.max(1) as f64;
    ratio
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} / {:.2}", self.0, self.1)
    }
}
