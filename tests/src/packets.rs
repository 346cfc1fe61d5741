//! The IP packets of one interface, and how they are packed: "ipv4 tcp", "ipv6 gue-csum ipv4 tcp". Each with the station
//! that sent it, where the outermost packet goes, and from where to where the innermost does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::capture::Mac;
use crate::host::Host;
use crate::recorder::Recorder;

/// The UDP port that the lab's servers decapsulate.
pub const GUE_PORT: u16 = 6080;

const IPIP: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6: u8 = 41;
const GRE: u8 = 47;
const SCTP: u8 = 132;
/// Private flag of GUE: remote checksum offload.
const REMOTE_CHECKSUM: u8 = 0x80;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet {
    pub sender: Mac,
    /// Outermost first.
    pub layers: Vec<&'static str>,
    /// Of the outermost packet.
    pub outer_target: IpAddr,
    /// Of the innermost packet.
    pub source: SocketAddr,
    pub target: SocketAddr,
}

impl Packet {
    pub fn packing(&self) -> String {
        self.layers.join(" ")
    }
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Packets(Recorder<Packet>);

impl Packets {
    /// On one interface of a host, in both directions; listening when it returns.
    pub fn start(host: &Host, interface: &str) -> Self {
        Self(Recorder::start(host, interface, read))
    }

    /// Those whose innermost packet goes to this address and port.
    pub fn to(&self, target: SocketAddr) -> Vec<Packet> {
        self.which(|packet| packet.target == target)
    }

    /// Those whose innermost packet comes from there.
    pub fn from(&self, source: SocketAddr) -> Vec<Packet> {
        self.which(|packet| packet.source == source)
    }

    fn which(&self, wanted: impl Fn(&Packet) -> bool) -> Vec<Packet> {
        self.0.which(|_, packet| wanted(packet)).into_iter().map(|(_, packet)| packet).collect()
    }
}

/// What a frame carries; nothing if that is neither IP nor has ports.
fn read(frame: &[u8]) -> Option<Packet> {
    let sender: Mac = frame.get(6..12)?.try_into().ok()?;
    let mut layers = Vec::new();
    let mut rest = match frame.get(12..14)? {
        [0x08, 0x00] => (IPIP, frame.get(14..)?),
        [0x86, 0xdd] => (IPV6, frame.get(14..)?),
        _ => return None,
    };
    let mut outer_target = None;
    loop {
        let (source, target, (protocol, body)) = ip(rest, &mut layers)?;
        outer_target.get_or_insert(target);
        rest = match protocol {
            IPIP | IPV6 => (protocol, body),
            GRE => gre(body, &mut layers)?,
            UDP if port(body, 2)? == GUE_PORT => gue(body, &mut layers)?,
            TCP | UDP | SCTP => {
                layers.push(if protocol == TCP {
                    "tcp"
                } else if protocol == UDP {
                    "udp"
                } else {
                    "sctp"
                });
                let (source, target) =
                    (SocketAddr::new(source, port(body, 0)?), SocketAddr::new(target, port(body, 2)?));
                return Some(Packet { sender, layers, outer_target: outer_target?, source, target });
            }
            _ => return None,
        };
    }
}

/// What comes next, by the number of an IP protocol, and its bytes.
type Next<'a> = (u8, &'a [u8]);

fn ip<'a>((family, packet): Next<'a>, layers: &mut Vec<&'static str>) -> Option<(IpAddr, IpAddr, Next<'a>)> {
    if family == IPIP {
        layers.push("ipv4");
        let address = |at: usize| <[u8; 4]>::try_from(packet.get(at..at + 4)?).ok().map(Ipv4Addr::from);
        let body = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
        return Some((address(12)?.into(), address(16)?.into(), (*packet.get(9)?, body)));
    }
    layers.push("ipv6");
    let address = |at: usize| <[u8; 16]>::try_from(packet.get(at..at + 16)?).ok().map(Ipv6Addr::from);
    Some((address(8)?.into(), address(24)?.into(), (*packet.get(6)?, packet.get(40..)?)))
}

