//! Everything that crosses a segment, with the kernel's own time stamp: frames wait in the socket's buffer and are read
//! now and then, so that the watching costs nothing at the moment that is watched.

use std::net::Ipv4Addr;

use trivet_tests::namespace::Namespace;
use trivet_tests::stamps::Stamps;

const VRRP: u8 = 112;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Advert {
        priority: u8,
    },
    /// A gratuitous ARP: somebody announces that the address is his.
    Announcement,
}

/// A frame of somebody who has or had a virtual address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// Nanoseconds of CLOCK_REALTIME.
    pub(crate) at: i64,
    pub(crate) router: RouterKey,
    /// The last octet of the sender's address, or of its hardware address: the lab makes them the same.
    pub(crate) sender: u8,
    pub(crate) what: What,
}

/// Segment and VRID; the virtual address is 10.SEGMENT.1.VRID.
pub(crate) type RouterKey = (u8, u8);

/// A socket for each segment's bridge.
#[derive(Debug)]
pub(crate) struct Wire {
    sockets: Vec<(u8, Stamps)>,
    frames: Vec<Frame>,
}

impl Wire {
    /// Listens on the bridges "seg0" and so on in the switch's namespace.
    pub(crate) fn open(switch: &Namespace, segments: u8) -> Self {
        let open = |segment| (segment, Stamps::open(switch, &format!("seg{segment}")));
        Self { sockets: (0..segments).map(open).collect(), frames: Vec::new() }
    }

    /// Reads what has arrived, and shows all of it since the last `forget`, each segment in its order.
    pub(crate) fn frames(&mut self) -> &[Frame] {
        let mut buffer = vec![0; 2048];
        for (segment, socket) in &self.sockets {
            while let Some((at, length)) = socket.next(&mut buffer) {
                self.frames.extend(decode(*segment, at, &buffer[..length]));
            }
        }
        &self.frames
    }

    /// Begins anew with what arrives from now on.
    pub(crate) fn forget(&mut self) {
        self.frames();
        self.frames.clear();
    }
}

fn decode(segment: u8, at: i64, frame: &[u8]) -> Option<Frame> {
    match frame.get(12..14)? {
        [0x08, 0x00] => advert(segment, at, frame.get(14..)?),
        [0x08, 0x06] => announcement(segment, at, frame.get(14..42)?),
        _ => None,
    }
}

fn advert(segment: u8, at: i64, packet: &[u8]) -> Option<Frame> {
    let body = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    if *packet.get(9)? != VRRP || *body.first()? != 0x31 {
        return None;
    }
    let what = What::Advert { priority: *body.get(2)? };
    Some(Frame { at, router: (segment, *body.get(1)?), sender: *packet.get(15)?, what })
}

fn announcement(segment: u8, at: i64, packet: &[u8]) -> Option<Frame> {
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(14..18)?).ok()?);
    let [_, _, virtual_net, vrid] = address.octets();
    if packet.get(14..18)? != packet.get(24..28)? || virtual_net != 1 {
        return None;
    }
    Some(Frame { at, router: (segment, vrid), sender: *packet.get(13)?, what: What::Announcement })
}
