//! One file of `ipvs.d`: a virtual service.

use std::time::Duration;

use daemon::diagnostic::{Location, Report, nearest};
use daemon::document::{Kind, Table, Value};
use daemon::dropin::Object;
use daemon::reader::{Located, Reader};

use super::address::{MOST, parse_backend, parse_fronts};
use super::daemon_wide::whole_seconds;
use super::others::KEYS_OF_OTHERS;
use super::references::References;
use super::server::{
    Defaults, Ways, check_reachable, read_all, read_initially, read_on_failure, read_thresholds, read_ways,
};
use crate::service::{
    AllDown, Initially, OnFailure, Persistence, Quorum, SCHEDULERS, SorryServer, VirtualService,
};
use crate::table::{FLAG_ONE_PACKET, FLAG_SCHEDULER_1, FLAG_SCHEDULER_2, Family, Protocol, ServiceKey};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
/// keepalived's default too.
const DEFAULT_SCHEDULER: &str = "wlc";
/// The kernel takes no more (it counts ticks in 32 bits); keepalived has the same limit.
const LONGEST_PERSISTENCE: Duration = Duration::from_secs(31 * 86_400);
const LONGEST_SLOW_START: Duration = Duration::from_secs(86_400);

/// Scheduler, flag's name, flag.
const SCHEDULER_FLAGS: [(&str, &str, u32); 4] = [
    ("sh", "sh-fallback", FLAG_SCHEDULER_1),
    ("sh", "sh-port", FLAG_SCHEDULER_2),
    ("mh", "mh-fallback", FLAG_SCHEDULER_1),
    ("mh", "mh-port", FLAG_SCHEDULER_2),
];

/// What `all_down` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastStand {
    Sorry,
    Keep,
    Drop,
}

const LAST_STANDS: [(&str, LastStand); 3] =
    [("sorry", LastStand::Sorry), ("keep", LastStand::Keep), ("drop", LastStand::Drop)];

/// The service of a file, and where its addresses stand. `None`: too much is wrong with it, which has been reported.
pub(super) fn read(
    object: &Object,
    references: &References,
    report: &mut Report,
) -> Option<(VirtualService, Vec<Located<ServiceKey>>)> {
    let mut reader = Reader::new(&object.table, report);
    let protocol = reader.choice("protocol", &PROTOCOLS, &[("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")]);
    let protocol = protocol.map_or(Protocol::Tcp, |protocol| protocol.value);
    let fronts = read_fronts(&mut reader, &object.table, protocol);
    let scheduler = read_scheduler(&mut reader);
    let flags = read_flags(&mut reader, &scheduler, protocol, &fronts);
    let persistence = read_persistence(&mut reader, &object.table, protocol, &fronts);
    let keys: Vec<ServiceKey> = fronts.iter().map(|front| front.value).collect();
    let ways = read_ways(&mut reader, &object.table, Ways::DEFAULT);
    let defaults = Defaults {
        fronts: keys.clone(),
        protocol,
        ways,
        check: references.read_check(&mut reader, protocol),
        thresholds: read_thresholds(&mut reader, (0, 0)),
        on_failure: read_on_failure(&mut reader, OnFailure::default()),
        initially: read_initially(&mut reader, Initially::default()),
    };
    let sorry = read_sorry(&mut reader, &object.table, &keys, ways);
    let all_down = read_all_down(&mut reader, sorry.is_some());
    let slow_start = reader.duration("slow_start", Duration::ZERO..=LONGEST_SLOW_START);
    let while_active = references.read_router(&mut reader, "while_active");
    let tables = reader.tables("server");
    let servers = read_all(&tables, &defaults, references, reader.report());
    let is_empty = |value: &Value| matches!(&value.kind, Kind::Array(servers) if servers.is_empty());
    if object.table.entries.get("server").is_none_or(|entry| is_empty(&entry.value)) {
        let text = format!("service '{}' has no servers", object.name);
        let hint = "write [[server]] and below it address = \"192.168.100.101:80\"";
        reader.report().warning(&object.table.at, text).hint(hint);
    }
    let mut service = VirtualService {
        fronts: keys,
        protocol,
        scheduler,
        flags,
        persistence,
        forward: defaults.ways.forward,
        check: defaults.check.as_deref().map(str::to_owned),
        servers,
        quorum: Quorum::default(),
        sorry,
        all_down,
        slow_start: slow_start.as_ref().map_or(Duration::ZERO, |span| span.value),
        while_active,
    };
    service.quorum = read_quorum(&mut reader, &service);
    if let Some(slow) = slow_start.filter(|slow| !slow.value.is_zero())
        && !service.servers.is_empty()
        && service.servers.values().all(|server| server.weight <= 1)
    {
        reader
            .report()
            .warning(&slow.at, "slow_start has no effect on servers of weight 1, which cannot have less")
            .hint("give all servers larger weights, such as 100");
    }
    if let Some(sorry) = &service.sorry
        && service.servers.keys().any(|backend| {
            service.fronts.iter().any(|front| backend.behind(front) == sorry.backend.behind(front))
        })
        && let Some(at) = object.table.entries.get("sorry_server").map(|entry| entry.value.at.clone())
    {
        reader.report().error(&at, format!("the sorry server {} is one of the servers too", sorry.backend));
    }
    reader.finish(KEYS_OF_OTHERS);
    (!fronts.is_empty()).then_some((service, fronts))
}

