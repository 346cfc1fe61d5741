//! One file of `ipvs.d`: a virtual service.

use std::collections::BTreeMap;
use std::time::Duration;

use daemon::diagnostic::Report;
use daemon::document::{Kind, Value};
use daemon::dropin::Object;
use daemon::reader::{Located, Reader};

use super::fronts::{Fronts, read_fronts};
use super::others::KEYS_OF_OTHERS;
use super::references::References;
use super::scheduling::{read_flags, read_persistence, read_scheduler};
use super::server::{Defaults, read_all, read_defaults};
use super::shortage::{check_sorry, read_all_down, read_quorum, read_sorry};
use crate::service::{Backend, Quorum, RealServer, VirtualService};
use crate::table::{Protocol, ServiceKey};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
const LONGEST_SLOW_START: Duration = Duration::from_secs(86_400);
/// Each server is in the kernel once for each address, port and mark of its service: half a gigabyte of it.
const MOST_ENTRIES: usize = 1 << 20;

/// The service of a file, and where its addresses stand. `None`: too much is wrong with it, which has been reported.
pub(super) fn read(
    object: &Object,
    references: &References,
    report: &mut Report,
) -> Option<(VirtualService, Vec<Located<ServiceKey>>)> {
    let table = &object.table;
    let mut reader = Reader::new(table, report);
    let protocol = reader.choice("protocol", &PROTOCOLS, &[("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")]);
    let protocol = protocol.map_or(Protocol::Tcp, |protocol| protocol.value);
    let fronts = read_fronts(&mut reader, table, protocol);
    let scheduler = read_scheduler(&mut reader);
    let flags = read_flags(&mut reader, &scheduler, protocol, &fronts);
    let persistence = read_persistence(&mut reader, table, protocol, &fronts);
    let defaults = read_defaults(&mut reader, table, (protocol, &fronts), references);
    let sorry = read_sorry(&mut reader, table, &fronts, defaults.ways, references);
    let all_down = read_all_down(&mut reader, sorry.is_some());
    let slow_start = reader.duration("slow_start", Duration::ZERO..=LONGEST_SLOW_START);
    let while_active = references.read_router(&mut reader, "while_active");
    let servers = read_servers(&mut reader, object, &defaults, references);
    check_slow_start(&mut reader, slow_start.as_ref(), &servers);
    let mut service = VirtualService {
        fronts: fronts.keys().copied().collect(),
        protocol,
        scheduler,
        flags,
        persistence,
        forward: defaults.ways.forward,
        check: defaults.check.map(|check| check.value.as_ref().to_owned()),
        servers,
        quorum: Quorum::default(),
        sorry,
        all_down,
        slow_start: slow_start.map_or(Duration::ZERO, |span| span.value),
        while_active,
    };
    service.quorum = read_quorum(&mut reader, &service);
    check_sorry(&mut reader, table, &fronts, &service);
    reader.finish(KEYS_OF_OTHERS);
    let fronts = fronts.into_located();
    (!fronts.is_empty()).then_some((service, fronts))
}

fn read_servers(
    reader: &mut Reader<'_>,
    object: &Object,
    defaults: &Defaults<'_>,
    references: &References,
) -> BTreeMap<Backend, RealServer> {
    let tables = reader.tables("server");
    let servers = read_all(&tables, defaults, references, reader.report());
    let is_empty = |value: &Value| matches!(&value.kind, Kind::Array(servers) if servers.is_empty());
    if object.table.entries.get("server").is_none_or(|entry| is_empty(&entry.value)) {
        let text = format!("service '{}' has no servers", object.name);
        let hint = "write [[server]] and below it address = \"192.168.100.101:80\"";
        reader.report().warning(&object.table.at, text).hint(hint);
    }
    let fronts: &Fronts = defaults.fronts;
    let entries = servers.len().saturating_mul(fronts.number());
    if entries > MOST_ENTRIES {
        let text = format!(
            "{entries} entries in the kernel, more than {MOST_ENTRIES}: each server at each address and port"
        );
        reader.mistake(text, "a firewall mark can stand for any number of addresses and ports");
    }
    servers
}

fn check_slow_start(
    reader: &mut Reader<'_>,
    slow_start: Option<&Located<Duration>>,
    servers: &BTreeMap<Backend, RealServer>,
) {
    if let Some(slow) = slow_start.filter(|slow| !slow.value.is_zero())
        && !servers.is_empty()
        && servers.values().all(|server| server.weight <= 1)
    {
        reader
            .report()
            .warning(&slow.at, "slow_start has no effect on servers of weight 1, which cannot have less")
            .hint("give all servers larger weights, such as 100");
    }
}
