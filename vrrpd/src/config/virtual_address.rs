//! The keys `addresses` and `excluded_addresses`: `"192.168.1.10/24"`, or a table with options,
//! `{ address = "10.0.0.10/24", interface = "eth0", label = "eth0:vip" }`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use super::{interface_name, warn_if_missing};
use crate::interfaces::Interfaces;
use crate::objects::{AddressOptions, Scope};
use crate::types::{Family, VirtualAddress};

/// The packet has eight bits for their number.
const MOST: usize = 255;
/// What an IPv6 advertisement holds on Ethernet: (1500 - 40 - 8) / 16. IPv4's 255 need 1056 bytes.
const MOST_V6: usize = 90;
/// IFNAMSIZ without the final zero (linux/if.h).
const LONGEST_LABEL: usize = 15;
const EXAMPLE: &str = "for example \"192.168.1.10/24\"";
const OTHER_KEYS: &[(&str, &str)] = &[
    ("dev", "keepalived's dev is interface = \"eth0\" here"),
    ("brd", "ip-address's brd is broadcast = \"10.0.0.255\" here"),
    ("preferred_lft", "it is preferred = true (or false, the default) here"),
    ("no_track", "the interface of an address is always tracked"),
    ("use_vmac", "it is vmac of the whole router here"),
];

/// Where each address is that one router only can have. A link-local one is another on each interface (RFC 4291, 2.5.6):
/// fe80::1 may be the gateway of every network.
pub(super) type Places = BTreeMap<(IpAddr, Option<Arc<str>>), Location>;

/// What the two keys say.
#[derive(Debug, Default)]
pub(super) struct Addresses {
    /// In the file's order, all of the same family.
    pub(super) advertised: Vec<VirtualAddress>,
    pub(super) excluded: Vec<VirtualAddress>,
    /// Of those that have any.
    pub(super) options: BTreeMap<IpAddr, Arc<AddressOptions>>,
}

/// `seen` has every virtual address of all files so far.
pub(super) fn read(
    reader: &mut Reader<'_>,
    default_interface: Option<&Arc<str>>,
    seen: &mut Places,
    present: Option<&Interfaces>,
) -> Option<Addresses> {
    let advertised = reader.array("addresses");
    let advertised = reader.require("addresses", advertised, "addresses = [\"192.168.1.10/24\"]");
    let excluded = reader.array("excluded_addresses");
    let mut scan = Scan { default_interface, seen, present, options: BTreeMap::new() };
    let list = advertised.as_ref().map(|array| scan.all(array.value, reader.report()));
    let others = excluded.map(|array| scan.all(array.value, reader.report())).unwrap_or_default();
    let (array, list) = (advertised?, list?);
    check_advertised(&array, &list, reader.report());
    let plain = |list: Vec<Located<VirtualAddress>>| list.into_iter().map(|located| located.value).collect();
    Some(Addresses { advertised: plain(list), excluded: plain(others), options: scan.options })
}

/// What an advertisement can say.
fn check_advertised(array: &Located<&[Value]>, list: &[Located<VirtualAddress>], report: &mut Report) {
    if array.value.is_empty() {
        report.error(&array.at, "a virtual router needs at least one address");
    }
    let Some(first) = list.first() else { return };
    let family = Family::of(first.value.address);
    for other in list.iter().filter(|other| Family::of(other.value.address) != family) {
        let message = format!("{} is not {family} as the first address is", other.value.address);
        let hint =
            "the families are two virtual routers, each with a file; or put it into excluded_addresses";
        report.error(&other.at, message).hint(hint);
    }
    let (most, why) = match family {
        Family::V4 => (MOST, "an advertisement counts them in eight bits"),
        Family::V6 => (MOST_V6, "more do not fit an advertisement of 1500 bytes"),
    };
    if array.value.len() > most {
        let message =
            format!("a virtual router has at most {most} {family} addresses, not {}", array.value.len());
        report.error(&array.at, message).hint(format!("{why}; put the others into excluded_addresses"));
    }
}

