//! `[[server]]`: one real server, with what the service says where it says nothing itself.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use daemon::diagnostic::{Location, Report};
use daemon::document::Table;
use daemon::reader::{Located, Reader};

use super::address::parse_backend;
use super::others::KEYS_OF_OTHERS;
use super::references::References;
use crate::service::{Backend, Initially, OnFailure, RealServer};
use crate::table::{Checksum, Family, Forward, Protocol, ServiceKey, Tunnel};

const FORWARDS: [(&str, Forward); 3] =
    [("nat", Forward::Nat), ("route", Forward::Route), ("tunnel", Forward::Tunnel(Tunnel::Ipip))];
/// What keepalived and ipvsadm call the ways to forward.
const FORWARDS_OF_OTHERS: [(&str, &str); 5] =
    [("DR", "route"), ("TUN", "tunnel"), ("masq", "nat"), ("masquerading", "nat"), ("gate", "route")];
const TUNNELS: [(&str, Tunnel); 3] = [
    ("ipip", Tunnel::Ipip),
    ("gue", Tunnel::Gue { port: 0, checksum: Checksum::None }),
    ("gre", Tunnel::Gre { checksum: Checksum::None }),
];
const CHECKSUMS: [(&str, Checksum); 3] =
    [("none", Checksum::None), ("csum", Checksum::Outer), ("remcsum", Checksum::Remote)];
const CHECKSUMS_OF_OTHERS: [(&str, &str); 1] = [("nocsum", "none")];
const INITIALLY: [(&str, Initially); 2] =
    [("withheld", Initially::Withheld), ("admitted", Initially::Admitted)];

/// What a service's servers have unless they say otherwise.
#[derive(Clone)]
pub(super) struct Defaults {
    /// Of the service; empty if they are missing or wrong, which has been reported.
    pub(super) fronts: Vec<ServiceKey>,
    pub(super) protocol: Protocol,
    pub(super) ways: Ways,
    pub(super) check: Option<Arc<str>>,
    pub(super) thresholds: (u32, u32),
    pub(super) on_failure: OnFailure,
    pub(super) initially: Initially,
}

/// How packets reach a server.
#[derive(Clone, Copy)]
pub(super) struct Ways {
    pub(super) forward: Forward,
    tunnel: Tunnel,
    port: u16,
    checksum: Checksum,
}

impl Ways {
    pub(super) const DEFAULT: Self =
        Self { forward: Forward::Nat, tunnel: Tunnel::Ipip, port: 0, checksum: Checksum::None };
}

/// The keys `forward` and `tunnel_…`.
pub(super) fn read_ways(reader: &mut Reader<'_>, table: &Table, defaults: Ways) -> Ways {
    let forward = reader.choice("forward", &FORWARDS, &FORWARDS_OF_OTHERS);
    let tunnel = reader.choice("tunnel_type", &TUNNELS, &[]);
    let port = reader.integer("tunnel_port", 1..=65_535);
    let checksum = reader.choice("tunnel_checksum", &CHECKSUMS, &CHECKSUMS_OF_OTHERS);
    let mut ways = Ways {
        forward: forward.as_ref().map_or(defaults.forward, |forward| forward.value),
        tunnel: tunnel.as_ref().map_or(defaults.tunnel, |tunnel| tunnel.value),
        port: port.as_ref().map_or(defaults.port, |port| port.value),
        checksum: checksum.as_ref().map_or(defaults.checksum, |checksum| checksum.value),
    };
    let at = |key: &str| table.entries.get(key).map(|entry| entry.key_at.clone());
    let of_tunnels = ["tunnel_type", "tunnel_port", "tunnel_checksum"];
    if !ways.forward.is_tunnel()
        && let Some((key, at)) = of_tunnels.into_iter().find_map(|key| Some((key, at(key)?)))
    {
        let text = format!("'{key}' says nothing where forward is \"{}\"", ways.forward);
        reader.report().error(&at, text).hint("write forward = \"tunnel\"");
    }
    let whole = match ways.tunnel {
        Tunnel::Ipip => {
            let needless = ["tunnel_port", "tunnel_checksum"];
            if let Some((key, at)) = needless.into_iter().find_map(|key| Some((key, at(key)?)))
                && ways.forward.is_tunnel()
            {
                reader
                    .report()
                    .error(&at, format!("IP in IP has no '{key}'"))
                    .hint("write tunnel_type = \"gue\" or \"gre\"");
            }
            Tunnel::Ipip
        }
        Tunnel::Gue { .. } => {
            if ways.port == 0
                && at("tunnel_port").is_none()
                && ways.forward.is_tunnel()
                && let Some(tunnel) = &tunnel
            {
                let hint = "write tunnel_port = 6080, the port that the servers decapsulate";
                reader.report().error(&tunnel.at, "GUE needs 'tunnel_port'").hint(hint);
            }
            Tunnel::Gue { port: ways.port, checksum: ways.checksum }
        }
        Tunnel::Gre { .. } => {
            if ways.checksum == Checksum::Remote
                && let Some(at) = at("tunnel_checksum").or_else(|| at("tunnel_type"))
            {
                reader.report().error(&at, "GRE has no remote checksum").hint("write \"csum\" or \"none\"");
            }
            Tunnel::Gre { checksum: ways.checksum }
        }
        other @ Tunnel::Other { .. } => other,
    };
    if ways.forward.is_tunnel() {
        ways.forward = Forward::Tunnel(whole);
    }
    ways
}

