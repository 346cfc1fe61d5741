//! Frames that a test puts on the wire by itself: advertisements with any mistake, and questions for an address.

use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, send, socket};

use crate::capture::{self, Mac};
use crate::clock::pace;
use crate::forge;
use crate::host::Host;
use crate::recorder::link;

/// VRRP's over IPv4.
const GROUP: [u8; 4] = [224, 0, 0, 18];

/// A packet socket on one interface of a host.
#[derive(Debug)]
pub struct Wire {
    socket: OwnedFd,
    mac: Mac,
}

impl Wire {
    pub fn open(host: &Host, interface: &str) -> Self {
        let socket = host.namespace().within(|| open(interface));
        Self { socket, mac: capture::mac(host, interface) }
    }

    /// Sends an IPv4 packet to the multicast group of VRRP.
    pub fn multicast(&self, packet: &[u8]) {
        let mut frame = vec![0x01, 0x00, 0x5e, 0x00, 0x00, 0x12];
        frame.extend(self.mac);
        frame.extend([0x08, 0x00]);
        frame.extend(packet);
        self.send(&frame);
    }

    /// Sends an IP packet of either family to a station, or to a group's address.
    pub fn deliver(&self, to: Mac, packet: &[u8]) {
        let kind: [u8; 2] = if forge::is_ipv6(packet) { [0x86, 0xdd] } else { [0x08, 0x00] };
        let frame = [&to[..], &self.mac, &kind, packet].concat();
        self.send(&frame);
    }

    /// Sends an IPv4 packet to one station.
    pub fn to_station(&self, station: Mac, packet: &[u8]) {
        let mut frame = station.to_vec();
        frame.extend(self.mac);
        frame.extend([0x08, 0x00]);
        frame.extend(packet);
        self.send(&frame);
    }

    /// Asks the segment who has an address, in the name of `from`.
    pub fn who_has(&self, address: Ipv4Addr, from: Ipv4Addr) {
        let mut frame = vec![0xff; 6];
        frame.extend(self.mac);
        frame.extend([0x08, 0x06, 0, 1, 0x08, 0x00, 6, 4, 0, 1]);
        frame.extend(self.mac);
        frame.extend(from.octets());
        frame.extend([0; 6]);
        frame.extend(address.octets());
        self.send(&frame);
    }

    fn send(&self, frame: &[u8]) {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).expect("sending a frame in the lab");
    }
}

fn open(interface: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("packet socket");
    let device = link(interface).unwrap_or_else(|| panic!("no interface {interface} to send on"));
    bind(socket.as_raw_fd(), &device).expect("binding a packet socket");
    socket
}

/// An advertisement before it is bytes: version 2 with a password, correct unless a field is changed.
#[derive(Debug, Clone)]
pub struct Advert {
    pub from: Ipv4Addr,
    pub ttl: u8,
    pub version: u8,
    pub kind: u8,
    pub vrid: u8,
    pub priority: u8,
    pub addresses: Vec<Ipv4Addr>,
    pub authentication: u8,
    pub interval: u8,
    pub password: [u8; 8],
    /// Added to the right checksum.
    pub checksum_error: u16,
}

impl Advert {
    /// The whole IPv4 packet. In version 3 the checksum is RFC 9568's, and there is no password.
    pub fn packet(&self) -> Vec<u8> {
        self.packet_with(0)
    }

    /// With the checksum that keepalived and FRR send in version 3, which covers a pseudo-header.
    pub fn packet_with_pseudo_header(&self) -> Vec<u8> {
        let halves = |octets: [u8; 4]| {
            u32::from(u16::from_be_bytes([octets[0], octets[1]]))
                + u32::from(u16::from_be_bytes([octets[2], octets[3]]))
        };
        let length = u32::try_from(self.body().len()).expect("a short packet");
        self.packet_with(halves(self.from.octets()) + halves(GROUP) + 112 + length)
    }

    fn packet_with(&self, pseudo_header: u32) -> Vec<u8> {
        let mut body = self.body();
        let sum = checksum(pseudo_header, &body).wrapping_add(self.checksum_error);
        body[6..8].copy_from_slice(&sum.to_be_bytes());
        ip(self.from, self.ttl, &body)
    }

    fn body(&self) -> Vec<u8> {
        let count = u8::try_from(self.addresses.len()).expect("few addresses");
        let mut body =
            vec![self.version << 4 | self.kind, self.vrid, self.priority, count, self.authentication];
        body.extend([self.interval, 0, 0]);
        body.extend(self.addresses.iter().flat_map(Ipv4Addr::octets));
        if self.version != 3 {
            body.extend(self.password);
        }
        body
    }
}

/// An IPv4 packet of protocol 112 to 224.0.0.18 around any payload.
pub fn ip(from: Ipv4Addr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    ip_to(from, GROUP.into(), ttl, payload)
}

/// The same to another address.
pub fn ip_to(from: Ipv4Addr, to: Ipv4Addr, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a short packet");
    let mut packet = vec![0x45, 0xc0, 0, 0, 0, 0, 0, 0, ttl, 112, 0, 0];
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet.extend(from.octets());
    packet.extend(to.octets());
    let sum = checksum(0, &packet);
    packet[10..12].copy_from_slice(&sum.to_be_bytes());
    packet.extend(payload);
    packet
}

/// RFC 1071, on top of a sum.
fn checksum(start: u32, bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = start + words.sum::<u32>();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).expect("folded to 16 bits")
}

/// Somebody who asks for an address all the time; a capture sees who answers.
#[derive(Debug)]
pub struct Asker {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Asker {
    pub fn start(host: &Host, interface: &str, address: Ipv4Addr, from: Ipv4Addr, every: Duration) -> Self {
        let wire = Wire::open(host, interface);
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                wire.who_has(address, from);
                pace(every);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
