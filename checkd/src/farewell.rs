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
use crate::transport::Leave;

/// How long a server has for what it still wants to send, and to close.
const PATIENCE: Duration = Duration::from_secs(1);
/// Each holds a file descriptor.
const COUNT_LIMIT: usize = 1024;

/// Names one of them; later ones have higher numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FarewellId(u64);

#[derive(Debug)]
pub struct Farewells {
    next: u64,
    limit: usize,
    /// The first is the first to be over, since all have the same time.
    parts: BTreeMap<FarewellId, (Instant, Part)>,
}

impl Default for Farewells {
    fn default() -> Self {
        Self { next: 0, limit: COUNT_LIMIT, parts: BTreeMap::new() }
    }
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
        let is_at_rest = match part.transport.take_leave(buffer) {
            Leave::Take => return close(events, part),
            Leave::Rest => true,
            Leave::Wait => false,
        };
        if self.parts.len() >= self.limit
            && let Some((_, (_, oldest))) = self.parts.pop_first()
        {
            reset(events, oldest);
        }
        let id = FarewellId(self.next);
        self.next += 1;
        let event = event(id);
        if part.watch(events, Interest::Read, is_at_rest, event).is_err() {
            return reset(events, part);
        }
        if let Some(token) = part.token() {
            events.rename(token, event);
        }
        self.parts.insert(id, (events.clock().now() + PATIENCE, part));
    }

    /// A server has sent something, or has closed.
    pub fn on_ready<E: Copy>(
        &mut self,
        events: &mut EventLoop<E>,
        buffer: &mut [u8],
        id: FarewellId,
        event: impl FnOnce(FarewellId) -> E,
    ) {
        // An event of this turn for one whose time was over in this turn.
        let Some((_, part)) = self.parts.get_mut(&id) else { return };
        let is_over = match part.transport.take_leave(buffer) {
            Leave::Take => true,
            Leave::Rest => false,
            Leave::Wait => part.watch(events, Interest::Read, false, event(id)).is_err(),
        };
        if is_over && let Some((_, part)) = self.parts.remove(&id) {
            close(events, part);
        }
    }

    /// Reset those whose time is over.
    pub fn on_time<E: Copy>(&mut self, events: &mut EventLoop<E>, now: Instant) {
        while let Some(oldest) = self.parts.first_entry()
            && oldest.get().0 <= now
        {
            reset(events, oldest.remove().1);
        }
    }

    /// When the next one's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.parts.first_key_value().map(|(_, (until, _))| *until)
    }
}

/// Close a part's connection as it is.
pub fn close<E: Copy>(events: &mut EventLoop<E>, part: Part) {
    if let Some(token) = part.token() {
        events.close(token, part.transport);
    }
}

/// Close a part's connection without a word, if it is one whose server should have closed it.
pub fn reset<E: Copy>(events: &mut EventLoop<E>, part: Part) {
    part.transport.reset();
    close(events, part);
}

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read as _, Write as _};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;

    use super::*;
    use crate::probe::http::{Probe, Request};
    use crate::transport::connect::Connect;
    use crate::transport::stream::Stream;
    use crate::transport::{Step, Transport};

    type Events = EventLoop<Option<FarewellId>>;

    /// A probe that has just passed, and the server's end of its connection.
    fn passed(
        listener: &TcpListener,
        events: &mut Events,
        buffer: &mut [u8],
        has_closed: bool,
    ) -> (Part, TcpStream) {
        let to: SocketAddr = listener.local_addr().unwrap();
        let probe = Box::new(Probe::new(&Arc::new(Request::default()), to));
        let stream = Stream::open(probe, to, &Connect::default()).unwrap();
        let mut part = Part::new(Transport::Stream(stream));
        let (mut server, _) = listener.accept().unwrap();
        server.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        server.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n").unwrap();
        if has_closed {
            server.shutdown(std::net::Shutdown::Write).unwrap();
        }
        let (mut ready, mut told) = (Vec::new(), None);
        loop {
            let (interest, is_at_rest) = match part.transport.advance(buffer, told) {
                Step::Done(_) => return (part, server),
                Step::GoOn(_) => panic!("HTTP is one conversation"),
                Step::Wait(interest) => (interest, false),
                Step::Rest(interest) => (interest, true),
            };
            part.watch(events, interest, is_at_rest, None).unwrap();
            events.wait(None, &mut ready).unwrap();
            told = ready.pop().map(|(_, ready)| ready);
        }
    }

    #[test]
    fn a_server_that_has_closed_by_the_time_of_the_outcome_is_not_waited_for() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut events, mut buffer) = (Events::new().unwrap(), [0; 512]);
        let mut farewells = Farewells::default();
        let (part, mut server) = passed(&listener, &mut events, &mut buffer, true);
        farewells.begin(&mut events, &mut buffer, part, Some);
        assert_eq!(farewells.parts.len(), 0);
        assert_eq!(end(&mut server), Ok(0), "closed, not reset");
    }

    /// What the server hears after the request: its end, or a reset.
    fn end(server: &mut TcpStream) -> Result<usize, ErrorKind> {
        loop {
            match server.read(&mut [0; 1024]) {
                Ok(0) => return Ok(0),
                Ok(_) => {}
                Err(error) => return Err(error.kind()),
            }
        }
    }

    #[test]
    fn a_server_may_close_in_its_time_and_is_reset_after_it_or_when_there_are_too_many() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (mut events, mut buffer) = (Events::new().unwrap(), [0; 512]);
        let mut farewells = Farewells { limit: 2, ..Farewells::default() };
        let mut servers: Vec<TcpStream> = Vec::new();
        for _ in 0..3 {
            let (part, server) = passed(&listener, &mut events, &mut buffer, false);
            farewells.begin(&mut events, &mut buffer, part, Some);
            servers.push(server);
        }
        let [first, second, third] = servers.as_mut_slice() else { panic!("three servers") };
        assert_eq!(end(first), Err(ErrorKind::ConnectionReset), "the oldest makes room");
        assert_eq!(farewells.parts.len(), 2);
        // The second one sends what it has, and closes.
        second.write_all(&[b'x'; 1000]).unwrap();
        second.shutdown(std::net::Shutdown::Write).unwrap();
        let mut ready = Vec::new();
        while farewells.parts.len() > 1 {
            events.wait(None, &mut ready).unwrap();
            for (id, _) in ready.drain(..) {
                farewells.on_ready(&mut events, &mut buffer, id.unwrap(), Some);
            }
        }
        assert_eq!(end(second), Ok(0));
        // The third one does not.
        let until = farewells.deadline().unwrap();
        farewells.on_time(&mut events, until - Duration::from_nanos(1));
        assert_eq!(farewells.parts.len(), 1);
        farewells.on_time(&mut events, until);
        assert_eq!((farewells.parts.len(), farewells.deadline()), (0, None));
        assert_eq!(end(third), Err(ErrorKind::ConnectionReset));
    }
}
