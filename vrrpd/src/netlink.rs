//! What the kernel says about links and IPv4 addresses: a mirror of them, kept by rtnetlink events.
//!
//! Level, not edge: the daemon asks the mirror what is, and need not have seen each change. When events were lost
//! (ENOBUFS) everything is dumped again. Changing addresses is done in `addresses.rs`.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "the kernel's messages and attributes, not enums of ours"
)]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressProtocol};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use crate::arp::MacAddress;

/// The tag (IFA_PROTO) of addresses that vrrpd added: VRRP's own protocol number.
pub const ADDRESS_PROTOCOL: u8 = 112;

/// rtnetlink(7): RTMGRP_LINK and RTMGRP_IPV4_IFADDR.
const GROUPS: u32 = 0x1 | 0x10;
/// Bytes of events that may wait; a machine with thousands of interfaces starts with a burst.
const RECEIVE_BUFFER: usize = 4 << 20;
/// Datagrams read per turn.
const DATAGRAMS_PER_TURN: usize = 64;
/// Bytes of a datagram; the kernel's dumps use at most 32 KiB.
const DATAGRAM: usize = 64 << 10;

/// An IPv4 address that an interface has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeldAddress {
    pub address: Ipv4Addr,
    pub prefix_len: u8,
    /// It has our tag: vrrpd added it, this one or one before.
    pub ours: bool,
    secondary: bool,
}

/// A link and its addresses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: String,
    /// IFF_UP: the administrator wants it.
    pub up: bool,
    /// IFF_RUNNING: there is a carrier.
    pub running: bool,
    /// `None`: not an Ethernet.
    pub mac: Option<MacAddress>,
    pub addresses: Vec<HeldAddress>,
}

impl Interface {
    /// The address that advertisements are sent from: the first that is not one of ours (RFC 9568, 5.1.1.1).
    pub fn primary(&self) -> Option<Ipv4Addr> {
        let own = || self.addresses.iter().filter(|held| !held.ours);
        own().find(|held| !held.secondary).or_else(|| own().next()).map(|held| held.address)
    }

    pub fn holds(&self, address: Ipv4Addr, prefix_len: u8) -> Option<&HeldAddress> {
        self.addresses.iter().find(|held| held.address == address && held.prefix_len == prefix_len)
    }
}

/// All links of the machine. Pure: fed with messages.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<u32, Interface>);

impl Interfaces {
    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.0.values().find(|interface| interface.name == name)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Interface> {
        self.0.values()
    }

    fn apply(&mut self, message: RouteNetlinkMessage) {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.link(&link),
            RouteNetlinkMessage::DelLink(link) => drop(self.0.remove(&link.header.index)),
            RouteNetlinkMessage::NewAddress(address) => self.address(&address, true),
            RouteNetlinkMessage::DelAddress(address) => self.address(&address, false),
            _ => {}
        }
    }

    fn link(&mut self, message: &LinkMessage) {
        let name = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::IfName(name) => Some(name.clone()),
            _ => None,
        });
        let mac = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Address(bytes) => MacAddress::try_from(bytes.as_slice()).ok(),
            _ => None,
        });
        let Some(name) = name else { return };
        let index = message.header.index;
        let addresses = self.0.remove(&index).map(|former| former.addresses).unwrap_or_default();
        let up = message.header.flags.contains(LinkFlags::Up);
        let running = message.header.flags.contains(LinkFlags::Running);
        self.0.insert(index, Interface { index, name, up, running, mac, addresses });
    }

    fn address(&mut self, message: &AddressMessage, present: bool) {
        let Some(held) = held_address(message) else { return };
        let Some(interface) = self.0.get_mut(&message.header.index) else { return };
        let same = |other: &HeldAddress| other.address == held.address && other.prefix_len == held.prefix_len;
        let position = interface.addresses.iter().position(same);
        match (position, present) {
            (Some(position), true) => interface.addresses[position] = held,
            (Some(position), false) => drop(interface.addresses.remove(position)),
            (None, true) => interface.addresses.push(held),
            (None, false) => {}
        }
    }
}

