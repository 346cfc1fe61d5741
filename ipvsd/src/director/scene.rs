//! For tests: a director with a kernel that answers as the real one does, on a clock that jumps.

use std::net::SocketAddr;

use super::*;
use crate::health::Verdict;
use crate::orders::Order;
use crate::service::{AllDown, Backend, Initially, OnFailure, Quorum, RealServer, VirtualService};
use crate::sync::Daemons;
use crate::table::{
    Connections, Entry, Forward, List, Protocol, Rest, Server, Servers, Service, ServiceConnections,
};
use crate::tuning::{TimeoutsFound, Value};

/// A director, a kernel that answers as the real one does, and what was said and done.
pub(crate) struct Scene {
    pub(crate) director: Director,
    pub(crate) table: Table,
    pub(crate) connections: HashMap<(ServiceKey, SocketAddr), Connections>,
    /// How many of each there were: whole readings, lists, services whose servers were read.
    pub(crate) readings: (usize, usize, usize),
    pub(crate) daemons: Daemons,
    pub(crate) timeouts: TimeoutsFound,
    pub(crate) sysctls: BTreeMap<&'static str, Result<Value, String>>,
    /// What the kernel answers instead of doing a change.
    pub(crate) refuse: fn(&Change) -> Option<Errno>,
    /// How many changes the kernel refused by that.
    pub(crate) refused: usize,
    pub(crate) fault: Option<Fault>,
    /// How long each reading takes.
    pub(crate) took: Duration,
    /// So many batches break off, after so many changes.
    pub(crate) broken: Option<(usize, usize)>,
    /// How many changes the kernel was given.
    pub(crate) tried: usize,
    /// What others do to the table before each of them.
    pub(crate) meddle: fn(usize, &mut Table),
    pub(crate) now: Instant,
    began: Instant,
    pub(crate) applied: Vec<Change>,
    pub(crate) set: Vec<Setting>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) watched: Vec<Target>,
    pub(crate) followed: BTreeSet<Arc<str>>,
    pub(crate) remembered: BTreeSet<ServiceKey>,
    /// What the file of orders says, and what is strange in it.
    pub(crate) orders: Orders,
    pub(crate) strange: String,
    /// Why files cannot be read or written.
    pub(crate) unreadable: Option<&'static str>,
    pub(crate) unwritable: Option<&'static str>,
    /// How often files were written, or should have been.
    pub(crate) writes: usize,
    /// How far the time of day was set, microseconds.
    pub(crate) step: i64,
}

/// CLOCK_REALTIME at the beginning of a scene, microseconds.
const EPOCH: u64 = 1_700_000_000_000_000;

