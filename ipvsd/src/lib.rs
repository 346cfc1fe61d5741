//! ipvsd: keeps the kernel's IPVS table as the configuration and the servers' health say.
//!
//! A library only so that its own tests can link it. `director` decides, with `reconcile` (the difference of two
//! tables), `service` and `health`; `ipvs` is the wire; `daemon` alone sees both events and system calls.

pub mod bus;
mod checks;
pub mod config;
pub mod daemon;
pub mod director;
pub mod health;
pub mod ipvs;
pub mod kernel;
pub mod orders;
pub mod owned;
pub mod posture;
pub mod reconcile;
pub mod routers;
pub mod service;
pub mod status;
pub mod sync;
pub mod sysctl;
pub mod table;
pub mod tuning;
