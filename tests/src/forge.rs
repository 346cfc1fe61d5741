//! Packets that a test forges: advertisements of version 3 in either family, right in every byte unless a field says
//! otherwise, and odd headers around any payload.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::Mac;

const VRRP: u8 = 112;
pub const GROUP_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(224, 0, 0, 18));
pub const GROUP_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12));

/// An advertisement before it is bytes.
#[derive(Debug, Clone)]
pub struct Forged {
    pub from: IpAddr,
    pub to: IpAddr,
    pub ttl: u8,
    pub vrid: u8,
    pub priority: u8,
    /// Hundredths of a second.
    pub interval: u16,
    pub addresses: Vec<IpAddr>,
}

impl Forged {
    /// The VRRP message alone. The checksum is the RFC's: over IPv4 the message alone, over IPv6 with the pseudo-header.
    pub fn message(&self) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).expect("few addresses");
        let mut body = vec![0x31, self.vrid, self.priority, count];
        body.extend(self.interval.to_be_bytes());
        body.extend([0, 0]);
        self.addresses.iter().for_each(|address| body.extend(octets(*address)));
        let mut summed = Vec::new();
        if self.from.is_ipv6() {
            summed.extend(octets(self.from));
            summed.extend(octets(self.to));
            summed.extend(u32::try_from(body.len()).expect("short").to_be_bytes());
            summed.extend([0, 0, 0, VRRP]);
        }
        summed.extend(&body);
        let sum = checksum(&summed);
        body[6..8].copy_from_slice(&sum.to_be_bytes());
        body
    }

    /// The whole IP packet.
    pub fn packet(&self) -> Vec<u8> {
        let message = self.message();
        match (self.from, self.to) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                Ipv4 { from, to, ttl: self.ttl, options: &[], fragment: 0 }.packet(&message)
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, self.ttl, VRRP, &message),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => panic!("two families"),
        }
    }
}

/// An IPv4 header.
#[derive(Debug, Clone, Copy)]
pub struct Ipv4<'a> {
    pub from: Ipv4Addr,
    pub to: Ipv4Addr,
    pub ttl: u8,
    /// Whole words of four bytes.
    pub options: &'a [u8],
    /// Flags and fragment offset, as they stand in the header.
    pub fragment: u16,
}

impl Ipv4<'_> {
    pub fn packet(&self, payload: &[u8]) -> Vec<u8> {
        let header = 20 + self.options.len();
        let words = u8::try_from(header / 4).expect("at most 15 words");
        let length = u16::try_from(header + payload.len()).expect("a short packet");
        let mut packet = vec![0x40 | words, 0xc0];
        packet.extend(length.to_be_bytes());
        packet.extend([0x12, 0x34]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, VRRP, 0, 0]);
        packet.extend(self.from.octets());
        packet.extend(self.to.octets());
        packet.extend(self.options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }
}

/// An IPv6 packet around any payload.
pub fn ipv6(from: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, next_header: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("a short packet");
    let mut packet = vec![0x6c, 0, 0, 0];
    packet.extend(length.to_be_bytes());
    packet.extend([next_header, hop_limit]);
    packet.extend(from.octets());
    packet.extend(to.octets());
    packet.extend(payload);
    packet
}

/// The MAC address of VRRP's group in a packet's family (RFC 1112, 6.4; RFC 2464, 7).
pub fn group_mac(packet: &[u8]) -> Mac {
    if is_ipv6(packet) { [0x33, 0x33, 0, 0, 0, 0x12] } else { [0x01, 0x00, 0x5e, 0, 0, 0x12] }
}

pub(crate) fn is_ipv6(packet: &[u8]) -> bool {
    packet.first().is_some_and(|first| first >> 4 == 6)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// RFC 1071.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}
