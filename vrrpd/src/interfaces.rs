//! What we know of the machine's network interfaces and their addresses, kept from rtnetlink messages.
//!
//! Pure: `monitor.rs` reads the messages. It answers what the rest asks: is this interface usable, whose is this
//! address; and in `interfaces/source.rs`, from which address we send.

mod source;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::arp::MacAddress;
use crate::router::reason::Fault;
use crate::types::VirtualAddress;

/// IFA_PROTO of the addresses that we add (linux/if_addr.h, since 5.18): the number of the VRRP protocol.
pub const OUR_TAG: u8 = 112;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: Arc<str>,
    pub flags: LinkFlags,
    /// Ethernet only.
    pub mac: Option<MacAddress>,
    /// In the kernel's order.
    pub addresses: Vec<Assigned>,
}

/// An address on an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assigned {
    pub address: IpAddr,
    pub prefix_len: u8,
    /// IFA_PROTO; 0 where nobody said.
    pub tag: u8,
    /// IPv4: not the first of its network. IPv6: a temporary one (RFC 8981).
    pub secondary: bool,
    /// IPv6: the kernel still asks whether somebody else has it, and sends nothing from it.
    pub tentative: bool,
    /// IPv6: somebody else has it; the kernel never uses it.
    pub duplicate: bool,
}

/// Whether a message told us something new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Some,
    None,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces(BTreeMap<u32, Interface>);

impl Interfaces {
    /// Take in a message of an event or a dump.
    pub fn apply(&mut self, message: &RouteNetlinkMessage) -> Change {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's message types, not ours")]
        match message {
            // A port that leaves its bridge is "deleted" in the family of bridges, and is still there.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec =>
            {
                Change::None
            }
            RouteNetlinkMessage::NewLink(link) => self.new_link(link),
            RouteNetlinkMessage::DelLink(link) => changed(self.0.remove(&link.header.index).is_some()),
            RouteNetlinkMessage::NewAddress(address) => self.new_address(address),
            RouteNetlinkMessage::DelAddress(address) => self.del_address(address),
            _ => Change::None,
        }
    }

    fn new_link(&mut self, link: &LinkMessage) -> Change {
        let name = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::IfName(name) = attribute else { return None };
            Some(Arc::from(name.as_str()))
        });
        let Some(name) = name else { return Change::None };
        let mac = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::Address(bytes) = attribute else { return None };
            MacAddress::try_from(bytes.as_slice()).ok()
        });
        let (index, flags) = (link.header.index, link.header.flags);
        let known = self.0.get(&index);
        let addresses = known.map(|known| known.addresses.clone()).unwrap_or_default();
        // Some events leave out what did not change.
        let mac = mac.or(known.and_then(|known| known.mac));
        let interface = Interface { index, name, flags, mac, addresses };
        let former = self.0.insert(index, interface.clone());
        changed(former != Some(interface))
    }

    fn new_address(&mut self, message: &AddressMessage) -> Change {
        let Some(interface) = self.0.get_mut(&message.header.index) else { return Change::None };
        let Some(assigned) = assigned(message) else { return Change::None };
        let same = |other: &&mut Assigned| {
            other.address == assigned.address && other.prefix_len == assigned.prefix_len
        };
        match interface.addresses.iter_mut().find(same) {
            Some(known) if *known == assigned => Change::None,
            Some(known) => {
                *known = assigned;
                Change::Some
            }
            None => {
                interface.addresses.push(assigned);
                Change::Some
            }
        }
    }

    fn del_address(&mut self, message: &AddressMessage) -> Change {
        let Some(interface) = self.0.get_mut(&message.header.index) else { return Change::None };
        let Some(gone) = assigned(message) else { return Change::None };
        let before = interface.addresses.len();
        interface
            .addresses
            .retain(|known| known.address != gone.address || known.prefix_len != gone.prefix_len);
        changed(interface.addresses.len() != before)
    }

    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.0.values().find(|interface| *interface.name == *name)
    }

    /// How the kernel has this address, if it does.
    pub fn find(&self, wanted: &VirtualAddress) -> Option<Assigned> {
        let interface = self.by_name(&wanted.interface)?;
        let same =
            |other: &&Assigned| other.address == wanted.address && other.prefix_len == wanted.prefix_len;
        interface.addresses.iter().find(same).copied()
    }

    /// Every address with our tag.
    pub fn tagged(&self) -> impl Iterator<Item = VirtualAddress> + '_ {
        self.0.values().flat_map(|interface| {
            let ours = interface.addresses.iter().filter(|assigned| assigned.tag == OUR_TAG);
            ours.map(|assigned| VirtualAddress {
                interface: Arc::clone(&interface.name),
                address: assigned.address,
                prefix_len: assigned.prefix_len,
            })
        })
    }

    /// Whether an interface can be used at all.
    pub fn usable(&self, name: &Arc<str>) -> Result<&Interface, Fault> {
        let Some(interface) = self.by_name(name) else { return Err(Fault::Missing(Arc::clone(name))) };
        if !interface.flags.contains(LinkFlags::Up) {
            return Err(Fault::Down(Arc::clone(name)));
        }
        // The kernel's summary of carrier and operational state.
        if !interface.flags.contains(LinkFlags::Running) {
            return Err(Fault::NoCarrier(Arc::clone(name)));
        }
        Ok(interface)
    }
}

