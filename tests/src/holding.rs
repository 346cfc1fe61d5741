//! Who holds an address, looked at all the time in two hosts' kernels: the proof that it is never both.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::{now, pace};
use crate::host::Host;
use crate::namespace::{enter, holds_here};

const EVERY: Duration = Duration::from_millis(3);

/// Whether each host holds the address, from an instant on.
pub type Change = (Instant, [bool; 2]);

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Holding {
    changes: Arc<Mutex<Vec<Change>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Holding {
    pub fn watch(hosts: &[Host; 2], address: Ipv4Addr) -> Self {
        let changes = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let paths = [hosts[0].namespace().path(), hosts[1].namespace().path()];
        let (list, flag) = (Arc::clone(&changes), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let holds = |which: usize| enter(&paths[which]).is_ok() && holds_here(IpAddr::V4(address));
            let mut last = None;
            while !flag.load(Ordering::Relaxed) {
                // Both only where the first still holds it after the second was seen with it.
                let (first, second) = (holds(0), holds(1));
                let state = [first && (!second || holds(0)), second];
                if last.replace(state) != Some(state) {
                    list.lock().expect("no panic while locked").push((now(), state));
                }
                pace(EVERY);
            }
        });
        Self { changes, stop, thread: Some(thread) }
    }

    /// Every change so far, at the time at which it was seen.
    pub fn changes(&self) -> Vec<Change> {
        self.changes.lock().expect("no panic while locked").clone()
    }

    /// Fails if both were ever seen with the address.
    #[track_caller]
    pub fn assert_never_both(&self) {
        let changes = self.changes();
        let Some((origin, _)) = changes.first() else { return };
        let told: Vec<_> = changes.iter().map(|(at, state)| (*at - *origin, *state)).collect();
        assert!(
            changes.iter().all(|(_, state)| *state != [true, true]),
            "two hosts held one address: {told:?}"
        );
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
