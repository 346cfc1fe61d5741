//! Requests to bytes, in the order of attributes that ipvsadm uses.

use std::io::Cursor;
use std::net::{IpAddr, SocketAddr};

use neli::consts::nl::NlmF;
use neli::genl::{AttrTypeBuilder, Genlmsghdr, GenlmsghdrBuilder, NlattrBuilder};
use neli::nl::{NlPayload, NlmsghdrBuilder};
use neli::{Size, ToBytes};

use super::{
    AF_INET, AF_INET6, Attr, Attrs, FAMILY_NAME, FAMILY_VERSION, Request, command, control, dest, svc, top,
};
use crate::table::{Change, Family, Server, Service, ServiceKey};

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

pub(super) fn change_parts(change: &Change) -> (u8, Attrs) {
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

pub(super) fn attr<P: Size + ToBytes>(kind: u16, payload: P) -> Attr {
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

pub(super) fn whole_server(address: SocketAddr, server: &Server) -> Attr {
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
