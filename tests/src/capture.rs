//! What a host's neighbour sees on the wire: advertisements, gratuitous ARPs and who answers for an address, each with
//! its time.

use std::net::Ipv4Addr;
use std::time::Instant;

use crate::host::Host;
use crate::recorder::{Recorder, link};

/// A station's hardware address.
pub type Mac = [u8; 6];

/// What matters of a frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A VRRP advertisement: its sender, version, VRID and priority.
    Advert { from: Ipv4Addr, version: u8, vrid: u8, priority: u8 },
    /// An ARP packet whose sender and target address are the same: somebody announces that the address is his.
    Announcement { address: Ipv4Addr, mac: Mac },
    /// An ARP reply to a question.
    Answer { address: Ipv4Addr, mac: Mac },
    /// The first answer of a TCP server (SYN with ACK): whose frame brought it.
    Accepted { address: Ipv4Addr, mac: Mac },
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Capture(Recorder<Seen>);

impl Capture {
    /// On one interface of a host, in both directions; listening when it returns.
    pub fn start(host: &Host, interface: &str) -> Self {
        Self(Recorder::start(host, interface, decode))
    }

    /// Everything since an instant.
    pub fn since(&self, since: Instant) -> Vec<(Instant, Seen)> {
        self.0.which(|at, _| at >= since)
    }

    /// Waits for the first thing since an instant that `wanted` accepts, and returns its time.
    #[track_caller]
    pub fn first(&self, what: &str, since: Instant, wanted: impl Fn(&Seen) -> bool) -> Instant {
        crate::clock::wait(what, crate::clock::PATIENCE, || {
            self.since(since).into_iter().find(|(_, seen)| wanted(seen)).map(|(at, _)| at)
        })
    }
}

fn decode(frame: &[u8]) -> Option<Seen> {
    match frame.get(12..14)? {
        [0x08, 0x06] => arp(frame.get(14..42)?),
        [0x08, 0x00] => advert(frame.get(14..)?).or_else(|| accepted(frame)),
        _ => None,
    }
}

fn arp(packet: &[u8]) -> Option<Seen> {
    let mac: Mac = packet.get(8..14)?.try_into().ok()?;
    let sender = address(packet, 14)?;
    let target = address(packet, 24)?;
    let reply = packet.get(6..8)? == [0, 2];
    if sender == target {
        Some(Seen::Announcement { address: sender, mac })
    } else {
        reply.then_some(Seen::Answer { address: sender, mac })
    }
}

fn advert(packet: &[u8]) -> Option<Seen> {
    const VRRP: u8 = 112;
    if *packet.get(9)? != VRRP {
        return None;
    }
    let from = address(packet, 12)?;
    let body = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    Some(Seen::Advert { from, version: body.first()? >> 4, vrid: *body.get(1)?, priority: *body.get(2)? })
}

fn accepted(frame: &[u8]) -> Option<Seen> {
    const TCP: u8 = 6;
    const SYN_ACK: u8 = 0x12;
    let packet = frame.get(14..)?;
    let segment = packet.get(usize::from(packet[0] & 0x0f) * 4..)?;
    let opens = *packet.get(9)? == TCP && segment.get(13)? & SYN_ACK == SYN_ACK;
    let mac: Mac = frame.get(6..12)?.try_into().ok()?;
    opens.then_some(Seen::Accepted { address: address(packet, 12)?, mac })
}

fn address(packet: &[u8], at: usize) -> Option<Ipv4Addr> {
    let octets: [u8; 4] = packet.get(at..at + 4)?.try_into().ok()?;
    Some(Ipv4Addr::from(octets))
}

/// The hardware address of a host's interface.
pub fn mac(host: &Host, interface: &str) -> Mac {
    let device = host.namespace().within(|| link(interface));
    device.and_then(|device| device.addr()).unwrap_or_else(|| panic!("{interface} has no hardware address"))
}
