//! What is under way: advertisements on the wire, and the kernel's answers, in the order of their arrival.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::IpAddr;
use std::time::Instant;

use crate::types::{Centiseconds, Priority, Version};

/// An advertisement, as far as a state machine and the checks before it care.
#[derive(Clone, Copy, Debug)]
pub(super) struct Advert {
    pub(super) from: IpAddr,
    pub(super) priority: Priority,
    pub(super) interval: Centiseconds,
    pub(super) version: Version,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Arrival {
    Advert(Advert),
    /// The kernel has the address that was asked for with this number.
    Installed(u64),
}

#[derive(Debug)]
struct Entry {
    at: Instant,
    number: u64,
    station: usize,
    what: Arrival,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.number == other.number
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    heap: BinaryHeap<Reverse<Entry>>,
    count: u64,
}

impl Arrivals {
    pub(super) fn push(&mut self, at: Instant, station: usize, what: Arrival) {
        self.count += 1;
        self.heap.push(Reverse(Entry { at, number: self.count, station, what }));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(entry)| entry.at)
    }

    pub(super) fn take(&mut self, now: Instant) -> Option<(usize, Arrival)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| (entry.station, entry.what))
    }
}