/// RFC 2784: flags, protocol, and where the first flag says so a checksum with as many reserved bytes.
fn gre<'a>(body: &'a [u8], layers: &mut Vec<&'static str>) -> Option<Next<'a>> {
    let has_checksum = body.first()? & 0x80 != 0;
    layers.push(if has_checksum { "gre-csum" } else { "gre" });
    let protocol = match body.get(2..4)? {
        [0x08, 0x00] => IPIP,
        [0x86, 0xdd] => IPV6,
        _ => return None,
    };
    Some((protocol, body.get(if has_checksum { 8 } else { 4 }..)?))
}

/// draft-ietf-intarea-gue: version, length and protocol, flags, and fields that the flags tell of. UDP's checksum is the
/// one that can be left out.
fn gue<'a>(body: &'a [u8], layers: &mut Vec<&'static str>) -> Option<Next<'a>> {
    let has_checksum = body.get(6..8)? != [0, 0];
    let header = body.get(8..)?;
    let length = 4 + usize::from(header.first()? & 0x1f) * 4;
    let is_private = header.get(3)? & 1 != 0;
    let is_remote = is_private && header.get(4)? & REMOTE_CHECKSUM != 0;
    layers.push(match (is_remote, has_checksum) {
        (true, _) => "gue-remcsum",
        (false, true) => "gue-csum",
        (false, false) => "gue",
    });
    Some((*header.get(1)?, header.get(length..)?))
}

fn port(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(body.get(at..at + 2)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const V4: [u8; 20] = [0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 10, 100, 10, 0, 10, 50];

    fn v4(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = V4.to_vec();
        packet[9] = protocol;
        [&packet, body].concat()
    }

    fn v6(protocol: u8, body: &[u8]) -> Vec<u8> {
        let mut packet = vec![0; 40];
        (packet[0], packet[6], packet[39]) = (0x60, protocol, 9);
        [&packet, body].concat()
    }

    fn frame(kind: [u8; 2], packet: &[u8]) -> Vec<u8> {
        [&[0; 6][..], &[2, 0, 0, 0, 0, 7], &kind, packet].concat()
    }

    #[test]
    fn every_packing_is_told_from_the_others() {
        let tcp = [0x30, 0x39, 0, 80, 0, 0, 0, 0];
        let (four, six) = (v4(TCP, &tcp), v6(TCP, &tcp));
        let udp = |checksum: u8, gue: &[u8], packet: &[u8]| {
            [&[0x17, 0xc0, 0x17, 0xc0, 0, 0, 0, checksum], gue, packet].concat()
        };
        let gre = |flags: u8, kind: [u8; 2], more: &[u8], packet: &[u8]| {
            [&[flags, 0, kind[0], kind[1]], more, packet].concat()
        };
        let outer = |body: (u8, Vec<u8>)| frame([0x08, 0x00], &v4(body.0, &body.1));
        let cases = [
            (frame([0x08, 0x00], &four), "ipv4 tcp"),
            (frame([0x86, 0xdd], &v6(IPIP, &four)), "ipv6 ipv4 tcp"),
            (outer((IPV6, six.clone())), "ipv4 ipv6 tcp"),
            (outer((UDP, udp(0, &[0, 4, 0, 0], &four))), "ipv4 gue ipv4 tcp"),
            (outer((UDP, udp(9, &[0, 41, 0, 0], &six))), "ipv4 gue-csum ipv6 tcp"),
            (
                outer((UDP, udp(0, &[2, 4, 0, 1, 0x80, 0, 0, 0, 0, 20, 0, 36], &four))),
                "ipv4 gue-remcsum ipv4 tcp",
            ),
            (outer((GRE, gre(0, [0x08, 0x00], &[], &four))), "ipv4 gre ipv4 tcp"),
            (outer((GRE, gre(0x80, [0x86, 0xdd], &[0; 4], &six))), "ipv4 gre-csum ipv6 tcp"),
        ];
        for (bytes, packing) in cases {
            let packet = read(&bytes).unwrap_or_else(|| panic!("{packing} is not read"));
            assert_eq!(packet.packing(), packing);
            assert_eq!((packet.source.port(), packet.target.port()), (12345, 80), "{packing}");
            assert_eq!(packet.sender[5], 7);
        }
    }
}
