//! What happens when there are not enough servers: the quorum, the sorry server, the last stand.

use daemon::document::{Kind, Table};
use daemon::reader::Reader;

use super::address::parse_backend;
use super::fronts::Fronts;
use super::others::KEYS_OF_OTHERS;
use super::references::References;
use super::server::check_reachable;
use super::ways::{Ways, read_ways};
use crate::service::{AllDown, Quorum, SorryServer, VirtualService};

/// What `all_down` says.
#[derive(Clone, Copy, PartialEq, Eq)]
enum LastStand {
    Sorry,
    Keep,
    Drop,
}

const LAST_STANDS: [(&str, LastStand); 3] =
    [("sorry", LastStand::Sorry), ("keep", LastStand::Keep), ("drop", LastStand::Drop)];

/// `sorry_server = "192.168.100.200:80"`, or a table with its own `forward`.
pub(super) fn read_sorry(
    reader: &mut Reader<'_>,
    table: &Table,
    fronts: &Fronts,
    ways: Ways,
    references: &References,
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
    check_reachable(&backend, fronts, forward, references, reader.report());
    Some(SorryServer { backend: backend.value, forward })
}

/// It takes the place of the servers.
pub(super) fn check_sorry(reader: &mut Reader<'_>, table: &Table, fronts: &Fronts, service: &VirtualService) {
    if let Some(sorry) = &service.sorry
        && fronts.same_server(&sorry.backend, &service.servers).is_some()
        && let Some(at) = table.entries.get("sorry_server").map(|entry| entry.value.at.clone())
    {
        reader
            .report()
            .error(&at, format!("the sorry server {} is one of the servers too", sorry.backend))
            .hint("it answers when the servers are gone: name another one");
    }
}

pub(super) fn read_all_down(reader: &mut Reader<'_>, has_sorry: bool) -> AllDown {
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

pub(super) fn read_quorum(reader: &mut Reader<'_>, service: &VirtualService) -> Quorum {
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
