//! Bytes to meaning. Nothing that a datagram can hold makes this panic.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::attributes::{Attributes, array};
use super::{
    AF_INET, AF_INET6, FAMILY_NAME, HEADER_LENGTH, Message, Messages, Reply, WireError, command, config,
    control, daemon, dest, kind, svc, top,
};
use crate::sync::{Link, SyncState};
use crate::table::{
    Connections, FLAG_HASHED, Family, Forward, Protocol, Server, Service, ServiceKey, Tunnel,
};
use crate::tuning::TimeoutsFound;

impl<'a> Messages<'a> {
    pub fn new(datagram: &'a [u8]) -> Self {
        Self { rest: datagram }
    }

    fn take(&mut self) -> Option<Message<'a>> {
        let length = usize::try_from(u32::from_ne_bytes(array(self.rest, 0)?)).ok()?;
        let whole = self.rest.get(..length)?;
        let message = Message {
            kind: u16::from_ne_bytes(array(whole, 4)?),
            sequence: u32::from_ne_bytes(array(whole, 8)?),
            payload: whole.get(HEADER_LENGTH..)?,
        };
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Message<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let message = self.take();
        if message.is_none() {
            self.rest = &[];
        }
        Some(message.ok_or(WireError::Framing))
    }
}

impl Message<'_> {
    /// What the message says. `family` is the number of the family `IPVS`; `servers_of` the family of addresses of
    /// the service whose servers were asked for, for kernels that do not repeat it with each server.
    ///
    /// # Errors
    /// The message is not what the kernel sends.
    pub fn decode(&self, family: u16, servers_of: Family) -> Result<Reply, WireError> {
        if self.kind == kind::ERROR {
            return self.errno().map(Reply::Result).ok_or(WireError::Framing);
        }
        if self.kind == kind::DONE {
            // Old kernels send no number with it.
            return Ok(Reply::Done(self.errno().unwrap_or(0)));
        }
        if self.kind == control::ID {
            return decode_family(self.payload);
        }
        if self.kind != family {
            return Ok(Reply::Ignored);
        }
        let (command, attrs) = generic(self.payload)?;
        match command {
            command::NEW_SERVICE => decode_service(attrs.nest(top::SERVICE, "service")?),
            command::NEW_DEST => decode_server(attrs.nest(top::DEST, "server")?, servers_of),
            command::NEW_DAEMON => decode_daemon(attrs.nest(top::DAEMON, "sync daemon")?),
            command::SET_CONFIG => Ok(Reply::Timeouts(TimeoutsFound {
                tcp: attrs.number(config::TCP, "timeout")?,
                tcp_fin: attrs.number(config::TCP_FIN, "timeout")?,
                udp: attrs.number(config::UDP, "timeout")?,
            })),
            command::SET_INFO => {
                let [_, major, minor, patch] = attrs.number(top::INFO_VERSION, "version")?.to_be_bytes();
                Ok(Reply::Version(major, minor, patch))
            }
            _ => Ok(Reply::Ignored),
        }
    }

    /// The kernel sends the errno as a negative number.
    fn errno(&self) -> Option<i32> {
        Some(i32::from_ne_bytes(array(self.payload, 0)?).saturating_neg())
    }
}

/// The command of a generic netlink message (`struct genlmsghdr`), and its attributes.
fn generic(payload: &[u8]) -> Result<(u8, Attributes<'_>), WireError> {
    let [command, ..] = array::<4>(payload, 0).ok_or(WireError::Attributes)?;
    Ok((command, Attributes::new(&payload[4..])?))
}

fn decode_family(payload: &[u8]) -> Result<Reply, WireError> {
    let (command, attrs) = generic(payload)?;
    if command != control::NEW_FAMILY || attrs.text(control::FAMILY_NAME, "family name")? != FAMILY_NAME {
        return Ok(Reply::Ignored);
    }
    attrs.fixed(control::FAMILY_ID, "family number").map(|bytes| Reply::Family(u16::from_ne_bytes(bytes)))
}

fn decode_address_family(number: u16) -> Result<Family, WireError> {
    match number {
        AF_INET => Ok(Family::V4),
        AF_INET6 => Ok(Family::V6),
        _ => Err(WireError::Missing("address family")),
    }
}

fn decode_address(family: Family, bytes: [u8; 16], port: [u8; 2]) -> SocketAddr {
    let [a, b, c, d, ..] = bytes;
    let address = match family {
        Family::V4 => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        Family::V6 => IpAddr::V6(Ipv6Addr::from(bytes)),
    };
    SocketAddr::new(address, u16::from_be_bytes(port))
}

