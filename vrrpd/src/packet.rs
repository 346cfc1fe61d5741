//! VRRP advertisements, bytes to meaning and back: RFC 9568 (version 3) and RFC 3768 (version 2).
//!
//! Pure. Checks that need no configuration are made here, in the order of RFC 9568 section 7.1; those that compare
//! with a router's settings are in `receive.rs`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::receive::Discard;
use crate::types::{Centiseconds, Family, Priority, Version, VirtualRouterId};

/// Where advertisements go over IPv4 (RFC 9568, 5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where advertisements go over IPv6 (RFC 9568, 5.1.2.2).
pub const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// RFC 9568, 5.1.1.4.
pub const PROTOCOL: u8 = 112;
/// Nothing that crossed a router is believed (RFC 9568, 5.1.1.3).
pub const TTL: u8 = 255;

/// Header before the addresses, both versions, bytes.
const HEADER: usize = 8;
/// Version 2 ends with this many bytes of authentication data, used or not.
const AUTHENTICATION: usize = 8;
const ADVERTISEMENT: u8 = 1;
const AUTH_NONE: u8 = 0;
const AUTH_PASS: u8 = 1;

/// An advertisement.
///
/// Version 3 (RFC 9568, 5.2):
/// ```text
///  0                   1                   2                   3
///  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Version| Type  | Virtual Rtr ID|   Priority    |IPvX Addr Count|
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |Reserve| Max Advertise Interval|          Checksum             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                       IPvX Address(es)                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
/// Version 2 (RFC 3768, 5.1) differs in the second word, and ends with the authentication data:
/// ```text
/// |   Auth Type   |   Adver Int   |          Checksum             |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                         IP Address(es)                        |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// |                     Authentication Data (1)                   |
/// |                     Authentication Data (2)                   |
/// +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertisement {
    pub vrid: VirtualRouterId,
    pub priority: Priority,
    /// 0 may arrive; it is never sent.
    pub interval: Centiseconds,
    /// All of the family of the packet that carries them (RFC 9568, 5.2.9).
    pub addresses: Vec<IpAddr>,
    pub body: Body,
}

/// What only one of the versions has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    V2(Authentication),
    V3(ChecksumForm),
}

impl Body {
    pub fn version(self) -> Version {
        match self {
            Self::V2(_) => Version::V2,
            Self::V3(_) => Version::V3,
        }
    }
}

/// Version 2's authentication type and data. RFC 3768 reserves the types, the world uses PASS (RFC 2338, 5.3.6).
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Authentication {
    None,
    /// Up to eight bytes, padded with zeros.
    Pass([u8; AUTHENTICATION]),
    /// A type that we do not speak, such as 2 (AH).
    Other(u8),
}

/// Redacted: it ends up in test output and logs.
impl std::fmt::Debug for Authentication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::None => f.write_str("None"),
            Self::Pass(_) => f.write_str("Pass(redacted)"),
            Self::Other(number) => write!(f, "Other({number})"),
        }
    }
}

/// What version 3's checksum covers over IPv4; over IPv6 there is one form only, with the pseudo-header of RFC 8200.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChecksumForm {
    /// RFC 9568 section 5.2.8: the message alone.
    #[default]
    Rfc,
    /// A pseudo-header as well, as RFC 5798 could be read: keepalived and FRR send that unless told otherwise.
    Keepalived,
}

impl ChecksumForm {
    /// The words of the key `checksum`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rfc => "rfc",
            Self::Keepalived => "keepalived",
        }
    }
}

/// How an advertisement must have come to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Path {
    /// The group, or with unicast peers our own address.
    pub destination: IpAddr,
    /// The least and the greatest TTL or hop limit: both 255, but for unicast peers that are configured otherwise.
    pub ttl: (u8, u8),
}

impl Path {
    /// RFC 9568, 5.1.1 and 5.1.2.
    pub fn multicast(family: Family) -> Self {
        Self { destination: group(family), ttl: (TTL, TTL) }
    }
}

/// What a packet of protocol 112 says, whichever family carried it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    pub source: IpAddr,
    pub destination: IpAddr,
    /// IPv6: the hop limit.
    pub ttl: u8,
    pub payload: &'a [u8],
}

impl<'a> Datagram<'a> {
    pub fn family(&self) -> Family {
        Family::of(self.source)
    }