/// The keys `upper_threshold` and `lower_threshold`.
pub(super) fn read_thresholds(reader: &mut Reader<'_>, defaults: (u32, u32)) -> (u32, u32) {
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

pub(super) fn read_on_failure(reader: &mut Reader<'_>, default: OnFailure) -> OnFailure {
    match reader.boolean("inhibit_on_failure").map(|flag| flag.value) {
        Some(true) => OnFailure::Inhibit,
        Some(false) => OnFailure::Remove,
        None => default,
    }
}

pub(super) fn read_initially(reader: &mut Reader<'_>, default: Initially) -> Initially {
    let others = [("up", "admitted"), ("down", "withheld")];
    reader.choice("initially", &INITIALLY, &others).map_or(default, |initially| initially.value)
}

pub(super) fn read_all(
    tables: &[&Table],
    defaults: &Defaults,
    references: &References,
    report: &mut Report,
) -> BTreeMap<Backend, RealServer> {
    let mut places: BTreeMap<SocketAddr, Location> = BTreeMap::new();
    let mut servers = BTreeMap::new();
    for table in tables {
        let Some((backend, server)) = read_one(table, defaults, references, report) else { continue };
        let behind: Vec<SocketAddr> =
            defaults.fronts.iter().map(|front| backend.value.behind(front)).collect();
        if let Some(first) = behind.iter().find_map(|address| places.get(address)) {
            report.error(&backend.at, format!("server {} is already at {first}", backend.value));
            continue;
        }
        places.extend(behind.into_iter().map(|address| (address, backend.at.clone())));
        servers.insert(backend.value, server);
    }
    servers
}

fn read_one(
    table: &Table,
    defaults: &Defaults,
    references: &References,
    report: &mut Report,
) -> Option<(Located<Backend>, RealServer)> {
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
        check_reachable(backend, &defaults.fronts, ways.forward, reader.report());
    }
    reader.finish(KEYS_OF_OTHERS);
    let backend = backend?;
    let server = RealServer {
        weight,
        forward: ways.forward,
        upper_threshold,
        lower_threshold,
        check: check.or_else(|| defaults.check.clone()),
        target: target(&backend.value, &defaults.fronts),
        on_failure,
        initially,
    };
    Some((backend, server))
}

/// What a server's check is run against.
fn target(backend: &Backend, fronts: &[ServiceKey]) -> SocketAddr {
    let first = fronts.first().map_or(0, |front| backend.behind(front).port());
    SocketAddr::new(backend.ip, first)
}

/// What the way of forwarding demands of a server's address.
pub(super) fn check_reachable(
    backend: &Located<Backend>,
    fronts: &[ServiceKey],
    forward: Forward,
    report: &mut Report,
) {
    let Backend { ip, port } = backend.value;
    let mismatch = |front: &&ServiceKey| match front {
        ServiceKey::Address { address, .. } => port.is_some_and(|port| port != address.port()),
        ServiceKey::Mark { .. } => port.is_some(),
    };
    if forward != Forward::Nat
        && let Some(front) = fronts.iter().find(mismatch)
    {
        let text = format!(
            "with forward = \"{forward}\" packets keep their port, so the server's must be that of {front}"
        );
        report.error(&backend.at, text).hint("leave the port out, or use forward = \"nat\"");
    }
    let stranger = fronts.iter().find(|front| front.family() != Family::of(ip));
    if let Some(front) = stranger
        && !forward.is_tunnel()
    {
        let text = format!("the server's address is of another family than the service's, {front}");
        report.error(&backend.at, text).hint("only forward = \"tunnel\" goes from one family to the other");
    }
    let is_own = |front: &ServiceKey| match front {
        ServiceKey::Address { address, .. } => backend.value.behind(front) == *address,
        ServiceKey::Mark { .. } => false,
    };
    if fronts.iter().any(is_own) {
        report.error(&backend.at, "a server cannot have the address of its own service");
    }
}
