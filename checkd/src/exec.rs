//! Running commands for checkd, which may not: what `checkd-exec` is made of, and what the two say to each other.
//!
//! One connection is one run. checkd sends a [`frame::Request`] and reads [`frame::Report`]s until the last of them;
//! when it closes the connection, or is gone, the run is ended with everything that it started. The listener
//! ([`server`]) holds no run itself: each has a process of its own ([`runner`]) that adopts whatever its command leaves.

pub mod failure;
pub mod frame;
pub mod last_line;
pub mod runner;
pub mod server;
pub mod tree;

use std::time::Duration;

/// Where checkd-exec listens, below the root.
pub const SOCKET: &str = "/run/trivet-checkd-exec/socket";
/// How long a command may take to end after SIGTERM, at its time limit, before SIGKILL.
pub const TERM_GRACE: Duration = Duration::from_millis(500);
/// How long is waited for processes that SIGKILL was sent to: longer only takes one that hangs in the kernel.
pub const KILL_GRACE: Duration = Duration::from_secs(2);
