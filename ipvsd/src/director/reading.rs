//! The director's dealings with the kernel, one half: what a reading shows. What must change is in `table.rs`.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::{Action, Actions, Director, Fault, Kernel, Moment};
use crate::reconcile::diff_service;
use crate::table::{Change, Dump, Entry, List, Servers, Service, ServiceKey, Table};

/// A kernel that cannot be read is tried again after this long: while it has no IPVS each try makes it run modprobe.
const FAULT_RETRY: Duration = Duration::from_secs(2);
/// One failure may be a moment's lack of memory: so soon we ask again, and believe the second.
const DOUBT_RETRY: Duration = Duration::from_millis(200);
/// The same service is reported as repaired at most this often.
const REPAIR_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// More services than this in one reading are reported as one number.
pub(super) const REPORTS: usize = 10;

/// What others did to a service of ours: the first step that undoes it, and how many there are.
pub(super) struct Drift {
    key: ServiceKey,
    first: Change,
    steps: usize,
}

impl Drift {
    /// `None`: it is as we left it.
    fn of(key: ServiceKey, known: &Entry, found: Option<&Entry>) -> Option<Self> {
        let Some(found) = found else {
            let first = Change::NewService { key, service: known.service.clone() };
            return Some(Self { key, first, steps: 1 + known.servers.len() });
        };
        let mut changes = Vec::new();
        diff_service(&key, known, Some(found), &mut changes);
        let steps = changes.len();
        changes.into_iter().next().map(|first| Self { key, first, steps })
    }
}

impl Director {
    /// What is due of it.
    pub(super) fn read_what_is_due(&mut self, now: Instant, actions: &mut Actions) {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        if is_due(self.dump_at) {
            self.dump_at = None;
            self.second_look = false;
            actions.push(Action::Dump);
            return self.read_sysctls(actions);
        }
        if is_due(self.rounds.list_at) {
            self.rounds.list_at = None;
            self.second_look = false;
            actions.push(Action::List);
            return self.read_sysctls(actions);
        }
        self.read_slice(now, actions);
    }

    pub(super) fn read_sysctls(&self, actions: &mut Actions) {
        let sysctls: Vec<_> = self.settings.tuning.sysctls.keys().copied().collect();
        if !sysctls.is_empty() {
            actions.push(Action::ReadSysctls(sysctls));
        }
    }

    fn read_slice(&mut self, now: Instant, actions: &mut Actions) {
        let Kernel::Read(dump) = &self.kernel else { return };
        let owned = &self.owned;
        let keys = self.rounds.slice(now, |after| {
            let from = after.map_or(Bound::Unbounded, Bound::Excluded);
            owned.range((from, Bound::Unbounded)).filter(|key| dump.table.contains_key(key))
        });
        if !keys.is_empty() {
            actions.push(Action::ReadServers { keys, is_slice: true });
        }
    }

    /// Somebody changed the table: all of it is read now, and no longer a bit at a time.
    pub(super) fn look_at_all(&mut self, now: Instant) {
        self.rounds.hurry(now);
    }

    pub(super) fn dumped(&mut self, at: Moment, result: Result<Dump, Fault>, actions: &mut Actions) {
        let dump = match result {
            Ok(dump) => dump,
            Err(fault) => return self.note_fault(at.now, fault, actions),
        };
        self.trust(at.now);
        let is_first = matches!(self.kernel, Kernel::Unread);
        match &self.kernel {
            Kernel::Unread | Kernel::Fault(_) => {}
            Kernel::Read(known) => {
                let ours = self.owned.iter().filter_map(|key| known.table.get_key_value(key));
                let drifts =
                    ours.filter(|(key, _)| !self.unread.contains(key) && !self.half_done.contains(key));
                let found = |key| dump.table.get(key).map(|entry| &**entry);
                let drifts = drifts.filter_map(|(key, entry)| Drift::of(*key, entry, found(key)));
                let drifts: Vec<Drift> = drifts.collect();
                self.note_repairs(at.now, drifts, actions);
            }
        }
        if is_first {
            self.take_over(&dump.table, actions);
        }
        if !matches!(self.kernel, Kernel::Read(_)) {
            // Servers are admitted as they are found; nothing could be thought about without that.
            self.dirty.extend(self.runs.keys().cloned());
        }
        self.unread.clear();
        self.half_done.clear();
        self.rounds.stop();
        self.rounds.read_at = dump.table.keys().map(|key| (*key, at.now)).collect();
        self.rounds.listed(at.now, self.settings.resync, Duration::ZERO);
        self.dirty.extend(self.draining());
        self.kernel = Kernel::Read(dump);
        self.note_strangers(actions);
        self.reconcile_all(at, actions);
        if !actions.0.iter().any(|action| matches!(action, Action::Apply(_))) {
            self.end_fault(actions);
        }
        self.tune(actions);
    }

