//! What it takes to be one of Trivet's daemons, and nothing about networking.
//!
//! Admission rule: used by all three daemons (`secret`, `systemd`, `follow`, `checks` and `authority` by those that have
//! one or hear it), and about being a daemon. Configuration files and their mistakes (`dropin`, `document`, `reader`,
//! `diagnostic`, `secret`, `units`, `checks`), files that they write (`replace`), the loop and what wakes it
//! (`event_loop`, `queue`, `signals`), and the outside
//! (`bus`, `authority`, `client`, `follow`, `systemd`, `notify`, `log`, `cli`, `error`).

pub mod authority;
pub mod bus;
pub mod checks;
pub mod cli;
pub mod client;
pub mod credentials;
pub mod diagnostic;
pub mod document;
pub mod dropin;
pub mod error;
pub mod event_loop;
pub mod follow;
pub mod log;
pub mod notify;
pub mod queue;
pub mod reader;
pub mod replace;
pub mod secret;
pub mod signals;
pub mod systemd;
pub mod testing;
pub mod units;
