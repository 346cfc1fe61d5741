//! Connections whose part of a probe has ended, and whose server is to close them first: it was asked to, and is about
//! to. Whoever closes first keeps the connection for a minute (TIME_WAIT, RFC 9293 section 3.6): here that would be
//! one for each probe, there it is one for each of our probes of that server. And a server that is still sending would
//! see a reset, which some log as an error of theirs.
//!
//! It is a courtesy with limits: so long, so many bytes (`transport/stream.rs`), so many connections. Beyond them the
//! connection is reset, which leaves nothing behind on either side.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use daemon::event_loop::{EventLoop, Interest};

use crate::attempt::Part;

/// How long a server has for what it still wants to send, and to close.
const PATIENCE: Duration = Duration::from_secs(1);
/// Each holds a file descriptor.
const COUNT_LIMIT: usize = 1024;

/// Names one of them; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FarewellId(u64);

#[derive(Debug, Default)]
pub struct Farewells {
    next: u64,
    /// The first is the first to be over, since all have the same time.
    parts: BTreeMap<FarewellId, (Instant, Part)>,
}

impl Farewells {
    /// A part has ended. Close it, unless its server is to be waited for: then the loop yields `event` whenever that
    /// has something to say.
    pub fn begin<E: Copy>(
        &mut self,
        events: &mut EventLoop<E>,
        buffer: &mut [u8],
        mut part: Part,
        event: impl FnOnce(FarewellId) -> E,
    ) {
        if part.transport.take_leave(buffer) {
            return close(events, &part);
        }
        if self.parts.len() >= COUNT_LIMIT
            && let Some((_, (_, oldest))) = self.parts.pop_first()
        {
            reset(events, &oldest);
        }
        let id = FarewellId(self.next);
        self.next += 1;
        let event = event(id);
        let watched = match part.registration {
            Some((token, Interest::Read)) => Ok(token),
            Some((token, _)) => events.change(token, &part.transport, Interest::Read).map(|()| token),
            None => events.register(&part.transport, Interest::Read, event),
        };
        let Ok(token) = watched else { return reset(events, &part) };
        events.rename(token, event);
        part.registration = Some((token, Interest::Read));
        self.parts.insert(id, (events.clock().now() + PATIENCE, part));
    }

    /// A server has sent something, or has closed.
    pub fn on_ready<E: Copy>(&mut self, events: &mut EventLoop<E>, buffer: &mut [u8], id: FarewellId) {
        // An event of this turn for one whose time was over in this turn.
        let Some((_, part)) = self.parts.get_mut(&id) else { return };
        if part.transport.take_leave(buffer)
            && let Some((_, part)) = self.parts.remove(&id)
        {
            close(events, &part);
        }
    }

    /// Reset those whose time is over.
    pub fn on_time<E: Copy>(&mut self, events: &mut EventLoop<E>, now: Instant) {
        while let Some(oldest) = self.parts.first_entry()
            && oldest.get().0 <= now
        {
            reset(events, &oldest.remove().1);
        }
    }

    /// When the next one's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.parts.first_key_value().map(|(_, (until, _))| *until)
    }
}

/// Close a part's connection as it is.
pub fn close<E: Copy>(events: &mut EventLoop<E>, part: &Part) {
    if let Some((token, _)) = part.registration {
        events.deregister(token, &part.transport);
    }
}

/// Close a part's connection without a word, if it is one whose server should have closed it.
pub fn reset<E: Copy>(events: &mut EventLoop<E>, part: &Part) {
    part.transport.reset();
    close(events, part);
}
