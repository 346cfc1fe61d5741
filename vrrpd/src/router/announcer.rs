//! When the Active router sends its gratuitous ARPs: bursts, the second burst, and the refresh.
//!
//! Lives in the Active state and dies with it, so that nothing is announced that was given up. It hands out few
//! frames at a time: advertisements never wait for it.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use crate::router::settings::Garp;
use crate::types::VirtualAddress;

/// Frames handed out at once.
const FRAMES_PER_TURN: usize = 64;

#[derive(Debug)]
pub(super) struct Announcer {
    /// Addresses that the kernel has. Nothing else may be announced (RFC 9568, 8.1.2).
    installed: BTreeSet<VirtualAddress>,
    queue: VecDeque<VirtualAddress>,
    /// The queue's first frame may leave now or then.
    next: Instant,
    again: Option<Instant>,
    refresh: Option<Instant>,
}

impl Announcer {
    pub(super) fn new(now: Instant) -> Self {
        Self { installed: BTreeSet::new(), queue: VecDeque::new(), next: now, again: None, refresh: None }
    }

    /// The kernel has this address, perhaps again.
    pub(super) fn installed(&mut self, now: Instant, address: VirtualAddress, garp: &Garp) {
        for _ in 0..garp.repeat {
            self.queue.push_back(address.clone());
        }
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

    /// Keep only `addresses`.
    pub(super) fn retain(&mut self, addresses: &[VirtualAddress]) {
        self.installed.retain(|address| addresses.contains(address));
        self.queue.retain(|address| addresses.contains(address));
    }

    pub(super) fn removed(&mut self, address: &VirtualAddress) {
        self.installed.remove(address);
        self.queue.retain(|queued| queued != address);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        if !self.queue.is_empty() {
            return Some(self.next);
        }
        [self.again, self.refresh].into_iter().flatten().min()
    }

    /// The addresses to announce now, one frame each.
    pub(super) fn due(&mut self, now: Instant, garp: &Garp) -> impl Iterator<Item = VirtualAddress> + '_ {
        if self.queue.is_empty() && self.again.is_some_and(|again| again <= now) {
            self.again = None;
            self.enqueue(garp.repeat);
        }
        if self.queue.is_empty() && self.refresh.is_some_and(|refresh| refresh <= now) {
            self.enqueue(garp.refresh_repeat);
            self.refresh = after(now, garp.refresh);
        }
        let portion = match self.queue.len().min(FRAMES_PER_TURN) {
            0 => 0,
            _ if self.next > now => 0,
            portion if garp.interval == Duration::ZERO => portion,
            _ => {
                self.next = now + garp.interval;
                1
            }
        };
        self.queue.drain(..portion)
    }

    /// A burst that still waits is not made longer: a peer that provokes bursts cannot fill the queue.
    fn enqueue(&mut self, repeat: u8) {
        if !self.queue.is_empty() {
            return;
        }
        for _ in 0..repeat {
            self.queue.extend(self.installed.iter().cloned());
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
