//! A virtual service as it is configured, and what health makes of it: which servers are in the table, with which
//! weight. Pure and without memory; who is healthy is kept in `director.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use log::LevelFilter;

use crate::table::{Entry, FLAG_PERSISTENT, Family, Forward, Protocol, Server, Service, ServiceKey};

/// The kernel's schedulers by name, each the module `ip_vs_NAME`, with what it does.
pub const SCHEDULERS: [(&str, &str); 14] = [
    ("rr", "round robin"),
    ("wrr", "weighted round robin"),
    ("lc", "least connections"),
    ("wlc", "weighted least connections"),
    ("lblc", "locality-based least connections"),
    ("lblcr", "locality-based least connections with replication"),
    ("dh", "destination hashing"),
    ("sh", "source hashing"),
    ("mh", "Maglev hashing"),
    ("sed", "shortest expected delay"),
    ("nq", "never queue"),
    ("fo", "weighted failover"),
    ("ovf", "weighted overflow"),
    ("twos", "power of two choices"),
];

/// Everything that the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// By name, that is, by the stem of the file.
    pub services: BTreeMap<String, VirtualService>,
    /// How long a service without any usable server waits for health answers before it does without them.
    pub grace: Duration,
    /// How often the kernel's table is read and compared.
    pub resync: Duration,
    pub log_level: LevelFilter,
}

impl Settings {
    pub const DEFAULT_GRACE: Duration = Duration::from_secs(10);
    pub const DEFAULT_RESYNC: Duration = Duration::from_secs(1);
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            services: BTreeMap::new(),
            grace: Self::DEFAULT_GRACE,
            resync: Self::DEFAULT_RESYNC,
            log_level: LevelFilter::Info,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    pub protocol: Protocol,
    pub address: SocketAddr,
    /// One of [`SCHEDULERS`].
    pub scheduler: String,
    pub forward: Forward,
    /// The check that the servers share, if they do not name their own.
    pub check: Option<String>,
    /// How long a client keeps its server, in seconds; at least 1.
    pub persistence: Option<u32>,
    pub servers: BTreeMap<SocketAddr, RealServer>,
}

/// A real server with the service's defaults already filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealServer {
    pub weight: u16,
    pub forward: Forward,
    /// `None`: nobody checks it, it is always used.
    pub check: Option<String>,
    /// A failed server stays in the table with weight 0 instead of being removed from it.
    pub inhibit_on_failure: bool,
}

/// What is known of a server that decides whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has no check.
    Unchecked,
    /// The check has not answered yet.
    Unknown(Admission),
    /// With the weight that the check gives it, if it does.
    Up(Option<u16>),
    Down,
}

/// What happens to a server until its check has answered. Unknown is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was not in use; it waits.
    Withheld,
    /// It was found in the table with weight 0, and stays so.
    Idle,
    /// It was found in use and stays so, or the wait is over.
    Admitted,
}

impl VirtualService {
    pub fn key(&self) -> ServiceKey {
        ServiceKey::Address { protocol: self.protocol, address: self.address }
    }

    /// What the kernel's table should hold for this service when its servers are as `health` says.
    pub fn desired(&self, health: impl Fn(&SocketAddr, &RealServer) -> Health) -> Entry {
        let servers = self.servers.iter().filter_map(|(address, server)| {
            let weight = server.effective_weight(health(address, server))?;
            let server = Server { forward: server.forward, weight, upper_threshold: 0, lower_threshold: 0 };
            Some((*address, server))
        });
        Entry { service: self.parameters(), servers: servers.collect() }
    }

    fn parameters(&self) -> Service {
        Service {
            scheduler: self.scheduler.clone(),
            flags: if self.persistence.is_some() { FLAG_PERSISTENT } else { 0 },
            timeout: self.persistence.unwrap_or(0),
            netmask: Service::whole_netmask(Family::of(self.address.ip())),
            persistence_engine: None,
        }
    }
}

impl RealServer {
    /// The weight in the kernel's table; `None`: it is not in the table.
    pub fn effective_weight(&self, health: Health) -> Option<u32> {
        let out_of_use = self.inhibit_on_failure.then_some(0);
        match health {
            Health::Up(weight) => Some(weight.unwrap_or(self.weight).into()),
            Health::Unchecked | Health::Unknown(Admission::Admitted) => Some(self.weight.into()),
            Health::Unknown(Admission::Idle) => Some(0),
            Health::Unknown(Admission::Withheld) | Health::Down => out_of_use,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(inhibit_on_failure: bool) -> RealServer {
        RealServer { weight: 3, forward: Forward::Nat, check: Some("tcp".into()), inhibit_on_failure }
    }

    #[test]
    fn a_failed_server_leaves_the_table_or_stays_with_weight_0_if_inhibited() {
        assert_eq!(server(false).effective_weight(Health::Down), None);
        assert_eq!(server(true).effective_weight(Health::Down), Some(0));
        assert_eq!(server(true).effective_weight(Health::Up(None)), Some(3));
    }

    #[test]
    fn a_weight_of_the_check_is_used_instead_of_the_configured_one() {
        assert_eq!(server(false).effective_weight(Health::Up(Some(40))), Some(40));
        assert_eq!(
            server(false).effective_weight(Health::Up(Some(0))),
            Some(0),
            "it gets no new connections"
        );
    }

    #[test]
    fn an_unknown_server_stays_as_it_was_found() {
        assert_eq!(server(false).effective_weight(Health::Unknown(Admission::Withheld)), None);
        assert_eq!(server(false).effective_weight(Health::Unknown(Admission::Idle)), Some(0));
        assert_eq!(server(false).effective_weight(Health::Unknown(Admission::Admitted)), Some(3));
        assert_eq!(server(false).effective_weight(Health::Unchecked), Some(3));
    }

    #[test]
    fn persistence_and_the_netmask_reach_the_kernels_parameters() {
        let service = VirtualService {
            protocol: Protocol::Tcp,
            address: "[2001:db8::1]:80".parse().unwrap(),
            scheduler: "wlc".into(),
            forward: Forward::Route,
            check: None,
            persistence: Some(300),
            servers: BTreeMap::new(),
        };
        let entry = service.desired(|_, _| Health::Up(None));
        assert_eq!((entry.service.flags, entry.service.timeout, entry.service.netmask), (1, 300, 128));
        assert_eq!(entry.service.to_string(), "wlc persistent 300");
    }
}