/// The keys `address`, `addresses`, `mark`, `marks` and `family`.
fn read_fronts(reader: &mut Reader<'_>, table: &Table, protocol: Protocol) -> Vec<Located<ServiceKey>> {
    let mut values: Vec<&Value> = Vec::new();
    values.extend(reader.value("address"));
    if let Some(array) = reader.array("addresses") {
        values.extend(array.value);
    }
    let mut fronts = Vec::new();
    for value in values {
        let Kind::String(text) = &value.kind else {
            let kind = value.kind.describe();
            reader.report().error(&value.at, format!("an address must be a string, not {kind}"));
            continue;
        };
        match parse_fronts(text) {
            Ok(addresses) => fronts.extend(addresses.into_iter().map(|address| Located {
                value: ServiceKey::Address { protocol, address },
                at: value.at.clone(),
            })),
            Err(reason) => drop(reader.report().error(&value.at, format!("'{text}' is {reason}"))),
        }
    }
    fronts.extend(read_marks(reader, table));
    let named = ["address", "addresses", "mark", "marks"];
    if fronts.is_empty() && !named.iter().any(|key| table.entries.contains_key(*key)) {
        reader.mistake("'address' is missing", "for example: address = \"10.0.10.50:80\"");
    }
    if let Some(many) = fronts.get(MOST) {
        let at = many.at.clone();
        reader.report().error(&at, format!("a service of more than {MOST} addresses and ports"));
        fronts.truncate(MOST);
    }
    fronts
}

fn read_marks(reader: &mut Reader<'_>, table: &Table) -> Vec<Located<ServiceKey>> {
    let mut values: Vec<&Value> = Vec::new();
    values.extend(reader.value("mark"));
    if let Some(array) = reader.array("marks") {
        values.extend(array.value);
    }
    let families = [("ipv4", Family::V4), ("ipv6", Family::V6)];
    let family = reader.choice("family", &families, &[("inet", "ipv4"), ("inet6", "ipv6")]);
    if let (Some(family), true) = (&family, values.is_empty()) {
        reader.report().error(&family.at, "'family' is about firewall marks, and there is none");
    }
    let family = family.map(|family| family.value).or_else(|| family_of_servers(table)).unwrap_or(Family::V4);
    let mut marks = Vec::new();
    for value in values {
        let number = if let Kind::Integer(number) = value.kind { number } else { None };
        match number.and_then(|number| u32::try_from(number).ok()).filter(|mark| *mark > 0) {
            Some(mark) => {
                marks.push(Located { value: ServiceKey::Mark { family, mark }, at: value.at.clone() });
            }
            None => drop(reader.report().error(&value.at, "a firewall mark must be from 1 to 4294967295")),
        }
    }
    marks
}

/// Of the first server: a mark says nothing of it.
fn family_of_servers(table: &Table) -> Option<Family> {
    let Kind::Array(servers) = &table.entries.get("server")?.value.kind else { return None };
    let Kind::Table(server) = &servers.first()?.kind else { return None };
    let Kind::String(address) = &server.entries.get("address")?.value.kind else { return None };
    parse_backend(address).ok().map(|backend| Family::of(backend.ip))
}

fn read_scheduler(reader: &mut Reader<'_>) -> String {
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

fn read_flags(
    reader: &mut Reader<'_>,
    scheduler: &str,
    protocol: Protocol,
    fronts: &[Located<ServiceKey>],
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
        let is_mark = |front: &Located<ServiceKey>| matches!(front.value, ServiceKey::Mark { .. });
        if protocol != Protocol::Udp && !fronts.iter().any(is_mark) {
            let text = format!("one_packet is about datagrams, and the protocol is {protocol}");
            reader.report().error(&one.at, text).hint("write protocol = \"udp\"");
        }
        flags |= FLAG_ONE_PACKET;
    }
    flags
}

