//! How a probe leaves this machine: from which address, interface and mark, and to which address and port other than
//! the target's. Common to all kinds that use the network.

use std::io;
use std::net::{IpAddr, SocketAddr};

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{SockAddr, Socket};

use super::errno_of;
use crate::probe::{Outcome, Route};

/// The keys `source`, `interface`, `mark`, `address` and `port` of a check.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connect {
    /// The address to send from.
    pub source: Option<IpAddr>,
    /// The interface to send through (SO_BINDTODEVICE, socket(7)).
    pub interface: Option<String>,
    /// The firewall mark of what is sent (SO_MARK, socket(7)). Needs CAP_NET_RAW.
    pub mark: Option<u32>,
    /// Probe this address instead of the target's.
    pub address: Option<IpAddr>,
    /// Probe this port instead of the target's.
    pub port: Option<u16>,
}

impl Connect {
    pub fn route(&self, mut target: SocketAddr) -> Route {
        let mut endpoint = target;
        if let Some(address) = self.address {
            endpoint.set_ip(address);
        }
        if let Some(port) = self.port {
            endpoint.set_port(port);
        }
        if target.port() == 0 {
            target.set_port(endpoint.port());
        }
        if target.ip().is_unspecified() {
            target.set_ip(endpoint.ip());
        }
        Route { target, endpoint }
    }

    /// Make a new socket to `endpoint` leave as it should.
    ///
    /// # Errors
    /// The outcome: a lack of this machine, never the server's fault.
    pub fn prepare(&self, socket: &Socket, endpoint: SocketAddr) -> Result<(), Outcome> {
        if let Some(mark) = self.mark {
            socket.set_mark(mark).map_err(|error| refused(&error, || format!("the firewall mark {mark}")))?;
        }
        if let Some(interface) = &self.interface {
            let bound = socket.bind_device(Some(interface.as_bytes()));
            bound.map_err(|error| refused(&error, || format!("the interface '{interface}'")))?;
        }
        // Nothing can be sent from an address of the other family.
        if let Some(source) = self.source.filter(|source| source.is_ipv4() == endpoint.is_ipv4()) {
            // The port is chosen by connect(2), which knows the server: else no two connections from this address could
            // have the same one, and ten thousand probes a second use them up in seconds. Without it, all still works.
            let _ = setsockopt(socket, sockopt::IpBindAddressNoPort, &true);
            let bound = socket.bind(&SockAddr::from(SocketAddr::new(source, 0)));
            bound.map_err(|error| refused(&error, || format!("the source address {source}")))?;
        }
        Ok(())
    }
}

fn refused(error: &io::Error, what: impl FnOnce() -> String) -> Outcome {
    let (what, errno) = (what(), errno_of(error));
    Outcome::Local(if errno == Errno::EPERM {
        format!(
            "checkd may not set {what}: it takes CAP_NET_RAW (systemctl edit checkd: AmbientCapabilities=CAP_NET_RAW, \
             CapabilityBoundingSet=CAP_NET_RAW)"
        )
    } else if errno == Errno::ENODEV {
        format!("{what} does not exist")
    } else if errno == Errno::EADDRNOTAVAIL {
        format!("{what} is not on this machine")
    } else {
        format!("cannot set {what}: {}", errno.desc())
    })
}

#[cfg(test)]
mod tests {
    use socket2::{Domain, Type};

    use super::*;

    #[test]
    fn a_source_address_takes_no_port_before_it_is_known_where_the_probe_goes() {
        for (source, domain) in [("127.0.0.9", Domain::IPV4), ("::1", Domain::IPV6)] {
            let source: IpAddr = source.parse().unwrap();
            let connect = Connect { source: Some(source), ..Connect::default() };
            let socket = Socket::new(domain, Type::STREAM, None).unwrap();
            connect.prepare(&socket, SocketAddr::new(source, 80)).unwrap();
            let own = socket.local_addr().unwrap().as_socket().unwrap();
            assert_eq!((own.ip(), own.port()), (source, 0));
        }
    }
}
