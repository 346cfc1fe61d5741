//! The signals that a daemon answers, as a descriptor for the loop.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use nix::sys::signal::{SigSet, Signal as Number};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGHUP
    Reload,
    /// SIGTERM or SIGINT
    Stop,
}

#[derive(Debug)]
pub struct Signals(SignalFd);

impl Signals {
    /// Block our signals and open the descriptor. Call it before any thread is started: threads inherit the mask,
    /// and a thread without it would be ended by the signal.
    pub fn new() -> io::Result<Self> {
        let mut set = SigSet::empty();
        for signal in [Number::SIGHUP, Number::SIGTERM, Number::SIGINT] {
            set.add(signal);
        }
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The next signal that has arrived, if any.
    pub fn next(&self) -> Option<Signal> {
        let info = self.0.read_signal().ok()??;
        let number = i32::try_from(info.ssi_signo).ok()?;
        Some(if number == Number::SIGHUP as i32 { Signal::Reload } else { Signal::Stop })
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
