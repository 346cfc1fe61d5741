//! The receive checks of RFC 9568 section 7.1: why a packet is dropped, and whether an advertisement suits a router.
//!
//! Each check has its own counter (`counters.rs`); a dropped packet costs nothing else but a rate-limited log line.

use std::fmt;
use std::net::IpAddr;

use crate::packet::{Advertisement, Authentication, Body};
use crate::types::{Centiseconds, Version};

/// Why a packet is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Discard {
    /// Of IPv6 the hop limit.
    Ttl {
        ttl: u8,
        /// The least and the greatest.
        allowed: (u8, u8),
    },
    Destination(IpAddr),
    /// With unicast peers: it is none of them.
    Source(IpAddr),
    /// Not the version that this router speaks.
    Version(u8),
    Type(u8),
    /// Payload bytes.
    Length(usize),
    Checksum,
    UnknownRouter(u8),
    NoAddresses,
    /// IPv6: its first address is not link-local, ours is (RFC 9568, 5.2.9; erratum 8300).
    FirstAddress(IpAddr),
    IntervalZero,
    /// Version 2 only: version 3 learns the interval.
    IntervalMismatch {
        theirs: Centiseconds,
        ours: Centiseconds,
    },
    AuthenticationType(Authentication),
    Password,
}

impl Discard {
    /// How many there are, for tables.
    pub const COUNT: usize = 14;
    /// Counter names, by [`Discard::index`].
    pub const NAMES: [&'static str; Self::COUNT] = [
        "DiscardedTtl",
        "DiscardedDestination",
        "DiscardedSource",
        "DiscardedVersion",
        "DiscardedType",
        "DiscardedLength",
        "DiscardedChecksum",
        "DiscardedUnknownRouter",
        "DiscardedNoAddresses",
        "DiscardedFirstAddress",
        "DiscardedIntervalZero",
        "DiscardedIntervalMismatch",
        "DiscardedAuthenticationType",
        "DiscardedPassword",
    ];

    pub fn index(self) -> usize {
        match self {
            Self::Ttl { .. } => 0,
            Self::Destination(_) => 1,
            Self::Source(_) => 2,
            Self::Version(_) => 3,
            Self::Type(_) => 4,
            Self::Length(_) => 5,
            Self::Checksum => 6,
            Self::UnknownRouter(_) => 7,
            Self::NoAddresses => 8,
            Self::FirstAddress(_) => 9,
            Self::IntervalZero => 10,
            Self::IntervalMismatch { .. } => 11,
            Self::AuthenticationType(_) => 12,
            Self::Password => 13,
        }
    }
}

/// What is wrong, and where it helps, what to do: the end of "dropped an advertisement from 10.0.0.2: …".
impl fmt::Display for Discard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ttl { ttl, allowed: (255, 255) } => {
                write!(f, "its TTL is {ttl}, not 255: it did not come from this link")
            }
            Self::Ttl { ttl, allowed: (least, most) } => {
                write!(f, "its TTL is {ttl}, not from {least} to {most} (keys 'min_ttl' and 'max_ttl')")
            }
            Self::Destination(address) => {
                write!(f, "it was sent to {address}, where this router does not listen (key 'unicast')")
            }
            Self::Source(address) => {
                write!(f, "{address} is none of this router's unicast peers (key 'unicast')")
            }
            Self::Version(number) => {
                write!(f, "it is version {number}, this router speaks another (key 'version')")
            }
            Self::Type(number) => write!(f, "its type is {number}, only 1 (ADVERTISEMENT) is known"),
            Self::Length(bytes) => write!(f, "it is too short ({bytes} bytes)"),
            Self::Checksum => f.write_str("its checksum is wrong"),
            Self::UnknownRouter(number) => write!(f, "virtual router {number} is not configured here"),
            Self::NoAddresses => f.write_str("it has no addresses"),
            Self::FirstAddress(address) => write!(
                f,
                "its first address is {address}, not a link-local one as the first of this router (key 'addresses')"
            ),
            Self::IntervalZero => f.write_str("its interval is 0"),
            Self::IntervalMismatch { theirs, ours } => write!(
                f,
                "its interval is {}s, ours {}s; in version 2 they must agree (key 'advert_interval')",
                theirs.0 / 100,
                ours.0 / 100
            ),
            Self::AuthenticationType(Authentication::None) => {
                f.write_str("it has no password, this router has one")
            }
            Self::AuthenticationType(Authentication::Pass(_)) => {
                f.write_str("it has a password, this router has none ([authentication])")
            }
            Self::AuthenticationType(Authentication::Other(number)) => {
                write!(f, "authentication type {number} is not supported, only PASS (1)")
            }
            Self::Password => f.write_str("its password is not ours"),
        }
    }
}

/// What a router expects of the advertisements that it believes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub version: Version,
    pub interval: Centiseconds,
    /// Version 2 only.
    pub authentication: Authentication,
    /// IPv6 only: our own first address is link-local. Where it is not, others need not have one either.
    pub link_local_first: bool,
}

