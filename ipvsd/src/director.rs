//! The decision: what to ask of the kernel and of checkd, from the configuration, from what both answered, from what
//! operators ordered, and from the time. Pure: the clock is an argument, effects are returned and must happen in
//! their order, and a failed effect comes back as an event. (An LVS director is the machine that balances.)
//!
//! What happens to one server costs what its service costs, however many others there are: each event marks the
//! services that it is about, and only those are thought about again.

mod book;
mod chatter;
mod drains;
mod losses;
mod moves;
mod orders;
mod reading;
mod rounds;
mod seats;
mod servers;
mod services;
mod table;
mod tuning;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;
use nix::errno::Errno;

use self::book::Book;
use self::drains::Drain;
use self::losses::Losses;
pub use self::orders::{Request, Verb};
use self::rounds::Rounds;
use self::seats::{Seat, Seats};
pub(crate) use self::services::Run;
use crate::health::{Answer, HealthBook, Target};
use crate::orders::{Found, Orders};
use crate::reconcile::diff;
use crate::routers::Role;
use crate::service::Settings;
use crate::sync::SyncChange;
use crate::table::{AllConnections, Change, Dump, List, Servers, ServiceKey, Table};
use crate::tuning::{Timeouts, Value};

/// A moment on both clocks.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    pub now: Instant,
    /// Microseconds of CLOCK_REALTIME.
    pub real: u64,
}

