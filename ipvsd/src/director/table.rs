//! The director's dealings with the kernel: what a reading shows, what must change, and what the kernel refuses.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;

use super::{Action, Actions, Director, Fault, Kernel, Moment, Refusal};
use crate::reconcile::{diff, diff_services};
use crate::table::{Change, Dump, ServiceKey, Table};

/// A service that the kernel refuses, such as one with an unknown scheduler, is tried again after this long: each
/// try makes the kernel run modprobe.
pub(super) const REFUSAL_RETRY: Duration = Duration::from_secs(5);
/// A kernel that cannot be read is tried again after this long: while it has no IPVS each try makes it run modprobe.
const FAULT_RETRY: Duration = Duration::from_secs(2);
/// The same service is reported as repaired at most this often.
const REPAIR_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// More services than this in one reading are reported as one number.
const REPORTS: usize = 10;
/// Reading the kernel may take one part in this many of our time: huge tables are read less often.
const RESYNC_SHARE: u32 = 10;

impl Director {
    pub(super) fn dumped(
        &mut self,
        at: Moment,
        result: Result<Dump, Fault>,
        took: Duration,
        actions: &mut Actions,
    ) {
        let now = at.now;
        self.dump_at = Some(now + self.settings.resync.max(took * RESYNC_SHARE));
        let dump = match result {
            Ok(dump) => dump,
            Err(fault) => {
                self.dump_at = Some(now + self.settings.resync.max(FAULT_RETRY));
                return self.note_fault(fault, actions);
            }
        };
        let is_first = matches!(self.kernel, Kernel::Unread);
        match &self.kernel {
            Kernel::Unread => {}
            Kernel::Fault(_) => actions.log(Level::Info, "the kernel's IPVS table can be used again".into()),
            Kernel::Read(known) => {
                let drifted = drifts(&known.table, &dump.table, &self.owned);
                self.note_repairs(now, &drifted, actions);
            }
        }
        if is_first {
            self.take_over(&dump.table, actions);
        }
        if !matches!(self.kernel, Kernel::Read(_)) {
            // Servers are admitted as they are found; nothing could be thought about without that.
            self.dirty.extend(self.runs.keys().cloned());
        }
        self.dirty.extend(self.draining());
        self.read_at = at.real;
        self.kernel = Kernel::Read(dump);
        self.note_strangers(actions);
        self.reconcile_all(at, actions);
        self.tune(actions);
    }

    fn note_fault(&mut self, fault: Fault, actions: &mut Actions) {
        if !matches!(&self.kernel, Kernel::Fault(known) if *known == fault) {
            actions.log(Level::Error, format!("{}; trying again", fault.0));
            self.touched.extend(self.runs.keys().cloned());
        }
        self.kernel = Kernel::Fault(fault);
    }

    /// Say which services were there already. They stay as they are until there is a reason to change them.
    pub(super) fn take_over(&self, table: &Table, actions: &mut Actions) {
        let is_new = |key: &ServiceKey| !self.owned.contains(key) || matches!(self.kernel, Kernel::Unread);
        let fronts = self.settings.services.iter().flat_map(|(name, service)| {
            let is_found = |front: &&ServiceKey| is_new(front) && table.contains_key(*front);
            service.fronts.iter().filter(is_found).map(move |front| (name, front))
        });
        let found: Vec<_> = fronts.collect();
        if found.len() > REPORTS {
            let text = format!("{} services are there with their servers, taken over", found.len());
            return actions.log(Level::Info, text);
        }
        for (name, front) in found {
            let servers = table.get(front).map_or(0, |entry| entry.servers.len());
            actions
                .log(Level::Info, format!("{name}: {front} is there with {servers} server(s), taken over"));
        }
    }

