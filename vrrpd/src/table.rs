//! Which virtual addresses the kernel should have, which it has, and what to do about the difference.
//!
//! Pure, and level-triggered: whatever happened (a transition, a crash before our time, somebody's `ip addr del`),
//! [`AddressTable::plan`] compares what is wanted with what is there. `addresses.rs` carries the requests out.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::io;
use std::time::{Duration, Instant};

use netlink_packet_route::link::LinkFlags;

use crate::addresses::{Answer, Operation, Outcome, Request};
use crate::interfaces::{Interfaces, OUR_TAG};
use crate::types::VirtualAddress;

/// After a failure, and before an address that somebody keeps deleting is put back a second time.
const RETRY: Duration = Duration::from_secs(1);

/// What the table noticed, for the router and the log.
#[derive(Debug)]
pub enum Notice {
    /// The kernel has a wanted address: it may be announced.
    Installed(VirtualAddress),
    /// It was there before, without our tag: it is the administrator's, and stays when we leave.
    Foreign(VirtualAddress),
    /// Somebody deleted it; it is put back.
    Lost(VirtualAddress),
    /// An address with our tag that nobody wants: from a former run. It is removed.
    LeftBehind(VirtualAddress),
    /// Tried again later.
    Failed(Request, io::Error),
}

#[derive(Debug, Default)]
struct Entry {
    wanted: bool,
    /// The kernel has it and the router knows.
    installed: bool,
    /// We added it, or it has our tag: it is ours to remove, even where the kernel keeps no tags.
    added: bool,
    in_flight: bool,
    /// Nothing is asked for before then.
    retry_at: Option<Instant>,
    /// When somebody's deletion was last undone.
    put_back: Option<Instant>,
}

#[derive(Debug, Default)]
pub struct AddressTable {
    entries: BTreeMap<VirtualAddress, Entry>,
    /// Something was said since the last plan.
    touched: bool,
}

impl AddressTable {
    pub fn want(&mut self, address: VirtualAddress) {
        self.touched = true;
        let entry = self.entries.entry(address).or_default();
        if !entry.wanted {
            *entry =
                Entry { wanted: true, added: entry.added, in_flight: entry.in_flight, ..Entry::default() };
        }
    }

    pub fn unwant(&mut self, address: &VirtualAddress) {
        self.touched = true;
        if let Some(entry) = self.entries.get_mut(address) {
            entry.wanted = false;
            entry.retry_at = None;
        }
    }

    /// Nothing unwanted of ours is there or under way any more. A stopping daemon waits for it.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| !entry.in_flight && (entry.wanted || !entry.added))
    }

    /// When [`AddressTable::plan`] has something to try again.
    pub fn deadline(&self) -> Option<Instant> {
        self.entries.values().filter(|entry| !entry.in_flight).filter_map(|entry| entry.retry_at).min()
    }

    /// The kernel's answer. What it told its listeners must be in `Interfaces` before the next plan.
    #[must_use]
    pub fn answered(&mut self, now: Instant, answer: Answer) -> Option<Notice> {
        self.touched = true;
        let entry = self.entries.get_mut(&answer.request.address)?;
        entry.in_flight = false;
        match (answer.request.operation, answer.result) {
            (Operation::Add, Ok(Outcome::Done)) => entry.added = true,
            (Operation::Remove, Ok(Outcome::Done | Outcome::AlreadySo)) => entry.added = false,
            // Somebody was faster; the next plan sees whose it is. Should it not see the address at all, then asking
            // at once would go round and round.
            (Operation::Add, Ok(Outcome::AlreadySo)) => entry.retry_at = Some(now + RETRY),
            (Operation::Add | Operation::Remove, Err(error)) => {
                entry.retry_at = Some(now + RETRY);
                return Some(Notice::Failed(answer.request, error));
            }
        }
        None
    }

    /// The kernel's links or addresses have changed.
    pub fn interfaces_changed(&mut self) {
        self.touched = true;
    }

    /// Whether a plan can find anything new: most turns of the loop are not about addresses.
    pub fn wants_plan(&self, now: Instant) -> bool {
        self.touched || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Compare, and say what is to be done.
    pub fn plan(&mut self, now: Instant, interfaces: &Interfaces) -> (Vec<Request>, Vec<Notice>) {
        let (mut requests, mut notices) = (Vec::new(), Vec::new());
        self.touched = false;
        for address in interfaces.tagged() {
            if let MapEntry::Vacant(place) = self.entries.entry(address) {
                notices.push(Notice::LeftBehind(place.key().clone()));
                place.insert(Entry { added: true, ..Entry::default() });
            }
        }
        for (address, entry) in &mut self.entries {
            if entry.in_flight {
                continue;
            }
            if let Some(operation) = entry.next(now, address, interfaces, &mut notices)
                && let Some(interface) = interfaces.by_name(&address.interface)
                // A virtual MAC interface may be there and not up yet; IPv6 addresses would not survive its coming up.
                && (operation == Operation::Remove || interface.flags.contains(LinkFlags::Up))
            {
                entry.in_flight = true;
                requests.push(Request { operation, address: address.clone(), index: interface.index });
            }
        }
        self.entries.retain(|_, entry| entry.wanted || entry.added || entry.in_flight);
        (requests, notices)
    }
}

impl Entry {
    fn next(
        &mut self,
        now: Instant,
        address: &VirtualAddress,
        interfaces: &Interfaces,
        notices: &mut Vec<Notice>,
    ) -> Option<Operation> {
        let waiting = self.retry_at.is_some_and(|at| at > now);
        if !waiting {
            self.retry_at = None;
        }
        match (self.wanted, interfaces.find(address)) {
            (true, Some(assigned)) => {
                if !self.installed {
                    self.installed = true;
                    if assigned.tag == OUR_TAG {
                        self.added = true;
                    } else if !self.added {
                        notices.push(Notice::Foreign(address.clone()));
                    }
                    notices.push(Notice::Installed(address.clone()));
                }
                None
            }
            (true, None) => {
                if self.installed && self.insists(now, address, notices) {
                    return None;
                }
                (!waiting).then_some(Operation::Add)
            }
            (false, Some(assigned)) if assigned.tag == OUR_TAG || self.added => {
                self.installed = false;
                self.added = true;
                if waiting {
                    return None;
                }
                self.retry_at = Some(now + RETRY);
                Some(Operation::Remove)
            }
            (false, _) => {
                self.installed = false;
                self.added = false;
                None
            }
        }
    }

    /// A wanted address was deleted. It is put back at once; but if somebody insists, not more than once a second.
    fn insists(&mut self, now: Instant, address: &VirtualAddress, notices: &mut Vec<Notice>) -> bool {
        self.installed = false;
        self.added = false;
        notices.push(Notice::Lost(address.clone()));
        let insists = self.put_back.is_some_and(|before| now < before + RETRY);
        self.put_back = Some(now);
        if insists {
            self.retry_at = Some(now + RETRY);
        }
        insists
    }
}

#[cfg(test)]
mod tests;
