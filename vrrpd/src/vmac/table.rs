//! Which virtual MAC interfaces the kernel should have, which it has, and what to do about the difference.
//!
//! Pure and level-triggered, as `crate::table` is for addresses: one step at a time for each link, and each step is
//! planned anew from what the kernel tells. A link that is not ours is never touched.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use netlink_packet_route::link::LinkFlags;

use super::Trouble;
use super::traits::Settings;
use crate::arp::MacAddress;
use crate::interfaces::{Interface, Interfaces};

/// After a failure, and between two times that the same thing is done to a link that somebody undoes.
const RETRY: Duration = Duration::from_secs(1);

/// A macvlan as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub parent: Arc<str>,
    pub mac: MacAddress,
    /// The router is Active.
    pub up: bool,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Down, and with our mark.
    Create {
        /// Index.
        parent: u32,
        /// Index of the VRF that the parent belongs to.
        controller: Option<u32>,
        mac: MacAddress,
    },
    Configure {
        settings: Settings,
        /// The kernel has IPv6.
        ipv6: bool,
    },
    Up,
    Down,
    Delete,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub name: Arc<str>,
    /// 0 for a link that does not exist yet.
    pub index: u32,
    pub operation: Operation,
}

/// How it ended.
#[derive(Debug)]
pub struct Answer {
    pub request: Request,
    pub result: io::Result<()>,
}

/// For the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// Somebody deleted it; it is made again.
    Lost(Arc<str>),
    /// Somebody set it up or down, or changed its settings; they are put right.
    Changed(Arc<str>),
    /// Ours, and nobody wants it: from a former run. It is removed.
    LeftBehind(Arc<str>),
    /// Tried again later.
    Failed(Arc<str>, String),
}

#[derive(Debug, Default)]
struct Entry {
    wanted: Option<Wanted>,
    in_flight: bool,
    /// It was as it should be when last looked at.
    complete: bool,
    /// What was done last, and when.
    last: Option<(Operation, Instant)>,
    created: Option<Instant>,
    retry_at: Option<Instant>,
    trouble: Option<Trouble>,
}

#[derive(Debug, Default)]
pub struct LinkTable {
    entries: BTreeMap<Arc<str>, Entry>,
    touched: bool,
    /// When something is to be tried again, as of the last plan.
    retry_at: Option<Instant>,
}

impl LinkTable {
    /// The whole set of what is wanted from now on, by name.
    pub fn want(&mut self, mut wanted: BTreeMap<Arc<str>, Wanted>) {
        self.touched = true;
        for (name, entry) in &mut self.entries {
            let new = wanted.remove(name);
            if new != entry.wanted {
                // Not undone by somebody, but wanted otherwise: nothing to wait for.
                entry.complete = false;
                entry.retry_at = None;
                entry.trouble = None;
            }
            entry.wanted = new;
        }
        for (name, new) in wanted {
            self.entries.insert(name, Entry { wanted: Some(new), ..Entry::default() });
        }
    }

    /// The kernel's links have changed.
    pub fn interfaces_changed(&mut self) {
        self.touched = true;
    }

    /// Nothing unwanted of ours is there or under way any more. A stopping daemon waits for it.
    pub fn is_settled(&self) -> bool {
        self.entries.values().all(|entry| !entry.in_flight && entry.wanted.is_some())
    }

    /// Why a wanted link is not there, if something is wrong with it.
    pub fn trouble(&self, name: &str) -> Option<&Trouble> {
        self.entries.get(name).and_then(|entry| entry.trouble.as_ref())
    }

    /// Whether a wanted link is there and has its settings; up or not.
    pub fn is_ready(&self, name: &str, interfaces: &Interfaces) -> bool {
        let entry = self.entries.get(name).and_then(|entry| entry.wanted.as_ref());
        let (Some(wanted), Some(link)) = (entry, interfaces.by_name(name)) else { return false };
        let Some(parent) = interfaces.by_name(&wanted.parent) else { return false };
        is_right(link, parent, wanted) && is_configured(link, parent)
    }

    /// When [`LinkTable::plan`] has something to try again.
    pub fn deadline(&self) -> Option<Instant> {
        self.retry_at
    }

