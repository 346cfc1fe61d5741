//! The sockets of running probes: non-blocking, opened and driven by `attempt.rs`, deciding nothing.

pub mod connect;
pub mod datagram;
mod icmp;
pub mod stream;
pub mod tls;

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use daemon::event_loop::{Interest, Ready};
use nix::errno::Errno;

use crate::probe::{Conversation, Outcome};

use self::datagram::Datagram;
use self::stream::Stream;

/// How a transport stands after it was looked at.
#[derive(Debug)]
pub enum Step {
    /// Look again when the socket is ready for this.
    Wait(Interest),
    /// The same; and the kernel has nothing left now that would not be a change of the socket: to be told of changes is
    /// enough ([`daemon::event_loop::EventLoop::register_changes`]).
    Rest(Interest),
    Done(Outcome),
    /// Go on with this, over a stream to the same place.
    GoOn(Box<dyn Conversation>),
}

/// What is known when an outcome is, of what the server still sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// Nothing: close it.
    Take,
    /// All that has come is read. Look again when more does.
    Rest,
    /// There may be more: look again as soon as it can be read.
    Wait,
}

/// What carries one question of a probe.
#[derive(Debug)]
pub enum Transport {
    Stream(Stream),
    Datagram(Datagram),
}

impl Transport {
    /// Go on as far as it goes without waiting; reads at most one buffer full. `ready`: what the loop has just told of the
    /// socket, if it has.
    pub fn advance(&mut self, buffer: &mut [u8], ready: Option<Ready>) -> Step {
        match self {
            Self::Stream(stream) => stream.advance(buffer, ready),
            Self::Datagram(datagram) => datagram.advance(buffer),
        }
    }

    /// When [`Transport::on_time`] has something to do before the probe's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Stream(_) => None,
            Self::Datagram(datagram) => datagram.deadline(),
        }
    }

    /// Do what is due. `Some`: that ended it.
    pub fn on_time(&mut self, now: Instant) -> Option<Outcome> {
        match self {
            Self::Stream(_) => None,
            Self::Datagram(datagram) => datagram.on_time(now),
        }
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Outcome {
        match self {
            Self::Stream(stream) => stream.on_timeout(buffer, timeout),
            Self::Datagram(datagram) => datagram.on_timeout(buffer, timeout),
        }
    }

    /// The loop could not watch the socket.
    pub fn on_error(&self, error: &io::Error) -> Outcome {
        match self {
            Self::Stream(stream) => stream.on_error(error),
            Self::Datagram(datagram) => datagram.on_watch_error(error),
        }
    }

    /// The outcome is known: what the server still sends is read and forgotten. Reads little more than a buffer full.
    pub fn take_leave(&mut self, buffer: &mut [u8]) -> Leave {
        match self {
            Self::Stream(stream) => stream.take_leave(buffer),
            Self::Datagram(_) => Leave::Take,
        }
    }

    /// Closing it is to leave nothing behind, if the server should have closed it.
    pub fn reset(&self) {
        match self {
            Self::Stream(stream) => stream.reset(),
            Self::Datagram(_) => {}
        }
    }
}

impl AsFd for Transport {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Stream(stream) => stream.as_fd(),
            Self::Datagram(datagram) => datagram.as_fd(),
        }
    }
}

pub(crate) fn errno_of(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw)
}
