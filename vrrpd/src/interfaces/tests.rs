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

/// Apply a message: what it changed.
pub(crate) fn apply(interfaces: &mut Interfaces, message: &RouteNetlinkMessage) -> Changes {
    let mut changes = Changes::default();
    interfaces.apply(message, &mut changes);
    changes
}

fn with_eth0() -> Interfaces {
    let mut interfaces = Interfaces::default();
    apply(&mut interfaces, &link(2, "eth0", up()));
    interfaces
}

fn assign(interfaces: &mut Interfaces, last: u8, tag: u8) -> Changes {
    apply(interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, last], 24, tag)))
}

pub(crate) fn virtual_address(last: u8) -> VirtualAddress {
    VirtualAddress { interface: "eth0".into(), address: [10, 0, 0, last].into(), prefix_len: 24 }
}

#[test]
fn a_port_that_leaves_its_bridge_is_still_there() {
    let mut interfaces = with_eth0();
    let RouteNetlinkMessage::NewLink(mut port) = link(2, "eth0", up()) else { unreachable!() };
    port.header.interface_family = AddressFamily::Bridge;
    assert!(apply(&mut interfaces, &RouteNetlinkMessage::DelLink(port)).is_empty());
    assert!(interfaces.by_name("eth0").is_some());
}

#[test]
fn a_link_that_is_renamed_is_found_by_its_new_name_with_its_addresses() {
    let mut interfaces = with_eth0();
    assign(&mut interfaces, 1, 0);
    let changes = apply(&mut interfaces, &link(2, "lan0", up()));
    assert_eq!(changes.links, ["eth0".into(), "lan0".into()].into());
    assert!(interfaces.by_name("eth0").is_none());
    assert_eq!(interfaces.by_name("lan0").map(|lan| lan.own().count()), Some(1));
}

#[test]
fn addresses_come_go_and_are_found_with_their_tag() {
    let mut interfaces = with_eth0();
    let changes = assign(&mut interfaces, 50, OUR_TAG);
    assert_eq!(changes.addresses, [virtual_address(50)].into());
    assert!(!changes.usable, "an address of ours changes nothing for any router");
    assert!(assign(&mut interfaces, 50, OUR_TAG).is_empty(), "the same again");
    assert_eq!(interfaces.tagged().collect::<Vec<_>>(), [virtual_address(50)]);
    assert_eq!(interfaces.find(&virtual_address(50)).map(|found| found.tag), Some(OUR_TAG));
    // A link event does not make us forget addresses.
    apply(&mut interfaces, &link(2, "eth0", LinkFlags::Up));
    assert!(interfaces.find(&virtual_address(50)).is_some());
    let gone = RouteNetlinkMessage::DelAddress(address(2, [10, 0, 0, 50], 24, OUR_TAG));
    let changes = apply(&mut interfaces, &gone);
    assert_eq!(changes.addresses, [virtual_address(50)].into());
    assert!(changes.routes_doubtful, "routes go with their addresses");
    assert_eq!(interfaces.find(&virtual_address(50)), None);
}

#[test]
fn events_from_before_a_dump_that_already_has_their_renaming_lose_no_name() {
    let mut interfaces = Interfaces::default();
    // The dump: what was eth0 is lan0, and another has taken its name.
    apply(&mut interfaces, &link(2, "lan0", up()));
    apply(&mut interfaces, &link(3, "eth0", up()));
    // The events that waited say so again, from the beginning.
    apply(&mut interfaces, &link(2, "eth0", up()));
    apply(&mut interfaces, &link(2, "lan0", up()));
    apply(&mut interfaces, &link(3, "eth0", up()));
    let index = |name: &str| interfaces.by_name(name).map(|link| link.index);
    assert_eq!((index("lan0"), index("eth0")), (Some(2), Some(3)));
}
