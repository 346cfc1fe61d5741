//! What can keep a daemon from starting, or its loop from going on. Everything else is answered by going on, and
//! shown in the objects; what is wrong with a configuration is a `Report`.

use std::{fmt, io};

/// Says what we were doing; the source says what the kernel said to it.
#[derive(Debug)]
pub struct Error {
    /// Such as "open the event loop".
    doing: &'static str,
    source: io::Error,
}

impl Error {
    /// For `map_err`: what we were doing.
    pub fn when(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self { doing, source }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {}", self.doing)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
