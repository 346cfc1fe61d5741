//! Records what passes an interface of a host, each frame as whatever is read from it. A packet socket of its own; times
//! are of the lab's clock.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
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

/// Longer than any frame of the lab.
const LONGEST: usize = 2048;

/// Records until it is dropped.
#[derive(Debug)]
pub(crate) struct Recorder<T> {
    seen: Arc<Mutex<Vec<(Instant, T)>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Clone + Send + 'static> Recorder<T> {
    /// On one interface of a host, in both directions; listening when it returns. Frames of which `read` makes nothing are
    /// left out.
    pub(crate) fn start(host: &Host, interface: &str, read: fn(&[u8]) -> Option<T>) -> Self {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = host.namespace().within(|| listen(interface));
        let (list, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                if let Some(found) = next(&socket).as_deref().and_then(read) {
                    list.lock().expect("no panic while locked").push((now(), found));
                }
            }
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// What suits, with its time, in order.
    pub(crate) fn which(&self, suits: impl Fn(Instant, &T) -> bool) -> Vec<(Instant, T)> {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.iter().filter(|(at, found)| suits(*at, found)).cloned().collect()
    }
}

impl<T> Drop for Recorder<T> {
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

/// Its address of the link layer, in the network namespace of the calling thread.
pub(crate) fn link(interface: &str) -> Option<LinkAddr> {
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
    let mut frame = vec![0; LONGEST];
    // A device that went down is reported once as an error; the capture goes on.
    let length = recv(socket.as_raw_fd(), &mut frame, MsgFlags::empty()).ok()?;
    frame.truncate(length);
    Some(frame)
}
