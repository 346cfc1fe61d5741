//! ipvsd: keeps the kernel's IPVS table as the configuration and the servers' health say.
//!
//! A library only so that its own tests can link it.

pub mod config;
pub mod director;
pub mod health;
pub mod ipvs;
pub mod kernel;
pub mod owned;
pub mod reconcile;
pub mod service;
pub mod table;
