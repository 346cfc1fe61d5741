//! What the kernel's IPVS table holds, in our words: virtual services, and under each its real servers.
//!
//! The same types say what is wanted and what is there, so that `reconcile.rs` can compare the two. How they look
//! as bytes is in `ipvs.rs`. Constants are those of the kernel header linux/ip_vs.h.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::sync::Daemons;
use crate::tuning::TimeoutsFound;

/// `IP_VS_SVC_F_PERSISTENT`: a client returns to the server that it had.
pub const FLAG_PERSISTENT: u32 = 0x0001;
/// `IP_VS_SVC_F_HASHED`: the kernel's own bookkeeping; it sets it on every service, and we never compare it.
pub const FLAG_HASHED: u32 = 0x0002;
/// `IP_VS_SVC_F_ONEPACKET`: each datagram is scheduled by itself (UDP).
pub const FLAG_ONE_PACKET: u32 = 0x0004;
/// `IP_VS_SVC_F_SCHED1`: what the scheduler means by it; sh and mh: another server if the one hashed to has weight 0.
pub const FLAG_SCHEDULER_1: u32 = 0x0008;
/// `IP_VS_SVC_F_SCHED2`: sh and mh take the source port into the hash.
pub const FLAG_SCHEDULER_2: u32 = 0x0010;
/// `IP_VS_SVC_F_SCHED3`: no scheduler of the kernel means anything by it.
pub const FLAG_SCHEDULER_3: u32 = 0x0020;

/// The transport protocol of a virtual service; the kernel balances only the three that have a name here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
    /// Somebody else's service of a protocol that we have no name for.
    Other(u16),
}

impl Protocol {
    /// Every protocol that a configuration can name.
    pub const NAMED: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// The IP protocol number.
    pub fn number(self) -> u16 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
            Self::Other(number) => number,
        }
    }

    pub fn from_number(number: u16) -> Self {
        Self::NAMED.into_iter().find(|protocol| protocol.number() == number).unwrap_or(Self::Other(number))
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp => f.write_str("tcp"),
            Self::Udp => f.write_str("udp"),
            Self::Sctp => f.write_str("sctp"),
            Self::Other(number) => write!(f, "protocol-{number}"),
        }
    }
}

/// How packets reach a real server: `IP_VS_CONN_F_FWD_MASK`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forward {
    /// Masquerading: addresses are rewritten both ways, replies come back through the director.
    Nat,
    /// The kernel's own mark for a server on the director itself.
    Local,
    /// Packed into another packet, which the server takes apart.
    Tunnel(Tunnel),
    /// Direct routing: the frame is sent on unchanged, the server answers the client by itself.
    Route,
    /// Somebody else's entry with a method that we have no name for.
    Other(u32),
}

/// How a tunnelled packet is packed: `IP_VS_CONN_F_TUNNEL_TYPE_…`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tunnel {
    /// IP in IP (RFC 2003), or IPv6 in IPv6 and so on.
    #[default]
    Ipip,
    /// Generic UDP Encapsulation, to this port.
    Gue { port: u16, checksum: Checksum },
    /// GRE (RFC 2784).
    Gre { checksum: Checksum },
    /// Somebody else's: type, port and flags.
    Other { kind: u8, port: u16, flags: u16 },
}

/// `IP_VS_TUNNEL_ENCAP_FLAG_…`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    #[default]
    None,
    /// Of the outer header.
    Outer,
    /// Remote checksum offload (GUE only).
    Remote,
}

impl Forward {
    /// `IP_VS_CONN_F_…`
    pub fn number(self) -> u32 {
        match self {
            Self::Nat => 0,
            Self::Local => 1,
            Self::Tunnel(_) => 2,
            Self::Route => 3,
            Self::Other(number) => number,
        }
    }

    /// `tunnel` is used only if the number says so.
    pub fn from_number(number: u32, tunnel: Tunnel) -> Self {
        match number {
            0 => Self::Nat,
            1 => Self::Local,
            2 => Self::Tunnel(tunnel),
            3 => Self::Route,
            number => Self::Other(number),
        }
    }

    pub fn is_tunnel(self) -> bool {
        matches!(self, Self::Tunnel(_))
    }
}

impl Tunnel {
    /// Type, port and flags, as the kernel has them.
    pub fn numbers(self) -> (u8, u16, u16) {
        match self {
            Self::Ipip => (0, 0, 0),
            Self::Gue { port, checksum } => (1, port, checksum.flag()),
            Self::Gre { checksum } => (2, 0, checksum.flag()),
            Self::Other { kind, port, flags } => (kind, port, flags),
        }
    }

