//! When news go out. The first after a while at once; then together what happens within a moment; but that a server is
//! down is not kept back for company, unless so many go down that the bus would be busy with nothing else.

use std::time::{Duration, Instant};

/// What happens within this time is told together.
const PERIOD: Duration = Duration::from_millis(20);
/// So many urgent news go out without waiting…
const CREDIT: u32 = 100;
/// …and one more for each of these.
const REFILL: Duration = Duration::from_millis(2);

#[derive(Debug)]
pub struct Pace {
    /// When the last news went out.
    last: Option<Instant>,
    is_urgent: bool,
    /// That may be spent until `filled`.
    credit: u32,
    filled: Option<Instant>,
}

impl Default for Pace {
    fn default() -> Self {
        Self { last: None, is_urgent: false, credit: CREDIT, filled: None }
    }
}

impl Pace {
    /// Something is to be told that somebody acts on at once.
    pub fn hurry(&mut self) {
        self.is_urgent = true;
    }

    /// When what there is to tell may be told; `None`: at once.
    pub fn due(&self) -> Option<Instant> {
        let last = self.last?;
        if !self.is_urgent {
            return Some(last + PERIOD);
        }
        if self.credit > 0 { None } else { self.filled.map(|filled| (filled + REFILL).min(last + PERIOD)) }
    }

    pub fn is_due(&self, now: Instant) -> bool {
        self.due().is_none_or(|at| at <= now)
    }

    /// All that was to be told is told.
    pub fn on_told(&mut self, now: Instant) {
        let filled = self.filled.unwrap_or(now);
        let more = now.saturating_duration_since(filled).as_nanos() / REFILL.as_nanos();
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        if more > 0 || self.filled.is_none() {
            self.filled = Some(if more >= CREDIT { now } else { filled + REFILL * more });
        }
        self.credit = self.credit.saturating_add(more).min(CREDIT);
        if self.is_urgent {
            self.credit = self.credit.saturating_sub(1);
        }
        self.is_urgent = false;
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use daemon::event_loop::Clock;

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn start() -> Instant {
        Clock::new().unwrap().now()
    }

    #[test]
    fn the_first_news_go_out_at_once_and_what_follows_waits_for_company() {
        let (start, mut pace) = (start(), Pace::default());
        assert!(pace.is_due(start));
        pace.on_told(start);
        assert!(!pace.is_due(start + PERIOD - MILLISECOND));
        assert_eq!(pace.due(), Some(start + PERIOD));
        assert!(pace.is_due(start + PERIOD));
    }

    #[test]
    fn urgent_news_wait_for_nothing() {
        let (start, mut pace) = (start(), Pace::default());
        pace.on_told(start);
        pace.hurry();
        assert!(pace.is_due(start));
        pace.on_told(start);
        assert!(!pace.is_due(start), "the next are no more urgent than any");
    }

    /// How many of the urgent news that there are each tenth of a millisecond go out within so many of these.
    fn told(pace: &mut Pace, from: Instant, tenths: u32) -> usize {
        let moments = (0..tenths).map(|tenth| from + MILLISECOND / 10 * tenth);
        let is_told = |now: &Instant| {
            pace.hurry();
            let is_due = pace.is_due(*now);
            if is_due {
                pace.on_told(*now);
            }
            is_due
        };
        moments.filter(is_told).count()
    }

    #[test]
    fn a_flood_of_urgent_news_is_told_together() {
        let (start, mut pace) = (start(), Pace::default());
        assert_eq!(told(&mut pace, start, 100), 100, "the first");
        let second = told(&mut pace, start + 10 * MILLISECOND, 10_000);
        assert!((490..=510).contains(&second), "{second} in the second after them");
        let later = start + Duration::from_secs(60);
        assert_eq!(told(&mut pace, later, 50), 50, "a minute later it is as at first");
    }

    #[test]
    fn five_hundred_deaths_a_second_are_each_told_at_once() {
        let (start, mut pace) = (start(), Pace::default());
        for number in 0..2_000 {
            pace.hurry();
            let now = start + 2 * MILLISECOND * number;
            assert!(pace.is_due(now), "number {number}");
            pace.on_told(now);
        }
    }
}