    /// `exclusive`: what is not ours goes, and that is said.
    fn note_strangers(&self, actions: &mut Actions) {
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

    fn note_repairs(&mut self, now: Instant, drifted: &[(ServiceKey, Vec<Change>)], actions: &mut Actions) {
        if drifted.len() > REPORTS {
            let text = format!("{} services were changed by others, repairing them", drifted.len());
            actions.log(Level::Warn, text);
        }
        for (key, changes) in drifted {
            let name = self.name_of(key);
            self.touched.extend(self.fronts.get(key).cloned());
            let repairs = self.repairs.entry(*key).or_default();
            repairs.count += 1;
            let first = changes.first().map(ToString::to_string).unwrap_or_default();
            let more = changes.len().saturating_sub(1);
            repairs.last = if more == 0 { first } else { format!("{first}, and {more} more") };
            let quiet =
                repairs.reported.is_some_and(|at| now.saturating_duration_since(at) < REPAIR_REPORT_INTERVAL);
            if quiet || drifted.len() > REPORTS {
                continue;
            }
            repairs.reported = Some(now);
            let text = format!(
                "{name}: changed by others, repairing it: {} (repair {})",
                repairs.last, repairs.count
            );
            actions.log(Level::Warn, text);
        }
    }

    /// Bring the services that something was learnt about to where they should be.
    pub(super) fn reconcile(&mut self, at: Moment, actions: &mut Actions) {
        self.flush_at = None;
        let keys = self.refresh_dirty(at, actions);
        let Kernel::Read(dump) = &self.kernel else { return };
        let changes = diff_services(&self.desired, &dump.table, keys);
        self.apply(at.now, changes, actions);
    }

    /// As [`Director::reconcile`], for the whole table.
    pub(super) fn reconcile_all(&mut self, at: Moment, actions: &mut Actions) {
        self.flush_at = None;
        self.refresh_dirty(at, actions);
        self.remember(actions);
        let Kernel::Read(dump) = &self.kernel else { return };
        let changes = diff(&self.desired, &dump.table, &self.removable(&dump.table));
        let wanting: BTreeSet<ServiceKey> = changes.iter().map(Change::key).collect();
        let relieved = self.refusals.keys().filter(|key| !wanting.contains(key));
        self.touched.extend(relieved.filter_map(|key| self.fronts.get(key).cloned()));
        self.refusals.retain(|key, _| wanting.contains(key));
        self.apply(at.now, changes, actions);
    }

    /// The services that may be removed from the kernel if they are not wanted there.
    pub(super) fn removable(&self, table: &Table) -> BTreeSet<ServiceKey> {
        if self.settings.exclusive { table.keys().copied().collect() } else { self.owned.clone() }
    }

    fn apply(&self, now: Instant, changes: Vec<Change>, actions: &mut Actions) {
        let ready: Vec<Change> = changes.into_iter().filter(|change| !self.is_held(now, change)).collect();
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
            Err(fault) => return self.note_fault(fault, actions),
        };
        if let Kernel::Read(dump) = &mut self.kernel {
            let done = changes.iter().enumerate().filter(|(index, _)| !failures.contains_key(index));
            done.for_each(|(_, change)| change.apply_to(&mut dump.table));
        }
        let names = changes.iter().filter_map(|change| self.fronts.get(&change.key()).cloned());
        self.touched.extend(names);
        let look_again = !failures.is_empty() && !self.second_look;
        self.note_refusals(now, changes, &failures, look_again, actions);
        if changes.iter().any(|change| matches!(change, Change::DelService { .. })) {
            self.remember(actions);
        }
        self.second_look = look_again;
        if look_again {
            actions.push(Action::Dump);
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
        for key in changes.iter().map(Change::key).filter(|key| !seen.contains(key)) {
            let held = self.refusals.get(&key).and_then(|refusal| refusal.held_until);
            if held.is_none_or(|until| until <= now) && self.refusals.remove(&key).is_some() {
                actions.log(Level::Info, format!("{}: the kernel has taken it now", self.name_of(&key)));
            }
        }
    }

    /// Write down what is ours before it is put into the kernel, and forget it after it has left it.
    pub(super) fn remember(&mut self, actions: &mut Actions) {
        if let Kernel::Read(dump) = &self.kernel {
            self.owned.retain(|key| dump.table.contains_key(key));
        }
        self.owned.extend(self.fronts.keys().copied());
        if self.owned != self.remembered {
            self.remembered.clone_from(&self.owned);
            actions.push(Action::Remember(self.owned.clone()));
        }
    }

    /// Services that have a server to be drained.
    fn draining(&self) -> BTreeSet<Arc<str>> {
        let drains = self.orders.iter().filter(|(_, order)| order.command.is_drain());
        drains.map(|((name, _), _)| Arc::clone(name)).filter(|name| self.runs.contains_key(name)).collect()
    }
}

/// The services of ours that are not any more as we left them, with what it takes to repair each.
fn drifts(known: &Table, found: &Table, owned: &BTreeSet<ServiceKey>) -> Vec<(ServiceKey, Vec<Change>)> {
    let ours = owned.iter().filter_map(|key| known.get_key_value(key));
    ours.filter(|(key, entry)| found.get(key) != Some(entry))
        .map(|(key, entry)| {
            let wanted = Table::from([(*key, entry.clone())]);
            (*key, diff(&wanted, found, &BTreeSet::new()))
        })
        .collect()
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
            format!("the kernel has no scheduler '{scheduler}': modprobe ip_vs_{scheduler}")
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
