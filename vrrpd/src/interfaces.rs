//! What we know of the machine's network interfaces and their addresses, kept from rtnetlink messages.
//!
//! Pure: `monitor.rs` reads the messages. It answers what the rest asks: is this interface usable, whose is this
//! address; and in `interfaces/source.rs`, from which address we send. Thousands of addresses of ours cost a question
//! about the others nothing.

mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope,
};
use netlink_packet_route::link::{LinkAttribute, LinkFlags, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

use crate::arp::MacAddress;
use crate::router::reason::Fault;
use crate::types::VirtualAddress;
use crate::vmac::traits::{Settings, Traits};

/// IFA_PROTO of the addresses that we add (linux/if_addr.h, since 5.18): the number of the VRRP protocol.
pub const OUR_TAG: u8 = 112;

/// An address and the length of its prefix: what is unique on an interface.
type Cidr = (IpAddr, u8);

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    pub index: u32,
    pub name: Arc<str>,
    /// Which one it is of all that ever had this index: one that left this network namespace and came back is another.
    pub birth: u64,
    pub flags: LinkFlags,
    /// Ethernet only.
    pub mac: Option<MacAddress>,
    pub traits: Traits,
    addresses: BTreeMap<Cidr, Assigned>,
    /// Those without our tag, in the kernel's order.
    own: Vec<Cidr>,
}

/// An address on an interface.
#[derive(Clone, Debug)]
pub struct Assigned {
    pub address: IpAddr,
    pub prefix_len: u8,
    /// IFA_PROTO; 0 where nobody said.
    pub tag: u8,
    pub flags: AddressFlags,
    pub scope: AddressScope,
    /// IPv4 only, and only if it is not just the interface's name.
    pub label: Option<Arc<str>>,
    pub broadcast: Option<Ipv4Addr>,
    /// As the kernel told it, so that it can be put back; none of ours.
    pub message: Option<Arc<AddressMessage>>,
}

/// Lifetimes, which are in the message, are refreshed all the time: that is no change.
impl PartialEq for Assigned {
    fn eq(&self, other: &Self) -> bool {
        let facts = |of: &Self| (of.address, of.prefix_len, of.tag, of.flags, of.scope, of.broadcast);
        facts(self) == facts(other) && self.label == other.label
    }
}

impl Eq for Assigned {}

impl Assigned {
    fn cidr(&self) -> Cidr {
        (self.address, self.prefix_len)
    }

    /// IPv4: another address of the same subnet came first.
    pub fn is_secondary(&self) -> bool {
        self.address.is_ipv4() && self.flags.contains(AddressFlags::Secondary)
    }

    /// IPv6: the kernel still asks whether somebody else has it, and sends nothing from it.
    pub fn is_tentative(&self) -> bool {
        // An optimistic one may be used while the kernel asks (RFC 4429).
        self.flags.contains(AddressFlags::Tentative) && !self.flags.contains(AddressFlags::Optimistic)
    }

    /// IPv6: somebody else has it; the kernel never uses it.
    pub fn is_duplicate(&self) -> bool {
        self.flags.contains(AddressFlags::Dadfailed)
    }
}

/// What messages told us that is new.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// A link, or an address that is not ours: other routers may be able to take part than before.
    pub usable: bool,
    /// Links that came, went, or have other flags.
    pub links: BTreeSet<Arc<str>>,
    /// Addresses that came, went, or are another way than before.
    pub addresses: BTreeSet<VirtualAddress>,
    /// The kernel takes routes away with links and with IPv4 addresses, and does not say so.
    pub routes_doubtful: bool,
    /// Everything was read anew.
    pub all: bool,
}

