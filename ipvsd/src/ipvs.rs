//! The wire form of IPVS: generic netlink family `IPVS`, version 1, as the kernel header linux/ip_vs.h defines it.
//!
//! Bytes in, meaning out, and back; no socket here (that is `kernel.rs`). neli encodes and takes attributes apart;
//! the outer framing is walked here, because neli trusts the lengths in it. Nothing that a datagram can hold
//! makes this panic.

use std::io::Cursor;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use neli::attr::Attribute as _;
use neli::consts::nl::{NlmF, Nlmsg};
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, Nlattr, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::types::{Buffer, GenlBuffer};
use neli::{FromBytesWithInput as _, Size, ToBytes};

use crate::table::{
    Change, Connections, FLAG_HASHED, Family, Forward, Protocol, Server, Service, ServiceKey,
};

/// `IPVS_GENL_NAME`
const FAMILY_NAME: &str = "IPVS";
/// `IPVS_GENL_VERSION`, and the version of the controller family.
const FAMILY_VERSION: u8 = 1;
/// `AF_INET` and `AF_INET6`, as the attributes carry them.
const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
/// `struct nlmsghdr`
const HEADER_LENGTH: usize = 16;

/// `GENL_ID_CTRL`, `CTRL_CMD_…`, `CTRL_ATTR_…` of linux/genetlink.h
mod control {
    pub(super) const ID: u16 = 16;
    pub(super) const NEW_FAMILY: u8 = 1;
    pub(super) const GET_FAMILY: u8 = 3;
    pub(super) const FAMILY_ID: u16 = 1;
    pub(super) const FAMILY_NAME: u16 = 2;
}

/// `IPVS_CMD_…`
mod command {
    pub(super) const NEW_SERVICE: u8 = 1;
    pub(super) const SET_SERVICE: u8 = 2;
    pub(super) const DEL_SERVICE: u8 = 3;
    pub(super) const GET_SERVICE: u8 = 4;
    pub(super) const NEW_DEST: u8 = 5;
    pub(super) const SET_DEST: u8 = 6;
    pub(super) const DEL_DEST: u8 = 7;
    pub(super) const GET_DEST: u8 = 8;
    pub(super) const SET_INFO: u8 = 14;
    pub(super) const GET_INFO: u8 = 15;
}

/// `IPVS_CMD_ATTR_…` and `IPVS_INFO_ATTR_VERSION`
mod top {
    pub(super) const SERVICE: u16 = 1;
    pub(super) const DEST: u16 = 2;
    pub(super) const INFO_VERSION: u16 = 1;
}

/// `IPVS_SVC_ATTR_…`
mod svc {
    pub(super) const AF: u16 = 1;
    pub(super) const PROTOCOL: u16 = 2;
    pub(super) const ADDR: u16 = 3;
    pub(super) const PORT: u16 = 4;
    pub(super) const FWMARK: u16 = 5;
    pub(super) const SCHED_NAME: u16 = 6;
    pub(super) const FLAGS: u16 = 7;
    pub(super) const TIMEOUT: u16 = 8;
    pub(super) const NETMASK: u16 = 9;
    pub(super) const PE_NAME: u16 = 11;
}

/// `IPVS_DEST_ATTR_…`
mod dest {
    pub(super) const ADDR: u16 = 1;
    pub(super) const PORT: u16 = 2;
    pub(super) const FWD_METHOD: u16 = 3;
    pub(super) const WEIGHT: u16 = 4;
    pub(super) const U_THRESH: u16 = 5;
    pub(super) const L_THRESH: u16 = 6;
    pub(super) const ACTIVE_CONNS: u16 = 7;
    pub(super) const INACT_CONNS: u16 = 8;
    pub(super) const PERSIST_CONNS: u16 = 9;
    pub(super) const ADDR_FAMILY: u16 = 11;
}

/// A datagram that is not what the kernel sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WireError {
    /// A message ends before its header says so, or its header is impossible.
    Framing,
    /// An attribute does not fit in the message that holds it.
    Attributes,
    /// An attribute that must be there is not, or is too short.
    Missing(&'static str),
}

impl std::fmt::Display for WireError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Framing => f.write_str("a netlink message is truncated"),
            Self::Attributes => f.write_str("the attributes of a netlink message overlap its end"),
            Self::Missing(what) => write!(f, "a message about IPVS has no valid {what}"),
        }
    }
}

