//! The lab in which Trivet is tested on real kernels: hosts, segments, captures, clients, peers, machines. The
//! scenarios of tests/scenarios and the demo are written with it. ARCHITECTURE.md says which floor is what.

pub mod bus;
pub mod capture;
mod catalog;
pub mod client;
pub mod clock;
mod complete;
pub mod cost;
pub mod director;
pub mod figures;
pub mod forge;
pub mod frames;
pub mod held;
pub mod holding;
pub mod host;
pub mod installed;
pub mod ipvs;
pub mod journal;
pub mod keepalived;
pub mod lab;
pub mod machine;
pub mod namespace;
pub mod nat_pair;
pub mod packets;
pub mod pair_beside_keepalived;
mod recorder;
pub mod residence;
pub mod servers;
pub mod stalls;
pub mod stamps;
pub mod tap;
pub mod trivet;
pub mod tshark;
pub mod web;
pub mod wire;
