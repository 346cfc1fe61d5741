//! The socket of one running probe: non-blocking, opened and driven by `daemon.rs`, deciding nothing. What happens
//! on it is told to the [`Probe`], whose outcome comes back.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Duration;

use daemon::event_loop::{Interest, Token};
use nix::errno::Errno;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::probe::{Kind, Outcome, Probe};

/// How a connection stands after it was looked at.
#[derive(Debug)]
pub enum Step {
    /// Look again when the socket is ready for this.
    Wait(Interest),
    Done(Outcome),
}

#[derive(Debug)]
pub struct Connection {
    socket: Socket,
    target: SocketAddr,
    probe: Probe,
    connected: bool,
    timeout: Duration,
    /// The loop's registration and what it waits for; `daemon.rs` keeps it here.
    pub registration: Option<(Token, Interest)>,
}

impl Connection {
    /// Begin to connect.
    ///
    /// # Errors
    /// The outcome, if it is known at once: refused, no route, or no socket to be had here.
    pub fn open(kind: &Kind, target: SocketAddr, timeout: Duration) -> Result<Self, Outcome> {
        let probe = Probe::new(kind, target);
        let flags = Type::STREAM.nonblocking().cloexec();
        let socket = match Socket::new(Domain::for_address(target), flags, Some(Protocol::TCP)) {
            Ok(socket) => socket,
            Err(error) => return Err(probe.on_error(errno_of(&error), false)),
        };
        let begun = socket.connect(&SockAddr::from(target));
        match begun {
            Ok(()) => {}
            Err(error) if errno_of(&error) == Errno::EINPROGRESS => {}
            Err(error) => return Err(probe.on_error(errno_of(&error), false)),
        }
        Ok(Self { socket, target, probe, connected: false, timeout, registration: None })
    }

    /// Go on as far as it goes without waiting; reads at most one buffer full.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Step {
        if !self.connected {
            match self.finish_connecting() {
                Some(step) => return step,
                None => self.connected = true,
            }
            if let Some(outcome) = self.probe.on_connected() {
                return Step::Done(outcome);
            }
        }
        self.send().unwrap_or_else(|| self.receive(buffer))
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, buffer: &mut [u8]) -> Outcome {
        match self.advance(buffer) {
            Step::Done(outcome) => outcome,
            Step::Wait(_) => self.probe.on_timeout(self.timeout, self.connected),
        }
    }

    /// The loop could not watch the socket.
    pub fn on_error(&self, error: &io::Error) -> Outcome {
        self.probe.on_error(errno_of(error), self.connected)
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
        if own == Some(self.target) {
            // Without a wait that would keep the server from its own port.
            let _ = self.socket.set_linger(Some(Duration::ZERO));
            return Some(Step::Done(self.probe.on_error(Errno::ECONNREFUSED, false)));
        }
        None
    }

    /// `None`: all is sent.
    fn send(&mut self) -> Option<Step> {
        while !self.probe.unsent().is_empty() {
            match (&self.socket).write(self.probe.unsent()) {
                Ok(count) => self.probe.on_sent(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Some(Step::Wait(Interest::Write));
                }
                Err(error) => return Some(Step::Done(self.on_error(&error))),
            }
        }
        None
    }

    fn receive(&mut self, buffer: &mut [u8]) -> Step {
        let outcome = match (&self.socket).read(buffer) {
            Ok(0) => Some(self.probe.on_closed()),
            Ok(count) => self.probe.on_received(&buffer[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => None,
            Err(error) => Some(self.on_error(&error)),
        };
        outcome.map_or(Step::Wait(Interest::Read), Step::Done)
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
