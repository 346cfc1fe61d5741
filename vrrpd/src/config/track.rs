//! The key `track`: `[{ interface = "eth1", weight = -20 }, { unit = "nginx.service" }, { check = "web", target =
//! "10.0.0.1:80" }, { service = "web" }]`.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use daemon::checks::{self, Needs};
use daemon::diagnostic::{Location, Report, nearest};
use daemon::document::{Kind, Table, Value};
use daemon::dropin;
use daemon::reader::{Located, Reader};
use daemon::systemd::unit_name;

use super::{interface_name, warn_if_missing};
use crate::interfaces::Interfaces;
use crate::track::{Target, Tracker, What};
use crate::types::Priority;

/// keepalived's range.
const WEIGHTS: std::ops::RangeInclusive<i64> = -253..=253;
const KINDS: [&str; 4] = ["interface", "unit", "check", "service"];
const OTHER_KEYS: &[(&str, &str)] = &[
    ("dev", "write interface = \"eth1\""),
    ("script", SCRIPT),
    ("exec", SCRIPT),
    ("file", SCRIPT),
    ("process", "write unit = \"nginx.service\": systemd knows whether it runs"),
    ("address", "of a check it is target = \"10.0.0.1:80\""),
    ("server", "of a check it is target = \"10.0.0.1:80\""),
    ("virtual_server", "write service = \"NAME\" for /etc/trivet/ipvs.d/NAME.toml"),
    ("priority", "write weight = -20"),
];
const SCRIPT: &str = "write check = \"NAME\", target = \"127.0.0.1:80\" for /etc/trivet/check.d/NAME.toml: checks belong to checkd";

/// The objects of the other daemons, which may be named here. Read when the first file asks.
#[derive(Debug)]
pub(super) struct References<'a> {
    root: &'a Path,
    checks: OnceCell<BTreeMap<String, Needs>>,
    services: OnceCell<Vec<String>>,
}

impl<'a> References<'a> {
    pub(super) fn new(root: &'a Path) -> Self {
        Self { root, checks: OnceCell::new(), services: OnceCell::new() }
    }

    fn checks(&self) -> &BTreeMap<String, Needs> {
        self.checks.get_or_init(|| checks::needs(self.root))
    }

    fn services(&self) -> &[String] {
        self.services.get_or_init(|| dropin::names(self.root, "ipvs.d"))
    }
}

/// What the elements are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Context<'a> {
    pub(super) references: &'a References<'a>,
    pub(super) priority: Priority,
    /// The machine's interfaces, when the configuration is only checked.
    pub(super) present: Option<&'a Interfaces>,
    /// Those of the router and of its addresses.
    pub(super) own: &'a [Arc<str>],
}

/// All of them, in the file's order; without those that have a mistake, which has been reported.
pub(super) fn read_all(reader: &mut Reader<'_>, context: Context<'_>) -> Vec<Tracker> {
    let Some(array) = reader.array("track") else { return Vec::new() };
    let report = reader.report();
    let mut trackers: Vec<(Tracker, Location)> = Vec::with_capacity(array.value.len());
    for value in array.value {
        let Some(table) = table(value, report) else { continue };
        let Some(tracker) = read_one(table, context, report) else { continue };
        if let Some((_, first)) = trackers.iter().find(|(other, _)| other.what == tracker.what) {
            let hint = format!("the other is at {first}");
            report.error(&value.at, format!("{} is tracked twice", tracker.what)).hint(hint);
            continue;
        }
        trackers.push((tracker, value.at.clone()));
    }
    trackers.into_iter().map(|(tracker, _)| tracker).collect()
}

fn table<'a>(value: &'a Value, report: &mut Report) -> Option<&'a Table> {
    if let Kind::Table(table) = &value.kind {
        return Some(table);
    }
    let message = format!("what is tracked must be a table, not {}", value.kind.describe());
    report.error(&value.at, message).hint("{ unit = \"nginx.service\" }");
    None
}

