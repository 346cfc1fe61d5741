//! Bytes to meaning. Nothing that a datagram can hold makes this panic.

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use neli::FromBytesWithInput as _;
use neli::attr::Attribute as _;
use neli::consts::nl::Nlmsg;
use neli::genl::Genlmsghdr;

use super::{
    AF_INET, AF_INET6, Attrs, FAMILY_NAME, HEADER_LENGTH, Message, Messages, Reply, WireError, command,
    config, control, daemon, dest, svc, top,
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
        if self.kind == u16::from(Nlmsg::Error) {
            return self.errno().map(Reply::Result).ok_or(WireError::Framing);
        }
        if self.kind == u16::from(Nlmsg::Done) {
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
            command::NEW_SERVICE => decode_service(&nested(&attrs, top::SERVICE, "service")?),
            command::NEW_DEST => decode_server(&nested(&attrs, top::DEST, "server")?, servers_of),
            command::NEW_DAEMON => decode_daemon(&nested(&attrs, top::DAEMON, "sync daemon")?),
            command::SET_CONFIG => Ok(Reply::Timeouts(TimeoutsFound {
                tcp: number(&attrs, config::TCP, "timeout")?,
                tcp_fin: number(&attrs, config::TCP_FIN, "timeout")?,
                udp: number(&attrs, config::UDP, "timeout")?,
            })),
            command::SET_INFO => {
                let [_, major, minor, patch] = number(&attrs, top::INFO_VERSION, "version")?.to_be_bytes();
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

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn generic(payload: &[u8]) -> Result<(u8, Attrs), WireError> {
    let message = Genlmsghdr::<u8, u16>::from_bytes_with_input(&mut Cursor::new(payload), payload.len())
        .map_err(|_| WireError::Attributes)?;
    Ok((*message.cmd(), message.attrs().clone()))
}

fn find<'a>(attrs: &'a Attrs, kind: u16, name: &'static str) -> Result<&'a [u8], WireError> {
    attrs
        .iter()
        .find(|attr| *attr.nla_type().nla_type() == kind)
        .map(|attr| attr.payload().as_ref())
        .ok_or(WireError::Missing(name))
}

fn fixed<const N: usize>(attrs: &Attrs, kind: u16, name: &'static str) -> Result<[u8; N], WireError> {
    array(find(attrs, kind, name)?, 0).ok_or(WireError::Missing(name))
}

fn number(attrs: &Attrs, kind: u16, name: &'static str) -> Result<u32, WireError> {
    fixed(attrs, kind, name).map(u32::from_ne_bytes)
}

pub(super) fn nested(attrs: &Attrs, kind: u16, name: &'static str) -> Result<Attrs, WireError> {
    let payload = find(attrs, kind, name)?;
    Attrs::from_bytes_with_input(&mut Cursor::new(payload), payload.len()).map_err(|_| WireError::Attributes)
}

/// A string that ends at its NUL, or with the attribute.
fn text(attrs: &Attrs, kind: u16, name: &'static str) -> Result<String, WireError> {
    let bytes = find(attrs, kind, name)?;
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn decode_family(payload: &[u8]) -> Result<Reply, WireError> {
    let (command, attrs) = generic(payload)?;
    if command != control::NEW_FAMILY || text(&attrs, control::FAMILY_NAME, "family name")? != FAMILY_NAME {
        return Ok(Reply::Ignored);
    }
    fixed(&attrs, control::FAMILY_ID, "family number").map(|bytes| Reply::Family(u16::from_ne_bytes(bytes)))
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

pub(super) fn decode_service(attrs: &Attrs) -> Result<Reply, WireError> {
    let family = decode_address_family(u16::from_ne_bytes(fixed(attrs, svc::AF, "address family")?))?;
    // The kernel sends either the mark, or protocol, address and port.
    let key = match number(attrs, svc::FWMARK, "firewall mark") {
        Ok(mark) => ServiceKey::Mark { family, mark },
        Err(_) => ServiceKey::Address {
            protocol: Protocol::from_number(u16::from_ne_bytes(fixed(attrs, svc::PROTOCOL, "protocol")?)),
            address: decode_address(
                family,
                fixed(attrs, svc::ADDR, "service address")?,
                fixed(attrs, svc::PORT, "service port")?,
            ),
        },
    };
    let netmask = fixed(attrs, svc::NETMASK, "netmask")?;
    let service = Service {
        scheduler: text(attrs, svc::SCHED_NAME, "scheduler")?,
        // The first half of struct ip_vs_flags.
        flags: number(attrs, svc::FLAGS, "flags")? & !FLAG_HASHED,
        timeout: number(attrs, svc::TIMEOUT, "timeout")?,
        netmask: match family {
            Family::V4 => u32::from_be_bytes(netmask),
            Family::V6 => u32::from_ne_bytes(netmask),
        },
        persistence_engine: text(attrs, svc::PE_NAME, "persistence engine").ok(),
    };
    Ok(Reply::Service(key, service))
}

pub(super) fn decode_server(attrs: &Attrs, servers_of: Family) -> Result<Reply, WireError> {
    let family = match fixed(attrs, dest::ADDR_FAMILY, "address family") {
        Ok(number) => decode_address_family(u16::from_ne_bytes(number))?,
        Err(_) => servers_of,
    };
    let address = decode_address(
        family,
        fixed(attrs, dest::ADDR, "server address")?,
        fixed(attrs, dest::PORT, "server port")?,
    );
    // Kernels before 5.3 send none of these.
    let tunnel = Tunnel::from_numbers(
        fixed::<1>(attrs, dest::TUN_TYPE, "tunnel").map_or(0, |[kind]| kind),
        fixed(attrs, dest::TUN_PORT, "tunnel").map_or(0, u16::from_be_bytes),
        fixed(attrs, dest::TUN_FLAGS, "tunnel").map_or(0, u16::from_ne_bytes),
    );
    let server = Server {
        forward: Forward::from_number(number(attrs, dest::FWD_METHOD, "forwarding method")?, tunnel),
        weight: number(attrs, dest::WEIGHT, "weight")?,
        upper_threshold: number(attrs, dest::U_THRESH, "upper threshold")?,
        lower_threshold: number(attrs, dest::L_THRESH, "lower threshold")?,
    };
    let connections = Connections {
        active: number(attrs, dest::ACTIVE_CONNS, "connection count")?,
        inactive: number(attrs, dest::INACT_CONNS, "connection count")?,
        persistent: number(attrs, dest::PERSIST_CONNS, "connection count")?,
    };
    Ok(Reply::Server(address, server, connections))
}

pub(super) fn decode_daemon(attrs: &Attrs) -> Result<Reply, WireError> {
    let state = SyncState::from_number(number(attrs, daemon::STATE, "sync state")?);
    let link = Link {
        interface: text(attrs, daemon::MCAST_IFN, "interface")?.into(),
        id: u8::try_from(number(attrs, daemon::SYNC_ID, "sync id")?)
            .map_err(|_| WireError::Missing("sync id"))?,
        max_length: fixed(attrs, daemon::SYNC_MAXLEN, "length").map_or(0, u16::from_ne_bytes),
        group: decode_group(attrs),
        port: fixed(attrs, daemon::MCAST_PORT, "port").map_or(0, u16::from_ne_bytes),
        ttl: fixed::<1>(attrs, daemon::MCAST_TTL, "hops").map_or(0, |[ttl]| ttl),
    };
    Ok(state.map_or(Reply::Ignored, |state| Reply::Daemon(state, link)))
}

fn decode_group(attrs: &Attrs) -> Option<IpAddr> {
    let v4 = fixed::<4>(attrs, daemon::MCAST_GROUP, "group").map(IpAddr::from);
    v4.or_else(|_| fixed::<16>(attrs, daemon::MCAST_GROUP6, "group").map(IpAddr::from)).ok()
}