impl std::error::Error for WireError {}

type Attr = Nlattr<u16, Buffer>;
type Attrs = GenlBuffer<u16, Buffer>;

/// What can be asked of the kernel.
#[derive(Clone, Copy, Debug)]
pub enum Request<'a> {
    /// The number of the family `IPVS`; the only request that needs no number.
    Family,
    /// The version of IPVS.
    Info,
    /// All virtual services, as several answers.
    Services,
    /// All real servers of a service, as several answers; none if there is no such service.
    Servers(&'a ServiceKey),
    Change(&'a Change),
}

impl Request<'_> {
    /// Append the request to `out`. `family` is the number of the family `IPVS` (any for [`Request::Family`]);
    /// with `acknowledge` the kernel answers success too, not only failure.
    pub fn encode(&self, out: &mut Vec<u8>, family: u16, sequence: u32, acknowledge: bool) {
        let (command, attrs) = self.parts();
        let mut flags = NlmF::REQUEST;
        if matches!(self, Self::Services | Self::Servers(_)) {
            flags |= NlmF::DUMP;
        } else if acknowledge {
            flags |= NlmF::ACK;
        }
        let kind = if matches!(self, Self::Family) { control::ID } else { family };
        let payload: Genlmsghdr<u8, u16> = GenlmsghdrBuilder::default()
            .cmd(command)
            .version(FAMILY_VERSION)
            .attrs(attrs)
            .build()
            .expect("command and version are set");
        let message = NlmsghdrBuilder::default()
            .nl_type(kind)
            .nl_flags(flags)
            .nl_seq(sequence)
            .nl_payload(NlPayload::Payload(payload))
            .build()
            .expect("type, flags and payload are set");
        let mut bytes = Cursor::new(Vec::with_capacity(message.padded_size()));
        message.to_bytes(&mut bytes).expect("a Vec takes every byte");
        out.append(&mut bytes.into_inner());
    }

    fn parts(&self) -> (u8, Attrs) {
        match self {
            Self::Family => {
                (control::GET_FAMILY, Attrs::from_iter([attr(control::FAMILY_NAME, FAMILY_NAME)]))
            }
            Self::Info => (command::GET_INFO, Attrs::new()),
            Self::Services => (command::GET_SERVICE, Attrs::new()),
            Self::Servers(key) => (command::GET_DEST, Attrs::from_iter([service_key(key)])),
            Self::Change(change) => change_parts(change),
        }
    }
}

fn change_parts(change: &Change) -> (u8, Attrs) {
    match change {
        Change::NewService { key, service } => {
            (command::NEW_SERVICE, Attrs::from_iter([whole_service(key, service)]))
        }
        Change::SetService { key, service } => {
            (command::SET_SERVICE, Attrs::from_iter([whole_service(key, service)]))
        }
        Change::DelService { key } => (command::DEL_SERVICE, Attrs::from_iter([service_key(key)])),
        Change::NewServer { key, address, server } => {
            (command::NEW_DEST, Attrs::from_iter([service_key(key), whole_server(*address, server)]))
        }
        Change::SetServer { key, address, server } => {
            (command::SET_DEST, Attrs::from_iter([service_key(key), whole_server(*address, server)]))
        }
        Change::DelServer { key, address } => {
            (command::DEL_DEST, Attrs::from_iter([service_key(key), nest(top::DEST, server_key(*address))]))
        }
    }
}

fn attr<P: Size + ToBytes>(kind: u16, payload: P) -> Attr {
    let kind = AttrTypeBuilder::default().nla_type(kind).build().expect("the type is set");
    NlattrBuilder::default().nla_type(kind).nla_payload(payload).build().expect("type and payload are set")
}

fn nest(kind: u16, attrs: Vec<Attr>) -> Attr {
    let kind = AttrTypeBuilder::default().nla_type(kind).nla_nested(true).build().expect("the type is set");
    let attrs = Attrs::from_iter(attrs);
    NlattrBuilder::default().nla_type(kind).nla_payload(attrs).build().expect("type and payload are set")
}

