//! What a router has to say about a peer, in its own words: why it is not believed, or what is odd about it all the
//! same.

use std::net::IpAddr;

use crate::packet::{Authentication, ChecksumForm};
use crate::receive::{Discard, Expected};
use crate::types::Centiseconds;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// Its advertisements are dropped.
    Discarded(Discard),
    /// Its list of addresses is not ours (RFC 9568 section 7.1: no reason to drop).
    Addresses,
    /// IPv6: its first address is not link-local, nor is ours (erratum 8300).
    FirstAddress(IpAddr),
    /// Version 3: it has another interval than ours. A Backup follows it.
    Interval(Centiseconds),
    /// The form of its checksum is not the one that is configured here.
    Checksum(ChecksumForm),
    /// It owns the addresses, as we do (section 8.3.2; erratum 8298).
    SecondOwner,
    /// It has our own address.
    OwnAddress,
}

impl Remark {
    /// How many kinds there are.
    pub const KINDS: usize = Discard::COUNT + 6;

    /// 0 to [`Remark::KINDS`] - 1. Two of a kind are the same thing, said again.
    pub fn kind(self) -> usize {
        match self {
            Self::Discarded(why) => why.index(),
            Self::Addresses => Discard::COUNT,
            Self::FirstAddress(_) => Discard::COUNT + 1,
            Self::Interval(_) => Discard::COUNT + 2,
            Self::Checksum(_) => Discard::COUNT + 3,
            Self::SecondOwner => Discard::COUNT + 4,
            Self::OwnAddress => Discard::COUNT + 5,
        }
    }

    /// `peer 10.0.0.2 sends version 2; this router speaks 3`.
    pub fn sentence(self, peer: IpAddr, ours: &Expected) -> String {
        let what = match self {
            Self::Discarded(why) => return format!("peer {peer} {}", discarded(why, ours)),
            Self::Addresses => "advertises other addresses than are configured here (key 'addresses')".into(),
            Self::FirstAddress(first) => format!(
                "advertises {first} first, as does this router a global address; RFC 9568 wants a link-local one there"
            ),
            Self::Interval(theirs) => format!(
                "has the interval {}; this router has {} and follows it while it is a Backup (key 'advert_interval')",
                interval(theirs),
                interval(ours.interval)
            ),
            Self::Checksum(ChecksumForm::Keepalived) => {
                "sends the checksum with a pseudo-header, as keepalived does; this router sends the RFC's: if it is not \
                 heard there, leave out the key 'checksum' here"
                    .into()
            }
            Self::Checksum(ChecksumForm::Rfc) => {
                "sends the RFC's checksum; this router sends keepalived's: if it is not heard there, leave out the key \
                 'checksum' here"
                    .into()
            }
            Self::SecondOwner => "says that it owns the addresses (priority 255), as this router does".into(),
            Self::OwnAddress => "has the address of this router: its own packets come back, or another machine has it".into(),
        };
        format!("peer {peer} {what}")
    }
}

fn interval(interval: Centiseconds) -> String {
    daemon::units::format_duration(interval.duration())
}

fn discarded(why: Discard, ours: &Expected) -> String {
    match why {
        // Measured with keepalived 2.2.7: 255 over IPv4, the kernel's default over IPv6.
        Discard::Ttl { ttl: 64, allowed: (255, 255) } => {
            "sends with TTL 64, not 255: it is not on this link, or it is keepalived, which sends so to unicast peers over \
             IPv6 (unicast_ttl 255 there, or min_ttl = 64 of this peer here)"
                .into()
        }
        Discard::Ttl { ttl, allowed: (255, 255) } => format!(
            "sends with TTL {ttl}, not 255: it is not on this link (where it need not be: key 'min_ttl' of a unicast peer)"
        ),
        Discard::Ttl { ttl, allowed: (least, most) } => {
            format!("sends with TTL {ttl}, not from {least} to {most} (keys 'min_ttl' and 'max_ttl')")
        }
        Discard::Destination(group) if group.is_multicast() => {
            format!("sends to {group}; this router has unicast peers (key 'unicast')")
        }
        Discard::Destination(address) => {
            format!("sends to {address}, where this router does not listen (key 'unicast')")
        }
        Discard::Source(_) => "is none of the unicast peers of this router (key 'unicast')".into(),
        Discard::Version(theirs) => {
            format!("sends version {theirs}; this router speaks {}", ours.version.number())
        }
        Discard::Type(kind) => format!("sends packets of type {kind}; only 1 (ADVERTISEMENT) is known"),
        Discard::Length(bytes) => format!("sends packets that are too short ({bytes} bytes)"),
        Discard::Checksum => "sends wrong checksums".into(),
        Discard::UnknownRouter(vrid) => {
            format!("sends for virtual router {vrid}, which is not configured here")
        }
        Discard::NoAddresses => "sends no addresses".into(),
        Discard::FirstAddress(first) => format!(
            "sends {first} as its first address; this router has a link-local one there, and so must its peers"
        ),
        Discard::IntervalZero => "sends the interval 0".into(),
        Discard::IntervalMismatch { theirs, ours } => format!(
            "sends the interval {}; this router has {}, and in version 2 they must agree (key 'advert_interval')",
            interval(theirs),
            interval(ours)
        ),
        Discard::AuthenticationType(Authentication::None) => "sends no password; this router has one".into(),
        Discard::AuthenticationType(Authentication::Pass(_)) => {
            "sends a password; this router has none ([authentication])".into()
        }
        Discard::AuthenticationType(Authentication::Other(kind)) => {
            format!("sends authentication type {kind}; only PASS (1) is supported")
        }
        Discard::Password => "sends another password than this router's".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Version;

    #[test]
    fn the_router_says_what_the_peer_does_and_what_it_does_itself() {
        let ours = Expected {
            version: Version::V3,
            interval: Centiseconds(100),
            authentication: Authentication::None,
            link_local_first: false,
        };
        let peer = IpAddr::from([10, 0, 0, 2]);
        for (remark, sentence) in [
            (Remark::Discarded(Discard::Version(2)), "peer 10.0.0.2 sends version 2; this router speaks 3"),
            (
                Remark::Discarded(Discard::Ttl { ttl: 64, allowed: (255, 255) }),
                "peer 10.0.0.2 sends with TTL 64, not 255: it is not on this link, or it is keepalived, which sends so to unicast peers over IPv6 (unicast_ttl 255 there, or min_ttl = 64 of this peer here)",
            ),
            (
                Remark::Discarded(Discard::Ttl { ttl: 250, allowed: (252, 254) }),
                "peer 10.0.0.2 sends with TTL 250, not from 252 to 254 (keys 'min_ttl' and 'max_ttl')",
            ),
            (
                Remark::Interval(Centiseconds(10)),
                "peer 10.0.0.2 has the interval 100ms; this router has 1s and follows it while it is a Backup (key 'advert_interval')",
            ),
            (
                Remark::Discarded(Discard::AuthenticationType(Authentication::Pass(*b"hunter2!"))),
                "peer 10.0.0.2 sends a password; this router has none ([authentication])",
            ),
        ] {
            assert_eq!(remark.sentence(peer, &ours), sentence);
        }
    }
}
