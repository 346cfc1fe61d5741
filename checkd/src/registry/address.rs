//! How a target's address is written on the bus, and which checks can be made of it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV6};

use crate::check::Check;

/// The target that is this machine: "" on the bus.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// An address without a port has port 0.
///
/// # Errors
/// What is wrong with it.
pub fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if text.is_empty() {
        return Ok(NOWHERE);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 0));
    }
    // fe80::1%2: with an interface, of which the standard library knows only together with a port.
    if let Ok(mut address) = format!("[{text}]:1").parse::<SocketAddrV6>() {
        address.set_port(0);
        return Ok(SocketAddr::V6(address));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(format!("'{text}' has port 0, which nothing listens on")),
        Ok(address) => Ok(address),
        Err(_) => {
            Err(format!("'{text}' is not an address, such as 192.0.2.1:80, [2001:db8::1]:80 or 192.0.2.1"))
        }
    }
}

/// As [`parse_address`] reads it.
pub fn spell(address: SocketAddr) -> String {
    if address == NOWHERE {
        String::new()
    } else if address.port() == 0 {
        match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
            SocketAddr::V4(_) | SocketAddr::V6(_) => address.ip().to_string(),
        }
    } else {
        address.to_string()
    }
}

/// Why a check of this kind cannot be made of `address`. Watchers may name a target before its check is configured.
pub(super) fn misfit(check: &Check, address: SocketAddr) -> Option<String> {
    let kind = check.kind.as_str();
    if address == NOWHERE && !check.kind.is_local() && check.connect.address.is_none() {
        return Some(format!("a check of type \"{kind}\" needs a target's address"));
    }
    if address.port() == 0 && check.kind.needs_port() && check.connect.port.is_none() {
        let address = address.ip();
        return Some(format!("'{address}' names no port, and a check of type \"{kind}\" needs one"));
    }
    None
}