impl Scene {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_kernel(settings, Table::new(), BTreeSet::new())
    }

    pub(crate) fn with_kernel(settings: Settings, table: Table, owned: BTreeSet<ServiceKey>) -> Self {
        Self::with_all(settings, table, owned, Orders::new())
    }

    pub(crate) fn with_all(
        settings: Settings,
        table: Table,
        owned: BTreeSet<ServiceKey>,
        orders: Orders,
    ) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs some point to count from")]
        let now = Instant::now();
        Self {
            director: Director::new(settings, owned.clone()),
            table,
            connections: HashMap::new(),
            readings: (0, 0, 0),
            daemons: Daemons::new(),
            timeouts: TimeoutsFound { tcp: 900, tcp_fin: 120, udp: 300 },
            sysctls: BTreeMap::new(),
            refuse: |_| None,
            refused: 0,
            fault: None,
            took: Duration::from_micros(100),
            broken: None,
            tried: 0,
            meddle: |_, _| {},
            now,
            began: now,
            applied: Vec::new(),
            set: Vec::new(),
            log: Vec::new(),
            watched: Vec::new(),
            followed: BTreeSet::new(),
            remembered: owned,
            orders,
            strange: String::new(),
            unreadable: None,
            unwritable: None,
            writes: 0,
            step: 0,
        }
    }

    /// Another run of the daemon on the same machine: the kernel and the files are as they are.
    pub(crate) fn restarted(&self, settings: Settings) -> Self {
        self.restarted_at(settings, self.step)
    }

    /// As [`Scene::restarted`], with the time of day so far off.
    pub(crate) fn restarted_at(&self, settings: Settings, step: i64) -> Self {
        let mut scene =
            Self::with_all(settings, self.table.clone(), self.remembered.clone(), self.orders.clone());
        scene.now = self.now;
        scene.began = self.began;
        scene.step = step;
        scene.connections.clone_from(&self.connections);
        scene.daemons.clone_from(&self.daemons);
        scene.started()
    }

    pub(crate) fn started(mut self) -> Self {
        self.event(Event::Started);
        self
    }

    pub(crate) fn at(&self) -> Moment {
        let since = self.now.saturating_duration_since(self.began).as_micros();
        let real = EPOCH + u64::try_from(since).unwrap();
        Moment { now: self.now, real: real.saturating_add_signed(self.step) }
    }

    /// Let an event happen, with everything that follows from it at once.
    pub(crate) fn event(&mut self, event: Event) {
        let actions = self.director.on_event(self.at(), event);
        self.perform(actions);
    }

    pub(crate) fn dump(&self) -> Dump {
        let counts = |key: &ServiceKey| {
            Some((*key, Arc::new(self.counts(key)))).filter(|(_, counts)| !counts.is_empty())
        };
        Dump {
            table: self.table.clone(),
            order: self.table.keys().copied().collect(),
            connections: Arc::new(self.table.keys().filter_map(counts).collect()),
            rest: self.rest(),
        }
    }

    fn rest(&self) -> Rest {
        Rest { daemons: self.daemons.clone(), timeouts: self.timeouts }
    }

    fn counts(&self, key: &ServiceKey) -> ServiceConnections {
        let counts = self.connections.iter().filter(|((of, _), _)| of == key);
        counts.map(|((_, address), counts)| (*address, *counts)).collect()
    }

    fn list(&self) -> List {
        let services = self.table.iter().map(|(key, entry)| (*key, entry.service.clone()));
        List { services: services.collect(), rest: self.rest() }
    }

    fn servers(&self, key: &ServiceKey) -> Servers {
        let servers = self.table.get(key).map(|entry| entry.servers.clone()).unwrap_or_default();
        Servers { servers, connections: self.counts(key) }
    }

    /// What the kernel answers, or its fault.
    fn read<T>(&self, read: impl FnOnce() -> T) -> Result<T, Fault> {
        self.fault.clone().map_or_else(|| Ok(read()), Err)
    }

    pub(crate) fn perform(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Watch(targets) => self.watched = targets,
                Action::Follow(routers) => self.followed = routers,
                Action::Remember(owned) => {
                    let result = self.write();
                    if result.is_ok() {
                        self.remembered.clone_from(&owned);
                    }
                    self.event(Event::Remembered { owned, result });
                }
                Action::ReadOrders => {
                    let (orders, strange) = (self.orders.clone(), self.strange.clone());
                    let found = Found { orders, strange };
                    let result = self.unreadable.map_or(Ok(found), |why| Err(why.into()));
                    self.event(Event::OrdersRead(result));
                }
                Action::RememberOrders(orders) => {
                    assert_eq!(self.unreadable, None, "what cannot be read is written over");
                    let result = self.write();
                    if result.is_ok() {
                        self.orders = orders;
                    }
                    self.event(Event::OrdersWritten(result));
                }
                Action::Log(level, text) => self.log.push((level, text)),
                Action::Dump => {
                    self.readings.0 += 1;
                    self.event(Event::Dumped(self.read(|| self.dump())));
                }
                Action::List => {
                    self.readings.1 += 1;
                    let result = self.read(|| self.list());
                    self.event(Event::Listed { result, took: self.took });
                }
                Action::ReadServers { keys, is_slice } => {
                    self.readings.2 += keys.len();
                    let result = self.read(|| keys.iter().map(|key| self.servers(key)).collect());
                    self.event(Event::ServersRead { keys, is_slice, result, took: self.took });
                }
                Action::ReadSysctls(names) => {
                    let read = |name| self.sysctls.get(name).cloned().unwrap_or(Ok(Value::One(0)));
                    let found = names.into_iter().map(|name| (name, read(name))).collect();
                    self.event(Event::SysctlsRead(found));
                }
                Action::Set(what) => {
                    self.set.push(what.clone());
                    match &what {
                        Setting::Sync(change) => change.apply_to(&mut self.daemons),
                        Setting::Timeouts(timeouts) => timeouts.apply_to(&mut self.timeouts),
                        Setting::Sysctl(name, value) => drop(self.sysctls.insert(name, Ok(*value))),
                    }
                    self.event(Event::Set { what, result: Ok(()) });
                }
                Action::Apply(changes) => {
                    let result = self.apply_or_break_off(&changes);
                    self.event(Event::Applied { changes, result });
                }
            }
        }
    }

    fn write(&mut self) -> Result<(), String> {
        self.writes += 1;
        self.unwritable.map_or(Ok(()), |why| Err(why.into()))
    }

    /// An operator's order about a server of "web".
    pub(crate) fn order(&mut self, server: u8, verb: Verb) {
        self.try_order("web", &server_address(server).to_string(), verb).unwrap();
    }

    /// An operator's order, and the answer to it.
    pub(crate) fn try_order(&mut self, service: &str, server: &str, verb: Verb) -> Result<(), String> {
        let request = Request {
            service: service.into(),
            server: server.into(),
            verb,
            author: "alice (uid 1000)".into(),
            reason: "its disk".into(),
        };
        let actions = self.director.order(self.at(), &request)?;
        self.perform(actions);
        self.director.take_refusal()
    }

    pub(crate) fn ordered(&self, server: u8) -> Option<&Order> {
        self.orders.get(&(Arc::from("web"), backend_with_port(server)))
    }

    fn apply_or_break_off(&mut self, changes: &[Change]) -> Result<Vec<(usize, Errno)>, Fault> {
        if let Some((batches, after)) = &mut self.broken
            && *batches > 0
            && *after < changes.len()
        {
            *batches -= 1;
            let after = *after;
            drop(self.apply(&changes[..after]));
            return Err(Fault("no buffer space".into()));
        }
        Ok(self.apply(changes))
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<(usize, Errno)> {
        let mut failures = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            (self.meddle)(self.tried, &mut self.table);
            self.tried += 1;
            let told_to = (self.refuse)(change);
            self.refused += usize::from(told_to.is_some());
            match told_to.or_else(|| kernel_objection(change, &self.table)) {
                Some(errno) => failures.push((index, errno)),
                None => {
                    if let Change::NewService { key, .. } = change
                        && !self.remembered.contains(key)
                    {
                        let told = self.director.file_faults();
                        assert!(!told.is_empty(), "{change} before it was written down, and nobody is told");
                    }
                    change.apply_to(&mut self.table);
                    self.applied.push(change.clone());
                }
            }
        }
        failures
    }

    /// The loop's end of turn: what is due now.
    pub(crate) fn turn(&mut self) {
        if self.director.deadline().is_some_and(|deadline| deadline <= self.now) {
            self.event(Event::Woken);
        }
    }

    /// Jump from deadline to deadline for so long.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now + time;
        for _ in 0..5_000 {
            match self.director.deadline().filter(|deadline| *deadline <= end) {
                Some(deadline) => self.now = self.now.max(deadline),
                None => {
                    self.now = end;
                    return;
                }
            }
            self.event(Event::Woken);
        }
        panic!("the director wakes for ever");
    }

    pub(crate) fn answer(&mut self, rows: &[(u8, Verdict)]) {
        let row = |(number, verdict): &(u8, Verdict)| Answer {
            target: Target { check: "http".into(), address: server_address(*number) },
            verdict: *verdict,
            reason: "connection refused".into(),
            since: 1,
            weight: None,
        };
        self.event(Event::Answered(rows.iter().map(row).collect()));
    }

    pub(crate) fn weights(&self, service: u8) -> Vec<(u8, u32)> {
        let Some(entry) = self.table.get(&key(service)) else { return Vec::new() };
        let weight = |(address, server): (&SocketAddr, &Server)| match address.ip() {
            std::net::IpAddr::V4(ip) => (ip.octets()[3], server.weight),
            std::net::IpAddr::V6(_) => panic!("the tests use IPv4"),
        };
        entry.servers.iter().map(weight).collect()
    }

    pub(crate) fn said(&self, part: &str) -> usize {
        self.log.iter().filter(|(_, text)| text.contains(part)).count()
    }
}

