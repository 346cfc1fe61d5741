//! Why checkd cannot start or go on. What is wrong with a configuration is a `Report`, not an error.

use std::fmt;
use std::io;

/// `doing` is what we were about to do, such as "open the event loop".
#[derive(Debug)]
pub struct Error {
    doing: &'static str,
    source: io::Error,
}

impl Error {
    /// For `map_err`.
    pub fn while_doing(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
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
