//! Who gets the next connection, and how long a client keeps its server.

use std::time::Duration;

use daemon::diagnostic::{Location, nearest};
use daemon::document::{Kind, Table};
use daemon::reader::Reader;

use super::daemon_wide::whole_seconds;
use super::fronts::Fronts;
use crate::service::{Persistence, SCHEDULERS};
use crate::table::{FLAG_ONE_PACKET, FLAG_SCHEDULER_1, FLAG_SCHEDULER_2, Family, Protocol};

/// keepalived's default too.
const DEFAULT_SCHEDULER: &str = "wlc";
/// The kernel takes no more (it counts ticks in 32 bits); keepalived has the same limit.
const LONGEST_PERSISTENCE: Duration = Duration::from_secs(31 * 86_400);

/// Scheduler, flag's name, flag.
const SCHEDULER_FLAGS: [(&str, &str, u32); 4] = [
    ("sh", "sh-fallback", FLAG_SCHEDULER_1),
    ("sh", "sh-port", FLAG_SCHEDULER_2),
    ("mh", "mh-fallback", FLAG_SCHEDULER_1),
    ("mh", "mh-port", FLAG_SCHEDULER_2),
];

pub(super) fn read_scheduler(reader: &mut Reader<'_>) -> String {
    let Some(name) = reader.string("scheduler") else { return DEFAULT_SCHEDULER.into() };
    let names = || SCHEDULERS.iter().map(|(name, _)| *name);
    if names().any(|known| known == name.value) {
        return name.value;
    }
    let list = names().collect::<Vec<_>>().join(", ");
    let hint = match nearest(&name.value, names()) {
        Some(near) => format!("did you mean \"{near}\"? The schedulers are {list}"),
        None => format!("the schedulers are {list}"),
    };
    reader.report().error(&name.at, format!("there is no scheduler '{}'", name.value)).hint(hint);
    DEFAULT_SCHEDULER.into()
}

pub(super) fn read_flags(
    reader: &mut Reader<'_>,
    scheduler: &str,
    protocol: Protocol,
    fronts: &Fronts,
) -> u32 {
    let mut flags = 0;
    let array = reader.array("scheduler_flags");
    for value in array.iter().flat_map(|array| array.value) {
        let Kind::String(word) = &value.kind else {
            reader.report().error(&value.at, "a flag must be a string, such as \"sh-port\"");
            continue;
        };
        let of_scheduler = || SCHEDULER_FLAGS.into_iter().filter(|(of, ..)| *of == scheduler);
        if let Some((_, _, flag)) = of_scheduler().find(|(_, name, _)| name == word) {
            flags |= flag;
            continue;
        }
        let known: Vec<&str> = of_scheduler().map(|(_, name, _)| name).collect();
        let hint = if known.is_empty() {
            "only sh and mh have flags".to_owned()
        } else {
            format!("its flags are {}", known.join(", "))
        };
        let text = format!("scheduler '{scheduler}' has no flag '{word}'");
        reader.report().error(&value.at, text).hint(hint);
    }
    if let Some(one) = reader.boolean("one_packet").filter(|one| one.value) {
        if protocol != Protocol::Udp && !fronts.have_marks() {
            let text = format!("one_packet is about datagrams, and the protocol is {protocol}");
            reader.report().error(&one.at, text).hint("write protocol = \"udp\"");
        }
        flags |= FLAG_ONE_PACKET;
    }
    flags
}

/// The keys `persistence`, `persistence_prefix` and `persistence_engine`.
pub(super) fn read_persistence(
    reader: &mut Reader<'_>,
    table: &Table,
    protocol: Protocol,
    fronts: &Fronts,
) -> Option<Persistence> {
    let timeout = whole_seconds(reader, "persistence", Duration::from_secs(1)..=LONGEST_PERSISTENCE);
    let prefix = reader.integer::<u8>("persistence_prefix", 0..=128);
    let engine = reader.choice("persistence_engine", &[("sip", "sip")], &[]);
    if let Some(engine) = &engine
        && protocol != Protocol::Udp
    {
        let text = format!("the engine sip reads UDP datagrams, and the protocol is {protocol}");
        reader.report().error(&engine.at, text).hint("write protocol = \"udp\"");
    }
    if let Some(prefix) = &prefix {
        if fronts.have_family(Family::V4) && prefix.value > 32 {
            reader.report().error(&prefix.at, "'persistence_prefix' must be from 0 to 32 for IPv4");
        } else if fronts.have_family(Family::V6) && prefix.value == 0 {
            reader.report().error(&prefix.at, "'persistence_prefix' must be from 1 to 128 for IPv6");
        }
    }
    if !table.entries.contains_key("persistence") {
        let needless = [prefix.map(|prefix| prefix.at), engine.map(|engine| engine.at)];
        refuse_without_persistence(reader, fronts, needless.into_iter().flatten());
        return None;
    }
    let prefix = prefix.map(|prefix| prefix.value);
    let engine = engine.map(|engine| engine.value.to_owned());
    Some(Persistence { timeout: timeout?, prefix, engine })
}

/// What cannot be without it, and the places of what says nothing without it.
fn refuse_without_persistence(
    reader: &mut Reader<'_>,
    fronts: &Fronts,
    needless: impl Iterator<Item = Location>,
) {
    let hint = "write persistence = \"5min\"";
    if let Some(at) = fronts.of_all_ports() {
        let text = "a service of all ports keeps each client with one server: it needs 'persistence'";
        reader.report().error(at, text).hint(hint);
    }
    for at in needless {
        reader.report().error(&at, "without 'persistence' this says nothing").hint(hint);
    }
}