    /// A kernel that can be read is not well before it could be changed, too, if that is wanted.
    pub(super) fn end_fault(&mut self, actions: &mut Actions) {
        self.change_failed = false;
        if self.told_fault.take().is_some() {
            actions.log(Level::Info, "the kernel's IPVS table can be used again".into());
        }
    }

    /// The kernel answers.
    fn trust(&mut self, now: Instant) {
        self.doubt = None;
        self.dump_at = None;
        self.rounds.list_at = Some(now + self.settings.resync);
    }

    /// A failure is believed the second time: until then everything stays as it is, and nothing is changed.
    pub(super) fn note_fault(&mut self, now: Instant, fault: Fault, actions: &mut Actions) {
        self.rounds.stop();
        self.rounds.list_at = None;
        let is_news = self.doubt.is_none() && self.told_fault.is_none() && !self.change_failed;
        if matches!(self.kernel, Kernel::Read(_)) && is_news {
            actions.log(Level::Debug, format!("{}; asking again", fault.0));
            self.doubt = Some(fault);
            self.dump_at = Some(now + DOUBT_RETRY);
            return;
        }
        self.doubt = None;
        self.dump_at = Some(now + self.settings.resync.max(FAULT_RETRY));
        if self.told_fault.as_ref() != Some(&fault) {
            actions.log(Level::Error, format!("{}; trying again", fault.0));
            self.told_fault = Some(fault.clone());
        }
        if !matches!(&self.kernel, Kernel::Fault(known) if *known == fault) {
            self.touched.extend(self.runs.keys().cloned());
        }
        self.kernel = Kernel::Fault(fault);
    }

    /// The services themselves. What others made of ours is undone; servers of services that come to be ours are read
    /// before anything is done about them.
    pub(super) fn listed(
        &mut self,
        at: Moment,
        result: Result<List, Fault>,
        took: Duration,
        actions: &mut Actions,
    ) {
        let List { services, rest } = match result {
            Ok(list) => list,
            Err(fault) => return self.note_fault(at.now, fault, actions),
        };
        if !matches!(self.kernel, Kernel::Read(_)) || self.doubt.is_some() {
            // It takes the whole table to begin with.
            return actions.push(Action::Dump);
        }
        self.rounds.listed(at.now, self.settings.resync, took);
        let changed = self.compare_list(at.now, services);
        let hurried = !changed.is_empty();
        if let Kernel::Read(dump) = &mut self.kernel {
            dump.rest = rest;
        }
        self.note_repairs(at.now, changed, actions);
        self.note_strangers(actions);
        if hurried {
            self.look_at_all(at.now);
        } else {
            self.rounds.begin(at.now);
        }
        // Servers that came up wait for more of them.
        if hurried || self.flush_at.is_none() {
            self.reconcile_all(at, actions);
        }
        self.tune(actions);
        self.read_slice(at.now, actions);
    }

    /// Take over what a list says into our picture; what it says of ours that is not as we left it.
    fn compare_list(&mut self, now: Instant, services: Vec<(ServiceKey, Service)>) -> Vec<Drift> {
        let Kernel::Read(dump) = &mut self.kernel else { return Vec::new() };
        let mut drifts = Vec::new();
        let order: Vec<ServiceKey> = services.iter().map(|(key, _)| *key).collect();
        let found: HashSet<ServiceKey> = order.iter().copied().collect();
        for (key, service) in services {
            let Some(known) = dump.table.get_mut(&key) else {
                self.unread.insert(key);
                dump.table.insert(key, Arc::new(Entry { service, servers: BTreeMap::new() }));
                continue;
            };
            if known.service == service {
                continue;
            }
            let before = Arc::clone(known);
            Arc::make_mut(known).service = service;
            if self.owned.contains(&key) {
                drifts.extend(Drift::of(key, &before, Some(known)));
            }
        }
        // In the kernel's own order, in which `ipvsadm -C` goes through them.
        let order = std::mem::replace(&mut dump.order, order);
        let others: Vec<ServiceKey> = dump.table.keys().copied().collect();
        for key in order.into_iter().chain(others).filter(|key| !found.contains(key)) {
            let Some(known) = dump.table.remove(&key) else { continue };
            if self.owned.contains(&key) {
                drifts.extend(Drift::of(key, &known, None));
            }
            self.unread.remove(&key);
            self.rounds.read_at.remove(&key);
            self.losses.add(now, key, known.servers.len());
        }
        if dump.connections.keys().any(|key| !found.contains(key)) {
            Arc::make_mut(&mut dump.connections).retain(|key, _| found.contains(key));
        }
        self.dirty.extend(drifts.iter().filter_map(|drift| self.fronts.get(&drift.key).cloned()));
        drifts
    }