fn kernel_objection(change: &Change, table: &Table) -> Option<Errno> {
    let entry = table.get(&change.key());
    let has = |address| entry.is_some_and(|entry| entry.servers.contains_key(address));
    match change {
        Change::NewService { .. } => entry.is_some().then_some(Errno::EEXIST),
        Change::SetService { .. } | Change::DelService { .. } => entry.is_none().then_some(Errno::ESRCH),
        _ if entry.is_none() => Some(Errno::ESRCH),
        Change::NewServer { address, .. } => has(address).then_some(Errno::EEXIST),
        Change::SetServer { address, .. } | Change::DelServer { address, .. } => {
            (!has(address)).then_some(Errno::ENOENT)
        }
    }
}

pub(crate) fn key(number: u8) -> ServiceKey {
    let address = format!("10.0.10.{number}:80").parse().unwrap();
    ServiceKey::Address { protocol: Protocol::Tcp, address }
}

pub(crate) fn server_address(number: u8) -> SocketAddr {
    format!("192.168.100.{number}:80").parse().unwrap()
}

/// Without a port: it has the service's.
pub(crate) fn backend(number: u8) -> Backend {
    Backend { ip: server_address(number).ip(), port: None }
}

pub(crate) fn backend_with_port(number: u8) -> Backend {
    Backend { port: Some(80), ..backend(number) }
}

