//! The decision: what to ask of the kernel and of checkd, from the configuration, from what both answered, and
//! from the time. Pure: the clock is an argument, effects are returned and must happen in their order, and a failed
//! effect comes back as an event. (An LVS director is the machine that balances.)

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;

use crate::health::{Answer, HealthBook, Known, Source, Target, Verdict};
use crate::reconcile::diff;
use crate::service::{Admission, Health, RealServer, Settings, VirtualService};
use crate::table::{Change, Dump, Entry, ServiceKey, Table};

/// A service that the kernel refuses, such as one with an unknown scheduler, is tried again after this long: each
/// try makes the kernel run modprobe.
const REFUSAL_RETRY: Duration = Duration::from_secs(5);
/// The same service is reported as repaired at most this often.
const REPAIR_REPORT_INTERVAL: Duration = Duration::from_secs(60);
/// More repaired services than this in one reading are reported as one number.
const REPAIR_REPORTS: usize = 10;
/// Reading the kernel may take one part in this many of our time: huge tables are read less often.
const RESYNC_SHARE: u32 = 10;

/// What has happened.
#[derive(Debug)]
pub enum Event {
    Started,
    /// The deadline has come.
    Woken,
    /// The kernel was read, which took so long.
    Dumped {
        result: Result<Dump, Fault>,
        took: Duration,
    },
    /// Changes were sent to the kernel; each failure is an index into them and an errno.
    Applied {
        changes: Vec<Change>,
        result: Result<Vec<(usize, Errno)>, Fault>,
    },
    /// Checkd answered, about everything or about what changed.
    Answered(Vec<Answer>),
    /// Checkd cannot be heard any more; the text says how we know.
    SourceLost(String),
    Reloaded(Settings),
    /// The operator wants the kernel read and repaired now.
    Resync,
}

/// What must happen.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Have checkd watch this whole set.
    Watch(Vec<Target>),
    /// Read the kernel's table; answer with [`Event::Dumped`].
    Dump,
    /// Write down which services are ours, so that they can be removed even after a restart.
    Remember(BTreeSet<ServiceKey>),
    /// Send these to the kernel; answer with [`Event::Applied`].
    Apply(Vec<Change>),
    Log(Level, String),
}

/// Effects, in the order in which they must happen.
#[must_use = "effects that are dropped do not happen"]
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Actions(Vec<Action>);

impl Actions {
    fn push(&mut self, action: Action) {
        self.0.push(action);
    }

    fn log(&mut self, level: Level, text: String) {
        self.0.push(Action::Log(level, text));
    }
}

impl IntoIterator for Actions {
    type Item = Action;
    type IntoIter = std::vec::IntoIter<Action>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

/// Why the kernel's table cannot be used, as a sentence with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub String);

#[derive(Debug)]
pub(crate) enum Kernel {
    Unread,
    Fault(Fault),
    /// What the kernel holds, as far as we know: the last reading with our changes since.
    Read(Dump),
}

/// A service that the kernel refuses to have as it is configured.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) reason: String,
    /// Until then the service itself is left alone; its servers are not.
    held_until: Option<Instant>,
}

/// What others did to a service of ours and we undid.
#[derive(Debug, Default)]
pub(crate) struct Repairs {
    pub(crate) count: u64,
    pub(crate) last: String,
    reported: Option<Instant>,
}

#[derive(Debug)]
pub struct Director {
    pub(crate) settings: Settings,
    pub(crate) kernel: Kernel,
    pub(crate) health: HealthBook,
    /// Services that we put into the kernel, or took over.
    owned: BTreeSet<ServiceKey>,
    remembered: BTreeSet<ServiceKey>,
    /// Servers for as long as their check has not answered.
    admissions: BTreeMap<(ServiceKey, SocketAddr), Admission>,
    /// Services without any usable server, but with unknown ones; since when.
    waiting: BTreeMap<ServiceKey, Instant>,
    pub(crate) refusals: BTreeMap<ServiceKey, Refusal>,
    pub(crate) repairs: BTreeMap<ServiceKey, Repairs>,
    /// When servers that came up are put into the table.
    flush_at: Option<Instant>,
    dump_at: Option<Instant>,
    /// The table is being read again because changes met another table than we thought.
    second_look: bool,
}

