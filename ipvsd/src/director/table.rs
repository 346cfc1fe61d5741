//! The director's dealings with the kernel, the other half: what must change, and what the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;

use super::reading::REPORTS;
use super::{Action, Actions, Director, Fault, Kernel, Moment, Refusal};
use crate::reconcile::{diff, diff_services, order};
use crate::table::{Change, Family, ServiceKey, Table};

/// A service that the kernel refuses, such as one with an unknown scheduler, is tried again after this long: each
/// try makes the kernel run modprobe.
pub(super) const REFUSAL_RETRY: Duration = Duration::from_secs(5);

impl Director {
    /// `exclusive`: what is not ours goes, and that is said.
    pub(super) fn note_strangers(&self, actions: &mut Actions) {
        let Kernel::Read(dump) = &self.kernel else { return };
        if !self.settings.exclusive {
            return;
        }
        let is_strange = |key: &&ServiceKey| !self.owned.contains(key) && !self.fronts.contains_key(key);
        let strangers: Vec<&ServiceKey> = dump.table.keys().filter(is_strange).collect();
        for key in strangers.iter().take(REPORTS) {
            actions.log(Level::Warn, format!("{key} is not configured, removing it (exclusive = true)"));
        }
        if let Some(more) = strangers.len().checked_sub(REPORTS).filter(|more| *more > 0) {
            actions.log(Level::Warn, format!("and {more} more services that are not configured"));
        }
    }

    /// Bring the services that something was learnt about to where they should be.
    pub(super) fn reconcile(&mut self, at: Moment, actions: &mut Actions) {
        self.no_flush();
        let keys = self.refresh_dirty(at, actions);
        let Kernel::Read(dump) = &self.kernel else { return };
        let changes = diff_services(&self.desired, &dump.table, keys);
        self.apply(at.now, changes, actions);
    }

    /// As [`Director::reconcile`], for the whole table.
    pub(super) fn reconcile_all(&mut self, at: Moment, actions: &mut Actions) {
        self.no_flush();
        self.refresh_dirty(at, actions);
        self.remember(actions);
        let Kernel::Read(dump) = &self.kernel else { return };
        let mut changes = diff(&self.desired, &dump.table, &self.removable(&dump.table));
        let wanting: BTreeSet<ServiceKey> = changes.iter().map(Change::key).collect();
        changes.retain(|change| !self.is_being_read(&change.key()));
        let relieved = self.refusals.keys().filter(|key| !wanting.contains(key));
        self.touched.extend(relieved.filter_map(|key| self.fronts.get(key).cloned()));
        self.refusals.retain(|key, _| wanting.contains(key));
        self.apply(at.now, changes, actions);
    }

    fn no_flush(&mut self) {
        self.flush_at = None;
        self.ups_since = None;
    }

    /// Its servers are about to be read, since it has come to be ours.
    pub(super) fn is_being_read(&self, key: &ServiceKey) -> bool {
        self.unread.contains(key) && self.fronts.contains_key(key)
    }

    /// The services that may be removed from the kernel if they are not wanted there.
    pub(super) fn removable(&self, table: &Table) -> BTreeSet<ServiceKey> {
        if self.settings.exclusive { table.keys().copied().collect() } else { self.owned.clone() }
    }

    fn apply(&self, now: Instant, changes: Vec<Change>, actions: &mut Actions) {
        if self.doubt.is_some() {
            return;
        }
        let mut ready: Vec<Change> =
            changes.into_iter().filter(|change| !self.is_held(now, change)).collect();
        order(&mut ready, |key| self.losses.rank(key));
        if !ready.is_empty() {
            actions.push(Action::Apply(ready));
        }
    }

    fn is_held(&self, now: Instant, change: &Change) -> bool {
        let held = self.refusals.get(&change.key()).and_then(|refusal| refusal.held_until);
        let there = self.table().is_some_and(|table| table.contains_key(&change.key()));
        held.is_some_and(|until| now < until) && (change.is_of_service() || !there)
    }