pub(super) fn decode_service(attrs: Attributes<'_>) -> Result<Reply, WireError> {
    let family = decode_address_family(u16::from_ne_bytes(attrs.fixed(svc::AF, "address family")?))?;
    // The kernel sends either the mark, or protocol, address and port.
    let key = match attrs.number(svc::FWMARK, "firewall mark") {
        Ok(mark) => ServiceKey::Mark { family, mark },
        Err(_) => ServiceKey::Address {
            protocol: Protocol::from_number(u16::from_ne_bytes(attrs.fixed(svc::PROTOCOL, "protocol")?)),
            address: decode_address(
                family,
                attrs.fixed(svc::ADDR, "service address")?,
                attrs.fixed(svc::PORT, "service port")?,
            ),
        },
    };
    let netmask = attrs.fixed(svc::NETMASK, "netmask")?;
    let service = Service {
        scheduler: attrs.text(svc::SCHED_NAME, "scheduler")?,
        // The first half of struct ip_vs_flags.
        flags: attrs.number(svc::FLAGS, "flags")? & !FLAG_HASHED,
        timeout: attrs.number(svc::TIMEOUT, "timeout")?,
        netmask: match family {
            Family::V4 => u32::from_be_bytes(netmask),
            Family::V6 => u32::from_ne_bytes(netmask),
        },
        persistence_engine: attrs.text(svc::PE_NAME, "persistence engine").ok(),
    };
    Ok(Reply::Service(key, service))
}

pub(super) fn decode_server(attrs: Attributes<'_>, servers_of: Family) -> Result<Reply, WireError> {
    let family = match attrs.fixed(dest::ADDR_FAMILY, "address family") {
        Ok(number) => decode_address_family(u16::from_ne_bytes(number))?,
        Err(_) => servers_of,
    };
    let address = decode_address(
        family,
        attrs.fixed(dest::ADDR, "server address")?,
        attrs.fixed(dest::PORT, "server port")?,
    );
    // Kernels before 5.3 send none of these.
    let tunnel = Tunnel::from_numbers(
        attrs.fixed::<1>(dest::TUN_TYPE, "tunnel").map_or(0, |[kind]| kind),
        attrs.fixed(dest::TUN_PORT, "tunnel").map_or(0, u16::from_be_bytes),
        attrs.fixed(dest::TUN_FLAGS, "tunnel").map_or(0, u16::from_ne_bytes),
    );
    let server = Server {
        forward: Forward::from_number(attrs.number(dest::FWD_METHOD, "forwarding method")?, tunnel),
        weight: attrs.number(dest::WEIGHT, "weight")?,
        upper_threshold: attrs.number(dest::U_THRESH, "upper threshold")?,
        lower_threshold: attrs.number(dest::L_THRESH, "lower threshold")?,
    };
    let connections = Connections {
        active: attrs.number(dest::ACTIVE_CONNS, "connection count")?,
        inactive: attrs.number(dest::INACT_CONNS, "connection count")?,
        persistent: attrs.number(dest::PERSIST_CONNS, "connection count")?,
    };
    Ok(Reply::Server(address, server, connections))
}

pub(super) fn decode_daemon(attrs: Attributes<'_>) -> Result<Reply, WireError> {
    let state = SyncState::from_number(attrs.number(daemon::STATE, "sync state")?);
    let link = Link {
        interface: attrs.text(daemon::MCAST_IFN, "interface")?.into(),
        id: u8::try_from(attrs.number(daemon::SYNC_ID, "sync id")?)
            .map_err(|_| WireError::Missing("sync id"))?,
        max_length: attrs.fixed(daemon::SYNC_MAXLEN, "length").map_or(0, u16::from_ne_bytes),
        group: decode_group(attrs),
        port: attrs.fixed(daemon::MCAST_PORT, "port").map_or(0, u16::from_ne_bytes),
        ttl: attrs.fixed::<1>(daemon::MCAST_TTL, "hops").map_or(0, |[ttl]| ttl),
    };
    Ok(state.map_or(Reply::Ignored, |state| Reply::Daemon(state, link)))
}

fn decode_group(attrs: Attributes<'_>) -> Option<IpAddr> {
    let v4 = attrs.fixed::<4>(daemon::MCAST_GROUP, "group").map(IpAddr::from);
    v4.or_else(|_| attrs.fixed::<16>(daemon::MCAST_GROUP6, "group").map(IpAddr::from)).ok()
}