/// What is needed to read any of the addresses.
struct Scan<'a> {
    default_interface: Option<&'a Arc<str>>,
    seen: &'a mut Places,
    present: Option<&'a Interfaces>,
    options: BTreeMap<IpAddr, Arc<AddressOptions>>,
}

impl Scan<'_> {
    fn all(&mut self, values: &[Value], report: &mut Report) -> Vec<Located<VirtualAddress>> {
        values.iter().filter_map(|value| self.one(value, report)).collect()
    }

    fn one(&mut self, value: &Value, report: &mut Report) -> Option<Located<VirtualAddress>> {
        let Parsed { address, prefix_len, at, interface, options } = match &value.kind {
            Kind::String(text) => {
                let text = Located { value: text.clone(), at: value.at.clone() };
                let (address, prefix_len) = cidr(&text, report)?;
                Parsed {
                    address,
                    prefix_len,
                    at: text.at,
                    interface: None,
                    options: AddressOptions::default(),
                }
            }
            Kind::Table(table) => self.table(table, report)?,
            Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) | Kind::Datetime(_) | Kind::Array(_) => {
                let found = value.kind.describe();
                let message = format!("an address must be a string or a table, not {found}");
                report.error(&value.at, message).hint("\"192.168.1.10/24\"");
                return None;
            }
        };
        let interface = interface.or_else(|| self.default_interface.cloned());
        let place = (address, interface.clone().filter(|_| is_link_local(address)));
        if let Some(first) = self.seen.get(&place) {
            let message = format!("the address {address} is used twice");
            report.error(&at, message).hint(format!("the other is at {first}"));
            return None;
        }
        self.seen.insert(place, at.clone());
        let interface = interface?;
        if options != AddressOptions::default() {
            self.options.insert(address, Arc::new(options));
        }
        Some(Located { value: VirtualAddress { interface, address, prefix_len }, at })
    }

    fn table(&self, table: &Table, report: &mut Report) -> Option<Parsed> {
        let mut reader = Reader::new(table, report);
        let text = reader.string("address");
        let text = reader.require("address", text, "{ address = \"10.0.0.10/24\", interface = \"eth0\" }");
        let interface = reader.parse("interface", interface_name);
        let keys = OptionKeys::read(&mut reader);
        reader.finish(OTHER_KEYS);
        if let Some(interface) = &interface {
            warn_if_missing(interface, self.present, report);
        }
        let text = text?;
        let (address, prefix_len) = cidr(&text, report)?;
        let interface = interface.map(|interface| interface.value);
        let on = interface.as_ref().or(self.default_interface);
        let options = keys.validate(address, on, report);
        Some(Parsed { address, prefix_len, at: text.at, interface, options })
    }
}

struct Parsed {
    address: IpAddr,
    prefix_len: u8,
    at: Location,
    interface: Option<Arc<str>>,
    options: AddressOptions,
}

/// The keys of an address's table that are options.
struct OptionKeys {
    label: Option<Located<String>>,
    scope: Option<Located<Scope>>,
    noprefixroute: Option<Located<bool>>,
    broadcast: Option<Located<Ipv4Addr>>,
    preferred: Option<Located<bool>>,
}

impl OptionKeys {
    fn read(reader: &mut Reader<'_>) -> Self {
        let address =
            |text: &str| text.parse().map_err(|_| format!("not the IPv4 address of a broadcast: \"{text}\""));
        Self {
            label: reader.string("label"),
            scope: reader.choice("scope", &Scope::WORDS, &[("universe", "global")]),
            noprefixroute: reader.boolean("noprefixroute"),
            broadcast: reader.parse("broadcast", address),
            preferred: reader.boolean("preferred"),
        }
    }

