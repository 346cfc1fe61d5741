//! Answers to `Targets`: tens of thousands of rows, put together a portion a turn, so that no probe waits for them.

use std::collections::VecDeque;
use std::time::Instant;

use daemon::bus::Reply;
use daemon::event_loop::Clock;

use crate::bus::TargetDetail;
use crate::registry::{Cursor, Registry};

/// Targets looked at in one turn: about a hundred microseconds of work.
const ROOM: usize = 512;

/// All questions that wait for an answer, the oldest first.
#[derive(Debug, Default)]
pub struct Listings(VecDeque<Listing>);

#[derive(Debug)]
struct Listing {
    check: String,
    from: Cursor,
    found: Vec<TargetDetail>,
    reply: Reply<Vec<TargetDetail>>,
}

impl Listings {
    pub fn add(&mut self, check: String, reply: Reply<Vec<TargetDetail>>) {
        self.0.push_back(Listing { check, from: Cursor::default(), found: Vec::new(), reply });
    }

    /// Whether [`Listings::advance`] has something to do.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One portion of the oldest answer.
    pub fn advance(&mut self, now: Instant, registry: &Registry, clock: Clock) {
        let Some(mut listing) = self.0.pop_front() else { return };
        if listing.reply.is_canceled() {
            return;
        }
        let (details, next) = registry.details(&listing.check, listing.from, ROOM);
        let wall = clock.realtime_usec(now);
        listing.found.extend(details.into_iter().map(|detail| {
            let later = |at: Instant| u64::try_from(at.saturating_duration_since(now).as_micros());
            let next = detail.next.map_or(0, |at| wall.saturating_add(later(at).unwrap_or(u64::MAX)));
            TargetDetail { next, detail }
        }));
        match next {
            Some(from) => self.0.push_front(Listing { from, ..listing }),
            // Nobody may wait any more: then the answer is lost, and that is right.
            None => drop(listing.reply.send(listing.found)),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_channel::oneshot;

    use super::*;
    use crate::check::Check;
    use crate::probe::Kind;
    use crate::registry::Checks;

    #[test]
    fn an_answer_is_put_together_in_portions_and_has_every_target_of_the_check_once() {
        let clock = Clock::new().unwrap();
        let now = clock.now();
        let tcp = || std::sync::Arc::new(Check::with_defaults(Kind::Tcp));
        let checks = Checks::from([("tcp".to_owned(), tcp()), ("other".to_owned(), tcp())]);
        let mut registry = Registry::new(checks, 1, now);
        let row = |number: usize| {
            let check = if number.is_multiple_of(2) { "tcp" } else { "other" };
            (check.to_owned(), format!("10.0.{}.{}:80", number / 256, number % 256))
        };
        let rows: Vec<_> = (0..5 * ROOM).map(row).collect();
        let _ = registry.watch_at_once(now, ":1.1", &rows);
        let mut listings = Listings::default();
        let (gone, _) = oneshot::channel();
        listings.add("tcp".into(), gone);
        let (reply, mut answer) = oneshot::channel();
        listings.add("tcp".into(), reply);
        let mut turns = 0;
        while !listings.is_empty() {
            listings.advance(now, &registry, clock);
            turns += 1;
        }
        assert_eq!(turns, 1 + 5, "one for who has left, five for the other");
        let found = answer.try_recv().unwrap().unwrap();
        let addresses: std::collections::BTreeSet<_> = found.iter().map(|row| row.detail.address).collect();
        assert_eq!((found.len(), addresses.len()), (5 * ROOM / 2, 5 * ROOM / 2));
        assert!(
            found.iter().all(|row| row.detail.row.check == "tcp" && row.next >= clock.realtime_usec(now))
        );
    }
}