fn held_address(message: &AddressMessage) -> Option<HeldAddress> {
    let mut local = None;
    let mut ours = false;
    for attribute in &message.attributes {
        match attribute {
            AddressAttribute::Local(IpAddr::V4(address)) => local = Some(*address),
            AddressAttribute::Protocol(protocol) => {
                ours = *protocol == AddressProtocol::Other(ADDRESS_PROTOCOL);
            }
            _ => {}
        }
    }
    let secondary = AddressFlags::from_bits_retain(u32::from(message.header.flags.bits()))
        .contains(AddressFlags::Secondary);
    Some(HeldAddress { address: local?, prefix_len: message.header.prefix_len, ours, secondary })
}

/// A dump that is to be asked for, one after the other: the kernel does one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dump {
    Links,
    Addresses,
}

/// The socket and the mirror that it feeds.
#[derive(Debug)]
pub struct Monitor {
    socket: Socket,
    interfaces: Interfaces,
    /// The mirror that is being built by a dump; it replaces the other when it is complete.
    building: Option<Interfaces>,
    dumps: VecDeque<Dump>,
    buffer: Vec<u8>,
}

impl Monitor {
    /// Subscribe, and dump everything once. Blocks until the kernel has answered, which it does at once.
    pub fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        // Above the system's limit only with CAP_NET_ADMIN, which vrrpd has; without, the default must do.
        let _ =
            nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::RcvBufForce, &RECEIVE_BUFFER);
        socket.bind(&SocketAddr::new(0, GROUPS))?;
        let mut monitor = Self {
            socket,
            interfaces: Interfaces::default(),
            building: None,
            dumps: VecDeque::new(),
            buffer: vec![0; DATAGRAM],
        };
        monitor.start_dump()?;
        while monitor.building.is_some() {
            monitor.read_datagram(0)?;
        }
        monitor.socket.set_non_blocking(true)?;
        Ok(monitor)
    }

    pub fn interfaces(&self) -> &Interfaces {
        &self.interfaces
    }

    /// Take in what has arrived. `true`: the mirror may have changed.
    ///
    /// # Errors
    /// Only what makes the socket useless; lost events are mended here.
    pub fn read(&mut self) -> io::Result<bool> {
        let mut changed = false;
        for _ in 0..DATAGRAMS_PER_TURN {
            match self.read_datagram(nix::libc::MSG_DONTWAIT) {
                Ok(()) => changed = true,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => self.start_dump()?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(changed)
    }

    fn start_dump(&mut self) -> io::Result<()> {
        let underway = self.building.is_some();
        self.building = Some(Interfaces::default());
        self.dumps = VecDeque::from([Dump::Links, Dump::Addresses]);
        // A dump that is under way ends first; its end asks for the next.
        if underway { Ok(()) } else { self.next_dump() }
    }

    fn next_dump(&mut self) -> io::Result<()> {
        let Some(dump) = self.dumps.pop_front() else {
            if let Some(complete) = self.building.take() {
                self.interfaces = complete;
            }
            return Ok(());
        };
        let request = match dump {
            Dump::Links => RouteNetlinkMessage::GetLink(LinkMessage::default()),
            Dump::Addresses => {
                let mut message = AddressMessage::default();
                message.header.family = AddressFamily::Inet;
                RouteNetlinkMessage::GetAddress(message)
            }
        };
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send_to(&bytes, &SocketAddr::new(0, 0), 0).map(|_length| ())
    }

    fn read_datagram(&mut self, flags: i32) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        let received = self.socket.recv_from(&mut &mut buffer[..], flags);
        let result = match &received {
            // Only the kernel speaks on this socket; a datagram of another process is not heard.
            Ok((length, sender)) if sender.port_number() == 0 => self.messages(&buffer[..*length]),
            Ok(_) => Ok(()),
            Err(_) => Ok(()),
        };
        self.buffer = buffer;
        received?;
        result
    }

    fn messages(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(bytes) else {
                // Something newer than our library: pass over this message, go on with the next.
                let Some(length) = message_length(bytes) else { return Ok(()) };
                bytes = &bytes[length..];
                continue;
            };
            let length = message_length(bytes).unwrap_or(bytes.len());
            bytes = &bytes[length..];
            match message.payload {
                NetlinkPayload::InnerMessage(inner) => {
                    if let Some(building) = &mut self.building {
                        building.apply(inner.clone());
                    }
                    self.interfaces.apply(inner);
                }
                NetlinkPayload::Done(_) => self.next_dump()?,
                NetlinkPayload::Error(error) if error.code.is_some() => {
                    log::warn!("the kernel refused to list interfaces: {}, asking again", error.to_io());
                    self.start_dump()?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// The aligned length of the first message (nlmsghdr), at least its header and at most what is there.
fn message_length(bytes: &[u8]) -> Option<usize> {
    let length = usize::try_from(u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?)).ok()?;
    (length >= 16).then(|| length.next_multiple_of(4).min(bytes.len()))
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, flags: LinkFlags) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
        RouteNetlinkMessage::NewLink(message)
    }

    fn address(index: u32, address: [u8; 4], tag: Option<u8>) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.prefix_len = 24;
        message.attributes.push(AddressAttribute::Local(IpAddr::from(address)));
        message.attributes.extend(tag.map(|tag| AddressAttribute::Protocol(tag.into())));
        message
    }

    #[test]
    fn the_mirror_follows_links_and_addresses() {
        let mut mirror = Interfaces::default();
        mirror.apply(link(3, "eth1", LinkFlags::Up));
        mirror.apply(RouteNetlinkMessage::NewAddress(address(3, [10, 0, 0, 1], None)));
        mirror.apply(RouteNetlinkMessage::NewAddress(address(3, [10, 0, 0, 9], Some(ADDRESS_PROTOCOL))));
        let eth1 = mirror.by_name("eth1").unwrap();
        assert!(eth1.up && !eth1.running);
        assert_eq!(eth1.mac, Some([2, 0, 0, 0, 0, 1]));
        assert!(eth1.holds(Ipv4Addr::new(10, 0, 0, 9), 24).unwrap().ours);
        assert!(eth1.holds(Ipv4Addr::new(10, 0, 0, 9), 32).is_none());
        // A change of the link, here its carrier and name, keeps its addresses.
        mirror.apply(link(3, "lan", LinkFlags::Up | LinkFlags::Running));
        assert!(mirror.by_name("eth1").is_none());
        assert_eq!(mirror.by_name("lan").unwrap().addresses.len(), 2);
        mirror.apply(RouteNetlinkMessage::DelAddress(address(3, [10, 0, 0, 9], Some(ADDRESS_PROTOCOL))));
        assert_eq!(mirror.by_name("lan").unwrap().addresses.len(), 1);
        let mut gone = LinkMessage::default();
        gone.header.index = 3;
        mirror.apply(RouteNetlinkMessage::DelLink(gone));
        assert_eq!(mirror, Interfaces::default());
    }

    #[test]
    fn a_virtual_address_is_never_the_source_of_advertisements() {
        let mut mirror = Interfaces::default();
        mirror.apply(link(3, "eth1", LinkFlags::Up));
        mirror.apply(RouteNetlinkMessage::NewAddress(address(3, [10, 0, 0, 9], Some(ADDRESS_PROTOCOL))));
        assert_eq!(mirror.by_name("eth1").unwrap().primary(), None);
        mirror.apply(RouteNetlinkMessage::NewAddress(address(3, [10, 0, 0, 1], None)));
        assert_eq!(mirror.by_name("eth1").unwrap().primary(), Some(Ipv4Addr::new(10, 0, 0, 1)));
    }

    #[test]
    fn a_length_that_lies_ends_or_skips_a_message_and_never_loops() {
        assert_eq!(message_length(&[0, 0, 0]), None);
        assert_eq!(message_length(&4_u32.to_ne_bytes()), None);
        let mut bytes = vec![0; 32];
        bytes[..4].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(message_length(&bytes), Some(32));
        bytes[..4].copy_from_slice(&17_u32.to_ne_bytes());
        assert_eq!(message_length(&bytes), Some(20));
    }
}
