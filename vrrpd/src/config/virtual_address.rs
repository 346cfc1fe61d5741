//! The key `addresses`: `"192.168.1.10/24"`, or `{ address = "10.0.0.10/24", interface = "eth0" }`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use super::{interface_name, warn_if_missing};
use crate::interfaces::Interfaces;
use crate::types::VirtualAddress;

/// The packet has eight bits for their number.
const MOST: usize = 255;

/// All of them, in the file's order. `seen` has every virtual address of all files so far.
pub(super) fn read_all(
    reader: &mut Reader<'_>,
    default_interface: Option<&Arc<str>>,
    seen: &mut BTreeMap<IpAddr, Location>,
    present: Option<&Interfaces>,
) -> Option<Vec<VirtualAddress>> {
    let array = reader.array("addresses");
    let array = reader.require("addresses", array, "addresses = [\"192.168.1.10/24\"]")?;
    let report = reader.report();
    if array.value.is_empty() {
        report.error(&array.at, "a virtual router needs at least one address");
    }
    if array.value.len() > MOST {
        report.error(&array.at, format!("a virtual router has at most {MOST} addresses"));
    }
    let mut addresses = Vec::with_capacity(array.value.len());
    for value in array.value {
        let Some(Parsed { address, prefix_len, at, interface }) = read_one(value, present, report) else {
            continue;
        };
        if let Some(first) = seen.get(&address) {
            let message = format!("the address {address} is used twice");
            report.error(&at, message).hint(format!("the other is at {first}"));
            continue;
        }
        seen.insert(address, at);
        if let Some(interface) = interface.or_else(|| default_interface.cloned()) {
            addresses.push(VirtualAddress { interface, address, prefix_len });
        }
    }
    Some(addresses)
}

struct Parsed {
    address: IpAddr,
    prefix_len: u8,
    at: Location,
    interface: Option<Arc<str>>,
}

fn read_one(value: &Value, present: Option<&Interfaces>, report: &mut Report) -> Option<Parsed> {
    match &value.kind {
        Kind::String(text) => {
            let text = Located { value: text.clone(), at: value.at.clone() };
            let (address, prefix_len) = cidr(&text, report)?;
            Some(Parsed { address, prefix_len, at: text.at, interface: None })
        }
        Kind::Table(table) => read_table(table, present, report),
        Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) | Kind::Datetime(_) | Kind::Array(_) => {
            let message = format!("an address must be a string or a table, not {}", value.kind.describe());
            report.error(&value.at, message).hint("\"192.168.1.10/24\"");
            None
        }
    }
}

fn read_table(table: &Table, present: Option<&Interfaces>, report: &mut Report) -> Option<Parsed> {
    let mut reader = Reader::new(table, report);
    let text = reader.string("address");
    let text = reader.require("address", text, "{ address = \"10.0.0.10/24\", interface = \"eth0\" }");
    let interface = reader.parse("interface", interface_name);
    reader.finish(&[("dev", "keepalived's dev is interface = \"eth0\" here")]);
    if let Some(interface) = &interface {
        warn_if_missing(interface, present, report);
    }
    let text = text?;
    let (address, prefix_len) = cidr(&text, report)?;
    Some(Parsed { address, prefix_len, at: text.at, interface: interface.map(|interface| interface.value) })
}

/// `a.b.c.d/len`; without `/len` it is /32, as keepalived has it.
fn cidr(text: &Located<String>, report: &mut Report) -> Option<(IpAddr, u8)> {
    let (address, length) = text.value.split_once('/').unwrap_or((&text.value, "32"));
    let example = "for example \"192.168.1.10/24\"";
    let Ok(address) = address.parse::<Ipv4Addr>() else {
        let is_ipv6 = address.parse::<std::net::Ipv6Addr>().is_ok();
        let hint = if is_ipv6 { "IPv6 is not available yet" } else { example };
        report.error(&text.at, format!("'{address}' is not an IPv4 address")).hint(hint);
        return None;
    };
    // Digits only: the parser would take "+24".
    let digits = length.bytes().all(|byte| byte.is_ascii_digit());
    let Some(length) = length.parse::<u8>().ok().filter(|length| digits && *length <= 32) else {
        let message = format!("'{length}' is not the length of an IPv4 prefix: 0 to 32");
        report.error(&text.at, message).hint(example);
        return None;
    };
    let what = if address.is_multicast() {
        "a multicast address"
    } else if address.is_unspecified() || address.is_broadcast() {
        "not the address of a host"
    } else if address.is_loopback() {
        "a loopback address, which no other machine can reach"
    } else {
        return Some((IpAddr::V4(address), length));
    };
    report.error(&text.at, format!("{address} is {what}"));
    None
}
