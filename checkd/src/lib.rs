//! checkd: which servers are healthy. Probes, judges and tells whoever watches; knows neither IPVS nor VRRP.

pub mod attempt;
pub mod bus;
pub mod check;
pub mod config;
pub mod daemon;
pub mod exec;
pub mod farewell;
pub mod intake;
pub mod journal;
pub mod listing;
pub mod loader;
pub mod mix;
pub mod pace;
pub mod probe;
pub mod registry;
pub mod results;
pub mod schedule;
pub mod status;
pub mod target;
pub mod transport;
pub mod units;
pub mod watchers;
