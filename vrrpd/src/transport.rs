//! How a router's advertisements travel: to the multicast group of VRRP, or to each of a list of unicast peers; and by
//! which way one must have come to be believed. Pure.
//!
//! Unicast is not in the RFC. What it costs is the protection that a TTL of 255 gives against anybody beyond the link,
//! as soon as a peer is allowed another one; so sources are checked by default, unlike keepalived's.

use std::net::IpAddr;

use crate::packet::{Path, TTL, group};
use crate::receive::Discard;
use crate::types::Family;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    #[default]
    Multicast,
    Unicast(Unicast),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unicast {
    /// An address of this machine, on whichever interface; `None`: one of the router's interface.
    pub source: Option<IpAddr>,
    /// At least one, of the router's family, each once.
    pub peers: Vec<Peer>,
    /// TTL or hop limit of what we send.
    pub ttl: u8,
    /// Believe peers only.
    pub check_source: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub address: IpAddr,
    /// The least and the greatest TTL or hop limit with which its advertisements may arrive.
    pub ttl: (u8, u8),
}

impl Transport {
    /// Whether the socket is to receive what is sent to the group.
    pub fn uses_group(&self) -> bool {
        match self {
            Self::Multicast => true,
            Self::Unicast(_) => false,
        }
    }

    /// Where each advertisement is sent, with its TTL or hop limit.
    pub fn destinations(&self, family: Family) -> impl Iterator<Item = (IpAddr, u8)> + '_ {
        let (to_group, unicast) = match self {
            Self::Multicast => (Some((group(family), TTL)), None),
            Self::Unicast(unicast) => (None, Some(unicast)),
        };
        let peers = unicast
            .into_iter()
            .flat_map(|unicast| unicast.peers.iter().map(|peer| (peer.address, unicast.ttl)));
        to_group.into_iter().chain(peers)
    }

    /// How an advertisement of `from` must have come, `ours` being the address from which we send.
    ///
    /// # Errors
    /// Not from there at all.
    pub fn path(&self, ours: IpAddr, from: IpAddr) -> Result<Path, Discard> {
        let unicast = match self {
            Self::Multicast => return Ok(Path::multicast(Family::of(from))),
            Self::Unicast(unicast) => unicast,
        };
        let ttl = match unicast.peers.iter().find(|peer| peer.address == from) {
            Some(peer) => peer.ttl,
            None if unicast.check_source => return Err(Discard::Source(from)),
            None => unicast.widest(),
        };
        Ok(Path { destination: ours, ttl })
    }
}

impl Unicast {
    /// What is allowed to any peer is allowed to a stranger, where strangers are.
    fn widest(&self) -> (u8, u8) {
        let least = self.peers.iter().map(|peer| peer.ttl.0).min();
        let most = self.peers.iter().map(|peer| peer.ttl.1).max();
        (least.unwrap_or(TTL), most.unwrap_or(TTL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const NEAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const FAR: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 2));
    const STRANGER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 9, 0, 66));

    fn unicast(check_source: bool) -> Transport {
        let near = Peer { address: NEAR, ttl: (TTL, TTL) };
        let far = Peer { address: FAR, ttl: (252, 254) };
        Transport::Unicast(Unicast { source: None, peers: vec![near, far], ttl: 255, check_source })
    }

    // RFC 9568: +5.1.1
    #[test]
    fn multicast_goes_to_the_group_and_is_believed_from_anybody_on_the_link() {
        let group = |family| Transport::Multicast.destinations(family).collect::<Vec<_>>();
        assert_eq!(group(Family::V4), [("224.0.0.18".parse().unwrap(), 255)]);
        assert_eq!(group(Family::V6), [("ff02::12".parse().unwrap(), 255)]);
        let path = Transport::Multicast.path(US, STRANGER).unwrap();
        assert_eq!((path.destination, path.ttl), ("224.0.0.18".parse().unwrap(), (255, 255)));
    }

    // RFC 9568: +7.1-ttl
    #[test]
    fn unicast_goes_to_each_peer_and_is_believed_from_peers_only_each_with_its_own_ttl() {
        let peers: Vec<_> = unicast(true).destinations(Family::V4).collect();
        assert_eq!(peers, [(NEAR, 255), (FAR, 255)]);
        assert!(!unicast(true).uses_group());
        for (from, ttl) in [(NEAR, (255, 255)), (FAR, (252, 254))] {
            let path = unicast(true).path(US, from).unwrap();
            assert_eq!((path.destination, path.ttl), (US, ttl));
        }
        assert_eq!(unicast(true).path(US, STRANGER), Err(Discard::Source(STRANGER)));
    }

    #[test]
    fn without_a_check_of_the_source_strangers_are_held_to_the_widest_of_the_peers_ranges() {
        let path = unicast(false).path(US, STRANGER).unwrap();
        assert_eq!((path.destination, path.ttl), (US, (252, 255)));
    }
}
