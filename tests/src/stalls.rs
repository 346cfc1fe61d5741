//! When the machine itself stood still: a thread in real time that wakes late, and one that waits for the kernel's lock
//! of all network configuration (RTNL), which every address, link and namespace of the machine shares. A run that
//! fails while that happened has not been judged.

use std::net::{Ipv4Addr, UdpSocket};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::unistd::gettid;

use crate::clock::{now, pace};

const EVERY: Duration = Duration::from_millis(10);
/// Shorter ones are not remembered.
const LEAST: Duration = Duration::from_millis(5);

/// Of trials that were none: a machine may stand still every few seconds for a while.
const ENOUGH: Duration = Duration::from_secs(240);

/// When it ended, and how long it was.
type Stall = (Instant, Duration);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Stalls {
    seen: Arc<Mutex<Vec<Stall>>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Stalls {
    pub fn watch() -> Self {
        let (seen, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let threads = vec![
            watch(&seen, &stop, EVERY, || pace(EVERY)),
            watch(&seen, &stop, EVERY, || {
                hold_configuration_lock();
                pace(EVERY);
            }),
        ];
        Self { seen, stop, threads }
    }

    /// The longest one since an instant.
    pub fn longest(&self, since: Instant) -> Duration {
        let seen = self.seen.lock().expect("no panic while locked");
        seen.iter().filter(|(end, _)| *end >= since).map(|(_, length)| *length).max().unwrap_or_default()
    }
}

impl Drop for Stalls {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Plays a test that a machine which stands still for longer than `bearable` spoils: again and loudly, if it failed while
/// that happened. Five times at most, or for as long as [`ENOUGH`] if it is a short one.
pub fn judge(bearable: Duration, play: impl Fn()) {
    let (stalls, first) = (Stalls::watch(), now());
    for trial in 1.. {
        let began = now();
        let Err(failure) = catch_unwind(AssertUnwindSafe(&play)) else { return };
        let stall = stalls.longest(began);
        if stall <= bearable || trial >= 5 && first.elapsed() >= ENOUGH {
            resume_unwind(failure);
        }
        eprintln!("AGAIN: that was no trial, the machine stood still for {stall:?}");
    }
}

/// Does the same again and again, and remembers when it took longer than it should.
fn watch(
    seen: &Arc<Mutex<Vec<Stall>>>,
    stop: &Arc<AtomicBool>,
    usual: Duration,
    step: impl Fn() + Send + 'static,
) -> JoinHandle<()> {
    let (seen, stop) = (Arc::clone(seen), Arc::clone(stop));
    std::thread::spawn(move || {
        // Where that is not allowed, an ordinary thread notices more than there is.
        let _ = Command::new("chrt").args(["--rr", "--pid", "6", &gettid().to_string()]).output();
        while !stop.load(Ordering::Relaxed) {
            let began = now();
            step();
            let late = began.elapsed().saturating_sub(usual);
            if late >= LEAST {
                seen.lock().expect("no panic while locked").push((now(), late));
            }
        }
    })
}

/// Joining a group takes the lock, and so does leaving it.
fn hold_configuration_lock() {
    let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) else { return };
    let _ = socket.join_multicast_v4(&Ipv4Addr::new(224, 0, 0, 251), &Ipv4Addr::LOCALHOST);
}
