//! What it takes to be one of Trivet's daemons, and nothing about networking.
//!
//! Admission rule: used by all three daemons (`secret`: by those that have one), and about being a daemon.
//! Configuration files and their mistakes (`dropin`, `document`, `reader`, `diagnostic`, `secret`, `units`), the loop
//! and what wakes it (`event_loop`, `queue`, `signals`), and the outside (`bus`, `notify`, `log`, `cli`, `error`).

pub mod bus;
pub mod cli;
pub mod diagnostic;
pub mod document;
pub mod dropin;
pub mod error;
pub mod event_loop;
pub mod log;
pub mod notify;
pub mod queue;
pub mod reader;
pub mod secret;
pub mod signals;
pub mod testing;
pub mod units;