/// What has happened.
#[derive(Debug)]
pub enum Event {
    Started,
    /// The deadline has come.
    Woken,
    /// The whole of the kernel's table was read.
    Dumped(Result<Dump, Fault>),
    /// The list of services was read, which took so long.
    Listed {
        result: Result<List, Fault>,
        took: Duration,
    },
    /// The servers of these services were read, in their order, which took so long.
    ServersRead {
        keys: Vec<ServiceKey>,
        is_slice: bool,
        result: Result<Vec<Servers>, Fault>,
        took: Duration,
    },
    /// The sysctls that the configuration names were read.
    SysctlsRead(Vec<(&'static str, Result<Value, String>)>),
    /// Changes were sent to the kernel; each failure is an index into them and an errno.
    Applied {
        changes: Vec<Change>,
        result: Result<Vec<(usize, Errno)>, Fault>,
    },
    /// Something else was to be set in the kernel; why that failed, if it did.
    Set {
        what: Setting,
        result: Result<(), String>,
    },
    /// Checkd answered, about everything or about what changed.
    Answered(Vec<Answer>),
    /// Checkd cannot be heard any more; the text says how we know.
    SourceLost(String),
    /// What vrrpd's virtual routers are here; those that are not named are not known.
    Routers(BTreeMap<Arc<str>, Role>),
    /// What the file of orders says; a sentence: why that is not known.
    OrdersRead(Result<Found, String>),
    /// The orders were to be written; a sentence: why they could not be.
    OrdersWritten(Result<(), String>),
    /// These were to be written down as ours.
    Remembered {
        owned: BTreeSet<ServiceKey>,
        result: Result<(), String>,
    },
    Reloaded(Settings),
    /// The operator wants the kernel read and repaired now.
    Resync,
}

/// What is set in the kernel beside the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Setting {
    Sync(SyncChange),
    Timeouts(Timeouts),
    Sysctl(&'static str, Value),
}

/// What must happen.
#[derive(Debug, PartialEq, Eq)]
pub enum Action {
    /// Have checkd watch this whole set.
    Watch(Vec<Target>),
    /// Have vrrpd tell about these virtual routers, the whole set.
    Follow(BTreeSet<Arc<str>>),
    /// Read the whole of the kernel's table; answer with [`Event::Dumped`].
    Dump,
    /// Read the list of services; answer with [`Event::Listed`].
    List,
    /// Read the servers of these services; answer with [`Event::ServersRead`]. `is_slice`: as a part of a round.
    ReadServers {
        keys: Vec<ServiceKey>,
        is_slice: bool,
    },
    /// Read these sysctls; answer with [`Event::SysctlsRead`].
    ReadSysctls(Vec<&'static str>),
    /// Write down which services are ours, so that they can be removed even after a restart; answer with
    /// [`Event::Remembered`].
    Remember(BTreeSet<ServiceKey>),
    /// Read what operators ordered; answer with [`Event::OrdersRead`].
    ReadOrders,
    /// Write down what operators ordered; answer with [`Event::OrdersWritten`].
    RememberOrders(Orders),
    /// Send these to the kernel; answer with [`Event::Applied`].
    Apply(Vec<Change>),
    /// Set this in the kernel; answer with [`Event::Set`].
    Set(Setting),
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
    /// What was said to be wrong with the kernel, and was not yet said to be over.
    told_fault: Option<Fault>,
    /// It could not be changed since it could be read, or changed, without more to be done.
    change_failed: bool,
    pub(crate) health: HealthBook,
    chatter: chatter::Chatter,
    pub(crate) orders: Orders,
    /// Those for what is not configured.
    pub(crate) unseated: Arc<Orders>,
    /// Of the orders, those to drain.
    drains: BTreeMap<Seat, Drain>,
    book: Book,
    /// The configured services at work.
    pub(crate) runs: BTreeMap<Arc<str>, Run>,
    /// Whose the kernel's services are.
    fronts: HashMap<ServiceKey, Arc<str>>,
    /// Whom a target's health is about.
    seats: Seats,
    /// The services that something was learnt about since they were last thought about.
    dirty: BTreeSet<Arc<str>>,
    /// When each service is to be thought about again.
    timers: BTreeSet<(Instant, Arc<str>)>,
    /// What the kernel should hold, as far as it was thought about.
    desired: Table,
    /// Services that read differently to an operator since that was last asked.
    touched: BTreeSet<Arc<str>>,
    /// Services of the kernel that we put there, or took over.
    owned: BTreeSet<ServiceKey>,
    /// What is written down of that.
    remembered: BTreeSet<ServiceKey>,
    pub(crate) refusals: BTreeMap<ServiceKey, Refusal>,
    pub(crate) repairs: BTreeMap<ServiceKey, Repairs>,
    /// What the virtual routers are here, as far as that is known.
    routers: BTreeMap<Arc<str>, Role>,
    /// When those that are absent will have been so for long enough to be none.
    absent_until: Option<Instant>,
    is_given_up: bool,
    /// What could not be set, by what it is, and why.
    pub(crate) unset: BTreeMap<String, String>,
    /// What is read again, and when.
    rounds: Rounds,
    /// Services of the kernel whose servers were not read yet: nobody of ours needed to know them.
    unread: BTreeSet<ServiceKey>,
    /// What was being done about these when the kernel failed is not known before all is read.
    half_done: BTreeSet<ServiceKey>,
    /// The kernel failed to answer, and we ask once more before we believe it; meanwhile nothing is changed.
    doubt: Option<Fault>,
    /// In which order services lost servers.
    losses: Losses,
    /// When servers that came up are put into the table, and when that was first due.
    flush_at: Option<Instant>,
    ups_since: Option<Instant>,
    /// When the whole table is read again, after a fault.
    dump_at: Option<Instant>,
    /// The table is being read again because changes met another table than we thought.
    second_look: bool,
}

impl Director {
    /// `owned` are the services that an earlier run wrote down as its own.
    pub fn new(settings: Settings, owned: BTreeSet<ServiceKey>) -> Self {
        let mut director = Self {
            settings: Settings::default(),
            kernel: Kernel::Unread,
            told_fault: None,
            change_failed: false,
            health: HealthBook::default(),
            orders: Orders::new(),
            unseated: Arc::default(),
            drains: BTreeMap::new(),
            book: Book::default(),
            chatter: chatter::Chatter::default(),
            runs: BTreeMap::new(),
            fronts: HashMap::new(),
            seats: Seats::default(),
            dirty: BTreeSet::new(),
            timers: BTreeSet::new(),
            desired: Table::new(),
            touched: BTreeSet::new(),
            remembered: owned.clone(),
            owned,
            refusals: BTreeMap::new(),
            repairs: BTreeMap::new(),
            routers: BTreeMap::new(),
            absent_until: None,
            is_given_up: false,
            unset: BTreeMap::new(),
            rounds: Rounds::default(),
            unread: BTreeSet::new(),
            half_done: BTreeSet::new(),
            doubt: None,
            losses: Losses::default(),
            flush_at: None,
            ups_since: None,
            dump_at: None,
            second_look: false,
        };
        director.configure(settings);
        director
    }

    pub fn on_event(&mut self, at: Moment, event: Event) -> Actions {
        let mut actions = Actions::default();
        match event {
            Event::Started => self.start(&mut actions),
            Event::Woken => self.wake(at, &mut actions),
            Event::Dumped(result) => self.dumped(at, result, &mut actions),
            Event::Listed { result, took } => self.listed(at, result, took, &mut actions),
            Event::ServersRead { keys, is_slice, result, took } => {
                self.servers_read(at, &keys, (result, took), is_slice, &mut actions);
            }
            Event::SysctlsRead(found) => self.sysctls_read(found, &mut actions),
            Event::Applied { changes, result } => self.applied(at.now, &changes, result, &mut actions),
            Event::Set { what, result } => self.set(&what, result, &mut actions),
            Event::Answered(answers) => self.answered(at, &answers, &mut actions),
            Event::SourceLost(reason) => self.source_lost(&reason, &mut actions),
            Event::Routers(routers) => self.routers(at, routers, &mut actions),
            Event::OrdersRead(result) => self.orders_read(at, result, &mut actions),
            Event::OrdersWritten(result) => self.orders_written(at, result, &mut actions),
            Event::Remembered { owned, result } => self.remembered(at.now, owned, result, &mut actions),
            Event::Reloaded(settings) => self.reloaded(at, settings, &mut actions),
            Event::Resync => actions.push(Action::Dump),
        }
        actions
    }

    /// When [`Event::Woken`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        let timer = self.timers.first().map(|(at, _)| *at);
        let reading = self.dump_at.into_iter().chain(self.rounds.deadline()).chain(self.book.retry_at);
        timer.into_iter().chain(self.flush_at).chain(reading).chain(self.absent_until).min()
    }

    /// What would be changed in the kernel as it was last read, as an operator reads it.
    ///
    /// # Errors
    /// Why the kernel's table is not known.
    pub fn plan(&self) -> Result<Vec<String>, String> {
        match &self.kernel {
            Kernel::Unread | Kernel::Fault(_) => self.fault().map(|()| Vec::new()),
            Kernel::Read(dump) => {
                let mut table = diff(&self.desired, &dump.table, &self.removable(&dump.table));
                table.retain(|change| !self.is_being_read(&change.key()));
                let settings = self.missing_settings(&dump.rest);
                Ok(table
                    .iter()
                    .map(ToString::to_string)
                    .chain(settings.iter().map(ToString::to_string))
                    .collect())
            }
        }
    }

    /// The services that may read differently to an operator since this was last asked.
    pub fn take_touched(&mut self) -> BTreeSet<Arc<str>> {
        std::mem::take(&mut self.touched)
    }

    #[cfg(test)]
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.runs.keys().cloned());
    }

