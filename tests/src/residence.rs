//! Where an address lives: told by the kernels of two hosts themselves (rtnetlink events), with the time.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::host::Host;
use crate::tap::Stamp;

/// RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const GROUPS: u32 = 0x10 | 0x100;
const NEW_ADDRESS: u16 = 20;
const DELETE_ADDRESS: u16 = 21;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;

/// Whether each host has the address, from a time on.
pub type Change = (Stamp, [bool; 2]);

/// Watches until it is dropped. The address must be nowhere when it starts.
#[derive(Debug)]
pub struct Residence {
    changes: Arc<Mutex<Vec<Change>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Residence {
    pub fn watch(hosts: &[Host; 2], address: IpAddr) -> Self {
        let sockets = [0, 1].map(|host: usize| hosts[host].namespace().within(open));
        let changes = Arc::new(Mutex::new(vec![(Stamp::now(), [false, false])]));
        let stop = Arc::new(AtomicBool::new(false));
        let (list, flag) = (Arc::clone(&changes), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut holds = [HashSet::new(), HashSet::new()];
            while !flag.load(Ordering::Relaxed) {
                let mut fds = [0, 1].map(|host| PollFd::new(sockets[host].as_fd(), PollFlags::POLLIN));
                let _ = poll(&mut fds, PollTimeout::from(100u8));
                for host in [0, 1] {
                    read(&sockets[host], address, &mut holds[host]);
                }
                let state = [!holds[0].is_empty(), !holds[1].is_empty()];
                let mut changes = list.lock().expect("no panic while locked");
                if changes.last().is_none_or(|(_, last)| *last != state) {
                    changes.push((Stamp::now(), state));
                }
            }
        });
        Self { changes, stop, thread: Some(thread) }
    }

    pub fn now(&self) -> [bool; 2] {
        self.changes().last().expect("there is always one").1
    }

    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().expect("no panic while locked").clone()
    }

    /// The longest time in which both had it, after `since`.
    pub fn longest_overlap(&self, since: Stamp) -> Duration {
        let changes = self.changes();
        let ends = changes.iter().skip(1).map(|(at, _)| *at).chain([Stamp::now()]);
        let both =
            changes.iter().zip(ends).filter(|((_, state), end)| *state == [true, true] && *end > since);
        both.map(|((start, _), end)| end.since((*start).max(since))).max().unwrap_or_default()
    }
}

impl Drop for Residence {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)
        .expect("netlink socket");
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS)).expect("joining the groups of addresses");
    socket
}

/// Takes in what the kernel has said: `indices` are the interfaces that have the address.
fn read(socket: &OwnedFd, address: IpAddr, indices: &mut HashSet<u32>) {
    let mut buffer = [0; 32 * 1024];
    while let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
        let mut rest = &buffer[..length];
        while let Some((kind, message, after)) = message(rest) {
            if local(message) == Some(address) {
                let index = u32::from_ne_bytes(message[4..8].try_into().expect("four bytes"));
                match kind {
                    NEW_ADDRESS => _ = indices.insert(index),
                    DELETE_ADDRESS => _ = indices.remove(&index),
                    _ => {}
                }
            }
            rest = after;
        }
    }
}

/// Splits off one message: its type, what follows the header, and the rest.
fn message(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let after = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, bytes.get(16..length)?, after))
}

/// The address that a struct ifaddrmsg with its attributes is about.
fn local(message: &[u8]) -> Option<IpAddr> {
    let mut rest = message.get(8..)?;
    let mut found = None;
    while let (Some(head), Some(kind)) = (rest.get(..2), rest.get(2..4)) {
        let length = usize::from(u16::from_ne_bytes(head.try_into().ok()?));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes(kind.try_into().ok()?) {
            IFA_LOCAL => return ip(value),
            IFA_ADDRESS => found = ip(value),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets)));
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets)));
    v4().or_else(v6)
}