pub(crate) fn service(number: u8, servers: &[u8]) -> VirtualService {
    let real = |number| RealServer {
        weight: 1,
        forward: Forward::Nat,
        upper_threshold: 0,
        lower_threshold: 0,
        check: Some("http".into()),
        target: server_address(number),
        on_failure: OnFailure::Remove,
        initially: Initially::Withheld,
    };
    VirtualService {
        fronts: vec![key(number)],
        protocol: Protocol::Tcp,
        scheduler: "rr".into(),
        flags: 0,
        persistence: None,
        forward: Forward::Nat,
        check: Some("http".into()),
        servers: servers.iter().map(|number| (backend_with_port(*number), real(*number))).collect(),
        quorum: Quorum::default(),
        sorry: None,
        all_down: AllDown::Drop,
        slow_start: Duration::ZERO,
        while_active: None,
    }
}

pub(crate) fn settings(services: &[(&str, VirtualService)]) -> Settings {
    let service = |(name, service): &(&str, VirtualService)| (Arc::from(*name), Arc::new(service.clone()));
    Settings { services: services.iter().map(service).collect(), ..Settings::default() }
}

pub(crate) fn web() -> Settings {
    settings(&[("web", service(50, &[101, 102]))])
}

/// Servers and their weights.
pub(crate) type Weights<'a> = &'a [(u8, u32)];

/// A table as an earlier run, or `ipvsadm`, left it.
pub(crate) fn table(services: &[(u8, &str, Weights<'_>)]) -> Table {
    let entry = |scheduler: &str, servers: Weights<'_>| Entry {
        service: Service {
            scheduler: scheduler.into(),
            flags: 0,
            timeout: 0,
            netmask: u32::MAX,
            persistence_engine: None,
        },
        servers: servers
            .iter()
            .map(|(number, weight)| {
                let server =
                    Server { forward: Forward::Nat, weight: *weight, upper_threshold: 0, lower_threshold: 0 };
                (server_address(*number), server)
            })
            .collect(),
    };
    let entry = |scheduler: &str, servers| Arc::new(entry(scheduler, servers));
    services.iter().map(|(number, scheduler, servers)| (key(*number), entry(scheduler, servers))).collect()
}
