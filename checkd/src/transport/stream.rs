//! The socket of one conversation: TCP, with TLS on it when the conversation wants that, or a Unix socket of this
//! machine. What happens is told to the [`Conversation`], whose outcome comes back.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::event_loop::{Interest, Ready};
use nix::errno::Errno;
use rustls::pki_types::ServerName;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::connect::Connect;
use super::tls::{self, Session};
use super::{Leave, Step, errno_of};
use crate::probe::{Conversation, Outcome, errno, unanswered};

/// Where a stream leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    Inet(SocketAddr),
    /// A Unix socket's path; nothing of [`Connect`] applies.
    Unix(Arc<Path>),
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        Self::Inet(address)
    }
}

/// What a server may still send when the outcome is known, in bytes, so that it can close by itself. Pages of more are
/// for checks with `method = "HEAD"`.
const LEAVE_LIMIT: usize = 256 * 1024;

/// What is known of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// It was begun just now: the loop will tell when it is there.
    Begun,
    /// The loop watches it.
    Watched,
    /// connect(2) has said that it is there; nothing was looked at.
    Made,
    There,
}

/// What is known of what can be read, in the moment in which the outcome was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unread {
    Unknown,
    /// Nothing was left by the last read.
    Nothing,
    /// Nothing, and no more will come.
    End,
}

#[derive(Debug)]
enum Received {
    Outcome(Outcome),
    /// Perhaps not all that there is.
    Something,
    Nothing,
}

#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    endpoint: Endpoint,
    conversation: Box<dyn Conversation>,
    connection: Connection,
    unread: Unread,
    /// Bytes that were read after the outcome.
    left: usize,
    /// Whether the conversation knows that it is connected: under TLS from the start not before that has begun.
    told: bool,
    /// What TLS would be like, and the name that the certificate must be for.
    tls: Option<(Arc<tls::Settings>, ServerName<'static>)>,
    session: Option<Box<Session>>,
}

impl Stream {
    /// Begin to connect.
    ///
    /// # Errors
    /// The outcome, if it is known at once: refused, no route, or no socket to be had here.
    pub fn open(
        conversation: Box<dyn Conversation>,
        endpoint: impl Into<Endpoint>,
        connect: &Connect,
    ) -> Result<Self, Outcome> {
        let endpoint = endpoint.into();
        let failed = |error: &io::Error| conversation.on_unreachable(errno_of(error));
        let (socket, address) = match &endpoint {
            Endpoint::Inet(to) => {
                let socket = new_socket(Domain::for_address(*to), Some(Protocol::TCP));
                let socket = socket.map_err(|error| failed(&error))?;
                connect.prepare(&socket, *to)?;
                (socket, SockAddr::from(*to))
            }
            Endpoint::Unix(path) => {
                let socket = new_socket(Domain::UNIX, None).map_err(|error| failed(&error))?;
                (socket, SockAddr::unix(path).map_err(|error| failed(&error))?)
            }
        };
        let connection = match socket.connect(&address) {
            Ok(()) => Connection::Made,
            Err(error) if errno_of(&error) == Errno::EINPROGRESS => Connection::Begun,
            Err(error) => return Err(failed(&error)),
        };
        let (unread, told) = (Unread::Unknown, false);
        Ok(Self {
            socket,
            endpoint,
            conversation,
            connection,
            unread,
            told,
            tls: None,
            session: None,
            left: 0,
        })
    }

