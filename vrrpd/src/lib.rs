//! vrrpd: decides who owns the virtual addresses, by VRRP (RFC 9568, and RFC 3768 with keepalived's PASS).
//!
//! A library only so that tests and fuzzers can link it.

pub mod accept;
pub mod arp;
pub mod bus;
pub mod config;
pub mod counters;
pub mod daemon;
pub mod group;
pub mod interfaces;
pub mod job;
pub mod kernel;
pub mod lateness;
pub mod lease;
pub mod lock;
pub mod monitor;
pub mod ndp;
pub mod netlink;
pub mod objects;
pub mod packet;
pub mod past;
pub mod peers;
pub mod receive;
pub mod record;
pub mod release;
pub mod remark;
pub mod router;
pub mod routing;
#[cfg(test)]
mod simulator;
pub mod socket;
pub mod status;
pub mod table;
#[cfg(test)]
mod testing;
pub mod track;
pub mod transitions;
pub mod transport;
pub mod types;
pub mod untagged;
pub mod vmac;
