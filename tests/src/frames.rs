//! What a frame on the lab's wire says, both address families: advertisements of VRRP and announcements of addresses.
//! Written for the tests, from the RFCs, so that a mistake in vrrpd's own decoder is not repeated here.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::capture::Mac;

const VRRP: u8 = 112;
const ICMPV6: u8 = 58;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
/// RFC 4861, 4.6.1.
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    Advert(Advert),
    /// A gratuitous ARP, or an unsolicited neighbour advertisement to all nodes.
    Announcement {
        address: IpAddr,
        mac: Mac,
    },
}

/// An advertisement's fields, as they stand in the packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advert {
    pub from: IpAddr,
    pub to: IpAddr,
    pub hop_limit: u8,
    pub mac: Mac,
    pub version: u8,
    pub vrid: u8,
    pub priority: u8,
    pub count: u8,
}

/// What matters of an Ethernet frame, if anything does.
pub fn read(frame: &[u8]) -> Option<Frame> {
    let mac: Mac = frame.get(6..12)?.try_into().ok()?;
    let packet = frame.get(14..)?;
    match frame.get(12..14)? {
        [0x08, 0x06] => arp(packet),
        [0x08, 0x00] => ipv4(mac, packet),
        [0x86, 0xdd] => ipv6(mac, packet),
        _ => None,
    }
}

/// Whether a frame belongs to VRRP, ARP or neighbour discovery: what a recording keeps.
pub fn is_ours_to_record(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0x06]) => true,
        Some([0x08, 0x00]) => frame.get(23) == Some(&VRRP),
        Some([0x86, 0xdd]) => frame.get(20).is_some_and(|next| [VRRP, ICMPV6].contains(next)),
        _ => false,
    }
}

fn arp(packet: &[u8]) -> Option<Frame> {
    let (sender, target) = (v4(packet, 14)?, v4(packet, 24)?);
    let mac: Mac = packet.get(8..14)?.try_into().ok()?;
    (sender == target).then_some(Frame::Announcement { address: sender, mac })
}

fn ipv4(mac: Mac, packet: &[u8]) -> Option<Frame> {
    if *packet.get(9)? != VRRP {
        return None;
    }
    let body = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    advert(v4(packet, 12)?, v4(packet, 16)?, packet[8], mac, body)
}

fn ipv6(mac: Mac, packet: &[u8]) -> Option<Frame> {
    let (from, to, body) = (v6(packet, 8)?, v6(packet, 24)?, packet.get(40..)?);
    match *packet.get(6)? {
        VRRP => advert(from, to, packet[7], mac, body),
        ICMPV6 if *body.first()? == NEIGHBOUR_ADVERTISEMENT && to == IpAddr::V6(ALL_NODES) => {
            let option = body.get(24..32)?;
            let mac = Mac::try_from(option.get(2..8)?).ok()?;
            (option[0] == TARGET_LINK_LAYER_ADDRESS)
                .then_some(Frame::Announcement { address: v6(body, 8)?, mac })
        }
        _ => None,
    }
}

fn advert(from: IpAddr, to: IpAddr, hop_limit: u8, mac: Mac, body: &[u8]) -> Option<Frame> {
    let &[first, vrid, priority, count, ..] = body else { return None };
    Some(Frame::Advert(Advert { from, to, hop_limit, mac, version: first >> 4, vrid, priority, count }))
}

fn v4(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(IpAddr::V4(Ipv4Addr::from(octets)))
}

fn v6(packet: &[u8], at: usize) -> Option<IpAddr> {
    let octets: [u8; 16] = packet.get(at..at + 16)?.try_into().ok()?;
    Some(IpAddr::V6(Ipv6Addr::from(octets)))
}
