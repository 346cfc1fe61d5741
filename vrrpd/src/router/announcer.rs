//! When the Active router announces its addresses: bursts, the second burst, and the refresh.
//!
//! Lives in the Active state and dies with it, so that nothing is announced that was given up. It says when there is
//! something to announce, and hands it out frame by frame to whoever paces the frames of all routers
//! (`daemon/announcing.rs`): advertisements never wait for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::router::settings::{Garp, Settings};
use crate::types::VirtualAddress;

#[derive(Debug)]
pub(super) struct Announcer {
    /// Addresses that the kernel has. Nothing else may be announced (RFC 9568, 8.1.2).
    installed: BTreeSet<VirtualAddress>,
    /// With the number of frames that each still needs: every address has its first before one has its second.
    queue: VecDeque<(VirtualAddress, u8)>,
    /// The queue's first frame may leave now or then.
    next: Instant,
    /// Somebody is fetching frames: no deadline until there is none left for now.
    fetched: bool,
    again: Option<Instant>,
    refresh: Option<Instant>,
}

impl Announcer {
    pub(super) fn new(now: Instant) -> Self {
        let (installed, queue) = (BTreeSet::new(), VecDeque::new());
        Self { installed, queue, next: now, fetched: false, again: None, refresh: None }
    }

    /// The kernel has this address, perhaps again.
    pub(super) fn installed(&mut self, now: Instant, address: VirtualAddress, garp: &Garp) {
        self.queue.push_back((address.clone(), garp.repeat));
        self.installed.insert(address);
        self.plan_later(now, garp);
    }

    /// Announce everything at once, and once more later.
    pub(super) fn burst(&mut self, now: Instant, garp: &Garp) {
        self.enqueue(garp.repeat);
        self.plan_later(now, garp);
    }

    /// Make sure that there is an announcement at `then`, or later.
    pub(super) fn not_before(&mut self, then: Instant) {
        self.again = Some(self.again.map_or(then, |again| again.max(then)));
    }

    /// The time between refreshes is another one: the next comes that long from now.
    pub(super) fn refresh_from(&mut self, now: Instant, garp: &Garp) {
        self.refresh = after(now, garp.refresh);
    }

    /// Keep only what is still held.
    pub(super) fn retain(&mut self, settings: &Settings) {
        let addresses: BTreeSet<_> = settings.held().collect();
        self.installed.retain(|address| addresses.contains(address));
        self.queue.retain(|(address, _)| addresses.contains(address));
    }

    pub(super) fn removed(&mut self, address: &VirtualAddress) {
        self.installed.remove(address);
        self.queue.retain(|(queued, _)| queued != address);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if self.fetched {
            return None;
        }
        if !self.queue.is_empty() {
            return Some(self.next);
        }
        [self.again, self.refresh].into_iter().flatten().min()
    }

    /// Whether frames are to be fetched from now on. Said once, until all that were due have been.
    pub(super) fn wakes(&mut self, now: Instant, garp: &Garp) -> bool {
        if self.queue.is_empty() && self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.enqueue(garp.repeat);
        }
        if self.queue.is_empty() && self.refresh.is_some_and(|refresh| refresh <= now) {
            self.enqueue(garp.refresh_repeat);
            self.refresh = after(now, garp.refresh);
        }
        let wakes = !self.fetched && !self.queue.is_empty() && self.next <= now;
        self.fetched |= wakes;
        wakes
    }

    pub(super) fn next_frame(&mut self, now: Instant, garp: &Garp) -> Option<VirtualAddress> {
        let due = if self.next <= now { self.queue.pop_front() } else { None };
        let Some((address, frames)) = due else {
            self.fetched = false;
            return None;
        };
        if frames > 1 {
            self.queue.push_back((address.clone(), frames - 1));
        }
        if garp.interval > Duration::ZERO {
            self.next = now + garp.interval;
        }
        Some(address)
    }

    pub(super) fn put_back(&mut self, address: VirtualAddress) {
        if self.installed.contains(&address) {
            self.queue.push_back((address, 1));
        }
    }

    /// A burst that still waits is not made longer: a peer that provokes bursts cannot fill the queue.
    fn enqueue(&mut self, repeat: u8) {
        if self.queue.is_empty() {
            self.queue.extend(self.installed.iter().map(|address| (address.clone(), repeat)));
        }
    }

    fn plan_later(&mut self, now: Instant, garp: &Garp) {
        self.again = after(now, garp.delay);
        self.refresh = after(now, garp.refresh);
    }
}

/// `interval` from now; zero means never.
fn after(now: Instant, interval: Duration) -> Option<Instant> {
    (interval > Duration::ZERO).then(|| now + interval)
}
