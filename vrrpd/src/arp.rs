//! Gratuitous ARP: the frame that tells a segment where an address lives now (RFC 9568, 6.4; RFC 5227, 3).
//!
//! It is an ARP request for the address itself. Ours carries the interface's own MAC address: virtual MAC
//! addresses come with a later release.

use std::net::Ipv4Addr;

/// Bytes of the frame: Ethernet header and ARP message. The driver pads it.
pub const FRAME: usize = 14 + 28;

pub type MacAddress = [u8; 6];

const BROADCAST: MacAddress = [0xff; 6];

/// The whole Ethernet frame:
/// ```text
/// | destination ff:ff:ff:ff:ff:ff | source MAC | 0x0806 |
/// | hardware 1 | protocol 0x0800 | 6 | 4 | operation 1 (request) |
/// | sender MAC | sender address | target MAC ff:… | target address = sender address |
/// ```
pub fn gratuitous(mac: MacAddress, address: Ipv4Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let parts: [&[u8]; 7] = [
        &BROADCAST,
        &mac,
        &[0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1],
        &mac,
        &address.octets(),
        &BROADCAST,
        &address.octets(),
    ];
    let mut at = 0;
    for part in parts {
        frame[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 9568: +6.4.1-garp
    #[test]
    fn the_frame_is_the_one_that_was_captured() {
        // keepalived 2.2.7 (Debian 12) becoming Active on an interface with this MAC address.
        let captured = [
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0x08,
            0x06, // Ethernet
            0x00, 0x01, 0x08, 0x00, 0x06, 0x04, 0x00, 0x01, // request
            0x02, 0x11, 0x22, 0x33, 0x44, 0x55, 0xc0, 0xa8, 0x64, 0x0a, // sender
            0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xc0, 0xa8, 0x64, 0x0a, // target
        ];
        let mac = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
        assert_eq!(gratuitous(mac, Ipv4Addr::new(192, 168, 100, 10)), captured);
    }
}
