//! What a check of checkd is run against, spelled as checkd spells it: `10.0.0.1:80`; `10.0.0.1` where there is no port,
//! `fe80::1%2` with an interface; nothing at all for what is checked on this machine.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};
use std::str::FromStr;

/// Port 0: none. [`Target::MACHINE`]: nor an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target(SocketAddr);

impl Target {
    /// This machine.
    pub const MACHINE: Self = Self(SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0));

    pub fn has_port(self) -> bool {
        self.0.port() != 0
    }

    /// The same address.
    #[must_use]
    pub fn with_port(self, port: u16) -> Self {
        let mut address = self.0;
        address.set_port(port);
        Self(address)
    }
}

/// Its text is no target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoTarget;

impl FromStr for Target {
    type Err = NoTarget;

    fn from_str(text: &str) -> Result<Self, NoTarget> {
        if text.is_empty() {
            return Ok(Self::MACHINE);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(address, 0)));
        }
        // The standard library knows of interfaces only together with a port.
        if let Ok(mut address) = format!("[{text}]:1").parse::<SocketAddrV6>() {
            address.set_port(0);
            return Ok(Self(SocketAddr::V6(address)));
        }
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        address.map(Self).ok_or(NoTarget)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::MACHINE {
            return Ok(());
        }
        match self.0 {
            address if address.port() != 0 => write!(f, "{address}"),
            SocketAddr::V6(v6) if v6.scope_id() != 0 => write!(f, "{}%{}", v6.ip(), v6.scope_id()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => write!(f, "{}", self.0.ip()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_spelled_as_it_was_read() {
        for text in
            ["", "10.0.0.1", "10.0.0.1:80", "2001:db8::1", "[2001:db8::1]:80", "fe80::1%2", "[fe80::1%2]:80"]
        {
            assert_eq!(text.parse::<Target>().unwrap().to_string(), text);
        }
        assert_eq!("2001:db8:0::1".parse::<Target>().unwrap().to_string(), "2001:db8::1");
        assert!("10.0.0.1:80".parse::<Target>().unwrap().has_port());
        assert!(!"fe80::1%2".parse::<Target>().unwrap().has_port());
    }

    #[test]
    fn what_is_no_address_is_no_target() {
        for text in
            ["web1", "10.0.0.1:0", "10.0.0.1:65536", "fe80::1%eth0", "[2001:db8::1]", "10.0.0.1%2", " "]
        {
            assert_eq!(text.parse::<Target>(), Err(NoTarget), "{text:?}");
        }
    }
}