impl Changes {
    /// After a dump.
    pub fn all() -> Self {
        Self { usable: true, routes_doubtful: true, all: true, ..Self::default() }
    }

    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Interfaces {
    by_index: BTreeMap<u32, Interface>,
    names: BTreeMap<Arc<str>, u32>,
}

/// Numbers that are never given twice, not to what a second dump shows either: it cannot know what happened before.
fn next_birth() -> u64 {
    static BIRTHS: AtomicU64 = AtomicU64::new(0);
    BIRTHS.fetch_add(1, Ordering::Relaxed)
}

impl Interfaces {
    /// Take in a message of an event or a dump.
    pub fn apply(&mut self, message: &RouteNetlinkMessage, changes: &mut Changes) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's message types, not ours")]
        match message {
            // A port that leaves its bridge is "deleted" in the family of bridges, and is still there.
            RouteNetlinkMessage::NewLink(link) | RouteNetlinkMessage::DelLink(link)
                if link.header.interface_family != AddressFamily::Unspec => {}
            RouteNetlinkMessage::NewLink(link) => self.new_link(link, changes),
            RouteNetlinkMessage::DelLink(link) => self.del_link(link, changes),
            RouteNetlinkMessage::NewAddress(address) => self.new_address(address, changes),
            RouteNetlinkMessage::DelAddress(address) => self.del_address(address, changes),
            _ => {}
        }
    }

    fn new_link(&mut self, link: &LinkMessage, changes: &mut Changes) {
        let name = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::IfName(name) = attribute else { return None };
            Some(Arc::<str>::from(name.as_str()))
        });
        let Some(name) = name else { return };
        let mac = link.attributes.iter().find_map(|attribute| {
            let LinkAttribute::Address(bytes) = attribute else { return None };
            MacAddress::try_from(bytes.as_slice()).ok()
        });
        let (index, flags, traits) = (link.header.index, link.header.flags, Traits::read(link));
        let Some(known) = self.by_index.get_mut(&index) else {
            changes.link(&name);
            self.names.insert(Arc::clone(&name), index);
            let (addresses, own) = (BTreeMap::new(), Vec::new());
            self.by_index.insert(
                index,
                Interface { index, name, birth: next_birth(), flags, mac, traits, addresses, own },
            );
            return;
        };
        // Some events leave out what did not change.
        let mac = mac.or(known.mac);
        // An event from before a dump may have given the name to another for a moment.
        let found = self.names.get(&name) == Some(&index);
        if found && (&known.name, known.flags, known.mac, known.traits) == (&name, flags, mac, traits) {
            return;
        }
        changes.link(&known.name);
        if !found {
            changes.link(&name);
            if self.names.get(&known.name) == Some(&index) {
                self.names.remove(&known.name);
            }
            self.names.insert(Arc::clone(&name), index);
        }
        (known.name, known.flags, known.mac, known.traits) = (name, flags, mac, traits);
    }

    fn del_link(&mut self, link: &LinkMessage, changes: &mut Changes) {
        let Some(gone) = self.by_index.remove(&link.header.index) else { return };
        if self.names.get(&gone.name) == Some(&gone.index) {
            self.names.remove(&gone.name);
        }
        changes.link(&gone.name);
    }

    fn new_address(&mut self, message: &AddressMessage, changes: &mut Changes) {
        let Some(interface) = self.by_index.get_mut(&message.header.index) else { return };
        let Some(assigned) = assigned(message, &interface.name) else { return };
        let cidr = assigned.cidr();
        if interface.addresses.get(&cidr) == Some(&assigned) {
            return;
        }
        let ours = assigned.tag == OUR_TAG;
        changes.address(interface, cidr);
        changes.usable |= !ours;
        if ours {
            interface.own.retain(|own| *own != cidr);
        } else if !interface.own.contains(&cidr) {
            interface.own.push(cidr);
        }
        interface.addresses.insert(cidr, assigned);
    }

    fn del_address(&mut self, message: &AddressMessage, changes: &mut Changes) {
        let Some(interface) = self.by_index.get_mut(&message.header.index) else { return };
        let Some(gone) = assigned(message, &interface.name) else { return };
        let cidr = gone.cidr();
        let Some(known) = interface.addresses.remove(&cidr) else { return };
        interface.own.retain(|own| *own != cidr);
        changes.address(interface, cidr);
        changes.usable |= known.tag != OUR_TAG;
        changes.routes_doubtful |= known.address.is_ipv4();
    }

    /// The kernel has set these, which it does not tell of a link that is down.
    pub fn configured(&mut self, index: u32, settings: Settings) {
        if let Some(link) = self.by_index.get_mut(&index) {
            link.traits.settings = settings;
        }
    }

    pub fn links(&self) -> impl Iterator<Item = &Interface> {
        self.by_index.values()
    }

    pub fn by_name(&self, name: &str) -> Option<&Interface> {
        self.by_index.get(self.names.get(name)?)
    }

    pub fn by_index(&self, index: u32) -> Option<&Interface> {
        self.by_index.get(&index)
    }

    /// How the kernel has this address, if it does.
    pub fn find(&self, wanted: &VirtualAddress) -> Option<&Assigned> {
        self.by_name(&wanted.interface)?.addresses.get(&(wanted.address, wanted.prefix_len))
    }

    /// Every address with our tag.
    pub fn tagged(&self) -> impl Iterator<Item = VirtualAddress> + '_ {
        self.by_index.values().flat_map(|interface| {
            let ours = interface.addresses.values().filter(|assigned| assigned.tag == OUR_TAG);
            ours.map(|assigned| interface.key(assigned.cidr()))
        })
    }

    /// Whether the kernel says of any address who added it.
    pub fn shows_tags(&self) -> bool {
        self.by_index.values().any(|interface| interface.addresses.values().any(|address| address.tag != 0))
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

impl Interface {
    /// Its addresses without our tag, in the kernel's order.
    pub fn own(&self) -> impl Iterator<Item = &Assigned> {
        self.own.iter().filter_map(|cidr| self.addresses.get(cidr))
    }

    /// Its addresses of the subnet of this one, with the same length of the prefix.
    pub fn subnet(&self, address: IpAddr, prefix_len: u8) -> impl Iterator<Item = &Assigned> {
        let (first, last) = bounds(address, prefix_len);
        let within = self.addresses.range((first, 0)..=(last, u8::MAX)).map(|(_, assigned)| assigned);
        within.filter(move |assigned| assigned.prefix_len == prefix_len)
    }

    fn key(&self, (address, prefix_len): Cidr) -> VirtualAddress {
        VirtualAddress { interface: Arc::clone(&self.name), address, prefix_len }
    }
}

impl Changes {
    fn link(&mut self, name: &Arc<str>) {
        self.usable = true;
        self.routes_doubtful = true;
        self.links.insert(Arc::clone(name));
    }

    fn address(&mut self, interface: &Interface, cidr: Cidr) {
        self.addresses.insert(interface.key(cidr));
    }
}

/// The first and the last address of a prefix.
fn bounds(address: IpAddr, prefix_len: u8) -> (IpAddr, IpAddr) {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
            let bits = address.to_bits();
            (Ipv4Addr::from_bits(bits & !host).into(), Ipv4Addr::from_bits(bits | host).into())
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(u32::from(prefix_len)).unwrap_or(0);
            let bits = address.to_bits();
            (Ipv6Addr::from_bits(bits & !host).into(), Ipv6Addr::from_bits(bits | host).into())
        }
    }
}