impl Director {
    /// `owned` are the services that an earlier run wrote down as its own.
    pub fn new(settings: Settings, owned: BTreeSet<ServiceKey>) -> Self {
        Self {
            settings,
            kernel: Kernel::Unread,
            health: HealthBook::default(),
            remembered: owned.clone(),
            owned,
            admissions: BTreeMap::new(),
            waiting: BTreeMap::new(),
            refusals: BTreeMap::new(),
            repairs: BTreeMap::new(),
            flush_at: None,
            dump_at: None,
            second_look: false,
        }
    }

    pub fn on_event(&mut self, now: Instant, event: Event) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Started => self.start(&mut actions),
            Event::Woken => self.wake(now, &mut actions),
            Event::Dumped { result, took } => self.dumped(now, result, took, &mut actions),
            Event::Applied { changes, result } => self.applied(now, &changes, result, &mut actions),
            Event::Answered(answers) => self.answered(now, &answers, &mut actions),
            Event::SourceLost(reason) => self.source_lost(&reason, &mut actions),
            Event::Reloaded(settings) => self.reloaded(now, settings, &mut actions),
            Event::Resync => actions.push(Action::Dump),
        }
        actions
    }

    /// When [`Event::Woken`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let graces = self.waiting.values().map(|since| *since + self.settings.grace);
        graces.chain(self.flush_at).chain(self.dump_at).min()
    }

    /// What would be changed in the kernel if it held `table`, as an operator reads it.
    pub fn plan(&self, table: &Table) -> Vec<String> {
        diff(&self.desired(), table, &self.owned).iter().map(ToString::to_string).collect()
    }

    fn start(&mut self, actions: &mut Actions) {
        self.watch(actions);
        actions.push(Action::Dump);
    }

    fn wake(&mut self, now: Instant, actions: &mut Actions) {
        let due = |at: &Option<Instant>| at.is_some_and(|at| at <= now);
        let admitted = self.end_graces(now, actions);
        if admitted || due(&self.flush_at) {
            self.reconcile(now, actions);
        }
        if due(&self.dump_at) {
            self.dump_at = None;
            self.second_look = false;
            actions.push(Action::Dump);
        }
    }

    // ---- the kernel ----

    fn dumped(&mut self, now: Instant, result: Result<Dump, Fault>, took: Duration, actions: &mut Actions) {
        self.dump_at = Some(now + self.settings.resync.max(took * RESYNC_SHARE));
        let dump = match result {
            Ok(dump) => dump,
            Err(fault) => return self.fault(fault, actions),
        };
        match &self.kernel {
            Kernel::Unread => {}
            Kernel::Fault(_) => actions.log(Level::Info, "the kernel's IPVS table can be used again".into()),
            Kernel::Read(known) => {
                let drifted = drifts(&known.table, &dump.table, &self.owned);
                self.note_repairs(now, &drifted, actions);
            }
        }
        self.take_over(&dump.table, actions);
        self.kernel = Kernel::Read(dump);
        self.reconcile(now, actions);
    }

    fn fault(&mut self, fault: Fault, actions: &mut Actions) {
        if !matches!(&self.kernel, Kernel::Fault(known) if *known == fault) {
            actions.log(Level::Error, format!("{}; trying again", fault.0));
        }
        self.kernel = Kernel::Fault(fault);
    }

    /// Say which services were there already. They stay as they are until there is a reason to change them.
    fn take_over(&self, table: &Table, actions: &mut Actions) {
        for (name, service) in &self.settings.services {
            let Some(entry) = table.get(&service.key()) else { continue };
            if !self.owned.contains(&service.key()) || matches!(self.kernel, Kernel::Unread) {
                let servers = entry.servers.len();
                actions.log(
                    Level::Info,
                    format!("{name}: {} is there with {servers} server(s), taken over", service.key()),
                );
            }
        }
    }

    fn note_repairs(&mut self, now: Instant, drifted: &[(ServiceKey, Vec<Change>)], actions: &mut Actions) {
        if drifted.len() > REPAIR_REPORTS {
            let text = format!("{} services were changed by others, repairing them", drifted.len());
            actions.log(Level::Warn, text);
        }
        for (key, changes) in drifted {
            let name = self.name_of(key);
            let repairs = self.repairs.entry(*key).or_default();
            repairs.count += 1;
            let first = changes.first().map(ToString::to_string).unwrap_or_default();
            let more = changes.len().saturating_sub(1);
            repairs.last = if more == 0 { first } else { format!("{first}, and {more} more") };
            let quiet =
                repairs.reported.is_some_and(|at| now.saturating_duration_since(at) < REPAIR_REPORT_INTERVAL);
            if quiet || drifted.len() > REPAIR_REPORTS {
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

    fn reconcile(&mut self, now: Instant, actions: &mut Actions) {
        self.flush_at = None;
        self.admit_as_found();
        self.update_waiting(now);
        self.remember(actions);
        let Kernel::Read(dump) = &self.kernel else { return };
        let changes = diff(&self.desired(), &dump.table, &self.owned);
        let wanting: BTreeSet<ServiceKey> = changes.iter().map(Change::key).collect();
        self.refusals.retain(|key, _| wanting.contains(key));
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

    fn applied(
        &mut self,
        now: Instant,
        changes: &[Change],
        result: Result<Vec<(usize, Errno)>, Fault>,
        actions: &mut Actions,
    ) {
        let failures: BTreeMap<usize, Errno> = match result {
            Ok(failures) => failures.into_iter().collect(),
            Err(fault) => return self.fault(fault, actions),
        };
        if let Kernel::Read(dump) = &mut self.kernel {
            let done = changes.iter().enumerate().filter(|(index, _)| !failures.contains_key(index));
            done.for_each(|(_, change)| change.apply_to(&mut dump.table));
        }
        let look_again = !failures.is_empty() && !self.second_look;
        self.note_refusals(now, changes, &failures, look_again, actions);
        self.remember(actions);
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
        for key in changes.iter().map(Change::key).filter(|key| !seen.contains(key)) {
            let held = self.refusals.get(&key).and_then(|refusal| refusal.held_until);
            if held.is_none_or(|until| until <= now) && self.refusals.remove(&key).is_some() {
                actions.log(Level::Info, format!("{}: the kernel has taken it now", self.name_of(&key)));
            }
        }
    }

    /// Write down what is ours before it is put into the kernel, and forget it after it has left it.
    fn remember(&mut self, actions: &mut Actions) {
        let configured: BTreeSet<ServiceKey> =
            self.settings.services.values().map(VirtualService::key).collect();
        if let Kernel::Read(dump) = &self.kernel {
            self.owned.retain(|key| dump.table.contains_key(key));
        }
        self.owned.extend(configured);
        if self.owned != self.remembered {
            self.remembered.clone_from(&self.owned);
            actions.push(Action::Remember(self.owned.clone()));
        }
    }

    // ---- health ----

    fn answered(&mut self, now: Instant, answers: &[Answer], actions: &mut Actions) {
        if self.health.hear_source() {
            actions.log(Level::Info, "checkd answers".into());
        }
        let take = |answer| Some((answer, self.health.take(answer)?));
        let changed: Vec<(&Answer, Verdict)> = answers.iter().filter_map(take).collect();
        for (answer, former) in &changed {
            self.log_verdict(answer, *former, actions);
        }
        if changed.iter().any(|(answer, _)| answer.verdict == Verdict::Down) {
            self.reconcile(now, actions);
        } else if !changed.is_empty() {
            // Servers that came up wait for the end of the loop's turn, so that many of them are one batch.
            self.flush_at = Some(now);
        }
    }

    /// One line says everything about a transition. That a server is up at first is nothing to report.
    fn log_verdict(&self, answer: &Answer, former: Verdict, actions: &mut Actions) {
        let Target { check, address } = &answer.target;
        for (name, service) in &self.settings.services {
            let Some(server) = service.servers.get(address) else { continue };
            if server.check.as_ref() != Some(check) {
                continue;
            }
            let total = service.servers.len();
            let usable = self.usable_servers(service);
            let level = match (former, answer.verdict) {
                (_, Verdict::Down) => Level::Warn,
                (Verdict::Down, Verdict::Up) => Level::Info,
                (Verdict::Unknown | Verdict::Up, Verdict::Up) | (_, Verdict::Unknown) => Level::Debug,
            };
            let word = answer.verdict.word();
            let reason =
                if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
            let text =
                format!("{name}: server {address} is {word} ({check}{reason}), {usable} of {total} in use");
            actions.log(level, text);
        }
    }

    fn source_lost(&mut self, reason: &str, actions: &mut Actions) {
        if self.health.lose_source(reason) {
            actions.log(Level::Warn, format!("{reason}; servers stay as they are until it answers again"));
        }
    }

    // ---- servers whose check has not answered ----

    /// Unknown is not down: whoever is in use when we first look stays so, and nobody else starts.
    fn admit_as_found(&mut self) {
        let Kernel::Read(dump) = &self.kernel else { return };
        for service in self.settings.services.values() {
            let key = service.key();
            let entry = dump.table.get(&key);
            for address in service.servers.keys() {
                self.admissions.entry((key, *address)).or_insert_with(|| as_found(entry, address));
            }
        }
    }

    /// A service that has nothing but unknown servers waits for their check, though not for ever.
    fn update_waiting(&mut self, now: Instant) {
        if !matches!(self.kernel, Kernel::Read(_)) {
            return;
        }
        let mut waiting = BTreeMap::new();
        for service in self.settings.services.values() {
            let has_unknown =
                service.servers.iter().any(|(address, server)| self.is_withheld(service, address, server));
            if has_unknown && self.usable_servers(service) == 0 {
                let since = self.waiting.get(&service.key()).copied().unwrap_or(now);
                waiting.insert(service.key(), since);
            }
        }
        self.waiting = waiting;
    }

    /// Admit the unknown servers of services that have waited long enough. True if there were any.
    fn end_graces(&mut self, now: Instant, actions: &mut Actions) -> bool {
        let grace = self.settings.grace;
        let over: BTreeSet<ServiceKey> =
            self.waiting.iter().filter(|(_, since)| **since + grace <= now).map(|(key, _)| *key).collect();
        for (name, service) in
            self.settings.services.iter().filter(|(_, service)| over.contains(&service.key()))
        {
            let withheld: Vec<SocketAddr> = service
                .servers
                .iter()
                .filter(|(address, server)| self.is_withheld(service, address, server))
                .map(|(address, _)| *address)
                .collect();
            for address in &withheld {
                self.admissions.insert((service.key(), *address), Admission::Admitted);
            }
            let count = withheld.len();
            let grace = daemon::units::format_duration(grace);
            let why = self.why_unknown();
            let text = format!(
                "{name}: no health answer for {grace} ({why}), using {count} unknown server(s) rather than none"
            );
            actions.log(Level::Warn, text);
        }
        self.waiting.retain(|key, _| !over.contains(key));
        !over.is_empty()
    }

    fn why_unknown(&self) -> String {
        match self.health.source() {
            Source::NeverHeard => "checkd was never heard".into(),
            Source::Heard => "checkd does not know them".into(),
            Source::Lost(reason) => reason.clone(),
        }
    }

    // ---- configuration ----

    fn reloaded(&mut self, now: Instant, settings: Settings, actions: &mut Actions) {
        let checks = |settings: &Settings| -> BTreeMap<(ServiceKey, SocketAddr), Option<String>> {
            let servers = settings.services.values().flat_map(|service| {
                service
                    .servers
                    .iter()
                    .map(|(address, server)| ((service.key(), *address), server.check.clone()))
            });
            servers.collect()
        };
        let (before, after) = (checks(&self.settings), checks(&settings));
        // A server whose check is another one now is unknown again, and stays as it is found.
        self.admissions.retain(|seat, _| before.get(seat) == after.get(seat));
        self.settings = settings;
        self.refusals.clear();
        let configured: BTreeSet<ServiceKey> =
            self.settings.services.values().map(VirtualService::key).collect();
        self.repairs.retain(|key, _| configured.contains(key));
        if let Kernel::Read(dump) = &self.kernel {
            self.take_over(&dump.table, actions);
        }
        self.watch(actions);
        self.reconcile(now, actions);
    }

    fn watch(&mut self, actions: &mut Actions) {
        let mut targets = BTreeSet::new();
        for service in self.settings.services.values() {
            for (address, server) in &service.servers {
                if let Some(check) = &server.check {
                    targets.insert(Target { check: check.clone(), address: *address });
                }
            }
        }
        if self.health.set_targets(targets) {
            actions.push(Action::Watch(self.health.targets().cloned().collect()));
        }
    }

    // ---- answers ----

    pub(crate) fn desired(&self) -> Table {
        let services = self.settings.services.values();
        services
            .map(|service| {
                let entry = service.desired(|address, server| self.health_of(service, address, server));
                (service.key(), entry)
            })
            .collect()
    }

    pub(crate) fn health_of(
        &self,
        service: &VirtualService,
        address: &SocketAddr,
        server: &RealServer,
    ) -> Health {
        let Some(known) = self.known(address, server) else { return Health::Unchecked };
        match known.verdict {
            Verdict::Up => Health::Up,
            Verdict::Down => Health::Down,
            Verdict::Unknown => {
                let admission = self.admissions.get(&(service.key(), *address));
                Health::Unknown(admission.copied().unwrap_or(Admission::Withheld))
            }
        }
    }

    /// What checkd said of a server; `None` if nobody checks it.
    pub(crate) fn known(&self, address: &SocketAddr, server: &RealServer) -> Option<&Known> {
        let check = server.check.clone()?;
        self.health.get(&Target { check, address: *address })
    }

    fn is_withheld(&self, service: &VirtualService, address: &SocketAddr, server: &RealServer) -> bool {
        match self.health_of(service, address, server) {
            Health::Unknown(Admission::Withheld | Admission::Idle) => true,
            Health::Unknown(Admission::Admitted) | Health::Unchecked | Health::Up | Health::Down => false,
        }
    }

    /// How many servers of a service should get new connections.
    pub(crate) fn usable_servers(&self, service: &VirtualService) -> usize {
        let weight =
            |address, server: &RealServer| server.effective_weight(self.health_of(service, address, server));
        service
            .servers
            .iter()
            .filter(|(address, server)| weight(address, server).is_some_and(|weight| weight > 0))
            .count()
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.kernel {
            Kernel::Read(dump) => Some(&dump.table),
            Kernel::Unread | Kernel::Fault(_) => None,
        }
    }

    /// The configured name of a service, else what it is in the kernel.
    fn name_of(&self, key: &ServiceKey) -> String {
        let named = self.settings.services.iter().find(|(_, service)| service.key() == *key);
        named.map_or_else(|| key.to_string(), |(name, _)| name.clone())
    }
}

fn as_found(entry: Option<&Entry>, address: &SocketAddr) -> Admission {
    match entry.and_then(|entry| entry.servers.get(address)) {
        None => Admission::Withheld,
        Some(server) if server.weight == 0 => Admission::Idle,
        Some(_) => Admission::Admitted,
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
        Change::NewService { .. }
        | Change::SetService { .. }
        | Change::DelService { .. }
        | Change::NewServer { .. }
        | Change::SetServer { .. }
        | Change::DelServer { .. } => format!("the kernel refused to {change}: {}", errno.desc()),
    }
}

#[cfg(test)]
mod tests;
