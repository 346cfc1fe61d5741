//! The decision: what to ask of the kernel and of checkd, from the configuration, from what both answered, and
//! from the time. Pure: the clock is an argument, effects are returned and must happen in their order, and a failed
//! effect comes back as an event. (An LVS director is the machine that balances.)

mod servers;
mod table;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;

use crate::health::{Answer, HealthBook, Known, Target, Verdict};
use crate::reconcile::diff;
use crate::service::{Admission, Health, RealServer, Settings, VirtualService};
use crate::table::{Change, Dump, ServiceKey, Table};

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
    pub(super) held_until: Option<Instant>,
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

    /// What would be changed in the kernel as it was last read, as an operator reads it.
    ///
    /// # Errors
    /// Why the kernel's table is not known.
    pub fn plan(&self) -> Result<Vec<String>, String> {
        match &self.kernel {
            Kernel::Unread => Err("the kernel was not read yet".into()),
            Kernel::Fault(fault) => Err(fault.0.clone()),
            Kernel::Read(dump) => {
                Ok(diff(&self.desired(), &dump.table, &self.owned).iter().map(ToString::to_string).collect())
            }
        }
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
            Verdict::Up => Health::Up(known.weight),
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
            Health::Unknown(Admission::Admitted) | Health::Unchecked | Health::Up(_) | Health::Down => false,
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

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;