impl Expected {
    /// The checks of section 7.1 that compare with the configuration. In version 3 another interval is no reason to
    /// drop: the state machine learns it. Erratum 8298: two owners hear each other. RFC 3768, 7.1: version 2
    /// drops what has another interval.
    pub fn check(&self, advertisement: &Advertisement) -> Result<(), Discard> {
        let authentication = match (self.version, advertisement.body) {
            (Version::V3, Body::V3(_)) => return self.check_first_address(advertisement),
            (Version::V2, Body::V2(authentication)) => authentication,
            (Version::V2, Body::V3(_)) | (Version::V3, Body::V2(_)) => {
                return Err(Discard::Version(advertisement.body.version().number()));
            }
        };
        match (self.authentication, authentication) {
            (Authentication::None, Authentication::None) => {}
            (Authentication::Pass(ours), Authentication::Pass(theirs)) if ours == theirs => {}
            (Authentication::Pass(_), Authentication::Pass(_)) => return Err(Discard::Password),
            (_, other) => return Err(Discard::AuthenticationType(other)),
        }
        if advertisement.interval != self.interval {
            return Err(Discard::IntervalMismatch { theirs: advertisement.interval, ours: self.interval });
        }
        Ok(())
    }

    /// Erratum 8300. A router that has no link-local address itself cannot ask others for one: keepalived's users
    /// often leave it out.
    fn check_first_address(&self, advertisement: &Advertisement) -> Result<(), Discard> {
        match advertisement.addresses.first() {
            Some(first) if self.link_local_first && lacks_link_local(*first) => {
                Err(Discard::FirstAddress(*first))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether the first address of a list is one that should be link-local, and is not (RFC 9568, 5.2.9).
pub fn lacks_link_local(first: IpAddr) -> bool {
    match first {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// Whether two address lists name the same addresses, in whatever order. RFC 9568 section 7.1: a difference MAY be
/// logged and is no reason to drop; keepalived 2.2 drops, which makes two Actives of every rolling change.
pub fn same_addresses(ours: impl Iterator<Item = IpAddr>, theirs: &[IpAddr]) -> bool {
    let mut ours: Vec<IpAddr> = ours.collect();
    let mut theirs = theirs.to_vec();
    ours.sort_unstable();
    theirs.sort_unstable();
    ours == theirs
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    use crate::packet::ChecksumForm;
    use crate::types::{Priority, VirtualRouterId};

    fn advertisement(body: Body) -> Advertisement {
        Advertisement {
            vrid: VirtualRouterId::new(1).unwrap(),
            priority: Priority(100),
            interval: Centiseconds(100),
            addresses: vec![IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1))],
            body,
        }
    }

    const PASS: Authentication = Authentication::Pass(*b"XXX999XX");

    fn version_2(authentication: Authentication) -> Expected {
        let (version, interval) = (Version::V2, Centiseconds(100));
        Expected { version, interval, authentication, link_local_first: false }
    }

    #[test]
    fn a_version_2_router_believes_only_its_own_password() {
        let none = Authentication::None;
        assert_eq!(version_2(PASS).check(&advertisement(Body::V2(PASS))), Ok(()));
        assert_eq!(version_2(none).check(&advertisement(Body::V2(none))), Ok(()));
        let other = Body::V2(Authentication::Pass(*b"XXX999XY"));
        assert_eq!(version_2(PASS).check(&advertisement(other)), Err(Discard::Password));
        for (ours, theirs) in [(PASS, none), (none, PASS), (none, Authentication::Other(2))] {
            let result = version_2(ours).check(&advertisement(Body::V2(theirs)));
            assert_eq!(result, Err(Discard::AuthenticationType(theirs)));
        }
    }

    // RFC 9568: +7.1-other-interval +7.1-interval
    #[test]
    fn another_interval_is_dropped_in_version_2_and_believed_in_version_3() {
        let mut packet = advertisement(Body::V2(PASS));
        packet.interval = Centiseconds(200);
        assert!(matches!(version_2(PASS).check(&packet), Err(Discard::IntervalMismatch { .. })));
        packet.body = Body::V3(ChecksumForm::Rfc);
        let expected = Expected { version: Version::V3, ..version_2(Authentication::None) };
        assert_eq!(expected.check(&packet), Ok(()));
    }

    // RFC 9568: -7.1-version
    #[test]
    fn the_other_version_is_dropped() {
        let packet = advertisement(Body::V3(ChecksumForm::Rfc));
        assert_eq!(version_2(PASS).check(&packet), Err(Discard::Version(3)));
        let expected = Expected { version: Version::V3, ..version_2(Authentication::None) };
        assert_eq!(expected.check(&advertisement(Body::V2(PASS))), Err(Discard::Version(2)));
    }

    // RFC 9568: +7.1-first -7.1-first +5.2.9-first
    #[test]
    fn a_list_without_a_link_local_address_first_is_believed_only_by_a_router_that_has_none_either() {
        let [link_local, global]: [IpAddr; 2] = ["fe80::1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
        let expected = |link_local_first| Expected {
            version: Version::V3,
            link_local_first,
            ..version_2(Authentication::None)
        };
        let mut packet = advertisement(Body::V3(ChecksumForm::Rfc));
        packet.addresses = vec![global, link_local];
        assert_eq!(expected(true).check(&packet), Err(Discard::FirstAddress(global)));
        assert_eq!(expected(false).check(&packet), Ok(()));
        packet.addresses = vec![link_local, global];
        assert_eq!(expected(true).check(&packet), Ok(()));
        assert_eq!(expected(false).check(&packet), Ok(()));
    }

    #[test]
    fn address_lists_are_compared_without_their_order() {
        let [a, b] = [IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1)), IpAddr::V4(Ipv4Addr::new(10, 0, 0, 2))];
        assert!(same_addresses([a, b].into_iter(), &[b, a]));
        assert!(!same_addresses([a, b].into_iter(), &[a]));
        assert!(!same_addresses([a].into_iter(), &[b]));
    }
}
