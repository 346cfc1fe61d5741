//! `[[server]]`: one real server, with what the service says where it says nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::Table;
use daemon::reader::{Located, Reader};

use super::address::parse_backend;
use super::fronts::Fronts;
use super::others::KEYS_OF_OTHERS;
use super::references::References;
use super::ways::{Ways, read_ways};
use crate::service::{Backend, Initially, OnFailure, RealServer};
use crate::table::{Family, Forward, Protocol};

const INITIALLY: [(&str, Initially); 2] =
    [("withheld", Initially::Withheld), ("admitted", Initially::Admitted)];

/// What a service's servers have unless they say otherwise.
pub(super) struct Defaults<'a> {
    pub(super) fronts: &'a Fronts,
    pub(super) protocol: Protocol,
    pub(super) ways: Ways,
    pub(super) check: Option<Located<Arc<str>>>,
    pub(super) thresholds: (u32, u32),
    pub(super) on_failure: OnFailure,
    pub(super) initially: Initially,
}

/// The keys of a service that its servers may have, too.
pub(super) fn read_defaults<'a>(
    reader: &mut Reader<'_>,
    table: &Table,
    (protocol, fronts): (Protocol, &'a Fronts),
    references: &References,
) -> Defaults<'a> {
    Defaults {
        fronts,
        protocol,
        ways: read_ways(reader, table, Ways::DEFAULT),
        check: references.read_check(reader, protocol),
        thresholds: read_thresholds(reader, (0, 0)),
        on_failure: read_on_failure(reader, OnFailure::default()),
        initially: read_initially(reader, Initially::default()),
    }
}

/// The keys `upper_threshold` and `lower_threshold`.
fn read_thresholds(reader: &mut Reader<'_>, defaults: (u32, u32)) -> (u32, u32) {
    let range = || 0..=i64::from(u32::MAX);
    let upper = reader.integer("upper_threshold", range());
    let lower = reader.integer("lower_threshold", range());
    let thresholds = (
        upper.as_ref().map_or(defaults.0, |upper| upper.value),
        lower.as_ref().map_or(defaults.1, |lower| lower.value),
    );
    if thresholds.1 > thresholds.0
        && let Some(at) = lower.map(|lower| lower.at).or(upper.map(|upper| upper.at))
    {
        let (upper, lower) = thresholds;
        let text = format!("lower_threshold {lower} is above upper_threshold {upper}");
        reader
            .report()
            .error(&at, text)
            .hint("connections stop above the upper one and begin again below the lower");
    }
    thresholds
}

fn read_on_failure(reader: &mut Reader<'_>, default: OnFailure) -> OnFailure {
    match reader.boolean("inhibit_on_failure").map(|flag| flag.value) {
        Some(true) => OnFailure::Inhibit,
        Some(false) => OnFailure::Remove,
        None => default,
    }
}

fn read_initially(reader: &mut Reader<'_>, default: Initially) -> Initially {
    let others = [("up", "admitted"), ("down", "withheld")];
    reader.choice("initially", &INITIALLY, &others).map_or(default, |initially| initially.value)
}

pub(super) fn read_all(
    tables: &[&Table],
    defaults: &Defaults<'_>,
    references: &References,
    report: &mut Report,
) -> BTreeMap<Backend, RealServer> {
    let mut places: BTreeMap<Backend, Location> = BTreeMap::new();
    let mut servers = BTreeMap::new();
    // Of those that have the service's check, the first that it cannot be run against.
    let mut unasked = None;
    for table in tables {
        let Some(one) = read_one(table, defaults, references, report) else { continue };
        let Located { value: backend, at } = one.backend;
        if let Some(first) = defaults.fronts.same_server(&backend, &places) {
            report
                .error(&at, format!("server {backend} is already at {first}"))
                .hint("write each server once, with the greater weight");
        } else {
            unasked = unasked.or((!one.has_own_check && one.server.target.port() == 0).then_some(backend));
            servers.insert(backend, one.server);
        }
        places.entry(backend).or_insert(at);
    }
    if let (Some(check), Some(backend)) = (&defaults.check, unasked) {
        references.check_port(check, &backend, report);
    }
    servers
}

struct One {
    backend: Located<Backend>,
    server: RealServer,
    has_own_check: bool,
}

fn read_one(
    table: &Table,
    defaults: &Defaults<'_>,
    references: &References,
    report: &mut Report,
) -> Option<One> {
    let mut reader = Reader::new(table, report);
    let backend = reader.parse("address", parse_backend);
    let backend = reader.require("address", backend, "address = \"192.168.100.101:80\"");
    let ways = read_ways(&mut reader, table, defaults.ways);
    let (upper_threshold, lower_threshold) = read_thresholds(&mut reader, defaults.thresholds);
    let weight = reader.integer("weight", 0..=65_535).map_or(1, |weight| weight.value);
    let check = references.read_check(&mut reader, defaults.protocol);
    let on_failure = read_on_failure(&mut reader, defaults.on_failure);
    let initially = read_initially(&mut reader, defaults.initially);
    if let Some(backend) = &backend {
        check_reachable(backend, defaults.fronts, ways.forward, references, reader.report());
    }
    reader.finish(KEYS_OF_OTHERS);
    let backend = backend?;
    let target = target(&backend.value, defaults.fronts);
    if let Some(check) = check.as_ref().filter(|_| target.port() == 0) {
        references.check_port(check, &backend.value, report);
    }
    let server = RealServer {
        weight,
        forward: ways.forward,
        upper_threshold,
        lower_threshold,
        check: check.as_ref().or(defaults.check.as_ref()).map(|check| Arc::clone(&check.value)),
        target,
        on_failure,
        initially,
    };
    Some(One { backend, server, has_own_check: check.is_some() })
}

/// What a server's check is run against.
fn target(backend: &Backend, fronts: &Fronts) -> SocketAddr {
    SocketAddr::new(backend.ip, backend.port.unwrap_or_else(|| fronts.first_port()))
}

/// What the way of forwarding demands of a server's address.
pub(super) fn check_reachable(
    backend: &Located<Backend>,
    fronts: &Fronts,
    forward: Forward,
    references: &References,
    report: &mut Report,
) {
    let Backend { ip, port } = backend.value;
    let other_port = port.and_then(|port| fronts.with_other_port(port));
    if let Some(front) = other_port.filter(|_| forward != Forward::Nat) {
        let text = format!(
            "with forward = \"{forward}\" packets keep their port, so the server's must be that of {front}"
        );
        report.error(&backend.at, text).hint("leave the port out, or use forward = \"nat\"");
    }
    if let Some(front) = fronts.of_other_family(Family::of(ip)) {
        if !forward.is_tunnel() {
            let text = format!("the server's address is of another family than the service's, {front}");
            let hint = "only forward = \"tunnel\" goes from one family to the other";
            report.error(&backend.at, text).hint(hint);
        } else if let Some(sync) = references.sync_at() {
            let text = format!(
                "the kernel synchronises no connections while a server is of another family than its service, {front}"
            );
            let hint = format!("the one or the other: [sync] is at {sync}");
            report.error(&backend.at, text).hint(hint);
        }
    }
    if ip.is_loopback() && forward == Forward::Nat && !fronts.are_of_this_machine() {
        let text = "the kernel rewrites no packet of another machine to a loopback address";
        let hint = "write forward = \"route\" for this server: then this machine answers itself";
        report.error(&backend.at, text).hint(hint);
    }
    if fronts.are_at(&backend.value) {
        report
            .error(&backend.at, "a server cannot have the address of its own service")
            .hint("write the server's own address; for this machine itself one that is not the service's");
    }
}
