//! When a host's kernel got and lost its virtual addresses: a thread that listens to rtnetlink's events.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use trivet_tests::namespace::Namespace;

use crate::clock::realtime;

/// RTMGRP_IPV4_IFADDR, RTM_NEWADDR and RTM_DELADDR (linux/rtnetlink.h).
const GROUP: u32 = 0x10;
const NEW_ADDRESS: u16 = 20;
const DELETED_ADDRESS: u16 = 21;
const BUFFER: usize = 64 * 1024 * 1024;

/// How many came and went, and when the last one did: nanoseconds of CLOCK_REALTIME.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Seen {
    pub(crate) came: usize,
    pub(crate) last_came: i64,
    pub(crate) went: usize,
    pub(crate) last_went: i64,
}

#[derive(Debug)]
pub(crate) struct Moves {
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Moves {
    pub(crate) fn watch(namespace: &Namespace) -> Self {
        let socket = namespace.within(open);
        let (seen, stop) = (Arc::new(Mutex::new(Seen::default())), Arc::new(AtomicBool::new(false)));
        let (shared, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let mut buffer = vec![0; 64 * 1024];
            while !flag.load(Ordering::Relaxed) {
                if let Ok(length) = recv(socket.as_raw_fd(), &mut buffer, MsgFlags::empty()) {
                    let at = realtime();
                    take(&mut shared.lock().expect("no panic while locked"), at, &buffer[..length]);
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    pub(crate) fn seen(&self) -> Seen {
        *self.seen.lock().expect("no panic while locked")
    }
}

fn open() -> OwnedFd {
    let socket =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)
            .expect("a netlink socket");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("root may set the size of a buffer");
    let limit = TimeVal::milliseconds(i64::try_from(Duration::from_millis(100).as_millis()).expect("short"));
    setsockopt(&socket, sockopt::ReceiveTimeout, &limit).expect("a time limit");
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUP)).expect("binding a netlink socket");
    socket
}

fn take(seen: &mut Seen, at: i64, mut bytes: &[u8]) {
    while let (Some(length), Some(kind)) = (bytes.first_chunk::<4>(), bytes.get(4..6)) {
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(0).next_multiple_of(4).max(16);
        match u16::from_ne_bytes([kind[0], kind[1]]) {
            NEW_ADDRESS => (seen.came, seen.last_came) = (seen.came + 1, at),
            DELETED_ADDRESS => (seen.went, seen.last_went) = (seen.went + 1, at),
            _ => {}
        }
        bytes = bytes.get(length..).unwrap_or_default();
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
