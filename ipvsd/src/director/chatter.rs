//! How much is said about health that flips: line by line as long as somebody could read it.

use std::time::{Duration, Instant};

/// Within this time so many lines; what is more is counted.
const WINDOW: Duration = Duration::from_secs(10);
pub(super) const LINES: usize = 200;

#[derive(Debug, Default)]
pub(super) struct Chatter {
    since: Option<Instant>,
    said: usize,
    withheld: usize,
}

/// What is to be said of some news.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Room {
    /// So many of them, one by one.
    pub(super) lines: usize,
    /// These are the first that are not said.
    pub(super) begins_to_withhold: bool,
    /// So many were not said in a time that is over.
    pub(super) was_withheld: usize,
}

impl Chatter {
    pub(super) fn admit(&mut self, now: Instant, news: usize) -> Room {
        let mut was_withheld = 0;
        if self.since.is_none_or(|since| now.saturating_duration_since(since) >= WINDOW) {
            was_withheld = self.withheld;
            *self = Self { since: Some(now), said: 0, withheld: 0 };
        }
        let lines = news.min(LINES - self.said);
        let begins_to_withhold = self.withheld == 0 && lines < news;
        self.said += lines;
        self.withheld += news - lines;
        Room { lines, begins_to_withhold, was_withheld }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_lines_are_said_in_a_while_and_what_is_more_is_counted_and_told_in_the_next() {
        #[expect(clippy::disallowed_methods, reason = "a test needs some point to count from")]
        let now = Instant::now();
        let mut chatter = Chatter::default();
        let room = |lines, begins_to_withhold, was_withheld| Room { lines, begins_to_withhold, was_withheld };
        assert_eq!(chatter.admit(now, LINES - 1), room(LINES - 1, false, 0));
        assert_eq!(chatter.admit(now + WINDOW / 2, 5), room(1, true, 0));
        assert_eq!(chatter.admit(now + WINDOW / 2, 3), room(0, false, 0));
        assert_eq!(chatter.admit(now + WINDOW, 1), room(1, false, 7));
        assert_eq!(chatter.admit(now + WINDOW * 3, 1), room(1, false, 0));
    }
}