    fn validate(self, address: IpAddr, interface: Option<&Arc<str>>, report: &mut Report) -> AddressOptions {
        let (label, scope, broadcast) = (&self.label, &self.scope, &self.broadcast);
        let v4_only = [
            ("label", label.as_ref().map(|key| &key.at)),
            ("scope", scope.as_ref().map(|key| &key.at)),
            ("broadcast", broadcast.as_ref().map(|key| &key.at)),
        ];
        let v6_only = [("preferred", self.preferred.as_ref().map(|key| &key.at))];
        let wrong = if address.is_ipv4() { v6_only.as_slice() } else { v4_only.as_slice() };
        let other = if address.is_ipv4() { Family::V6 } else { Family::V4 };
        for (key, at) in wrong {
            if let Some(at) = at {
                report.error(at, format!("'{key}' is for {other} addresses only"));
            }
        }
        if let (Some(label), Some(interface)) = (&self.label, interface) {
            check_label(label, interface, report);
        }
        AddressOptions {
            label: self.label.map(|label| Arc::from(label.value)),
            scope: self.scope.map_or(Scope::default(), |scope| scope.value),
            noprefixroute: self.noprefixroute.is_some_and(|flag| flag.value),
            metric: None,
            broadcast: self.broadcast.map(|address| address.value),
            preferred: self.preferred.is_some_and(|flag| flag.value),
        }
    }
}

/// The kernel takes what fits; ifconfig, and ip-address, want it to begin with the interface's name.
fn check_label(label: &Located<String>, interface: &str, report: &mut Report) {
    let text = &label.value;
    let rest = text.strip_prefix(interface);
    let message = if text.len() > LONGEST_LABEL {
        format!("the label '{text}' has {} bytes, more than {LONGEST_LABEL}", text.len())
    } else if rest.is_none_or(|rest| !rest.is_empty() && !rest.starts_with(':')) {
        format!("the label '{text}' must be {interface}, or begin with {interface}:")
    } else if text.contains(|c: char| c.is_whitespace() || c == '/' || c.is_control()) {
        format!("the label '{text}' has a character that is not for names")
    } else {
        return;
    };
    report.error(&label.at, message).hint(format!("for example \"{interface}:vip\""));
}

/// An address with or without `/len`; without it is /32 or /128, as keepalived has it.
fn cidr(text: &Located<String>, report: &mut Report) -> Option<(IpAddr, u8)> {
    let (address, length) = text
        .value
        .split_once('/')
        .map_or((text.value.as_str(), None), |(address, length)| (address, Some(length)));
    let Ok(address) = address.parse::<IpAddr>() else {
        report.error(&text.at, format!("'{address}' is not an IP address")).hint(EXAMPLE);
        return None;
    };
    let longest = if address.is_ipv4() { 32 } else { 128 };
    // Digits only: the parser would take "+24".
    let digits = |length: &str| length.bytes().all(|byte| byte.is_ascii_digit());
    let parsed = length.map_or(Some(longest), |length| {
        length.parse::<u8>().ok().filter(|parsed| digits(length) && *parsed <= longest)
    });
    let Some(prefix_len) = parsed else {
        let (length, family) = (length.unwrap_or_default(), Family::of(address));
        let message = format!("'{length}' is not the length of an {family} prefix: 0 to {longest}");
        report.error(&text.at, message).hint(EXAMPLE);
        return None;
    };
    let Some(what) = why_no_host(address) else { return Some((address, prefix_len)) };
    report.error(&text.at, format!("{address} is {what}"));
    None
}

/// IPv6 only: the kernel knows an IPv4 address without its interface.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

/// What makes an address one that no host can have.
fn why_no_host(address: IpAddr) -> Option<&'static str> {
    let mapped = matches!(address, IpAddr::V6(address) if address.to_ipv4_mapped().is_some());
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_multicast() {
        Some("a multicast address")
    } else if address.is_unspecified() || broadcast {
        Some("not the address of a host")
    } else if address.is_loopback() {
        Some("a loopback address, which no other machine can reach")
    } else if mapped {
        Some("an IPv4 address in IPv6's clothes: write it as IPv4")
    } else {
        None
    }
}