    fn start(&mut self, actions: &mut Actions) {
        actions.push(Action::Watch(self.health.targets().cloned().collect()));
        actions.push(Action::Follow(self.followed()));
        // Before the kernel: nobody comes back for a moment who was ordered out.
        actions.push(Action::ReadOrders);
        actions.push(Action::Dump);
        self.read_sysctls(actions);
    }

    fn wake(&mut self, at: Moment, actions: &mut Actions) {
        // Servers that came up wait for more of them, but for nothing else.
        let mut is_time = self.flush_at.is_none() && !self.dirty.is_empty();
        while let Some((due, _)) = self.timers.first()
            && *due <= at.now
            && let Some((_, name)) = self.timers.pop_first()
        {
            self.dirty.insert(name);
            is_time = true;
        }
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= at.now);
        if is_due(self.book.retry_at) {
            self.retry_files(actions);
        }
        if is_due(self.absent_until) {
            self.give_up_routers(at, actions);
        }
        if is_time || is_due(self.flush_at) {
            self.reconcile(at, actions);
        }
        self.read_what_is_due(at.now, actions);
    }

    /// What is not touched by the new configuration is not even looked at; the kernel is read again soon after.
    fn reloaded(&mut self, at: Moment, settings: Settings, actions: &mut Actions) {
        let followed = self.followed();
        let (before, new_targets) = self.configure(settings);
        self.refusals.clear();
        self.repairs.retain(|key, _| self.fronts.contains_key(key));
        self.unset.clear();
        self.seat_orders(actions);
        if let Kernel::Read(dump) = &self.kernel {
            self.take_over(&dump.table, actions);
        }
        if new_targets {
            actions.push(Action::Watch(self.health.targets().cloned().collect()));
        }
        if self.followed() != followed {
            actions.push(Action::Follow(self.followed()));
        }
        self.note_strangers(actions);
        self.reconcile_all(at, actions);
        self.tune(actions);
        if before.tuning.sysctls != self.settings.tuning.sysctls {
            self.read_sysctls(actions);
        }
        match self.kernel {
            Kernel::Read(_) => self.rounds.list_at = Some(at.now),
            Kernel::Unread | Kernel::Fault(_) => self.dump_at = Some(at.now),
        }
    }

    /// The virtual routers that something depends on.
    fn followed(&self) -> BTreeSet<Arc<str>> {
        let services = self.settings.services.values().filter_map(|service| service.while_active.clone());
        services.chain(self.settings.sync.followed()).collect()
    }

    pub(crate) fn table(&self) -> Option<&Table> {
        match &self.kernel {
            Kernel::Read(dump) => Some(&dump.table),
            Kernel::Unread | Kernel::Fault(_) => None,
        }
    }

    /// Why the kernel's table cannot be used.
    ///
    /// # Errors
    /// The reason.
    pub fn fault(&self) -> Result<(), String> {
        match &self.kernel {
            Kernel::Unread => Err("the kernel was not read yet".into()),
            Kernel::Fault(fault) => Err(fault.0.clone()),
            Kernel::Read(_) => self.doubt.as_ref().map_or(Ok(()), |fault| Err(fault.0.clone())),
        }
    }

    /// As they were read last.
    pub fn connection_counts(&self) -> Arc<AllConnections> {
        match &self.kernel {
            Kernel::Read(dump) => Arc::clone(&dump.connections),
            Kernel::Unread | Kernel::Fault(_) => Arc::default(),
        }
    }

    /// As the last [`Event::Routers`] said.
    pub fn known_routers(&self) -> &BTreeMap<Arc<str>, Role> {
        &self.routers
    }

    /// The configured name of a service, else what it is in the kernel.
    fn name_of(&self, key: &ServiceKey) -> String {
        self.fronts.get(key).map_or_else(|| key.to_string(), |name| name.to_string())
    }
}

#[cfg(test)]
pub(crate) mod scene;
#[cfg(test)]
mod tests;