    /// The servers of some services, which are in the list.
    pub(super) fn servers_read(
        &mut self,
        at: Moment,
        keys: &[ServiceKey],
        (result, took): (Result<Vec<Servers>, Fault>, Duration),
        is_slice: bool,
        actions: &mut Actions,
    ) {
        let read = match result {
            Ok(read) => read,
            Err(fault) => return self.note_fault(at.now, fault, actions),
        };
        if is_slice {
            self.rounds.sliced(at.now, keys.len(), took);
        }
        let before = self.dirty.len();
        let mut drifts = Vec::new();
        for (key, servers) in keys.iter().zip(read) {
            drifts.extend(self.compare_servers(at, *key, servers));
        }
        if !drifts.is_empty() {
            self.look_at_all(at.now);
        }
        self.note_repairs(at.now, drifts, actions);
        self.dirty.extend(self.draining());
        if self.dirty.len() > before {
            self.reconcile(at, actions);
        }
    }

    fn compare_servers(&mut self, at: Moment, key: ServiceKey, read: Servers) -> Option<Drift> {
        let Kernel::Read(dump) = &mut self.kernel else { return None };
        let was_unread = self.unread.remove(&key);
        if was_unread {
            self.dirty.extend(self.fronts.get(&key).cloned());
        }
        let known = dump.table.get_mut(&key)?;
        self.rounds.read_at.insert(key, at.now);
        let counted = dump.connections.get(&key).map(|counts| &**counts);
        if counted.map_or(!read.connections.is_empty(), |counts| *counts != read.connections) {
            let all = Arc::make_mut(&mut dump.connections);
            if read.connections.is_empty() {
                all.remove(&key);
            } else {
                all.insert(key, Arc::new(read.connections));
            }
        }
        if known.servers == read.servers {
            return None;
        }
        let before = Arc::clone(known);
        Arc::make_mut(known).servers = read.servers;
        self.dirty.extend(self.fronts.get(&key).cloned());
        let is_drift = !was_unread && self.owned.contains(&key) && !self.half_done.contains(&key);
        let drift = is_drift.then(|| Drift::of(key, &before, Some(known))).flatten();
        if before.servers.len() > known.servers.len() {
            self.losses.add(at.now, key, before.servers.len() - known.servers.len());
        }
        drift
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
            let text = match table.get(front) {
                Some(entry) if !self.unread.contains(front) => {
                    format!("{name}: {front} is there with {} server(s), taken over", entry.servers.len())
                }
                Some(_) | None => format!("{name}: {front} is there, taken over"),
            };
            actions.log(Level::Info, text);
        }
    }

    fn note_repairs(&mut self, now: Instant, drifts: Vec<Drift>, actions: &mut Actions) {
        let number = drifts.len();
        if number > REPORTS {
            actions.log(Level::Warn, format!("{number} services were changed by others, repairing them"));
        }
        for Drift { key, first, steps } in drifts {
            let name = self.name_of(&key);
            self.touched.extend(self.fronts.get(&key).cloned());
            let repairs = self.repairs.entry(key).or_default();
            repairs.count += 1;
            let more = steps.saturating_sub(1);
            repairs.last = if more == 0 { first.to_string() } else { format!("{first}, and {more} more") };
            let quiet =
                repairs.reported.is_some_and(|at| now.saturating_duration_since(at) < REPAIR_REPORT_INTERVAL);
            if quiet || number > REPORTS {
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
}
