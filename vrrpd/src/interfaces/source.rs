//! From which address a router sends: its interface's primary address (RFC 9568, 5.1.1.1 and 5.1.2.1).

use std::net::IpAddr;
use std::sync::Arc;

use super::{Assigned, Interfaces};
use crate::config::RouterConfig;
use crate::router::reason::Fault;
use crate::transport::{Transport, Unicast};
use crate::types::{Family, VirtualAddress};

impl Interfaces {
    /// From which address a router sends.
    ///
    /// # Errors
    /// Why it cannot, now.
    pub fn source(&self, config: &RouterConfig) -> Result<IpAddr, Fault> {
        let RouterConfig { interface, family, settings, .. } = config;
        match &config.transport {
            Transport::Multicast => self.primary(interface, *family, &settings.addresses),
            Transport::Unicast(unicast) => {
                self.unicast_source(interface, *family, unicast, &settings.addresses)
            }
        }
    }

    /// The interface's primary address. IPv4: the first; IPv6: the first link-local one. Never one of ours nor, unless
    /// there is no other, one of `virtual_addresses` (which an owner has as its own).
    ///
    /// # Errors
    /// Why a router cannot send from this interface, now.
    fn primary(
        &self,
        name: &Arc<str>,
        family: Family,
        virtual_addresses: &[VirtualAddress],
    ) -> Result<IpAddr, Fault> {
        let interface = self.usable(name)?;
        let own = || interface.own().filter(|assigned| is_primary(assigned, family));
        let usable = || own().filter(|assigned| !assigned.is_tentative() && !assigned.is_duplicate());
        let is_virtual =
            |assigned: &Assigned| virtual_addresses.iter().any(|address| address.address == assigned.address);
        let first = usable()
            .filter(|assigned| !is_virtual(assigned))
            .min_by_key(|assigned| assigned.is_secondary())
            .or_else(|| usable().next());
        match (first, own().next()) {
            (Some(assigned), _) => Ok(assigned.address),
            (None, Some(assigned)) => Err(not_yet(name, assigned)),
            (None, None) => Err(Fault::NoAddress(Arc::clone(name), family)),
        }
    }

    /// From which address a router with unicast peers sends: the configured one, which may be on any interface (a
    /// cloud's is often on one of its own); else the interface's primary address or, where a peer of IPv6 is beyond the
    /// link, its first global one.
    ///
    /// # Errors
    /// Why it cannot send from there, now.
    fn unicast_source(
        &self,
        name: &Arc<str>,
        family: Family,
        unicast: &Unicast,
        virtual_addresses: &[VirtualAddress],
    ) -> Result<IpAddr, Fault> {
        let interface = self.usable(name)?;
        if let Some(source) = unicast.source {
            let (holder, assigned) = self.holder(source).ok_or(Fault::NoSource(source))?;
            return usable(holder, assigned);
        }
        if unicast.peers.iter().all(|peer| !is_global(peer.address)) {
            return self.primary(name, family, virtual_addresses);
        }
        let is_virtual =
            |assigned: &Assigned| virtual_addresses.iter().any(|address| address.address == assigned.address);
        let global = || interface.own().filter(|assigned| is_global(assigned.address));
        let first = global()
            .filter(|assigned| !is_virtual(assigned))
            .min_by_key(|assigned| assigned.is_tentative() || assigned.is_duplicate());
        match first.or_else(|| global().next()) {
            Some(assigned) => usable(name, assigned),
            None => Err(Fault::NoGlobalAddress(Arc::clone(name))),
        }
    }

    /// Whether an address, not one that we added, is on any interface.
    pub fn has(&self, address: IpAddr) -> bool {
        self.holder(address).is_some()
    }

    fn holder(&self, address: IpAddr) -> Option<(&Arc<str>, &Assigned)> {
        let own = self
            .by_index
            .values()
            .flat_map(|interface| interface.own().map(move |own| (&interface.name, own)));
        own.into_iter().find(|(_, own)| own.address == address)
    }
}

fn usable(name: &Arc<str>, assigned: &Assigned) -> Result<IpAddr, Fault> {
    if assigned.is_tentative() || assigned.is_duplicate() {
        return Err(not_yet(name, assigned));
    }
    Ok(assigned.address)
}

/// IPv6, and of more than its link.
fn is_global(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => false,
        IpAddr::V6(address) => !address.is_unicast_link_local(),
    }
}