    /// Let the conversation begin TLS, with these settings and a certificate for this name.
    #[must_use]
    pub fn with_tls(self, tls: Option<(Arc<tls::Settings>, ServerName<'static>)>) -> Self {
        Self { tls, ..self }
    }

    /// Go on as far as it goes without waiting; reads at most one buffer full. `ready`: what the loop has just told of the
    /// socket; `None`: nothing, so that the kernel is asked.
    pub fn advance(&mut self, buffer: &mut [u8], ready: Option<Ready>) -> Step {
        if self.connection == Connection::Begun {
            self.connection = Connection::Watched;
            return Step::Rest(Interest::Write);
        }
        if self.connection != Connection::There {
            match self.finish_connecting(ready) {
                Some(step) => return step,
                None => self.connection = Connection::There,
            }
            if let Some(outcome) = self.on_connected() {
                return self.end(outcome);
            }
        }
        if let Some(step) = self.send(buffer) {
            return step;
        }
        // What it has said to nothing yet, it cannot have answered.
        if ready.is_some_and(|ready| !ready.read) {
            return Step::Rest(Interest::Read);
        }
        let received = self.receive(buffer, ready.is_some_and(|ready| ready.ended));
        let nothing_came = match received {
            Received::Outcome(outcome) => return self.end(outcome),
            Received::Something => false,
            Received::Nothing => true,
        };
        // What was received may have given it something to say.
        let step = if nothing_came { Step::Rest(Interest::Read) } else { Step::Wait(Interest::Read) };
        self.send(buffer).unwrap_or(step)
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Outcome {
        if self.connection == Connection::Begun {
            self.connection = Connection::Watched;
        }
        match (self.advance(buffer, None), self.conversation.decided()) {
            (Step::Done(outcome), _) | (Step::Wait(_) | Step::Rest(_) | Step::GoOn(_), Some(outcome)) => {
                outcome
            }
            (Step::Wait(_) | Step::Rest(_) | Step::GoOn(_), None) => match &self.session {
                Some(session) => unanswered(timeout, Some(&self.progress(session))),
                None if self.is_connected() => self.conversation.on_timeout(timeout),
                None => unanswered(timeout, None),
            },
        }
    }

    /// The loop could not watch the socket.
    pub fn on_error(&self, error: &io::Error) -> Outcome {
        let errno = errno_of(error);
        if let Some(outcome) = self.conversation.decided() {
            return outcome;
        }
        match &self.session {
            Some(session) => errno::outcome(errno, Some(&self.progress(session))),
            None if self.is_connected() => self.conversation.on_error(errno),
            None => self.conversation.on_unreachable(errno),
        }
    }

    fn is_connected(&self) -> bool {
        self.connection == Connection::There
    }

    /// The outcome is known: read on, and forget, until the server has closed the connection, if it is to.
    pub fn take_leave(&mut self, buffer: &mut [u8]) -> Leave {
        if !self.is_waited_for() {
            return Leave::Take;
        }
        match std::mem::replace(&mut self.unread, Unread::Unknown) {
            Unread::Unknown => {}
            Unread::Nothing => return Leave::Rest,
            Unread::End => return Leave::Take,
        }
        loop {
            match (&self.socket).read(buffer) {
                Ok(0) => return Leave::Take,
                Ok(count) => {
                    self.left += count;
                    if self.left > LEAVE_LIMIT {
                        self.reset();
                        return Leave::Take;
                    }
                    if count == buffer.len() {
                        return Leave::Wait;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Leave::Rest,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Leave::Take,
            }
        }
    }

    /// Closing resets the connection if the server should have closed it first: on neither side will it be waiting
    /// for what may still be on its way.
    pub fn reset(&self) {
        if self.is_waited_for() {
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// Whether the peer will close the connection: by itself, or because it was told that we say no more. What it still
    /// sends, such as tickets for another session, would be answered by a reset.
    fn is_waited_for(&self) -> bool {
        let is_secured = self.session.as_ref().is_some_and(|session| !session.is_handshaking());
        self.is_connected() && (is_secured || self.conversation.peer_closes())
    }

    /// Under TLS.
    fn progress(&self, session: &Session) -> String {
        if session.is_handshaking() {
            return session.progress();
        }
        format!("{}, {}", session.progress(), self.conversation.progress())
    }

    /// `None`: connected.
    fn finish_connecting(&self, ready: Option<Ready>) -> Option<Step> {
        // Of a connection that is not there, tcp(7) and poll(2) have either no word, or that it is broken.
        let is_there =
            self.connection == Connection::Made || ready.is_some_and(|ready| ready.write && !ready.broken);
        // A socket that has a peer is connected: only of the others need the kernel be asked what became of them.
        if !is_there && let Err(error) = self.socket.peer_addr() {
            if errno_of(&error) != Errno::ENOTCONN {
                return Some(Step::Done(self.on_error(&error)));
            }
            return Some(match self.socket.take_error() {
                Ok(None) => Step::Rest(Interest::Write),
                Ok(Some(error)) | Err(error) => Step::Done(self.on_error(&error)),
            });
        }
        // A port of this machine that nobody listens on, from the range that the kernel picks local ports from: TCP
        // can then connect a socket to itself. That is no server.
        let own = self.socket.local_addr().ok().and_then(|address| address.as_socket());
        if own.is_some_and(|own| self.endpoint == Endpoint::Inet(own)) {
            // Without a wait that would keep the server from its own port.
            let _ = self.socket.set_linger(Some(Duration::ZERO));
            return Some(Step::Done(self.conversation.on_unreachable(Errno::ECONNREFUSED)));
        }
        None
    }

    fn on_connected(&mut self) -> Option<Outcome> {
        if self.conversation.wants_tls() {
            return self.begin_tls();
        }
        self.told = true;
        self.conversation.on_connected()
    }

    fn begin_tls(&mut self) -> Option<Outcome> {
        let Some((settings, name)) = self.tls.take() else {
            return Some(Outcome::Local("this check has no settings for TLS".to_owned()));
        };
        match Session::begin(settings, name) {
            Ok(session) => self.session = Some(Box::new(session)),
            Err(outcome) => return Some(outcome),
        }
        None
    }

    /// `None`: all is sent that can be said now.
    fn send(&mut self, buffer: &mut [u8]) -> Option<Step> {
        loop {
            let written = match &mut self.session {
                Some(session) if session.wants_write() => session.write(&mut &self.socket),
                Some(session) if session.is_handshaking() => return None,
                Some(session) if self.conversation.unsent().is_empty() => {
                    if !self.conversation.has_said_all() || !session.close() {
                        return None;
                    }
                    Ok(())
                }
                Some(session) => {
                    let text = self.conversation.unsent();
                    let count = session.say(text);
                    self.conversation.on_sent(count);
                    Ok(())
                }
                None if self.conversation.unsent().is_empty() => return None,
                None => {
                    let written = (&self.socket).write(self.conversation.unsent());
                    written.map(|count| self.conversation.on_sent(count))
                }
            };
            match written {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Some(Step::Rest(Interest::Write));
                }
                // It has hung up, perhaps with a reason: that is still to be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return None,
                Err(error) => {
                    // The server may have said why before it went. That there is no more says nothing new.
                    let said = match (&self.socket).read(buffer) {
                        Ok(count @ 1..) => self.on_bytes(&buffer[..count]),
                        Ok(0) | Err(_) => None,
                    };
                    return Some(self.end(said.unwrap_or_else(|| self.on_error(&error))));
                }
            }
            if let Some(outcome) = self.switch() {
                return Some(self.end(outcome));
            }
        }
    }

    /// Begin TLS if this is the moment. `Some`: it cannot begin.
    fn switch(&mut self) -> Option<Outcome> {
        let now = self.session.is_none() && self.conversation.wants_tls();
        if now { self.begin_tls() } else { None }
    }

    /// `is_ending`: the peer has said its last by now.
    fn receive(&mut self, buffer: &mut [u8], is_ending: bool) -> Received {
        let outcome = match (&self.socket).read(buffer) {
            Ok(0) => Some(self.on_end()),
            Ok(count) => {
                let outcome = self.on_bytes(&buffer[..count]);
                self.unread = match (&outcome, count < buffer.len()) {
                    (None, _) | (Some(_), false) => Unread::Unknown,
                    (Some(_), true) if is_ending => Unread::End,
                    (Some(_), true) => Unread::Nothing,
                };
                outcome
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Received::Nothing,
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => Some(self.on_error(&error)),
        };
        outcome.map_or(Received::Something, Received::Outcome)
    }

    fn on_bytes(&mut self, bytes: &[u8]) -> Option<Outcome> {
        if self.session.is_some() {
            return self.on_encrypted(bytes);
        }
        self.conversation.on_received(bytes).or_else(|| self.switch())
    }

    fn on_encrypted(&mut self, mut bytes: &[u8]) -> Option<Outcome> {
        let session = self.session.as_mut()?;
        while !bytes.is_empty() {
            let was_handshaking = session.is_handshaking();
            let taken = session.take_in(&mut bytes);
            if was_handshaking && !session.is_handshaking() {
                let outcome = self.conversation.on_secured(&session.peer());
                let told = std::mem::replace(&mut self.told, true);
                let outcome = outcome.or_else(|| if told { None } else { self.conversation.on_connected() });
                if outcome.is_some() {
                    return outcome;
                }
            }
            // What it said before it failed was said.
            while !session.heard().is_empty() {
                let text = session.heard();
                let (length, outcome) = (text.len(), self.conversation.on_received(text));
                if outcome.is_some() {
                    return outcome;
                }
                session.forget(length);
            }
            if let Err(outcome) = taken {
                return Some(self.conversation.decided().unwrap_or(outcome));
            }
            if session.has_ended() {
                return Some(self.conversation.on_closed());
            }
        }
        None
    }

    /// The peer has closed the connection.
    fn on_end(&mut self) -> Outcome {
        match &self.session {
            None => self.conversation.on_closed(),
            Some(session) if session.is_handshaking() => {
                Outcome::Fail(format!("the server closed the connection: {}", session.progress()))
            }
            Some(_) => self.conversation.on_truncated(),
        }
    }

    /// The conversation is over. Under TLS the server is told so, and what was wrong with it, if it takes that at once.
    fn end(&mut self, outcome: Outcome) -> Step {
        if let Some(session) = &mut self.session {
            if !session.is_handshaking() && !self.conversation.peer_closes() {
                session.close();
            }
            let _ = session.write(&mut &self.socket);
        }
        Step::Done(outcome)
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn new_socket(domain: Domain, protocol: Option<Protocol>) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking().cloexec(), protocol)
}

#[cfg(test)]
mod tests;
