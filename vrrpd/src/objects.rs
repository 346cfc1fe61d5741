//! What the kernel is to hold for an Active router: addresses, routes and rules. Plain values: what each is, and by what
//! the kernel tells it from others.
//!
//! The identity ([`Object`]) is that of the kernel: two objects with the same one cannot be there together. The rest is
//! the [`Spec`]. `objects/message.rs` makes rtnetlink messages of them, and takes them apart.

pub mod message;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use crate::types::{Family, VirtualAddress};

/// RT_TABLE_MAIN (linux/rtnetlink.h).
pub const MAIN_TABLE: u32 = 254;
/// IP6_RT_PRIO_USER: what the kernel makes of metric 0 in IPv6 (linux/ipv6_route.h).
pub const DEFAULT_METRIC_V6: u32 = 1024;

/// How far an address, or a route's destination, reaches (RT_SCOPE_*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    #[default]
    Global,
    Site,
    Link,
    Host,
}

impl Scope {
    /// The words of ip-address(8) and ip-route(8).
    pub const WORDS: [(&str, Self); 4] =
        [("global", Self::Global), ("site", Self::Site), ("link", Self::Link), ("host", Self::Host)];

    pub fn number(self) -> u8 {
        match self {
            Self::Global => 0,
            Self::Site => 200,
            Self::Link => 253,
            Self::Host => 254,
        }
    }
}

/// How an address is to be installed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressOptions {
    /// IPv4.
    pub label: Option<Arc<str>>,
    /// IPv4; IPv6 addresses say it themselves.
    pub scope: Scope,
    /// Without the route to its subnet.
    pub noprefixroute: bool,
    /// Of that route; `None`: the kernel's own (0, or 256 in IPv6).
    pub metric: Option<u32>,
    /// IPv4.
    pub broadcast: Option<Ipv4Addr>,
    /// IPv6: may be chosen as the source of new connections. Otherwise it is deprecated (RFC 4862, 5.5.4).
    pub preferred: bool,
}

/// By what the kernel tells routes apart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RouteKey {
    pub family: Family,
    pub table: u32,
    pub destination: IpAddr,
    pub prefix_len: u8,
    /// As the kernel shows it: never 0 in IPv6.
    pub metric: u32,
}

/// What happens to what it matches (RTN_*).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RouteKind {
    #[default]
    Unicast,
    Blackhole,
    Unreachable,
    Prohibit,
}

impl RouteKind {
    pub const WORDS: [(&str, Self); 4] = [
        ("unicast", Self::Unicast),
        ("blackhole", Self::Blackhole),
        ("unreachable", Self::Unreachable),
        ("prohibit", Self::Prohibit),
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unicast => "unicast",
            Self::Blackhole => "blackhole",
            Self::Unreachable => "unreachable",
            Self::Prohibit => "prohibit",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    pub key: RouteKey,
    pub kind: RouteKind,
    pub via: Option<IpAddr>,
    pub interface: Option<Arc<str>>,
    pub source: Option<IpAddr>,
    /// IPv4; `None`: link without a next hop, global with one.
    pub scope: Option<Scope>,
    pub mtu: Option<u32>,
    /// The next hop is on the link even if no address says so.
    pub onlink: bool,
}

/// What a rule does with what it matches (FR_ACT_*).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RuleAction {
    Table(u32),
    Blackhole,
    Unreachable,
    Prohibit,
}

/// The kernel tells rules apart by everything in them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    pub family: Family,
    pub priority: u32,
    pub from: Option<(IpAddr, u8)>,
    pub to: Option<(IpAddr, u8)>,
    pub iif: Option<Arc<str>>,
    pub oif: Option<Arc<str>>,
    /// Value and mask.
    pub fwmark: Option<(u32, u32)>,
    pub action: RuleAction,
}

/// The identity of something that the kernel is to hold. The order is that in which they are added.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Object {
    Address(VirtualAddress),
    Route(Arc<RouteKey>),
    Rule(Arc<Rule>),
}

/// How it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Spec {
    Address(Arc<AddressOptions>),
    Route(Arc<Route>),
    Rule,
}

impl Object {
    pub fn route(route: &Route) -> Self {
        Self::Route(Arc::new(route.key.clone()))
    }
}

/// `10.9.0.0/16`, or `default`.
struct Prefix(IpAddr, u8);

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.1 == 0 && self.0.is_unspecified() {
            return f.write_str("default");
        }
        write!(f, "{}/{}", self.0, self.1)
    }
}

/// `default`, `10.9.0.0/16 table 100 metric 50`
impl fmt::Display for RouteKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Prefix(self.destination, self.prefix_len).fmt(f)?;
        if self.family == Family::V6 && self.prefix_len == 0 {
            f.write_str(" (IPv6)")?;
        }
        if self.table != MAIN_TABLE {
            write!(f, " table {}", self.table)?;
        }
        let usual = if self.family == Family::V6 { DEFAULT_METRIC_V6 } else { 0 };
        if self.metric != usual {
            write!(f, " metric {}", self.metric)?;
        }
        Ok(())
    }
}

/// `100 from 10.0.0.0/24 table 100`
impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.priority)?;
        match (self.from, self.family) {
            (Some((address, len)), _) => write!(f, " from {}", Prefix(address, len))?,
            (None, Family::V4) => f.write_str(" from all")?,
            (None, Family::V6) => f.write_str(" from all (IPv6)")?,
        }
        if let Some((address, len)) = self.to {
            write!(f, " to {}", Prefix(address, len))?;
        }
        if let Some((mark, mask)) = self.fwmark {
            write!(f, " fwmark {mark:#x}/{mask:#x}")?;
        }
        if let Some(name) = &self.iif {
            write!(f, " iif {name}")?;
        }
        if let Some(name) = &self.oif {
            write!(f, " oif {name}")?;
        }
        match self.action {
            RuleAction::Table(table) => write!(f, " table {table}"),
            RuleAction::Blackhole => f.write_str(" blackhole"),
            RuleAction::Unreachable => f.write_str(" unreachable"),
            RuleAction::Prohibit => f.write_str(" prohibit"),
        }
    }
}

/// `192.168.100.10/22 on eth1`, `the route default table 100`, `the rule 100 from all table 100`
impl fmt::Display for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Route(key) => write!(f, "the route {key}"),
            Self::Rule(rule) => write!(f, "the rule {rule}"),
        }
    }
}