    pub fn from_numbers(kind: u8, port: u16, flags: u16) -> Self {
        match (kind, Checksum::from_flag(flags)) {
            (0, Some(Checksum::None)) => Self::Ipip,
            (1, Some(checksum)) => Self::Gue { port, checksum },
            (2, Some(checksum)) => Self::Gre { checksum },
            _ => Self::Other { kind, port, flags },
        }
    }
}

impl Checksum {
    fn flag(self) -> u16 {
        match self {
            Self::None => 0,
            Self::Outer => 1,
            Self::Remote => 2,
        }
    }

    fn from_flag(flag: u16) -> Option<Self> {
        [Self::None, Self::Outer, Self::Remote].into_iter().find(|checksum| checksum.flag() == flag)
    }
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nat => f.write_str("nat"),
            Self::Local => f.write_str("local"),
            Self::Tunnel(tunnel) => write!(f, "tunnel{tunnel}"),
            Self::Route => f.write_str("route"),
            Self::Other(number) => write!(f, "method-{number}"),
        }
    }
}

/// Behind the word "tunnel".
impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ipip => Ok(()),
            Self::Gue { port, checksum } => write!(f, " gue port {port}{checksum}"),
            Self::Gre { checksum } => write!(f, " gre{checksum}"),
            Self::Other { kind, port, flags } => write!(f, " type-{kind} port {port} flags {flags}"),
        }
    }
}

impl fmt::Display for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "",
            Self::Outer => " with checksum",
            Self::Remote => " with remote checksum",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Self::V4 } else { Self::V6 }
    }
}

/// What tells one virtual service from another: the kernel has at most one service for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceKey {
    Address {
        protocol: Protocol,
        address: SocketAddr,
    },
    /// Packets that the firewall marked.
    Mark {
        family: Family,
        mark: u32,
    },
}

impl ServiceKey {
    pub fn family(&self) -> Family {
        match self {
            Self::Address { address, .. } => Family::of(address.ip()),
            Self::Mark { family, .. } => *family,
        }
    }
}

/// `tcp 10.0.10.50:80`
impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address { protocol, address } => write!(f, "{protocol} {address}"),
            Self::Mark { family: Family::V4, mark } => write!(f, "fwmark {mark}"),
            Self::Mark { family: Family::V6, mark } => write!(f, "fwmark {mark} (IPv6)"),
        }
    }
}

/// The parameters of a virtual service, everything but its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    pub scheduler: String,
    /// `IP_VS_SVC_F_…` without [`FLAG_HASHED`].
    pub flags: u32,
    /// How long a client keeps its server, in seconds; 0 unless persistent.
    pub timeout: u32,
    /// Granularity of persistence: for IPv4 the netmask, for IPv6 the prefix length.
    pub netmask: u32,
    /// The persistence engine, such as `sip`.
    pub persistence_engine: Option<String>,
}

impl Service {
    /// Every client by itself.
    pub fn whole_netmask(family: Family) -> u32 {
        match family {
            Family::V4 => u32::MAX,
            Family::V6 => 128,
        }
    }
}

/// `rr`, `wlc persistent 300`: as `ipvsadm -Ln` writes it.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)?;
        for (flag, word) in [
            (FLAG_ONE_PACKET, "one-packet"),
            (FLAG_SCHEDULER_1, "flag-1"),
            (FLAG_SCHEDULER_2, "flag-2"),
            (FLAG_SCHEDULER_3, "flag-3"),
        ] {
            if self.flags & flag != 0 {
                write!(f, " {word}")?;
            }
        }
        if self.flags & FLAG_PERSISTENT != 0 {
            write!(f, " persistent {}", self.timeout)?;
        }
        if let Some(engine) = &self.persistence_engine {
            write!(f, " engine {engine}")?;
        }
        Ok(())
    }
}

/// The parameters of a real server, everything but its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    pub forward: Forward,
    /// 0: keeps its connections and gets no new ones.
    pub weight: u32,
    /// No new connections above this number of them; 0: no limit.
    pub upper_threshold: u32,
    /// New connections again below this number; 0: three quarters of the upper one.
    pub lower_threshold: u32,
}

/// `nat weight 1`
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} weight {}", self.forward, self.weight)?;
        if self.upper_threshold != 0 {
            write!(f, " thresholds {} to {}", self.lower_threshold, self.upper_threshold)?;
        }
        Ok(())
    }
}

