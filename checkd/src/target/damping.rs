//! Flap damping: a server that changed its state too often stays down, although it passes, until it has been good for
//! a while without a break. A down is never delayed.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use super::Moment;

/// When a server flaps, and what is done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damping {
    /// Changes of state…
    pub changes: NonZeroU32,
    /// …within this time are too many…
    pub within: Duration,
    /// …and the server has to pass for this long before it is up again.
    pub hold: Duration,
}

/// What damping remembers of one target.
#[derive(Clone, Debug, Default)]
pub(super) struct Flaps {
    /// When the state changed, the last time last; no more than it takes.
    changes: VecDeque<Instant>,
    is_held: bool,
    good_since: Option<Moment>,
}

impl Flaps {
    /// A target that was held before a restart, and has been good since then.
    pub(super) fn held(good_since: Option<Moment>) -> Self {
        Self { changes: VecDeque::new(), is_held: true, good_since }
    }

    pub(super) fn is_held(&self) -> bool {
        self.is_held
    }

    pub(super) fn good_since(&self) -> Option<Moment> {
        self.good_since
    }

    pub(super) fn on_change(&mut self, damping: Damping, now: Instant) {
        self.changes.push_back(now);
        while self.changes.len() > usize::try_from(damping.changes.get()).unwrap_or(usize::MAX) {
            self.changes.pop_front();
        }
    }

    pub(super) fn on_failure(&mut self) {
        self.good_since = None;
    }

    /// Enough probes in a row have passed for the target to come up. Whether it may; that ends the damping.
    pub(super) fn may_rise(&mut self, damping: Damping, at: Moment) -> bool {
        if !self.is_held {
            let is_recent = |change: &Instant| at.now.saturating_duration_since(*change) < damping.within;
            let recent = self.changes.iter().filter(|change| is_recent(change)).count();
            if u32::try_from(recent).is_ok_and(|recent| recent < damping.changes.get()) {
                return true;
            }
            self.is_held = true;
        }
        let good_since = *self.good_since.get_or_insert(at);
        if at.now.saturating_duration_since(good_since.now) < damping.hold {
            return false;
        }
        *self = Self::default();
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::WallClock;
    use daemon::event_loop::Clock;

    const MINUTE: Duration = Duration::from_secs(60);

    fn damping() -> Damping {
        Damping { changes: NonZeroU32::new(3).unwrap(), within: 5 * MINUTE, hold: 10 * MINUTE }
    }

    fn moment(start: Instant, minutes: u32) -> Moment {
        Moment { now: start + minutes * MINUTE, wall: WallClock(u64::from(minutes)) }
    }

    /// A target that changed its state at each of these minutes.
    fn changed(start: Instant, minutes: &[u32]) -> Flaps {
        let mut flaps = Flaps::default();
        for minute in minutes {
            flaps.on_change(damping(), moment(start, *minute).now);
        }
        flaps
    }

    #[test]
    fn changes_that_are_few_or_far_apart_hold_nobody() {
        let start = Clock::new().unwrap().now();
        for minutes in [&[][..], &[3], &[3, 4], &[0, 1, 9]] {
            let mut flaps = changed(start, minutes);
            assert!(flaps.may_rise(damping(), moment(start, 9)), "{minutes:?}");
            assert!(!flaps.is_held());
        }
        // The oldest of three changes has left the window.
        assert!(changed(start, &[0, 2, 4]).may_rise(damping(), moment(start, 5)));
        assert!(!changed(start, &[0, 2, 4]).may_rise(damping(), moment(start, 4)));
    }

    #[test]
    fn who_is_held_has_to_be_good_for_the_whole_time_without_a_break() {
        let start = Clock::new().unwrap().now();
        let mut flaps = changed(start, &[0, 1, 2]);
        let mut rise = |minute| {
            let may = flaps.may_rise(damping(), moment(start, minute));
            (may, flaps.good_since().map(|since| since.wall.0))
        };
        assert_eq!(rise(3), (false, Some(3)));
        assert_eq!(rise(12), (false, Some(3)), "the window is over, the hold is not");
        flaps.on_failure();
        let mut rise = |minute| flaps.may_rise(damping(), moment(start, minute));
        assert!(!rise(13) && !rise(22), "from the beginning");
        assert!(rise(23));
        assert!(!flaps.is_held());
        assert!(flaps.may_rise(damping(), moment(start, 24)), "and all is forgotten");
    }
}
