//! Objects as rtnetlink messages, and rtnetlink messages as objects. Everything of ours carries our number: addresses in
//! IFA_PROTO, routes in rtm_protocol, rules in FRA_PROTOCOL.

#![expect(clippy::wildcard_enum_match_arm, reason = "the kernel's kinds and attributes, not ours")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use netlink_packet_route::AddressFamily;
use netlink_packet_route::address::{
    AddressAttribute, AddressFlags, AddressMessage, AddressProtocol, AddressScope, CacheInfo,
};
use netlink_packet_route::route::{
    RouteAddress, RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteMetric, RouteProtocol,
    RouteScope, RouteType,
};
use netlink_packet_route::rule::{RuleAction as Act, RuleAttribute, RuleMessage};

use super::{AddressOptions, DEFAULT_METRIC_V6, Route, RouteKey, RouteKind, Rule, RuleAction, Scope};
use crate::interfaces::{Assigned, OUR_TAG};
use crate::types::{Family, VirtualAddress};

/// The number of routes and rules that are ours; keepalived's is 18 (linux/rtnetlink.h: RTPROT_KEEPALIVED).
pub const OUR_PROTOCOL: u8 = OUR_TAG;
/// INFINITY_LIFE_TIME (linux/ipv6.h).
const FOREVER: u32 = u32::MAX;
/// `~0`: no rule suppresses that.
const SUPPRESS_NOTHING: u32 = u32::MAX;

pub fn family(family: Family) -> AddressFamily {
    match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    }
}

/// As `ip address add ADDRESS/LEN dev …` has it, without a broadcast address unless one is given.
pub fn address(address: &VirtualAddress, index: u32, options: &AddressOptions) -> AddressMessage {
    let mut message = bare_address(address, index);
    message.header.scope = AddressScope::from(options.scope.number());
    let mut flags = AddressFlags::empty();
    if options.noprefixroute {
        flags |= AddressFlags::Noprefixroute;
    }
    if address.address.is_ipv6() {
        // Whether anybody else has it is VRRP's question, and waiting for an answer would be an outage (RFC 9568, 8.2.4
        // wants a Backup's address to be silent, so that there is nobody to answer).
        flags |= AddressFlags::Nodad;
    }
    if !flags.is_empty() {
        message.attributes.push(AddressAttribute::Flags(flags));
    }
    if let Some(label) = &options.label {
        message.attributes.push(AddressAttribute::Label(label.to_string()));
    }
    if let Some(metric) = options.metric {
        message.attributes.push(AddressAttribute::RoutePriority(metric));
    }
    if let Some(broadcast) = options.broadcast {
        message.attributes.push(AddressAttribute::Broadcast(broadcast));
    }
    if address.address.is_ipv6() && !options.preferred {
        let mut lifetimes = CacheInfo::default();
        (lifetimes.ifa_preferred, lifetimes.ifa_valid) = (0, FOREVER);
        message.attributes.push(AddressAttribute::CacheInfo(lifetimes));
    }
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::from(OUR_TAG)));
    message
}

/// What is needed to remove it.
pub fn bare_address(address: &VirtualAddress, index: u32) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family(Family::of(address.address));
    message.header.index = index;
    message.header.prefix_len = address.prefix_len;
    message.attributes.push(AddressAttribute::Local(address.address));
    message.attributes.push(AddressAttribute::Address(address.address));
    message
}

/// Whether an address of ours that is there is as these options have it.
pub fn fits(assigned: &Assigned, options: &AddressOptions, interface: &str) -> bool {
    let v6 = assigned.address.is_ipv6();
    let flag = |flag| assigned.flags.contains(flag);
    // The interface's name is every address's label.
    let label = options.label.as_deref().filter(|label| *label != interface);
    flag(AddressFlags::Noprefixroute) == options.noprefixroute
        && assigned.label.as_deref() == label
        && assigned.broadcast == options.broadcast
        && (v6 || u8::from(assigned.scope) == options.scope.number())
        && (!v6 || flag(AddressFlags::Deprecated) != options.preferred)
}