/// `None`: neither IPv4 nor IPv6.
fn assigned(message: &AddressMessage, interface: &str) -> Option<Assigned> {
    let header = &message.header;
    let (mut local, mut address, mut label, mut broadcast) = (None, None, None, None);
    let (mut tag, mut flags) = (0, None);
    for attribute in &message.attributes {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's attributes, not ours")]
        match attribute {
            AddressAttribute::Local(value) => local = Some(*value),
            AddressAttribute::Address(value) => address = Some(*value),
            AddressAttribute::Protocol(value) => tag = u8::from(*value),
            AddressAttribute::Flags(value) => flags = Some(*value),
            AddressAttribute::Broadcast(value) => broadcast = Some(*value),
            AddressAttribute::Label(value) if value != interface => label = Some(Arc::from(value.as_str())),
            _ => {}
        }
    }
    // On a point-to-point link IFA_ADDRESS is the peer's.
    let address = local.or(address)?;
    let flags = flags.unwrap_or_else(|| from_header(header.flags));
    let message = (tag != OUR_TAG).then(|| Arc::new(message.clone()));
    let (prefix_len, scope) = (header.prefix_len, header.scope);
    Some(Assigned { address, prefix_len, tag, flags, scope, label, broadcast, message })
}

/// The lower eight bits are all that kernels before 3.14 tell.
fn from_header(flags: AddressHeaderFlags) -> AddressFlags {
    AddressFlags::from_bits_retain(u32::from(flags.bits()))
}

#[cfg(test)]
pub(crate) mod tests;