fn changed(yes: bool) -> Change {
    if yes { Change::Some } else { Change::None }
}

/// `None`: it has no address of a family that we know.
fn assigned(message: &AddressMessage) -> Option<Assigned> {
    let mut local = None;
    let mut address = None;
    let mut tag = 0;
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes, not ours")]
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Protocol(value) => tag = u8::from(*value),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let address = local.or(address)?;
    let flags = message.header.flags;
    // An optimistic one may be used while the kernel asks (RFC 4429).
    let tentative =
        flags.contains(AddressHeaderFlags::Tentative) && !flags.contains(AddressHeaderFlags::Optimistic);
    Some(Assigned {
        address,
        prefix_len: message.header.prefix_len,
        tag,
        secondary: flags.contains(AddressHeaderFlags::Secondary),
        tentative,
        duplicate: flags.contains(AddressHeaderFlags::Dadfailed),
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use netlink_packet_route::address::AddressProtocol;

    use super::*;

    pub(crate) fn link(index: u32, name: &str, flags: LinkFlags) -> RouteNetlinkMessage {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.flags = flags;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.push(LinkAttribute::Address(vec![2, 0, 0, 0, 0, 1]));
        RouteNetlinkMessage::NewLink(message)
    }

    pub(crate) fn address(index: u32, address: [u8; 4], prefix_len: u8, tag: u8) -> AddressMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet;
        message.header.index = index;
        message.header.prefix_len = prefix_len;
        message.attributes.push(AddressAttribute::Local(IpAddr::from(address)));
        if tag != 0 {
            message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(tag)));
        }
        message
    }

    pub(crate) fn up() -> LinkFlags {
        LinkFlags::Up | LinkFlags::Running
    }

    pub(crate) fn virtual_address(last: u8) -> VirtualAddress {
        VirtualAddress { interface: "eth0".into(), address: [10, 0, 0, last].into(), prefix_len: 24 }
    }

    #[test]
    fn a_port_that_leaves_its_bridge_is_still_there() {
        let mut interfaces = Interfaces::default();
        interfaces.apply(&link(2, "eth0", up()));
        let RouteNetlinkMessage::NewLink(mut port) = link(2, "eth0", up()) else { unreachable!() };
        port.header.interface_family = AddressFamily::Bridge;
        assert_eq!(interfaces.apply(&RouteNetlinkMessage::DelLink(port)), Change::None);
        assert!(interfaces.by_name("eth0").is_some());
    }

    #[test]
    fn addresses_come_go_and_are_found_with_their_tag() {
        let mut interfaces = Interfaces::default();
        interfaces.apply(&link(2, "eth0", up()));
        let message = RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 50], 24, OUR_TAG));
        assert_eq!(interfaces.apply(&message), Change::Some);
        assert_eq!(interfaces.apply(&message), Change::None, "the same again");
        assert_eq!(interfaces.tagged().collect::<Vec<_>>(), [virtual_address(50)]);
        assert_eq!(interfaces.find(&virtual_address(50)).map(|found| found.tag), Some(OUR_TAG));
        // A link event does not make us forget addresses.
        interfaces.apply(&link(2, "eth0", LinkFlags::Up));
        assert!(interfaces.find(&virtual_address(50)).is_some());
        let gone = RouteNetlinkMessage::DelAddress(address(2, [10, 0, 0, 50], 24, OUR_TAG));
        assert_eq!(interfaces.apply(&gone), Change::Some);
        assert_eq!(interfaces.find(&virtual_address(50)), None);
    }
}
