//! What a host's neighbour sees on the wire: advertisements, gratuitous ARPs and who answers for an address, each with
//! its time. A packet socket of its own on one interface; read with the lab's clock.

use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::clock::now;
use crate::host::Host;

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
pub struct Capture {
    seen: Arc<Mutex<Vec<(Instant, Seen)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    /// On one interface of a host, in both directions; listening when it returns.
    pub fn start(host: &Host, interface: &str) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = host.namespace().within(|| listen(interface));
        let (list, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                if let Some(found) = next(&socket).as_deref().and_then(decode) {
                    list.lock().expect("no panic while locked").push((now(), found));
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Everything since an instant.
    pub fn since(&self, since: Instant) -> Vec<(Instant, Seen)> {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.iter().filter(|(at, _)| *at >= since).cloned().collect()
    }

    /// Waits for the first thing since an instant that `wanted` accepts, and returns its time.
    #[track_caller]
    pub fn first(&self, what: &str, since: Instant, wanted: impl Fn(&Seen) -> bool) -> Instant {
        crate::clock::wait(what, crate::clock::PATIENCE, || {
            self.since(since).into_iter().find(|(_, seen)| wanted(seen)).map(|(at, _)| at)
        })
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub(crate) fn listen(interface: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("packet socket");
    let device = link(interface).unwrap_or_else(|| panic!("no interface {interface} to capture on"));
    bind(socket.as_raw_fd(), &device).expect("binding a packet socket");
    socket
}

fn link(interface: &str) -> Option<LinkAddr> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    all.find_map(|entry| {
        (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied()).flatten()
    })
}

/// The next frame, or nothing within a fifth of a second.
pub(crate) fn next(socket: &OwnedFd) -> Option<Vec<u8>> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(200u8)) {
        Ok(0) | Err(Errno::EINTR) => return None,
        Ok(_) => {}
        Err(error) => panic!("polling a capture: {error}"),
    }
    let mut frame = vec![0; 2048];
    // A device that went down is reported once as an error; the capture goes on.
    let length = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
    frame.truncate(length);
    Some(frame)
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
