//! A peer as the bus shows it.

use std::net::IpAddr;
use std::time::Instant;

use super::{Peer, Said};
use crate::packet::ChecksumForm;
use crate::receive::Discard;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// None: all those that have no row of their own.
    pub address: Option<IpAddr>,
    /// Microseconds of CLOCK_REALTIME; also of a packet that was dropped.
    pub last_seen: u64,
    /// From its last advertisement that was believed; None: none was.
    pub version: Option<u8>,
    pub priority: Option<u8>,
    pub interval_msec: Option<u32>,
    /// Version 3 only.
    pub checksum: Option<ChecksumForm>,
    /// Advertisements that were believed.
    pub received: u64,
    /// By [`Discard::index`].
    pub discarded: [u64; Discard::COUNT],
}

impl PeerStatus {
    pub fn new(peer: &Peer, realtime_usec: impl Fn(Instant) -> u64) -> Self {
        let said = peer.said.as_ref();
        Self {
            address: peer.address,
            last_seen: realtime_usec(peer.last_seen),
            version: said.map(|said| said.version.number()),
            priority: said.map(|said| said.priority.0),
            interval_msec: said.map(|said| u32::from(said.interval.0) * 10),
            checksum: said.and_then(|Said { checksum, .. }| *checksum),
            received: peer.received,
            discarded: peer.discarded,
        }
    }

    /// Names and counts of the checks that it did not pass.
    pub fn discards(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Discard::NAMES.into_iter().zip(self.discarded).filter(|(_, count)| *count > 0)
    }
}
