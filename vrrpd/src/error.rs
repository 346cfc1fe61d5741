//! What can keep vrrpd from starting. Everything later is answered by going on, and shown in the objects.

use std::{fmt, io};

#[derive(Debug)]
pub struct Error {
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
