//! A virtual service as it is configured. Values only; what health and operators make of them is in `posture.rs`.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use log::LevelFilter;

use crate::sync::SyncSettings;
use crate::table::{FLAG_PERSISTENT, Family, Forward, Protocol, Service, ServiceKey};
use crate::tuning::Tuning;

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
    pub services: BTreeMap<Arc<str>, Arc<VirtualService>>,
    /// How long a service without any usable server waits for health answers before it does without them.
    pub grace: Duration,
    /// How often the kernel's table is read and compared.
    pub resync: Duration,
    /// Services that are not ours are removed.
    pub exclusive: bool,
    /// The kernel's timeouts and sysctls of IPVS.
    pub tuning: Tuning,
    /// Who sends connections to, or takes them from, another director.
    pub sync: SyncSettings,
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
            exclusive: false,
            tuning: Tuning::default(),
            sync: SyncSettings::default(),
            log_level: LevelFilter::Info,
        }
    }
}

/// One file of `ipvs.d`: one set of servers behind one or more services of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VirtualService {
    /// Where clients connect, in the file's order; at least one. Each is a service of the kernel.
    pub fronts: Vec<ServiceKey>,
    pub protocol: Protocol,
    /// One of [`SCHEDULERS`].
    pub scheduler: String,
    /// `IP_VS_SVC_F_ONEPACKET` and `IP_VS_SVC_F_SCHED…`
    pub flags: u32,
    pub persistence: Option<Persistence>,
    /// What its servers have unless they say otherwise; shown only.
    pub forward: Forward,
    /// The check that the servers share, if they do not name their own; shown only.
    pub check: Option<String>,
    pub servers: BTreeMap<Backend, RealServer>,
    pub quorum: Quorum,
    pub sorry: Option<SorryServer>,
    pub all_down: AllDown,
    /// How long a server that returns takes to its full weight; zero: none.
    pub slow_start: Duration,
    /// It is in the kernel only while this virtual router of vrrpd is Active here.
    pub while_active: Option<Arc<str>>,
}

/// How a client is kept with the server that it had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Persistence {
    /// Seconds without a connection until it is forgotten; at least 1.
    pub timeout: u32,
    /// Clients whose addresses have these first bits in common are one: 0 to 32, or 1 to 128. `None`: each by itself.
    pub prefix: Option<u8>,
    /// What else tells clients apart: `sip` takes the Call-ID.
    pub engine: Option<String>,
}

/// A real server's address as it is configured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    pub ip: IpAddr,
    /// `None`: the port that the client asked for.
    pub port: Option<u16>,
}

impl Backend {
    /// Its address in the kernel's service.
    pub fn behind(&self, front: &ServiceKey) -> SocketAddr {
        let port = match front {
            ServiceKey::Address { address, .. } => self.port.unwrap_or(address.port()),
            // The packets of a mark have ports of their own.
            ServiceKey::Mark { .. } => self.port.unwrap_or(0),
        };
        SocketAddr::new(self.ip, port)
    }
}

/// `192.168.100.101:80`, or without a port `192.168.100.101`.
impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A real server with the service's defaults already filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealServer {
    pub weight: u16,
    pub forward: Forward,
    /// No new connections above this number of them; 0: no limit.
    pub upper_threshold: u32,
    /// New connections again below this number; 0: three quarters of the upper one.
    pub lower_threshold: u32,
    /// `None`: nobody checks it, it is always used.
    pub check: Option<Arc<str>>,
    /// What the check is run against: its address, with the service's first port if it has none. A port of 0 is left
    /// to the check.
    pub target: SocketAddr,
    pub on_failure: OnFailure,
    pub initially: Initially,
}

/// What a server that is not to be used has in the kernel's table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFailure {
    /// Nothing: it is removed.
    #[default]
    Remove,
    /// Weight 0: it keeps its connections and its place.
    Inhibit,
}

/// What a server is until its check has answered for the first time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Initially {
    /// Not in use, for as long as others are, or the grace time lasts.
    #[default]
    Withheld,
    /// In use.
    Admitted,
}

/// How much weight must be up for the service to be worth sending clients to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quorum {
    /// At least 1.
    pub weight: u32,
    /// It is lost below `weight - hysteresis`, and regained at `weight + hysteresis`. Less than `weight`.
    pub hysteresis: u32,
}

