//! Unsolicited neighbour advertisement: the frame that tells a segment where an IPv6 address lives now (RFC 9568, 6.4.1
//! and 6.4.2; RFC 4861, 4.4 and 7.2.6). The IPv6 counterpart of `arp.rs`.
//!
//! The Router flag is set whether this machine forwards or not, as RFC 9568 has it. (keepalived looks at the sysctl
//! `forwarding`.) A neighbour that sees the flag go from 1 to 0 throws this router out of its list of default routers
//! (RFC 4861, 7.2.5); going from 0 to 1 costs nothing. So 1 is also the safe side when the kernel, which answers
//! solicitations by itself, and we do not agree.

use std::net::Ipv6Addr;

use crate::arp::MacAddress;

/// Bytes of the frame: Ethernet header, IPv6 header, ICMPv6 message with one option.
pub const FRAME: usize = 14 + 40 + MESSAGE;

/// ICMPv6 message: header and target, and the option.
const MESSAGE: usize = 24 + 8;
/// ff02::1, which everybody on the link listens to, and its Ethernet address (RFC 2464, 7).
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC: MacAddress = [0x33, 0x33, 0, 0, 0, 1];
const ICMPV6: u8 = 58;
/// Neighbours drop anything else: it could have crossed a router (RFC 4861, 7.1.2).
const HOP_LIMIT: u8 = 255;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
const ROUTER: u8 = 0x80;
const OVERRIDE: u8 = 0x20;
const TARGET_LINK_LAYER_ADDRESS: u8 = 2;
/// Where the checksum stands in the frame.
const CHECKSUM: usize = 14 + 40 + 2;

/// The whole Ethernet frame. Its source is the address itself, as in what the kernel sends for an address of its own:
/// RFC 4861 wants one that the interface has, and a neighbour that filters by address expects this one.
/// ```text
/// | destination 33:33:00:00:00:01 | source MAC | 0x86dd |
/// | version 6 | payload length 32 | next header 58 | hop limit 255 | address | ff02::1 |
/// | type 136 | code 0 | checksum | R=1 S=0 O=1 | target = address |
/// | option 2, target link-layer address | length 1 (eight bytes) | MAC |
/// ```
pub fn unsolicited(mac: MacAddress, address: Ipv6Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let message_len = u8::try_from(MESSAGE).expect("32 fits");
    let parts: [&[u8]; 10] = [
        &ALL_NODES_MAC,
        &mac,
        &[0x86, 0xdd, 0x60, 0, 0, 0, 0, message_len, ICMPV6, HOP_LIMIT],
        &address.octets(),
        &ALL_NODES.octets(),
        &[NEIGHBOUR_ADVERTISEMENT, 0, 0, 0],
        &[ROUTER | OVERRIDE, 0, 0, 0],
        &address.octets(),
        &[TARGET_LINK_LAYER_ADDRESS, 1],
        &mac,
    ];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    let checksum = checksum(&frame);
    frame[CHECKSUM..CHECKSUM + 2].copy_from_slice(&checksum.to_be_bytes());
    frame
}

/// ICMPv6 checksum of a frame (RFC 4443, 2.3; pseudo-header: RFC 8200, 8.1); 0 if the one that it holds is right.
fn checksum(frame: &[u8; FRAME]) -> u16 {
    // From the source address to the end: both addresses and the message, all of it in whole words.
    let words = frame[14 + 8..].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])));
    let message_len = u32::try_from(MESSAGE).expect("32 fits");
    let mut sum = words.sum::<u32>() + message_len + u32::from(ICMPV6);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: MacAddress = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];

    /// keepalived 2.2.7 (Debian 12) becoming Active on a router (net.ipv6.conf.all.forwarding = 1).
    const CAPTURED: [u8; FRAME] = [
        0x33, 0x33, 0x00, 0x00, 0x00, 0x01, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x86, 0xdd, // Ethernet
        0x60, 0x00, 0x00, 0x00, 0x00, 0x20, 0x3a, 0xff, // IPv6
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, // source
        0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, // destination
        0x88, 0x00, 0x12, 0x86, 0xa0, 0x00, 0x00, 0x00, // advertisement
        0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x07, // target
        0x02, 0x01, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, // option
    ];

    /// What a neighbour makes of a frame, by the checks of RFC 4861 section 7.1.2.
    #[derive(Debug, PartialEq, Eq)]
    struct Read {
        router: bool,
        solicited: bool,
        overrides: bool,
        target: Ipv6Addr,
        link_layer: MacAddress,
    }

    fn read(frame: &[u8; FRAME]) -> Result<Read, &'static str> {
        let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&frame[at..at + 16]).unwrap());
        let checks = [
            (frame[12..14] == [0x86, 0xdd] && frame[14] >> 4 == 6, "not IPv6"),
            (frame[18..20] == [0, 32] && frame[20] == ICMPV6, "not a message of this length"),
            (frame[21] == 255, "hop limit"),
            (checksum(frame) == 0, "checksum"),
            (frame[54..56] == [136, 0], "type or code"),
            (!address(62).is_multicast(), "target is multicast"),
            (!(address(38).is_multicast() && frame[58] & 0x40 != 0), "solicited, but to a group"),
            (frame[78..80] == [2, 1], "option"),
        ];
        if let Some((_, why)) = checks.iter().find(|(right, _)| !right) {
            return Err(why);
        }
        let flag = |bit: u8| frame[58] & bit != 0;
        Ok(Read {
            router: flag(0x80),
            solicited: flag(0x40),
            overrides: flag(0x20),
            target: address(62),
            link_layer: frame[80..].try_into().unwrap(),
        })
    }

    // RFC 9568: +6.4.1-na
    #[test]
    fn the_frame_is_the_one_that_was_captured() {
        assert_eq!(unsolicited(MAC, "2001:db8::7".parse().unwrap()), CAPTURED);
    }

    // RFC 9568: +6.4.1-na
    #[test]
    fn a_neighbour_reads_a_router_that_overrides_and_was_not_asked() {
        let target: Ipv6Addr = "fe80::7".parse().unwrap();
        let expected = Read { router: true, solicited: false, overrides: true, target, link_layer: MAC };
        assert_eq!(read(&unsolicited(MAC, target)), Ok(expected));
        assert_eq!(read(&CAPTURED).map(|read| read.target), Ok("2001:db8::7".parse().unwrap()));
    }

    #[test]
    fn one_changed_byte_anywhere_behind_the_ethernet_header_is_noticed() {
        for at in 14 + 4..FRAME {
            let mut frame = CAPTURED;
            frame[at] ^= 0x01;
            assert!(read(&frame).is_err(), "byte {at}");
        }
    }

    #[test]
    fn the_checksum_is_right_for_every_address() {
        let mut random = crate::testing::Random::new(3);
        for _ in 0..10_000 {
            let address = Ipv6Addr::from(std::array::from_fn::<u8, 16, _>(|_| random.byte()));
            let mac = std::array::from_fn(|_| random.byte());
            assert_eq!(checksum(&unsolicited(mac, address)), 0, "{address}");
        }
    }
}