    /// Whether a plan can find anything new.
    pub fn wants_plan(&self, now: Instant) -> bool {
        self.touched || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// The kernel's answer. What it told its listeners must be in `Interfaces` before the next plan.
    #[must_use]
    pub fn answered(&mut self, now: Instant, answer: Answer) -> Option<Notice> {
        self.touched = true;
        let Request { name, operation, .. } = answer.request;
        let entry = self.entries.get_mut(&name)?;
        entry.in_flight = false;
        entry.last = Some((operation, now));
        match operation {
            Operation::Create { .. } => entry.created = Some(now),
            Operation::Configure { .. } | Operation::Up | Operation::Down | Operation::Delete => {}
        }
        let Err(error) = answer.result else {
            entry.trouble = None;
            return None;
        };
        entry.retry_at = Some(now + RETRY);
        let why = describe(&error);
        let trouble = Trouble::Refused(why.clone());
        let news = entry.trouble.as_ref() != Some(&trouble);
        entry.trouble = Some(trouble);
        news.then_some(Notice::Failed(name, why))
    }

    /// Compare, and say what is to be done.
    pub fn plan(&mut self, now: Instant, interfaces: &Interfaces) -> (Vec<Request>, Vec<Notice>) {
        let (mut requests, mut notices) = (Vec::new(), Vec::new());
        self.touched = false;
        for name in interfaces.links().filter(|link| link.traits.ours).map(|link| &link.name) {
            if !self.entries.contains_key(name) {
                notices.push(Notice::LeftBehind(Arc::clone(name)));
                self.entries.insert(Arc::clone(name), Entry::default());
            }
        }
        for (name, entry) in &mut self.entries {
            if entry.in_flight {
                continue;
            }
            let link = interfaces.by_name(name);
            if let Some(operation) = entry.next(now, name, link, interfaces, &mut notices) {
                entry.in_flight = true;
                let index = link.map_or(0, |link| link.index);
                requests.push(Request { name: Arc::clone(name), index, operation });
            }
        }
        let ours = |name: &str| interfaces.by_name(name).is_some_and(|link| link.traits.ours);
        self.entries.retain(|name, entry| entry.wanted.is_some() || entry.in_flight || ours(name));
        let waiting = self.entries.values().filter(|entry| !entry.in_flight);
        self.retry_at = waiting.filter_map(|entry| entry.retry_at).min();
        (requests, notices)
    }
}

impl Entry {
    fn next(
        &mut self,
        now: Instant,
        name: &Arc<str>,
        link: Option<&Interface>,
        interfaces: &Interfaces,
        notices: &mut Vec<Notice>,
    ) -> Option<Operation> {
        let operation = self.difference(name, link, interfaces, notices);
        self.complete = operation.is_none() && self.trouble.is_none() && link.is_some();
        let operation = operation?;
        if self.retry_at.is_none() {
            self.retry_at = self.insists(now, operation);
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        Some(operation)
    }

    /// What is missing first.
    fn difference(
        &mut self,
        name: &Arc<str>,
        link: Option<&Interface>,
        interfaces: &Interfaces,
        notices: &mut Vec<Notice>,
    ) -> Option<Operation> {
        let Some(wanted) = &self.wanted else {
            return link.filter(|link| link.traits.ours).map(|_| Operation::Delete);
        };
        // Without its parent there is nothing to make; with it, the macvlan went as well.
        let parent = interfaces.by_name(&wanted.parent)?;
        let Some(link) = link else {
            if self.complete {
                notices.push(Notice::Lost(Arc::clone(name)));
            }
            let controller = parent.traits.controller;
            return Some(Operation::Create { parent: parent.index, controller, mac: wanted.mac });
        };
        if !link.traits.ours {
            self.trouble = Some(Trouble::Foreign);
            return None;
        }
        if self.trouble == Some(Trouble::Foreign) {
            self.trouble = None;
        }
        if !is_right(link, parent, wanted) {
            return Some(Operation::Delete);
        }
        let operation = if !is_configured(link, parent) {
            Operation::Configure {
                settings: Settings::wanted(parent.traits.settings.forwarding),
                ipv6: link.traits.ipv6,
            }
        } else if link.flags.contains(LinkFlags::Up) == wanted.up {
            self.trouble = None;
            return None;
        } else if wanted.up {
            Operation::Up
        } else {
            Operation::Down
        };
        if self.complete {
            notices.push(Notice::Changed(Arc::clone(name)));
        }
        Some(operation)
    }

    /// Somebody undoes what we do: not more than once a second, then.
    fn insists(&self, now: Instant, operation: Operation) -> Option<Instant> {
        let same = self.last.filter(|(last, _)| *last == operation).map(|(_, at)| at);
        let created = match operation {
            Operation::Create { .. } => self.created,
            Operation::Configure { .. } | Operation::Up | Operation::Down | Operation::Delete => None,
        };
        same.max(created).map(|at| at + RETRY).filter(|at| *at > now)
    }
}

/// What the kernel means by it.
fn describe(error: &io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(nix::libc::EOPNOTSUPP) => "; has this kernel the module macvlan?",
        Some(nix::libc::EBUSY) => {
            "; is the interface below it a port of a bridge or a bond, or the MAC address in use?"
        }
        Some(nix::libc::EINVAL) => "; is the interface below it an Ethernet?",
        Some(_) | None => "",
    };
    format!("{error}{hint}")
}

/// The link is the one that is wanted, not one from before the configuration or the parent changed.
fn is_right(link: &Interface, parent: &Interface, wanted: &Wanted) -> bool {
    link.traits.ours && link.traits.parent == Some(parent.index) && link.mac == Some(wanted.mac)
}

fn is_configured(link: &Interface, parent: &Interface) -> bool {
    link.traits.settings.satisfy(&Settings::wanted(parent.traits.settings.forwarding))
}

#[cfg(test)]
mod tests;