/// Whether advertisements of this family may be sent from such an address.
fn is_primary(assigned: &Assigned, family: Family) -> bool {
    match (assigned.address, family) {
        (IpAddr::V4(_), Family::V4) => true,
        (IpAddr::V6(address), Family::V6) => address.is_unicast_link_local(),
        (IpAddr::V4(_), Family::V6) | (IpAddr::V6(_), Family::V4) => false,
    }
}

/// Why the kernel would send nothing from it.
fn not_yet(name: &Arc<str>, assigned: &Assigned) -> Fault {
    let make = if assigned.is_duplicate() { Fault::Duplicate } else { Fault::Tentative };
    make(Arc::clone(name), assigned.address)
}

#[cfg(test)]
mod tests {
    use netlink_packet_route::address::{AddressAttribute, AddressHeaderFlags, AddressMessage};
    use netlink_packet_route::link::{LinkFlags, LinkMessage};
    use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};

    use super::*;
    use crate::interfaces::OUR_TAG;
    use crate::interfaces::tests::{address, apply, link, up, virtual_address};
    use crate::transport::Peer;

    /// An event about an IPv6 address of interface 2.
    fn ipv6(text: &str, flags: AddressHeaderFlags) -> RouteNetlinkMessage {
        let mut message = AddressMessage::default();
        message.header.family = AddressFamily::Inet6;
        message.header.index = 2;
        message.header.prefix_len = 64;
        message.header.flags = flags;
        message.attributes.push(AddressAttribute::Address(text.parse().unwrap()));
        RouteNetlinkMessage::NewAddress(message)
    }

    #[test]
    fn an_interface_that_cannot_be_used_is_answered_with_why() {
        let mut interfaces = Interfaces::default();
        let name: Arc<str> = "eth0".into();
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Err(Fault::Missing(Arc::clone(&name))));
        apply(&mut interfaces, &link(2, "eth0", LinkFlags::empty()));
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Err(Fault::Down(Arc::clone(&name))));
        apply(&mut interfaces, &link(2, "eth0", LinkFlags::Up));
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Err(Fault::NoCarrier(Arc::clone(&name))));
        apply(&mut interfaces, &link(2, "eth0", up()));
        assert_eq!(
            interfaces.primary(&name, Family::V4, &[]),
            Err(Fault::NoAddress(Arc::clone(&name), Family::V4))
        );
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1], 24, 0)));
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Ok([10, 0, 0, 1].into()));
        apply(&mut interfaces, &RouteNetlinkMessage::DelLink(LinkMessage::default()));
        let RouteNetlinkMessage::NewLink(gone) = link(2, "eth0", up()) else { unreachable!() };
        assert!(apply(&mut interfaces, &RouteNetlinkMessage::DelLink(gone)).usable);
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Err(Fault::Missing(name)));
    }

    // RFC 9568: +5.1.1
    #[test]
    fn a_virtual_address_is_never_the_source_unless_there_is_no_other() {
        let mut interfaces = Interfaces::default();
        let name: Arc<str> = "eth0".into();
        apply(&mut interfaces, &link(2, "eth0", up()));
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 50], 24, OUR_TAG)));
        assert!(interfaces.primary(&name, Family::V4, &[]).is_err(), "with our tag");
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 51], 24, 0)));
        assert_eq!(
            interfaces.primary(&name, Family::V4, &[virtual_address(51)]),
            Ok([10, 0, 0, 51].into()),
            "an owner"
        );
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1], 24, 0)));
        assert_eq!(interfaces.primary(&name, Family::V4, &[virtual_address(51)]), Ok([10, 0, 0, 1].into()));
    }

    // RFC 9568: +5.1.2
    #[test]
    fn an_ipv6_router_sends_from_the_link_local_address_once_nobody_else_claims_it() {
        let none = AddressHeaderFlags::empty();
        let mut interfaces = Interfaces::default();
        let name: Arc<str> = "eth0".into();
        let primary = |interfaces: &Interfaces| interfaces.primary(&name, Family::V6, &[]);
        apply(&mut interfaces, &link(2, "eth0", up()));
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1], 24, 0)));
        apply(&mut interfaces, &ipv6("2001:db8::1", none));
        assert_eq!(primary(&interfaces), Err(Fault::NoAddress(Arc::clone(&name), Family::V6)));
        let own: IpAddr = "fe80::1".parse().unwrap();
        apply(&mut interfaces, &ipv6("fe80::1", AddressHeaderFlags::Tentative));
        assert_eq!(primary(&interfaces), Err(Fault::Tentative(Arc::clone(&name), own)));
        let failed = AddressHeaderFlags::Tentative | AddressHeaderFlags::Dadfailed;
        assert!(apply(&mut interfaces, &ipv6("fe80::1", failed)).usable);
        assert_eq!(primary(&interfaces), Err(Fault::Duplicate(Arc::clone(&name), own)));
        assert!(apply(&mut interfaces, &ipv6("fe80::1", AddressHeaderFlags::Permanent)).usable);
        assert_eq!(primary(&interfaces), Ok(own));
        assert_eq!(interfaces.primary(&name, Family::V4, &[]), Ok([10, 0, 0, 1].into()));
    }

    #[test]
    fn a_unicast_source_is_the_configured_one_on_whichever_interface_or_one_that_reaches_the_peers() {
        let none = AddressHeaderFlags::empty();
        let mut interfaces = Interfaces::default();
        let name: Arc<str> = "eth0".into();
        let unicast = |source: Option<&str>, peer: &str| Unicast {
            source: source.map(|source| source.parse().unwrap()),
            peers: vec![Peer { address: peer.parse().unwrap(), ttl: (255, 255) }],
            ttl: 255,
            check_source: true,
        };
        let with = |interfaces: &Interfaces, family, unicast| {
            interfaces.unicast_source(&name, family, &unicast, &[virtual_address(51)])
        };
        apply(&mut interfaces, &link(2, "eth0", up()));
        apply(&mut interfaces, &link(3, "lo", up()));
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1], 24, 0)));
        assert_eq!(with(&interfaces, Family::V4, unicast(None, "10.9.0.2")), Ok([10, 0, 0, 1].into()));
        let elsewhere = || unicast(Some("10.7.0.1"), "10.9.0.2");
        let missing = Err(Fault::NoSource([10, 7, 0, 1].into()));
        assert_eq!(with(&interfaces, Family::V4, elsewhere()), missing);
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(3, [10, 7, 0, 1], 32, 0)));
        assert_eq!(with(&interfaces, Family::V4, elsewhere()), Ok([10, 7, 0, 1].into()));

        apply(&mut interfaces, &ipv6("fe80::1", none));
        let far = || unicast(None, "2001:db8:9::2");
        let missing = Err(Fault::NoGlobalAddress(Arc::clone(&name)));
        assert_eq!(with(&interfaces, Family::V6, far()), missing);
        apply(&mut interfaces, &ipv6("2001:db8::1", AddressHeaderFlags::Tentative));
        let global: IpAddr = "2001:db8::1".parse().unwrap();
        let waiting = Err(Fault::Tentative(Arc::clone(&name), global));
        assert_eq!(with(&interfaces, Family::V6, far()), waiting);
        apply(&mut interfaces, &ipv6("2001:db8::1", none));
        assert_eq!(with(&interfaces, Family::V6, far()), Ok(global));
        let near = with(&interfaces, Family::V6, unicast(None, "fe80::2"));
        assert_eq!(near, Ok("fe80::1".parse().unwrap()));
    }

    #[test]
    fn an_optimistic_link_local_address_may_be_used_at_once_and_a_virtual_one_only_by_its_owner() {
        let mut interfaces = Interfaces::default();
        let name: Arc<str> = "eth0".into();
        apply(&mut interfaces, &link(2, "eth0", up()));
        let shared =
            VirtualAddress { interface: "eth0".into(), address: "fe80::7".parse().unwrap(), prefix_len: 64 };
        let shared = [shared];
        apply(&mut interfaces, &ipv6("fe80::7", AddressHeaderFlags::empty()));
        let own = interfaces.primary(&name, Family::V6, &shared);
        assert_eq!(own, Ok("fe80::7".parse().unwrap()), "the owner has no other");
        let optimistic = AddressHeaderFlags::Tentative | AddressHeaderFlags::Optimistic;
        apply(&mut interfaces, &ipv6("fe80::1", optimistic));
        assert_eq!(interfaces.primary(&name, Family::V6, &shared), Ok("fe80::1".parse().unwrap()));
    }
}