impl Default for Quorum {
    fn default() -> Self {
        Self { weight: 1, hysteresis: 0 }
    }
}

impl Quorum {
    /// Whether it is there with so much weight, when it was (not) there before.
    pub fn holds(self, weight: u32, before: bool) -> bool {
        if before {
            weight > 0 && weight >= self.weight.saturating_sub(self.hysteresis)
        } else {
            weight >= self.weight.saturating_add(self.hysteresis)
        }
    }
}

/// Who answers while there is no quorum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SorryServer {
    pub backend: Backend,
    pub forward: Forward,
}

/// What a service without any usable server does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AllDown {
    /// It has none: clients are refused, or answered by the sorry server.
    #[default]
    Drop,
    /// All are used, as if all were up: more likely the checks are wrong.
    Keep,
}

impl VirtualService {
    /// The kernel's parameters of one of its services.
    pub fn parameters(&self, front: &ServiceKey) -> Service {
        let family = front.family();
        let mut service = Service {
            scheduler: self.scheduler.clone(),
            flags: self.flags,
            timeout: 0,
            netmask: Service::whole_netmask(family),
            persistence_engine: None,
        };
        if let Some(persistence) = &self.persistence {
            service.flags |= FLAG_PERSISTENT;
            service.timeout = persistence.timeout;
            service.netmask = persistence.netmask(family);
            service.persistence_engine.clone_from(&persistence.engine);
        }
        service
    }

    /// The servers' weights as configured, together.
    pub fn total_weight(&self) -> u32 {
        self.servers.values().map(|server| u32::from(server.weight)).fold(0, u32::saturating_add)
    }
}

impl Persistence {
    /// For IPv4 a mask, for IPv6 a prefix length.
    fn netmask(&self, family: Family) -> u32 {
        match (family, self.prefix) {
            (_, None) => Service::whole_netmask(family),
            (Family::V4, Some(prefix)) => {
                u32::MAX.checked_shl(32_u32.saturating_sub(prefix.into())).unwrap_or(0)
            }
            (Family::V6, Some(prefix)) => prefix.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(address: &str) -> ServiceKey {
        ServiceKey::Address { protocol: Protocol::Tcp, address: address.parse().unwrap() }
    }

    fn backend(ip: &str, port: Option<u16>) -> Backend {
        Backend { ip: ip.parse().unwrap(), port }
    }

    #[test]
    fn a_server_without_a_port_has_the_one_that_the_client_asked_for() {
        let mark = ServiceKey::Mark { family: Family::V4, mark: 7 };
        let server = backend("192.168.100.101", None);
        assert_eq!(server.behind(&key("10.0.10.50:8443")).to_string(), "192.168.100.101:8443");
        assert_eq!(server.behind(&mark).to_string(), "192.168.100.101:0");
        let server = backend("192.168.100.101", Some(80));
        assert_eq!(server.behind(&key("10.0.10.50:8443")).to_string(), "192.168.100.101:80");
        assert_eq!(server.to_string(), "192.168.100.101:80");
        assert_eq!(backend("2001:db8::1", None).to_string(), "2001:db8::1");
    }

    #[test]
    fn a_quorum_is_lost_below_and_regained_above_its_weight_by_the_hysteresis() {
        let quorum = Quorum { weight: 5, hysteresis: 2 };
        assert!(quorum.holds(3, true) && !quorum.holds(2, true));
        assert!(quorum.holds(7, false) && !quorum.holds(6, false));
        let least = Quorum::default();
        assert!(least.holds(1, true) && !least.holds(0, true) && least.holds(1, false));
    }

    #[test]
    fn a_persistence_of_networks_is_a_mask_or_a_prefix() {
        let persistence = |prefix| Persistence { timeout: 300, prefix, engine: None };
        assert_eq!(persistence(Some(24)).netmask(Family::V4), 0xffff_ff00);
        assert_eq!(persistence(Some(0)).netmask(Family::V4), 0);
        assert_eq!(persistence(Some(32)).netmask(Family::V4), u32::MAX);
        assert_eq!(persistence(None).netmask(Family::V4), u32::MAX);
        assert_eq!(persistence(Some(64)).netmask(Family::V6), 64);
        assert_eq!(persistence(None).netmask(Family::V6), 128);
    }
}