    /// Split an IPv4 packet, as a raw socket delivers it. `None` if it is too short to be one; the kernel does not deliver such.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header_len = usize::from(packet.first()? & 0x0f) * 4;
        if header_len < 20 || packet.len() < header_len {
            return None;
        }
        // What arrived counts, not what the total length field claims, which a sender may choose.
        let claimed = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        let end = claimed.clamp(header_len, packet.len());
        Some(Self {
            source: IpAddr::V4(ipv4_at(packet, 12)),
            destination: IpAddr::V4(ipv4_at(packet, 16)),
            ttl: packet[8],
            payload: &packet[header_len..end],
        })
    }
}

/// Four bytes at `offset`, which the caller has checked to be there.
fn ipv4_at(bytes: &[u8], offset: usize) -> Ipv4Addr {
    Ipv4Addr::new(bytes[offset], bytes[offset + 1], bytes[offset + 2], bytes[offset + 3])
}

/// The length of an address, bytes.
fn address_len(family: Family) -> usize {
    match family {
        Family::V4 => 4,
        Family::V6 => 16,
    }
}

/// Where advertisements of this family go.
pub fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => IpAddr::V4(GROUP),
        Family::V6 => IpAddr::V6(GROUP_V6),
    }
}

/// The addresses that a part of a packet consists of.
fn addresses(family: Family, bytes: &[u8]) -> Vec<IpAddr> {
    let chunks = bytes.chunks_exact(address_len(family));
    match family {
        Family::V4 => chunks.map(|chunk| IpAddr::V4(ipv4_at(chunk, 0))).collect(),
        Family::V6 => chunks
            .map(|chunk| <[u8; 16]>::try_from(chunk).expect("chunks of 16"))
            .map(|octets| IpAddr::V6(octets.into()))
            .collect(),
    }
}

/// The bytes of an address, appended.
fn push_address(bytes: &mut Vec<u8>, address: IpAddr) {
    match address {
        IpAddr::V4(address) => bytes.extend(address.octets()),
        IpAddr::V6(address) => bytes.extend(address.octets()),
    }
}

/// The VRID of a packet that may be broken elsewhere, so that its fault is counted where an operator looks for it.
pub fn peek_vrid(payload: &[u8]) -> Option<VirtualRouterId> {
    VirtualRouterId::new(*payload.get(1)?)
}

/// Read an advertisement: RFC 9568 section 7.1, the checks that need no configuration but the way that it came.
///
/// # Errors
/// The first check that it does not pass.
pub fn decode(datagram: &Datagram<'_>, path: &Path) -> Result<Advertisement, Discard> {
    let payload = datagram.payload;
    if datagram.ttl < path.ttl.0 || datagram.ttl > path.ttl.1 {
        return Err(Discard::Ttl { ttl: datagram.ttl, allowed: path.ttl });
    }
    let family = datagram.family();
    if datagram.destination != path.destination {
        return Err(Discard::Destination(datagram.destination));
    }
    let &[version_type, vrid, priority, count, fifth, sixth, _, _, ..] = payload else {
        return Err(Discard::Length(payload.len()));
    };
    let version = match version_type >> 4 {
        // Version 2 is of IPv4 (RFC 3768, 1).
        2 if family == Family::V4 => Version::V2,
        3 => Version::V3,
        other => return Err(Discard::Version(other)),
    };
    if version_type & 0x0f != ADVERTISEMENT {
        return Err(Discard::Type(version_type & 0x0f));
    }
    let addresses_end = HEADER + address_len(family) * usize::from(count);
    let least = addresses_end + if version == Version::V2 { AUTHENTICATION } else { 0 };
    // Longer is accepted, as section 7.1 has it ("greater than or equal"): keepalived's HMAC trailer is such.
    if payload.len() < least || payload.len() > usize::from(u16::MAX) {
        return Err(Discard::Length(payload.len()));
    }
    let form = checksum_form(version, datagram).ok_or(Discard::Checksum)?;
    let vrid = VirtualRouterId::new(vrid).ok_or(Discard::UnknownRouter(vrid))?;
    if count == 0 {
        return Err(Discard::NoAddresses);
    }
    let addresses = addresses(family, &payload[HEADER..addresses_end]);
    let (interval, body) = match version {
        Version::V2 => {
            let data = &payload[addresses_end..least];
            (u16::from(sixth) * 100, Body::V2(authentication(fifth, data)))
        }
        Version::V3 => (u16::from_be_bytes([fifth & 0x0f, sixth]), Body::V3(form)),
    };
    if interval == 0 {
        return Err(Discard::IntervalZero);
    }
    Ok(Advertisement {
        vrid,
        priority: Priority(priority),
        interval: Centiseconds(interval),
        addresses,
        body,
    })
}