fn service_key_attrs(key: &ServiceKey) -> Vec<Attr> {
    let family = attr(svc::AF, family_number(key.family()));
    match key {
        ServiceKey::Address { protocol, address } => vec![
            family,
            attr(svc::PROTOCOL, protocol.number()),
            attr(svc::ADDR, address_bytes(address.ip())),
            attr(svc::PORT, address.port().to_be_bytes()),
        ],
        ServiceKey::Mark { mark, .. } => vec![family, attr(svc::FWMARK, *mark)],
    }
}

fn service_key(key: &ServiceKey) -> Attr {
    nest(top::SERVICE, service_key_attrs(key))
}

fn whole_service(key: &ServiceKey, service: &Service) -> Attr {
    let mut attrs = service_key_attrs(key);
    attrs.push(attr(svc::SCHED_NAME, service.scheduler.as_str()));
    if let Some(engine) = &service.persistence_engine {
        attrs.push(attr(svc::PE_NAME, engine.as_str()));
    }
    // struct ip_vs_flags: the flags, then the mask of those that are meant.
    attrs.push(attr(svc::FLAGS, u64_of_flags(service.flags, u32::MAX)));
    attrs.push(attr(svc::TIMEOUT, service.timeout));
    attrs.push(attr(svc::NETMASK, netmask_bytes(key.family(), service.netmask)));
    nest(top::SERVICE, attrs)
}

fn u64_of_flags(flags: u32, mask: u32) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[..4].copy_from_slice(&flags.to_ne_bytes());
    bytes[4..].copy_from_slice(&mask.to_ne_bytes());
    bytes
}

/// For IPv4 a mask in network order, for IPv6 a prefix length as a number.
fn netmask_bytes(family: Family, netmask: u32) -> [u8; 4] {
    match family {
        Family::V4 => netmask.to_be_bytes(),
        Family::V6 => netmask.to_ne_bytes(),
    }
}

fn server_key(address: SocketAddr) -> Vec<Attr> {
    vec![
        attr(dest::ADDR_FAMILY, family_number(Family::of(address.ip()))),
        attr(dest::ADDR, address_bytes(address.ip())),
        attr(dest::PORT, address.port().to_be_bytes()),
    ]
}

fn whole_server(address: SocketAddr, server: &Server) -> Attr {
    let mut attrs = server_key(address);
    attrs.push(attr(dest::FWD_METHOD, server.forward.number()));
    attrs.push(attr(dest::WEIGHT, server.weight));
    attrs.push(attr(dest::U_THRESH, server.upper_threshold));
    attrs.push(attr(dest::L_THRESH, server.lower_threshold));
    nest(top::DEST, attrs)
}

fn family_number(family: Family) -> u16 {
    match family {
        Family::V4 => AF_INET,
        Family::V6 => AF_INET6,
    }
}

/// `union nf_inet_addr`: 16 bytes, of which IPv4 uses the first four.
fn address_bytes(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// One netlink message of a datagram.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    kind: u16,
    pub sequence: u32,
    payload: &'a [u8],
}

/// What a message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// The number of the family `IPVS`.
    Family(u16),
    /// The version of IPVS, such as 1.2.1.
    Version(u8, u8, u8),
    Service(ServiceKey, Service),
    Server(SocketAddr, Server, Connections),
    /// The request of this number was done (0) or failed (the errno).
    Result(i32),
    /// The last message of several; an errno if the dump broke off.
    Done(i32),
    /// Nothing that we asked for.
    Ignored,
}

/// The messages of one datagram. Ends after the first broken one, since what follows cannot be found.
#[derive(Clone, Debug)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

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

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
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

fn nested(attrs: &Attrs, kind: u16, name: &'static str) -> Result<Attrs, WireError> {
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

fn decode_service(attrs: &Attrs) -> Result<Reply, WireError> {
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

fn decode_server(attrs: &Attrs, servers_of: Family) -> Result<Reply, WireError> {
    let family = match fixed(attrs, dest::ADDR_FAMILY, "address family") {
        Ok(number) => decode_address_family(u16::from_ne_bytes(number))?,
        Err(_) => servers_of,
    };
    let address = decode_address(
        family,
        fixed(attrs, dest::ADDR, "server address")?,
        fixed(attrs, dest::PORT, "server port")?,
    );
    let server = Server {
        forward: Forward::from_number(number(attrs, dest::FWD_METHOD, "forwarding method")?),
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

#[cfg(test)]
mod tests;