fn read_persistence(
    reader: &mut Reader<'_>,
    table: &Table,
    protocol: Protocol,
    fronts: &[Located<ServiceKey>],
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
        let families: Vec<Family> = fronts.iter().map(|front| front.value.family()).collect();
        if families.contains(&Family::V4) && prefix.value > 32 {
            reader.report().error(&prefix.at, "'persistence_prefix' must be from 0 to 32 for IPv4");
        } else if families.contains(&Family::V6) && prefix.value == 0 {
            reader.report().error(&prefix.at, "'persistence_prefix' must be from 1 to 128 for IPv6");
        }
    }
    if !table.entries.contains_key("persistence") {
        let needs = |at: Location, text: &str, report: &mut Report| {
            report.error(&at, text).hint("write persistence = \"5min\"");
        };
        let all_ports = |front: &&Located<ServiceKey>| matches!(front.value, ServiceKey::Address { address, .. } if address.port() == 0);
        if let Some(front) = fronts.iter().find(all_ports) {
            let text = "a service of all ports keeps each client with one server: it needs 'persistence'";
            needs(front.at.clone(), text, reader.report());
        }
        let needless = [prefix.map(|prefix| prefix.at), engine.map(|engine| engine.at)];
        for at in needless.into_iter().flatten() {
            needs(at, "without 'persistence' this says nothing", reader.report());
        }
        return None;
    }
    let prefix = prefix.map(|prefix| prefix.value);
    let engine = engine.map(|engine| engine.value.to_owned());
    Some(Persistence { timeout: timeout?, prefix, engine })
}

/// `sorry_server = "192.168.100.200:80"`, or a table with its own `forward`.
fn read_sorry(
    reader: &mut Reader<'_>,
    table: &Table,
    fronts: &[ServiceKey],
    ways: Ways,
) -> Option<SorryServer> {
    let key = "sorry_server";
    let is_table = table.entries.get(key).is_some_and(|entry| matches!(entry.value.kind, Kind::Table(_)));
    let (backend, forward) = if is_table {
        let table = reader.table(key)?;
        let mut inner = Reader::new(table, reader.report());
        let backend = inner.parse("address", parse_backend);
        let backend = inner.require("address", backend, "address = \"192.168.100.200:80\"");
        let ways = read_ways(&mut inner, table, ways);
        inner.finish(KEYS_OF_OTHERS);
        (backend?, ways.forward)
    } else {
        (reader.parse(key, parse_backend)?, ways.forward)
    };
    check_reachable(&backend, fronts, forward, reader.report());
    Some(SorryServer { backend: backend.value, forward })
}

fn read_all_down(reader: &mut Reader<'_>, has_sorry: bool) -> AllDown {
    let Some(stand) = reader.choice("all_down", &LAST_STANDS, &[]) else { return AllDown::Drop };
    match (stand.value, has_sorry) {
        (LastStand::Sorry, false) => {
            reader
                .report()
                .error(&stand.at, "all_down = \"sorry\", and there is no sorry server")
                .hint("write sorry_server = \"192.168.100.200:80\"");
            AllDown::Drop
        }
        (LastStand::Keep | LastStand::Drop, true) => {
            reader
                .report()
                .error(&stand.at, "there is a sorry server, which answers when all are down")
                .hint("remove one of the two, or write all_down = \"sorry\"");
            AllDown::Drop
        }
        (LastStand::Keep, false) => AllDown::Keep,
        (LastStand::Sorry, true) | (LastStand::Drop, false) => AllDown::Drop,
    }
}

fn read_quorum(reader: &mut Reader<'_>, service: &VirtualService) -> Quorum {
    let whole = || 1..=i64::from(u32::MAX);
    let weight = reader.integer::<u32>("quorum", whole());
    let hysteresis = reader.integer::<u32>("hysteresis", 0..=i64::from(u32::MAX));
    let quorum = Quorum {
        weight: weight.as_ref().map_or(1, |weight| weight.value),
        hysteresis: hysteresis.as_ref().map_or(0, |hysteresis| hysteresis.value),
    };
    if let Some(hysteresis) = &hysteresis
        && hysteresis.value >= quorum.weight
    {
        let text = format!("'hysteresis' must be less than the quorum, {}", quorum.weight);
        reader.report().error(&hysteresis.at, text);
        return quorum;
    }
    let total = service.total_weight();
    if let Some(at) = hysteresis.map(|value| value.at).or(weight.map(|value| value.at))
        && !service.servers.is_empty()
        && quorum.weight.saturating_add(quorum.hysteresis) > total
    {
        let text = format!("the servers' weights together are {total}: this quorum is never reached");
        reader
            .report()
            .error(&at, text)
            .hint("quorum and hysteresis are sums of weights, not numbers of servers");
    }
    quorum
}