fn authentication(kind: u8, data: &[u8]) -> Authentication {
    match kind {
        AUTH_NONE => Authentication::None,
        AUTH_PASS => Authentication::Pass(data.try_into().expect("the length was checked")),
        other => Authentication::Other(other),
    }
}

/// Which of the two checksums is right, if one is.
fn checksum_form(version: Version, datagram: &Datagram<'_>) -> Option<ChecksumForm> {
    let Datagram { source, destination, payload, .. } = *datagram;
    let plain = checksum(0, payload) == 0;
    let with_header = || checksum(pseudo_header(source, destination, payload.len()), payload) == 0;
    match (datagram.family(), version) {
        (Family::V4, _) if plain => Some(ChecksumForm::Rfc),
        (Family::V4, Version::V3) => with_header().then_some(ChecksumForm::Keepalived),
        (Family::V4, Version::V2) => None,
        (Family::V6, _) => with_header().then_some(ChecksumForm::Rfc),
    }
}

impl Advertisement {
    /// The bytes to send. Both addresses are part of a checksum with a pseudo-header: with unicast peers each gets bytes
    /// of its own.
    pub fn encode(&self, source: IpAddr, destination: IpAddr) -> Vec<u8> {
        let family = Family::of(source);
        let mut bytes =
            Vec::with_capacity(HEADER + address_len(family) * self.addresses.len() + AUTHENTICATION);
        let count =
            u8::try_from(self.addresses.len()).expect("the configuration allows 255 addresses at most");
        let version_type = self.body.version().number() << 4 | ADVERTISEMENT;
        bytes.extend([version_type, self.vrid.get(), self.priority.0, count]);
        match self.body {
            Body::V2(authentication) => {
                let seconds =
                    u8::try_from(self.interval.0 / 100).expect("the configuration allows 255s at most");
                bytes.extend([authentication.number(), seconds, 0, 0]);
            }
            Body::V3(_) => {
                bytes.extend(self.interval.0.min(Centiseconds::MAX.0).to_be_bytes());
                bytes.extend([0, 0]);
            }
        }
        for address in &self.addresses {
            push_address(&mut bytes, *address);
        }
        let mut start = 0;
        match self.body {
            Body::V2(Authentication::Pass(data)) => bytes.extend(data),
            Body::V2(Authentication::None | Authentication::Other(_)) => bytes.extend([0; AUTHENTICATION]),
            Body::V3(ChecksumForm::Rfc) if family == Family::V4 => {}
            Body::V3(ChecksumForm::Rfc | ChecksumForm::Keepalived) => {
                start = pseudo_header(source, destination, bytes.len());
            }
        }
        let sum = checksum(start, &bytes).to_be_bytes();
        bytes[6..8].copy_from_slice(&sum);
        bytes
    }
}

impl Authentication {
    fn number(self) -> u8 {
        match self {
            Self::None => AUTH_NONE,
            Self::Pass(_) => AUTH_PASS,
            Self::Other(number) => number,
        }
    }
}

/// Sum over the pseudo-header: addresses, protocol and length (RFC 9568, 5.2.8; RFC 8200, 8.1).
fn pseudo_header(source: IpAddr, destination: IpAddr, length: usize) -> u32 {
    let length = u32::try_from(length).expect("a payload is shorter than 64 KiB");
    sum_address(source) + sum_address(destination) + u32::from(PROTOCOL) + length
}

fn sum_address(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(address) => sum(&address.octets()),
        IpAddr::V6(address) => sum(&address.octets()),
    }
}

/// The Internet checksum (RFC 1071) of `bytes`, on top of a sum; 0 over bytes that hold a right checksum.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let mut total = start + sum(bytes);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    !u16::try_from(total).expect("folded to 16 bits")
}

/// Sum of 16-bit words; an odd byte at the end is the high half of one. At most 64 KiB, so it fits.
fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]))).sum()
}

#[cfg(test)]
mod tests;