    pub(super) fn applied(
        &mut self,
        now: Instant,
        changes: &[Change],
        result: Result<Vec<(usize, Errno)>, Fault>,
        actions: &mut Actions,
    ) {
        let failures: BTreeMap<usize, Errno> = match result {
            Ok(failures) => failures.into_iter().collect(),
            Err(fault) => {
                self.note_fault(now, fault, actions);
                self.change_failed = true;
                // Some of it may have been done, by us and not by others.
                self.half_done.extend(changes.iter().map(Change::key));
                return;
            }
        };
        self.end_fault(actions);
        if let Kernel::Read(dump) = &mut self.kernel {
            let done = changes.iter().enumerate().filter(|(index, _)| !failures.contains_key(index));
            for (_, change) in done {
                let servers = dump.table.get(&change.key()).map_or(0, |entry| entry.servers.len());
                match change {
                    Change::DelService { key } => self.losses.add(now, *key, servers),
                    Change::DelServer { key, .. } => self.losses.add(now, *key, 1),
                    Change::NewService { .. }
                    | Change::SetService { .. }
                    | Change::NewServer { .. }
                    | Change::SetServer { .. } => {}
                }
                change.apply_to(&mut dump.table);
            }
        }
        for changes in changes.chunk_by(|one, next| one.key() == next.key()) {
            let Some(key) = changes.first().map(Change::key) else { continue };
            self.touched.extend(self.fronts.get(&key).cloned());
            self.share(&key);
        }
        let surprises = failures.iter().filter_map(|(index, errno)| Some((changes.get(*index)?, *errno)));
        let surprises = surprises.filter(|(change, errno)| is_surprise(change, *errno));
        let surprising: BTreeSet<ServiceKey> = surprises.map(|(change, _)| change.key()).collect();
        let look_again = !surprising.is_empty() && !self.second_look;
        self.note_refusals(now, changes, &failures, look_again, actions);
        if changes.iter().any(|change| matches!(change, Change::DelService { .. })) {
            self.remember(actions);
        }
        // Once until the next interval.
        self.second_look |= look_again;
        if look_again {
            self.unread.extend(&surprising);
            let keys = surprising.into_iter().collect();
            actions.push(Action::List);
            actions.push(Action::ReadServers { keys, is_slice: false });
        }
    }

    /// What is as it should be is kept once.
    fn share(&mut self, key: &ServiceKey) {
        let Kernel::Read(dump) = &mut self.kernel else { return };
        if let (Some(known), Some(desired)) = (dump.table.get_mut(key), self.desired.get(key))
            && known == desired
        {
            *known = Arc::clone(desired);
        }
    }

    /// Keep the first refusal of each service: those that follow are its consequences. What only shows that the
    /// table is not as we thought is no refusal the first time, since it is about to be read again.
    fn note_refusals(
        &mut self,
        now: Instant,
        changes: &[Change],
        failures: &BTreeMap<usize, Errno>,
        look_again: bool,
        actions: &mut Actions,
    ) {
        let mut seen = BTreeSet::new();
        for (index, errno) in failures {
            let Some(change) = changes.get(*index) else { continue };
            if !seen.insert(change.key()) || (look_again && is_surprise(change, *errno)) {
                continue;
            }
            // Nor is what its servers are refused while the service itself waits to be tried again.
            let held = self.refusals.get(&change.key()).and_then(|refusal| refusal.held_until);
            if !change.is_of_service() && held.is_some_and(|until| now < until) {
                continue;
            }
            let reason = refusal(change, *errno);
            let known = self.refusals.get(&change.key()).is_some_and(|refusal| refusal.reason == reason);
            if !known {
                actions.log(Level::Error, format!("{}: {reason}; trying again", self.name_of(&change.key())));
            }
            let held_until = change.is_of_service().then(|| now + REFUSAL_RETRY);
            self.refusals.insert(change.key(), Refusal { reason, held_until });
        }
        if self.refusals.is_empty() {
            return;
        }
        // Not by what others of its servers were granted: only when nothing is missing any more.
        let is_complete = |key: &ServiceKey| {
            let known = self.table().and_then(|table| table.get(key));
            known == self.desired.get(key)
        };
        let keys: BTreeSet<ServiceKey> = changes.iter().map(Change::key).collect();
        let relieved: Vec<_> =
            keys.into_iter().filter(|key| self.refusals.contains_key(key) && is_complete(key)).collect();
        for key in relieved {
            self.refusals.remove(&key);
            actions.log(Level::Info, format!("{}: the kernel has taken it now", self.name_of(&key)));
        }
    }