fn read_one(table: &Table, context: Context<'_>, report: &mut Report) -> Option<Tracker> {
    let mut reader = Reader::new(table, report);
    let interface = reader.parse("interface", interface_name);
    let unit = reader.parse("unit", unit_name);
    let check = reader.string("check");
    let target = reader.parse("target", target);
    let service = reader.string("service");
    let weight = weight(&mut reader, context.priority);
    let reverse = reader.boolean("reverse").is_some_and(|flag| flag.value);
    let report = reader.report();
    let given: Vec<&str> = KINDS.into_iter().filter(|key| table.entries.contains_key(*key)).collect();
    let what = if given.len() == 1 {
        let interface = interface.and_then(|name| other_interface(name, context, report));
        let unit = unit.map(|name| What::Unit(name.value.into()));
        let check = check.and_then(|name| known_check(&name, target.as_ref(), table, context, report));
        let service = service.and_then(|name| known_service(name, context, report));
        interface.or(unit).or(check).or(service)
    } else {
        let message = match given.as_slice() {
            [] => "nothing is tracked here".to_owned(),
            several => format!("one thing is tracked at a time, not {}", several.join(" and ")),
        };
        report.error(&table.at, message).hint("give one of interface, unit, check (with target), service");
        None
    };
    if let Some(target) = &target
        && !given.contains(&"check")
    {
        reader.report().error(&target.at, "'target' belongs to a check").hint("write check = \"tcp\"");
    }
    reader.finish(OTHER_KEYS);
    Some(Tracker { what: what?, weight, reverse })
}

fn weight(reader: &mut Reader<'_>, priority: Priority) -> Option<i16> {
    let weight = reader.integer::<i16>("weight", WEIGHTS)?;
    let report = reader.report();
    if weight.value == 0 {
        let hint =
            "leave it out: then the router is in Fault while what it tracks is down (keepalived's weight 0)";
        report.error(&weight.at, "a 'weight' of 0 would change nothing").hint(hint);
    }
    if priority == Priority::OWNER {
        let message = "the priority of a router that owns its addresses is 255, whatever is tracked: it cannot have a 'weight'";
        let hint =
            "leave 'weight' out (the router is in Fault while it is down), or give it a priority below 255";
        report.error(&weight.at, message).hint(hint);
    }
    Some(weight.value)
}

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Err("empty; leave it out for a check of this machine".to_owned());
    }
    text.parse().map_err(|_| {
        format!("not an address such as \"10.0.0.1:80\", \"[2001:db8::1]:80\" or \"10.0.0.1\": \"{text}\"")
    })
}

/// Those of the router itself need not be named.
fn other_interface(name: Located<Arc<str>>, context: Context<'_>, report: &mut Report) -> Option<What> {
    if context.own.contains(&name.value) {
        let message =
            format!("interface {} is tracked always: the router or an address of it is there", name.value);
        report.warning(&name.at, message).hint("without it the router is in Fault, whatever stands here");
    }
    warn_if_missing(&name, context.present, report);
    Some(What::Interface(name.value))
}

fn known_check(
    name: &Located<String>,
    target: Option<&Located<Target>>,
    table: &Table,
    context: Context<'_>,
    report: &mut Report,
) -> Option<What> {
    let checks = context.references.checks();
    let Some(needs) = checks.get(&name.value) else {
        let hint = did_you_mean(&name.value, checks.keys().map(String::as_str), "check.d");
        report.error(&name.at, format!("there is no check '{}'", name.value)).hint(hint);
        return None;
    };
    let Some(target) = target else {
        // A wrong one has been reported.
        if (needs.address || needs.port) && !table.entries.contains_key("target") {
            let message = "'target' is missing: this check is run against an address";
            let example = if needs.port { "10.0.0.1:80" } else { "10.0.0.1" };
            let hint = format!("for example: {{ check = \"{}\", target = \"{example}\" }}", name.value);
            report.error(&table.at, message).hint(hint);
        }
        return Some(What::Check(name.value.as_str().into(), Target::MACHINE));
    };
    if needs.port && !target.value.has_port() {
        let message = format!("'target' is an address without a port, and check '{}' needs one", name.value);
        report.error(&target.at, message).hint(format!("for example: \"{}\"", target.value.with_port(80)));
    }
    Some(What::Check(name.value.as_str().into(), target.value))
}

fn known_service(name: Located<String>, context: Context<'_>, report: &mut Report) -> Option<What> {
    let services = context.references.services();
    if services.contains(&name.value) {
        return Some(What::Service(name.value.into()));
    }
    let hint = did_you_mean(&name.value, services.iter().map(String::as_str), "ipvs.d");
    report.error(&name.at, format!("there is no virtual service '{}'", name.value)).hint(hint);
    None
}

fn did_you_mean<'a>(typed: &str, known: impl Iterator<Item = &'a str> + Clone, folder: &str) -> String {
    match nearest(typed, known) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!("it would be the file /etc/trivet/{folder}/{typed}.toml"),
    }
}

#[cfg(test)]
mod tests;
