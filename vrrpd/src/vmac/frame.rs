//! An advertisement as a whole Ethernet frame, so that its source can be the virtual MAC address (RFC 9568, 7.3).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::arp::MacAddress;
use crate::packet::{GROUP, GROUP_V6, PROTOCOL, TTL};

/// CS6, network control, as our sockets have it.
const TRAFFIC_CLASS: u8 = 0xc0;
const IPV4_HEADER: usize = 20;
/// RFC 1112, 6.4 and RFC 2464, 7: the MAC addresses of 224.0.0.18 and ff02::12.
const GROUP_MAC: MacAddress = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
const GROUP_MAC_V6: MacAddress = [0x33, 0x33, 0, 0, 0, 0x12];

/// The frame of an advertisement from `source`, at most 65,000 bytes of it. What is longer than the link's MTU the
/// kernel refuses: a frame cannot be fragmented.
pub fn advertisement(mac: MacAddress, source: IpAddr, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).unwrap_or(u16::MAX);
    let mut frame = Vec::with_capacity(14 + 40 + payload.len());
    match source {
        IpAddr::V4(source) => {
            frame.extend(GROUP_MAC);
            frame.extend(mac);
            frame.extend([0x08, 0x00]);
            frame.extend(ipv4(source, length));
        }
        IpAddr::V6(source) => {
            frame.extend(GROUP_MAC_V6);
            frame.extend(mac);
            frame.extend([0x86, 0xdd]);
            frame.extend(ipv6(source, length));
        }
    }
    frame.extend(payload);
    frame
}

/// ```text
/// | 4, 5 | traffic class | total length | identification 0 | don't fragment | TTL 255 | 112 | checksum |
/// | source | 224.0.0.18 |
/// ```
fn ipv4(source: Ipv4Addr, payload: u16) -> [u8; IPV4_HEADER] {
    let total = payload.saturating_add(20).to_be_bytes();
    let mut header =
        [0x45, TRAFFIC_CLASS, total[0], total[1], 0, 0, 0x40, 0, TTL, PROTOCOL, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    header[12..16].copy_from_slice(&source.octets());
    header[16..20].copy_from_slice(&GROUP.octets());
    let words = header.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    let checksum = !u16::try_from(folded).expect("folded twice, ten words fit");
    header[10..12].copy_from_slice(&checksum.to_be_bytes());
    header
}

/// ```text
/// | 6 | traffic class | flow label 0 | payload length | 112 | hop limit 255 | source | ff02::12 |
/// ```
fn ipv6(source: Ipv6Addr, payload: u16) -> [u8; 40] {
    let mut header = [0; 40];
    header[0] = 0x60 | (TRAFFIC_CLASS >> 4);
    header[1] = TRAFFIC_CLASS << 4;
    header[4..6].copy_from_slice(&payload.to_be_bytes());
    header[6] = PROTOCOL;
    header[7] = TTL;
    header[8..24].copy_from_slice(&source.octets());
    header[24..40].copy_from_slice(&GROUP_V6.octets());
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::Datagram;

    const MAC: MacAddress = [0, 0, 0x5e, 0, 1, 51];

    // RFC 9568: +5.1.1 +7.2 +7.3
    #[test]
    fn an_ipv4_frame_has_the_virtual_mac_ttl_255_and_a_right_checksum() {
        let payload = [0x31, 51, 100, 1, 0, 100, 0, 0, 10, 0, 0, 50];
        let frame = advertisement(MAC, Ipv4Addr::new(10, 0, 0, 1).into(), &payload);
        let ethernet = [0x01, 0x00, 0x5e, 0x00, 0x00, 0x12, 0x00, 0x00, 0x5e, 0x00, 0x01, 0x33, 0x08, 0x00];
        assert_eq!(frame[..14], ethernet);
        let words = frame[14..34].chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
        let sum: u32 = words.sum();
        assert_eq!((sum & 0xffff) + (sum >> 16), 0xffff, "RFC 1071");
        let datagram = Datagram::parse(&frame[14..]).unwrap();
        assert_eq!(datagram.source, Ipv4Addr::new(10, 0, 0, 1));
        assert_eq!(datagram.destination, GROUP);
        assert_eq!((datagram.ttl, datagram.payload), (255, payload.as_slice()));
    }

    // RFC 9568: +5.1.2 +7.3
    #[test]
    fn an_ipv6_frame_goes_to_the_group_with_hop_limit_255() {
        let source: Ipv6Addr = "fe80::1".parse().unwrap();
        let frame = advertisement([0, 0, 0x5e, 0, 2, 51], source.into(), &[1, 2, 3]);
        assert_eq!(frame[..14], [0x33, 0x33, 0, 0, 0, 0x12, 0, 0, 0x5e, 0, 2, 51, 0x86, 0xdd]);
        assert_eq!(frame[14..22], [0x6c, 0, 0, 0, 0, 3, 112, 255]);
        assert_eq!(frame[22..38], source.octets());
        assert_eq!(frame[38..54], GROUP_V6.octets());
        assert_eq!(frame[54..], [1, 2, 3]);
    }
}
