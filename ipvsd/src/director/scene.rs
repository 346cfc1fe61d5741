//! For tests: a director with a kernel that answers as the real one does, on a clock that jumps.

use super::*;
use crate::health::Verdict;
use crate::service::{RealServer, VirtualService};
use crate::table::{Entry, Forward, Protocol, Server, Service};

/// A director, a kernel that answers as the real one does, and what was said and done.
pub(crate) struct Scene {
    pub(crate) director: Director,
    pub(crate) table: Table,
    /// What the kernel answers instead of doing a change.
    pub(crate) refuse: fn(&Change) -> Option<Errno>,
    /// How many changes the kernel refused by that.
    pub(crate) refused: usize,
    pub(crate) fault: Option<Fault>,
    pub(crate) now: Instant,
    pub(crate) applied: Vec<Change>,
    pub(crate) log: Vec<(Level, String)>,
    pub(crate) watched: Vec<Target>,
    pub(crate) remembered: BTreeSet<ServiceKey>,
}

impl Scene {
    pub(crate) fn new(settings: Settings) -> Self {
        Self::with_kernel(settings, Table::new(), BTreeSet::new())
    }

    pub(crate) fn with_kernel(settings: Settings, table: Table, owned: BTreeSet<ServiceKey>) -> Self {
        #[expect(clippy::disallowed_methods, reason = "a test needs some point to count from")]
        let now = Instant::now();
        Self {
            director: Director::new(settings, owned.clone()),
            table,
            refuse: |_| None,
            refused: 0,
            fault: None,
            now,
            applied: Vec::new(),
            log: Vec::new(),
            watched: Vec::new(),
            remembered: owned,
        }
    }

    pub(crate) fn started(mut self) -> Self {
        self.event(Event::Started);
        self
    }

    /// Let an event happen, with everything that follows from it at once.
    pub(crate) fn event(&mut self, event: Event) {
        for action in self.director.on_event(self.now, event) {
            match action {
                Action::Watch(targets) => self.watched = targets,
                Action::Remember(owned) => self.remembered = owned,
                Action::Log(level, text) => self.log.push((level, text)),
                Action::Dump => {
                    let dump = Dump { table: self.table.clone(), connections: BTreeMap::new() };
                    let result = self.fault.clone().map_or(Ok(dump), Err);
                    self.event(Event::Dumped { result, took: Duration::from_millis(1) });
                }
                Action::Apply(changes) => {
                    let result = self.apply(&changes);
                    self.event(Event::Applied { changes, result: Ok(result) });
                }
            }
        }
    }

    fn apply(&mut self, changes: &[Change]) -> Vec<(usize, Errno)> {
        let mut failures = Vec::new();
        for (index, change) in changes.iter().enumerate() {
            let told_to = (self.refuse)(change);
            self.refused += usize::from(told_to.is_some());
            match told_to.or_else(|| kernel_objection(change, &self.table)) {
                Some(errno) => failures.push((index, errno)),
                None => {
                    if let Change::NewService { key, .. } = change {
                        assert!(self.remembered.contains(key), "{change} before it was written down");
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

pub(crate) fn service(number: u8, servers: &[u8]) -> VirtualService {
    let real = RealServer {
        weight: 1,
        forward: Forward::Nat,
        check: Some("http".into()),
        inhibit_on_failure: false,
    };
    VirtualService {
        protocol: Protocol::Tcp,
        address: format!("10.0.10.{number}:80").parse().unwrap(),
        scheduler: "rr".into(),
        forward: Forward::Nat,
        check: Some("http".into()),
        persistence: None,
        servers: servers.iter().map(|number| (server_address(*number), real.clone())).collect(),
    }
}

pub(crate) fn settings(services: &[(&str, VirtualService)]) -> Settings {
    let services = services.iter().map(|(name, service)| ((*name).to_owned(), service.clone())).collect();
    Settings { services, ..Settings::default() }
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
    services.iter().map(|(number, scheduler, servers)| (key(*number), entry(scheduler, servers))).collect()
}
