//! Records what passes an interface of a host, each frame as whatever is read from it. A packet socket of its own; times
//! are the kernel's, on the lab's clock: a recording that is late does not blur them.

use std::os::fd::AsFd as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::LinkAddr;

use crate::clock::now;
use crate::host::Host;
use crate::stamps::Stamps;
use crate::tap::Stamp;

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
        let frames = Stamps::open(host.namespace(), interface);
        let (list, flag) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                let Some((at, frame)) = next(&frames) else { continue };
                if let Some(found) = read(&frame) {
                    list.lock().expect("no panic while locked").push((at, found));
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

/// Its address of the link layer, in the network namespace of the calling thread.
pub(crate) fn link(interface: &str) -> Option<LinkAddr> {
    let mut all = nix::ifaddrs::getifaddrs().ok()?;
    all.find_map(|entry| {
        (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied()).flatten()
    })
}

/// The next frame, or nothing within a fifth of a second.
fn next(frames: &Stamps) -> Option<(Instant, Vec<u8>)> {
    let mut fds = [PollFd::new(frames.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, PollTimeout::from(200u8)) {
        Ok(0) | Err(Errno::EINTR) => return None,
        Ok(_) => {}
        Err(error) => panic!("polling a capture: {error}"),
    }
    let mut frame = vec![0; LONGEST];
    let (stamp, length) = frames.next(&mut frame)?;
    frame.truncate(length);
    Some((on_our_clock(Stamp::of_nanoseconds(stamp)), frame))
}

/// Both clocks are read at once, or it is tried again.
fn on_our_clock(stamp: Stamp) -> Instant {
    loop {
        let before = now();
        let age = Stamp::now().since(stamp);
        if before.elapsed() < Duration::from_millis(1) {
            return before.checked_sub(age).unwrap_or(before);
        }
    }
}