/// How many connections a real server has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    pub active: u32,
    pub inactive: u32,
    pub persistent: u32,
}

impl Connections {
    pub fn is_none(self) -> bool {
        self == Self::default()
    }
}

impl std::ops::AddAssign for Connections {
    fn add_assign(&mut self, other: Self) {
        self.active = self.active.saturating_add(other.active);
        self.inactive = self.inactive.saturating_add(other.inactive);
        self.persistent = self.persistent.saturating_add(other.persistent);
    }
}

/// One virtual service with its real servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub service: Service,
    pub servers: BTreeMap<SocketAddr, Server>,
}

/// The IPVS table of one network namespace. What is wanted and what is there share what is the same in both.
pub type Table = BTreeMap<ServiceKey, Arc<Entry>>;

/// How many connections the servers of a service have; those that have none are left out.
pub type ServiceConnections = HashMap<SocketAddr, Connections>;

/// Of the services that have any.
pub type AllConnections = HashMap<ServiceKey, Arc<ServiceConnections>>;

/// What a reading of the whole table found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    pub table: Table,
    /// Its services in the kernel's order.
    pub order: Vec<ServiceKey>,
    /// Shared with whoever shows them.
    pub connections: Arc<AllConnections>,
    pub rest: Rest,
}

/// What a reading without the servers found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// In the kernel's order.
    pub services: Vec<(ServiceKey, Service)>,
    pub rest: Rest,
}

/// What the kernel holds beside the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rest {
    /// The synchronisation threads that run.
    pub daemons: Daemons,
    pub timeouts: TimeoutsFound,
}

/// What a reading of one service's servers found; none if there is no such service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Servers {
    pub servers: BTreeMap<SocketAddr, Server>,
    pub connections: ServiceConnections,
}

/// One step from one table to another; each is one request to the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    NewService { key: ServiceKey, service: Service },
    SetService { key: ServiceKey, service: Service },
    DelService { key: ServiceKey },
    NewServer { key: ServiceKey, address: SocketAddr, server: Server },
    SetServer { key: ServiceKey, address: SocketAddr, server: Server },
    DelServer { key: ServiceKey, address: SocketAddr },
}

impl Change {
    /// The virtual service that this is about.
    pub fn key(&self) -> ServiceKey {
        match self {
            Self::NewService { key, .. }
            | Self::SetService { key, .. }
            | Self::DelService { key }
            | Self::NewServer { key, .. }
            | Self::SetServer { key, .. }
            | Self::DelServer { key, .. } => *key,
        }
    }

    /// Whether this is about the virtual service itself, not about one of its servers.
    pub fn is_of_service(&self) -> bool {
        match self {
            Self::NewService { .. } | Self::SetService { .. } | Self::DelService { .. } => true,
            Self::NewServer { .. } | Self::SetServer { .. } | Self::DelServer { .. } => false,
        }
    }

    /// What the kernel does on success, done to our picture of it. A change of what is not there is no change.
    pub fn apply_to(&self, table: &mut Table) {
        match self {
            Self::NewService { key, service } | Self::SetService { key, service } => {
                let new = || Arc::new(Entry { service: service.clone(), servers: BTreeMap::new() });
                let entry = table.entry(*key).or_insert_with(new);
                if entry.service != *service {
                    Arc::make_mut(entry).service = service.clone();
                }
            }
            Self::DelService { key } => {
                table.remove(key);
            }
            Self::NewServer { key, address, server } | Self::SetServer { key, address, server } => {
                if let Some(entry) = table.get_mut(key) {
                    Arc::make_mut(entry).servers.insert(*address, *server);
                }
            }
            Self::DelServer { key, address } => {
                if let Some(entry) = table.get_mut(key) {
                    Arc::make_mut(entry).servers.remove(address);
                }
            }
        }
    }
}

/// As an operator reads it: `add server 192.168.100.101:80 (nat weight 1) to tcp 10.0.10.50:80`.
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NewService { key, service } => write!(f, "add service {key} ({service})"),
            Self::SetService { key, service } => write!(f, "change service {key} (to {service})"),
            Self::DelService { key } => write!(f, "remove service {key}"),
            Self::NewServer { key, address, server } => write!(f, "add server {address} ({server}) to {key}"),
            Self::SetServer { key, address, server } => {
                write!(f, "change server {address} (to {server}) of {key}")
            }
            Self::DelServer { key, address } => write!(f, "remove server {address} from {key}"),
        }
    }
}