/// `index`: of its interface, if it names one.
pub fn route(route: &Route, index: Option<u32>) -> RouteMessage {
    let mut message = route_key(&route.key);
    message.header.kind = match route.kind {
        RouteKind::Unicast => RouteType::Unicast,
        RouteKind::Blackhole => RouteType::BlackHole,
        RouteKind::Unreachable => RouteType::Unreachable,
        RouteKind::Prohibit => RouteType::Prohibit,
    };
    message.header.scope = RouteScope::from(scope(route).number());
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    let attributes = &mut message.attributes;
    attributes.extend(route.via.map(|address| RouteAttribute::Gateway(address.into())));
    attributes.extend(index.map(RouteAttribute::Oif));
    attributes.extend(route.source.map(|address| RouteAttribute::PrefSource(address.into())));
    attributes.extend(route.mtu.map(|mtu| RouteAttribute::Metrics(vec![RouteMetric::Mtu(mtu)])));
    message
}

/// As ip-route(8) has it: a destination without a next hop is on the link. IPv6 knows no scopes of routes.
fn scope(route: &Route) -> Scope {
    let on_link = route.via.is_none() && route.kind == RouteKind::Unicast;
    match (route.key.family, route.scope) {
        (Family::V6, _) => Scope::Global,
        (Family::V4, Some(scope)) => scope,
        (Family::V4, None) if on_link => Scope::Link,
        (Family::V4, None) => Scope::Global,
    }
}

/// Removes it, if it is ours. `index` as for [`route`].
pub fn removed_route(route: &Route, index: Option<u32>) -> RouteMessage {
    let mut message = self::route(route, index);
    // Any scope (iproute2 does the same).
    if route.key.family == Family::V4 {
        message.header.scope = RouteScope::NoWhere;
    }
    message.attributes.retain(|attribute| !matches!(attribute, RouteAttribute::Metrics(_)));
    message.header.flags = RouteFlags::empty();
    message
}

fn route_key(key: &RouteKey) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header.address_family = family(key.family);
    message.header.destination_prefix_length = key.prefix_len;
    message.header.protocol = RouteProtocol::from(OUR_PROTOCOL);
    message.header.table = u8::try_from(key.table).unwrap_or(RouteHeader::RT_TABLE_UNSPEC);
    message.attributes.push(RouteAttribute::Table(key.table));
    if key.prefix_len > 0 {
        message.attributes.push(RouteAttribute::Destination(key.destination.into()));
    }
    if key.metric > 0 {
        message.attributes.push(RouteAttribute::Priority(key.metric));
    }
    message
}

/// A route with our number; `None`: it has another, or is nothing that we would make. `name`: of an interface's index.
pub fn parse_route(message: &RouteMessage, name: impl Fn(u32) -> Option<Arc<str>>) -> Option<Route> {
    let header = &message.header;
    if u8::from(header.protocol) != OUR_PROTOCOL || header.flags.contains(RouteFlags::Cloned) {
        return None;
    }
    let (family, nothing) = match header.address_family {
        AddressFamily::Inet => (Family::V4, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        AddressFamily::Inet6 => (Family::V6, IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
        _ => return None,
    };
    let key = RouteKey {
        family,
        table: u32::from(header.table),
        destination: nothing,
        prefix_len: header.destination_prefix_length,
        metric: 0,
    };
    let kind = match header.kind {
        RouteType::BlackHole => RouteKind::Blackhole,
        RouteType::Unreachable => RouteKind::Unreachable,
        RouteType::Prohibit => RouteKind::Prohibit,
        _ => RouteKind::Unicast,
    };
    let onlink = header.flags.contains(RouteFlags::Onlink);
    let mut route =
        Route { key, kind, via: None, interface: None, source: None, scope: None, mtu: None, onlink };
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Table(table) => route.key.table = *table,
            RouteAttribute::Priority(metric) => route.key.metric = *metric,
            RouteAttribute::Destination(address) => route.key.destination = ip(address)?,
            RouteAttribute::Gateway(address) => route.via = ip(address),
            RouteAttribute::PrefSource(address) => route.source = ip(address),
            RouteAttribute::Oif(index) => route.interface = name(*index),
            RouteAttribute::Metrics(metrics) => {
                route.mtu = metrics.iter().find_map(|metric| match metric {
                    RouteMetric::Mtu(mtu) => Some(*mtu),
                    _ => None,
                });
            }
            _ => {}
        }
    }
    if family == Family::V6 && route.key.metric == 0 {
        route.key.metric = DEFAULT_METRIC_V6;
    }
    // What is dropped has no interface; IPv6 shows lo.
    if route.kind != RouteKind::Unicast {
        route.interface = None;
    }
    Some(route)
}

