//! The socket of one conversation: TCP, or a Unix socket of this machine. What happens on it is told to the
//! [`Conversation`], whose outcome comes back.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::event_loop::Interest;
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::connect::Connect;
use super::{Step, errno_of};
use crate::probe::{Conversation, Outcome, unanswered};

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

#[derive(Debug)]
pub struct Stream {
    socket: Socket,
    endpoint: Endpoint,
    conversation: Box<dyn Conversation>,
    connected: bool,
    /// Bytes that were read after the outcome.
    left: usize,
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
        match socket.connect(&address) {
            Ok(()) => {}
            Err(error) if errno_of(&error) == Errno::EINPROGRESS => {}
            Err(error) => return Err(failed(&error)),
        }
        Ok(Self { socket, endpoint, conversation, connected: false, left: 0 })
    }

    /// Go on as far as it goes without waiting; reads at most one buffer full.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Step {
        if !self.connected {
            match self.finish_connecting() {
                Some(step) => return step,
                None => self.connected = true,
            }
            if let Some(outcome) = self.conversation.on_connected() {
                return Step::Done(outcome);
            }
        }
        self.send().unwrap_or_else(|| self.receive(buffer))
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Outcome {
        match self.advance(buffer) {
            Step::Done(outcome) => outcome,
            Step::Wait(_) if self.connected => self.conversation.on_timeout(timeout),
            Step::Wait(_) => unanswered(timeout, None),
        }
    }

    /// The loop could not watch the socket.
    pub fn on_error(&self, error: &io::Error) -> Outcome {
        let errno = errno_of(error);
        if self.connected {
            self.conversation.on_error(errno)
        } else {
            self.conversation.on_unreachable(errno)
        }
    }

    /// The outcome is known: read on, and forget, until the server has closed the connection, if it is to. `true`: that
    /// is not to be waited for.
    pub fn take_leave(&mut self, buffer: &mut [u8]) -> bool {
        if !self.connected || !self.conversation.peer_closes() {
            return true;
        }
        loop {
            match (&self.socket).read(buffer) {
                Ok(0) => return true,
                Ok(count) => {
                    self.left += count;
                    if self.left > LEAVE_LIMIT {
                        self.reset();
                        return true;
                    }
                    if count == buffer.len() {
                        return false;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return true,
            }
        }
    }

    /// Closing resets the connection if the server should have closed it first: on neither side will it be waiting
    /// for what may still be on its way.
    pub fn reset(&self) {
        if self.connected && self.conversation.peer_closes() {
            let _ = self.socket.set_linger(Some(Duration::ZERO));
        }
    }

    /// `None`: connected.
    fn finish_connecting(&self) -> Option<Step> {
        match self.socket.take_error() {
            Ok(None) => {}
            Ok(Some(error)) | Err(error) => return Some(Step::Done(self.on_error(&error))),
        }
        if let Err(error) = self.socket.peer_addr() {
            if errno_of(&error) == Errno::ENOTCONN {
                return Some(Step::Wait(Interest::Write));
            }
            return Some(Step::Done(self.on_error(&error)));
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

    /// `None`: all is sent.
    fn send(&mut self) -> Option<Step> {
        while !self.conversation.unsent().is_empty() {
            match (&self.socket).write(self.conversation.unsent()) {
                Ok(count) => self.conversation.on_sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Some(Step::Wait(Interest::Write));
                }
                // It has hung up, perhaps with a reason: that is still to be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return None,
                // It has hung up, perhaps with a reason: that is still to be read.
                Err(error) if error.kind() == ErrorKind::BrokenPipe => return None,
                Err(error) => return Some(Step::Done(self.on_error(&error))),
            }
        }
        None
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Step {
        let outcome = match (&self.socket).read(buffer) {
            Ok(0) => Some(self.conversation.on_closed()),
            Ok(count) => self.conversation.on_received(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) => Some(self.on_error(&error)),
        };
        outcome.map_or(Step::Wait(Interest::Read), Step::Done)
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