    /// Write down what is ours before it is put into the kernel, and forget it after it has left it.
    pub(super) fn remember(&mut self, actions: &mut Actions) {
        if let Kernel::Read(dump) = &self.kernel {
            self.owned.retain(|key| dump.table.contains_key(key));
        }
        self.owned.extend(self.fronts.keys().copied());
        if self.owned == self.remembered {
            self.book.forget_owned_fault();
        } else if !self.book.waits_with(&self.owned) {
            actions.push(Action::Remember(self.owned.clone()));
        }
    }

    /// Services that have a server to be drained.
    pub(super) fn draining(&self) -> BTreeSet<Arc<str>> {
        let names = self.drains.keys().map(|(name, _)| Arc::clone(name));
        names.filter(|name| self.runs.contains_key(name)).collect()
    }
}

/// Whether a failure only means that somebody else was faster.
fn is_surprise(change: &Change, errno: Errno) -> bool {
    match change {
        Change::NewService { .. } => errno == Errno::EEXIST,
        Change::SetService { .. } | Change::DelService { .. } => errno == Errno::ESRCH,
        Change::NewServer { .. } => errno == Errno::EEXIST || errno == Errno::ESRCH,
        Change::SetServer { .. } | Change::DelServer { .. } => {
            errno == Errno::ENOENT || errno == Errno::ESRCH
        }
    }
}

/// What the kernel meant by an errno, with what to do about it.
fn refusal(change: &Change, errno: Errno) -> String {
    match change {
        Change::NewService { service, .. } | Change::SetService { service, .. } if errno == Errno::ENOENT => {
            let scheduler = &service.scheduler;
            let hint = format!("modprobe ip_vs_{scheduler}");
            // ip_vs_add_service and ip_vs_edit_service say it of both, and not of which.
            match &service.persistence_engine {
                None => format!("the kernel has no scheduler '{scheduler}': {hint}"),
                Some(engine) => format!(
                    "the kernel has no scheduler '{scheduler}' or no persistence engine '{engine}': {hint} ip_vs_pe_{engine}"
                ),
            }
        }
        // ip_vs_genl_set_cmd: what is synchronised cannot be of two families.
        Change::NewServer { key, address, .. }
            if errno == Errno::EINVAL && (key.family() == Family::V4) != address.is_ipv4() =>
        {
            let ip = address.ip();
            format!(
                "the kernel does not take {ip} for a service of the other family while one of its sync daemons runs: ipvsadm -L --daemon"
            )
        }
        // ip_vs_add_dest wants a unicast address, and without any interface that is up the kernel knows none.
        Change::NewServer { address, .. } if errno == Errno::EINVAL => {
            let ip = address.ip();
            format!(
                "the kernel does not take {ip} for a server's address: it is a broadcast address, or no interface is up"
            )
        }
        Change::NewService { .. }
        | Change::SetService { .. }
        | Change::DelService { .. }
        | Change::NewServer { .. }
        | Change::SetServer { .. }
        | Change::DelServer { .. } => format!("the kernel refused to {change}: {}", errno.desc()),
    }
}
