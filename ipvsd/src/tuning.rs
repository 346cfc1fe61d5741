//! The kernel's timeouts and sysctls of IPVS, as far as the configuration names them. What it does not name is left
//! as it is.

use std::collections::BTreeMap;
use std::fmt;

/// What the configuration wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tuning {
    pub timeouts: Timeouts,
    /// By name below `/proc/sys/net/ipv4/vs`: one of [`SYSCTLS`].
    pub sysctls: BTreeMap<&'static str, Value>,
}

/// `IPVS_CMD_SET_CONFIG`: seconds, at least 1; `None`: as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Timeouts {
    pub tcp: Option<u32>,
    pub tcp_fin: Option<u32>,
    pub udp: Option<u32>,
}

/// The kernel's current timeouts, in seconds (`IPVS_CMD_GET_CONFIG`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TimeoutsFound {
    pub tcp: u32,
    pub tcp_fin: u32,
    pub udp: u32,
}

impl Timeouts {
    /// What must be set so that `found` becomes this; `None`: nothing.
    pub fn missing(self, found: TimeoutsFound) -> Option<Self> {
        let unless = |wanted: Option<u32>, found| wanted.filter(|wanted| *wanted != found);
        let missing = Self {
            tcp: unless(self.tcp, found.tcp),
            tcp_fin: unless(self.tcp_fin, found.tcp_fin),
            udp: unless(self.udp, found.udp),
        };
        (missing != Self::default()).then_some(missing)
    }

    pub fn apply_to(self, found: &mut TimeoutsFound) {
        found.tcp = self.tcp.unwrap_or(found.tcp);
        found.tcp_fin = self.tcp_fin.unwrap_or(found.tcp_fin);
        found.udp = self.udp.unwrap_or(found.udp);
    }
}

/// `tcp 900 s, udp 300 s`
impl fmt::Display for Timeouts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = [("tcp", self.tcp), ("tcp_fin", self.tcp_fin), ("udp", self.udp)];
        let mut separator = "";
        for (name, seconds) in named {
            if let Some(seconds) = seconds {
                write!(f, "{separator}{name} {seconds} s")?;
                separator = ", ";
            }
        }
        Ok(())
    }
}

/// A sysctl of IPVS: Documentation/networking/ipvs-sysctl.rst of the kernel.
#[derive(Clone, Copy, Debug)]
pub struct Sysctl {
    pub name: &'static str,
    pub takes: Takes,
}

/// What one is set to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    One(u32),
    Two(u32, u32),
}

impl Value {
    /// As the kernel writes it: numbers with a blank or a tab between them. `None`: it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let numbers: Result<Vec<u32>, _> = text.split_whitespace().map(str::parse).collect();
        match *numbers.ok()? {
            [number] => Some(Self::One(number)),
            [first, second] => Some(Self::Two(first, second)),
            _ => None,
        }
    }
}

/// As the kernel takes it: `3 50`.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(number) => number.fmt(f),
            Self::Two(first, second) => write!(f, "{first} {second}"),
        }
    }
}

/// What the kernel takes for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Takes {
    /// Written `true` or `false`.
    Switch,
    /// From 0 up to this.
    Number(u32),
    /// From 1 up to this, and a power of two.
    PowerOfTwo(u32),
    /// From 0 up to this, written as a time span.
    Seconds(u32),
    /// Two numbers from 0 up to [`MOST_PACKETS`]: the first is less than the second, or the second is 0.
    Threshold,
    /// 0 to 3: never, when memory is short, the same while it is, always. The kernel goes from 1 to 2 and back by itself.
    Defence,
}

impl Takes {
    /// Whether what is found is what was wanted, or what the kernel has made of it.
    pub fn is(self, wanted: Value, found: Value) -> bool {
        let automatic = |value| matches!(value, Value::One(1 | 2));
        found == wanted || self == Self::Defence && automatic(wanted) && automatic(found)
    }
}

impl Sysctl {
    const fn new(name: &'static str, takes: Takes) -> Self {
        Self { name, takes }
    }

    pub fn named(name: &str) -> Option<&'static Self> {
        SYSCTLS.iter().find(|sysctl| sysctl.name == name)
    }
}

/// The kernel keeps them as `int`.
pub const MOST_PACKETS: u32 = i32::MAX as u32;

/// Those that an operator may want to set. The defence strategies (`drop_entry` and so on) are among them, what only
/// tunes the estimators is not.
pub const SYSCTLS: [Sysctl; 26] = [
    Sysctl::new("amemthresh", Takes::Number(1 << 24)),
    Sysctl::new("am_droprate", Takes::Number(1 << 16)),
    Sysctl::new("backup_only", Takes::Switch),
    Sysctl::new("cache_bypass", Takes::Switch),
    Sysctl::new("conn_reuse_mode", Takes::Number(3)),
    Sysctl::new("conntrack", Takes::Switch),
    Sysctl::new("drop_entry", Takes::Defence),
    Sysctl::new("drop_packet", Takes::Defence),
    Sysctl::new("expire_nodest_conn", Takes::Switch),
    Sysctl::new("expire_quiescent_template", Takes::Switch),
    Sysctl::new("ignore_tunneled", Takes::Switch),
    Sysctl::new("nat_icmp_send", Takes::Switch),
    Sysctl::new("pmtu_disc", Takes::Switch),
    Sysctl::new("schedule_icmp", Takes::Switch),
    Sysctl::new("secure_tcp", Takes::Defence),
    Sysctl::new("sloppy_sctp", Takes::Switch),
    Sysctl::new("sloppy_tcp", Takes::Switch),
    Sysctl::new("snat_reroute", Takes::Switch),
    Sysctl::new("sync_persist_mode", Takes::Switch),
    Sysctl::new("sync_ports", Takes::PowerOfTwo(64)),
    Sysctl::new("sync_qlen_max", Takes::Number(1 << 24)),
    Sysctl::new("sync_refresh_period", Takes::Seconds(86_400)),
    Sysctl::new("sync_retries", Takes::Number(3)),
    Sysctl::new("sync_sock_size", Takes::Number(1 << 30)),
    Sysctl::new("sync_threshold", Takes::Threshold),
    Sysctl::new("sync_version", Takes::Number(1)),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_is_set() {
        let found = TimeoutsFound { tcp: 900, tcp_fin: 120, udp: 300 };
        let wanted = Timeouts { tcp: Some(900), tcp_fin: Some(60), udp: None };
        let missing = wanted.missing(found).unwrap();
        assert_eq!(missing, Timeouts { tcp_fin: Some(60), ..Timeouts::default() });
        assert_eq!(missing.to_string(), "tcp_fin 60 s");
        assert_eq!(Timeouts { tcp: Some(900), ..Timeouts::default() }.missing(found), None);
        assert_eq!(Timeouts { tcp: Some(1), tcp_fin: None, udp: Some(2) }.to_string(), "tcp 1 s, udp 2 s");
    }

    #[test]
    fn a_value_is_read_as_the_kernel_writes_it() {
        assert_eq!(Value::parse("1\n"), Some(Value::One(1)));
        assert_eq!(Value::parse("3\t50\n"), Some(Value::Two(3, 50)));
        for text in ["", "-1", "1 2 3", "on", "3 x", "4294967296"] {
            assert_eq!(Value::parse(text), None, "{text}");
        }
        assert_eq!(Value::Two(3, 50).to_string(), "3 50");
    }
}