/// Whether a route of ours that is there is as wanted. The kernel fills in the interface of a next hop.
pub fn route_fits(there: &Route, wanted: &Route) -> bool {
    let interface = wanted.interface.is_none() || there.interface == wanted.interface;
    let rest = |route: &Route| (route.kind, route.via, route.source, route.mtu, route.onlink);
    interface && rest(there) == rest(wanted)
}

fn ip(address: &RouteAddress) -> Option<IpAddr> {
    match address {
        RouteAddress::Inet(address) => Some(IpAddr::V4(*address)),
        RouteAddress::Inet6(address) => Some(IpAddr::V6(*address)),
        _ => None,
    }
}

pub fn rule(rule: &Rule) -> RuleMessage {
    let mut message = RuleMessage::default();
    message.header.family = family(rule.family);
    let (action, table) = match rule.action {
        RuleAction::Table(table) => (Act::ToTable, Some(table)),
        RuleAction::Blackhole => (Act::Blackhole, None),
        RuleAction::Unreachable => (Act::Unreachable, None),
        RuleAction::Prohibit => (Act::Prohibit, None),
    };
    message.header.action = action;
    message.header.table = table.and_then(|table| u8::try_from(table).ok()).unwrap_or(0);
    let attributes = &mut message.attributes;
    attributes.extend(table.map(RuleAttribute::Table));
    attributes.push(RuleAttribute::Priority(rule.priority));
    if let Some((address, len)) = rule.from {
        message.header.src_len = len;
        attributes.push(RuleAttribute::Source(address));
    }
    if let Some((address, len)) = rule.to {
        message.header.dst_len = len;
        attributes.push(RuleAttribute::Destination(address));
    }
    if let Some((mark, mask)) = rule.fwmark {
        attributes.extend([RuleAttribute::FwMark(mark), RuleAttribute::FwMask(mask)]);
    }
    attributes.extend(rule.iif.as_ref().map(|name| RuleAttribute::Iifname(name.to_string())));
    attributes.extend(rule.oif.as_ref().map(|name| RuleAttribute::Oifname(name.to_string())));
    attributes.push(RuleAttribute::Protocol(RouteProtocol::from(OUR_PROTOCOL)));
    message
}

/// A rule, and whether it has our number; `None`: it is nothing that we would make.
pub fn parse_rule(message: &RuleMessage) -> Option<(Rule, bool)> {
    let header = &message.header;
    let family = match header.family {
        AddressFamily::Inet => Family::V4,
        AddressFamily::Inet6 => Family::V6,
        _ => return None,
    };
    if header.flags.bits() & !DETACHED != 0 || header.tos != 0 {
        return None;
    }
    let mut table = u32::from(header.table);
    let (mut mark, mut mask, mut ours) = (None, None, false);
    let action = RuleAction::Table(table);
    let mut rule =
        Rule { family, priority: 0, from: None, to: None, iif: None, oif: None, fwmark: None, action };
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Priority(number) => rule.priority = *number,
            RuleAttribute::Source(address) => rule.from = Some((*address, header.src_len)),
            RuleAttribute::Destination(address) => rule.to = Some((*address, header.dst_len)),
            RuleAttribute::FwMark(value) => mark = Some(*value),
            RuleAttribute::FwMask(value) => mask = Some(*value),
            RuleAttribute::Iifname(name) => rule.iif = Some(Arc::from(name.as_str())),
            RuleAttribute::Oifname(name) => rule.oif = Some(Arc::from(name.as_str())),
            RuleAttribute::Protocol(protocol) => ours = u8::from(*protocol) == OUR_PROTOCOL,
            RuleAttribute::SuppressPrefixLen(SUPPRESS_NOTHING) => {}
            _ => return None,
        }
    }
    rule.fwmark = mark.or(mask.map(|_| 0)).map(|mark| (mark, mask.unwrap_or(u32::MAX)));
    rule.action = match header.action {
        Act::ToTable => RuleAction::Table(table),
        Act::Blackhole => RuleAction::Blackhole,
        Act::Unreachable => RuleAction::Unreachable,
        Act::Prohibit => RuleAction::Prohibit,
        _ => return None,
    };
    Some((rule, ours))
}

/// FIB_RULE_DEV_DETACHED | FIB_RULE_OIF_DETACHED (linux/fib_rules.h): its interface is not there now.
const DETACHED: u32 = 0x8 | 0x10;
