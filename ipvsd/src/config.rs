//! `ipvs.d/*.toml` and `ipvsd.toml`: from files to validated [`Settings`], with every mistake in one run.
//!
//! What the keys mean to a user is in the commented examples of `etc/trivet/ipvs.d`.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use daemon::diagnostic::{Location, Report, nearest};
use daemon::document::Table;
use daemon::dropin::{self, Object};
use daemon::reader::{Located, Reader};

use crate::service::{RealServer, SCHEDULERS, Settings, VirtualService};
use crate::table::{Family, Forward, Protocol, ServiceKey};

const PROTOCOLS: [(&str, Protocol); 3] =
    [("tcp", Protocol::Tcp), ("udp", Protocol::Udp), ("sctp", Protocol::Sctp)];
const FORWARDS: [(&str, Forward); 3] =
    [("nat", Forward::Nat), ("route", Forward::Route), ("tunnel", Forward::Tunnel)];
/// What keepalived and ipvsadm call the ways to forward.
const FORWARDS_OF_OTHERS: [(&str, &str); 5] =
    [("DR", "route"), ("TUN", "tunnel"), ("masq", "nat"), ("masquerading", "nat"), ("gate", "route")];
/// keepalived's default too.
const DEFAULT_SCHEDULER: &str = "wlc";
const DEFAULT_FORWARD: Forward = Forward::Nat;
/// Checks that need no file.
const BUILT_IN_CHECKS: [&str; 2] = ["tcp", "ping"];
/// The kernel takes no more (it counts ticks in 32 bits); keepalived has the same limit.
const LONGEST_PERSISTENCE: Duration = Duration::from_secs(31 * 86_400);

const NOT_YET: &str = "Trivet cannot do this yet";
const IN_CHECK: &str =
    "this belongs to the check: /etc/trivet/check.d/NAME.toml, named here by check = \"NAME\"";
const PING: &str = "write check = \"ping\"";
const CHECK: &str = "write check = \"tcp\", or check = \"NAME\" for /etc/trivet/check.d/NAME.toml";

/// keepalived's keys of a virtual_server, and what to write instead.
const SERVICE_KEYS_OF_OTHERS: &[(&str, &str)] = &[
    ("virtual_server", "one file is one service; write address = \"10.0.10.50:80\""),
    ("ip", "write address = \"10.0.10.50:80\""),
    ("port", "write address = \"10.0.10.50:80\""),
    ("lb_algo", "write scheduler = \"rr\""),
    ("lvs_sched", "write scheduler = \"rr\""),
    ("lb_kind", "write forward = \"nat\", \"route\" (keepalived: DR) or \"tunnel\" (TUN)"),
    ("lvs_method", "write forward = \"nat\", \"route\" (keepalived: DR) or \"tunnel\" (TUN)"),
    ("persistence_timeout", "write persistence = \"50s\""),
    ("real_server", "write [[server]] and below it address = \"192.168.100.101:80\""),
    ("servers", "write [[server]] once for each server"),
    ("delay_loop", IN_CHECK),
    ("connect_timeout", IN_CHECK),
    ("retry", IN_CHECK),
    ("delay_before_retry", IN_CHECK),
    ("virtualhost", IN_CHECK),
    ("warmup", IN_CHECK),
    ("alpha", "it is always so: a server is used once its check has succeeded"),
    ("tcp_check", CHECK),
    ("http_get", CHECK),
    ("ssl_get", CHECK),
    ("misc_check", NOT_YET),
    ("smtp_check", NOT_YET),
    ("dns_check", NOT_YET),
    ("ping_check", PING),
    ("udp_check", CHECK),
    ("sorry_server", NOT_YET),
    ("quorum", NOT_YET),
    ("hysteresis", NOT_YET),
    ("quorum_up", NOT_YET),
    ("quorum_down", NOT_YET),
    ("fwmark", NOT_YET),
    ("ops", NOT_YET),
    ("persistence_granularity", NOT_YET),
    ("persistence_engine", NOT_YET),
    ("uthreshold", NOT_YET),
    ("lthreshold", NOT_YET),
    ("notify_up", NOT_YET),
    ("notify_down", NOT_YET),
];

/// Everything below `root`. Use the settings only if the report has no errors.
pub fn load(root: &Path) -> (Settings, Report) {
    let mut report = Report::new();
    let mut settings = load_daemon_wide(root, &mut report);
    let checks = Checks::below(root);
    let mut taken = BTreeMap::new();
    for object in dropin::load_directory(root, "ipvs.d", &mut report) {
        let Some(service) = read_service(&object, &checks, &mut taken, &mut report) else { continue };
        settings.services.insert(object.name, service);
    }
    (settings, report)
}

fn load_daemon_wide(root: &Path, report: &mut Report) -> Settings {
    let mut settings = Settings::default();
    let Some(object) = dropin::load_file(root, "ipvsd", report) else { return settings };
    let mut reader = Reader::new(&object.table, report);
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    if let Some(grace) = reader.duration("health_grace", Duration::ZERO..=day) {
        settings.grace = grace.value;
    }
    if let Some(resync) = reader.duration("resync_interval", second / 10..=day) {
        settings.resync = resync.value;
    }
    settings.log_level = daemon::log::read_level(&mut reader);
    reader.finish(&[]);
    settings
}

/// What a service's servers have unless they say otherwise.
struct Defaults {
    /// Of the service; `None` if it is missing or wrong, which has been reported.
    address: Option<SocketAddr>,
    protocol: Protocol,
    forward: Forward,
    check: Option<String>,
    inhibit_on_failure: bool,
}

fn read_service(
    object: &Object,
    checks: &Checks,
    taken: &mut BTreeMap<ServiceKey, Location>,
    report: &mut Report,
) -> Option<VirtualService> {
    let mut reader = Reader::new(&object.table, report);
    let address = reader.parse("address", parse_service_address);
    let address = reader.require("address", address, "address = \"10.0.10.50:80\"");
    let protocol = reader.choice("protocol", &PROTOCOLS, &[("TCP", "tcp"), ("UDP", "udp"), ("SCTP", "sctp")]);
    let scheduler = read_scheduler(&mut reader);
    let persistence = read_persistence(&mut reader);
    let defaults = Defaults {
        address: address.as_ref().map(|address| address.value),
        protocol: protocol.map_or(Protocol::Tcp, |protocol| protocol.value),
        forward: read_forward(&mut reader).unwrap_or(DEFAULT_FORWARD),
        check: None,
        inhibit_on_failure: reader.boolean("inhibit_on_failure").is_some_and(|flag| flag.value),
    };
    let check = read_check(&mut reader, checks, defaults.protocol);
    let defaults = Defaults { check, ..defaults };
    let tables = reader.tables("server");
    let servers = read_servers(&tables, &defaults, checks, reader.report());
    if object.table.entries.get("server").is_none_or(|_| tables.is_empty()) {
        let report = reader.report();
        report
            .warning(&object.table.at, format!("service '{}' has no servers", object.name))
            .hint("write [[server]] and below it address = \"192.168.100.101:80\"");
    }
    reader.finish(SERVICE_KEYS_OF_OTHERS);
    let address = address?;
    let service = VirtualService {
        protocol: defaults.protocol,
        address: address.value,
        scheduler,
        forward: defaults.forward,
        check: defaults.check,
        persistence,
        servers,
    };
    claim(service.key(), address.at, taken, report);
    Some(service)
}

/// The kernel has one service for each address and protocol.
fn claim(key: ServiceKey, at: Location, taken: &mut BTreeMap<ServiceKey, Location>, report: &mut Report) {
    if let Some(first) = taken.get(&key) {
        report
            .error(&at, format!("{key} is already the service of {first}"))
            .hint("put the servers of both into one file, or change the address, port or protocol of one");
        return;
    }
    taken.insert(key, at);
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

fn read_persistence(reader: &mut Reader<'_>) -> Option<u32> {
    let persistence = reader.duration("persistence", Duration::from_secs(1)..=LONGEST_PERSISTENCE)?;
    if persistence.value.subsec_nanos() != 0 {
        reader.report().error(&persistence.at, "'persistence' must be whole seconds");
    }
    u32::try_from(persistence.value.as_secs()).ok()
}

fn read_forward(reader: &mut Reader<'_>) -> Option<Forward> {
    reader.choice("forward", &FORWARDS, &FORWARDS_OF_OTHERS).map(|forward| forward.value)
}

/// The checks that a service may name.
struct Checks {
    /// Of `check.d`.
    files: Vec<String>,
    /// Those without a file, but for those that a link to `/dev/null` disables.
    built_in: Vec<&'static str>,
}

impl Checks {
    fn below(root: &Path) -> Self {
        let is_there = |name: &&str| !dropin::is_masked(root, "check.d", name);
        Self {
            files: dropin::names(root, "check.d"),
            built_in: BUILT_IN_CHECKS.into_iter().filter(is_there).collect(),
        }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.files.iter().map(String::as_str).chain(self.built_in.iter().copied())
    }
}

/// The name of a check that exists. A wrong one has been reported.
fn read_check(reader: &mut Reader<'_>, checks: &Checks, protocol: Protocol) -> Option<String> {
    let name = reader.string("check")?;
    if checks.files.contains(&name.value) {
        return Some(name.value);
    }
    if checks.built_in.contains(&name.value.as_str()) {
        if name.value == "tcp" && protocol != Protocol::Tcp {
            let text =
                format!("check 'tcp' makes TCP connections, which says little about a {protocol} service");
            reader.report().warning(&name.at, text);
        }
        return Some(name.value);
    }
    if BUILT_IN_CHECKS.contains(&name.value.as_str()) {
        let message = format!("the check '{}' is disabled by a link to /dev/null", name.value);
        let hint = format!("remove {}.toml from check.d, or name another check", name.value);
        reader.report().error(&name.at, message).hint(hint);
        return None;
    }
    let hint = match nearest(&name.value, checks.names()) {
        Some(near) => format!("did you mean \"{near}\"?"),
        None => format!(
            "the checks are {}; a new one is a file in /etc/trivet/check.d",
            checks.names().collect::<Vec<_>>().join(", ")
        ),
    };
    reader.report().error(&name.at, format!("there is no check '{}'", name.value)).hint(hint);
    None
}

fn read_servers(
    tables: &[&Table],
    defaults: &Defaults,
    checks: &Checks,
    report: &mut Report,
) -> BTreeMap<SocketAddr, RealServer> {
    let mut places: BTreeMap<SocketAddr, Location> = BTreeMap::new();
    let mut servers = BTreeMap::new();
    for table in tables {
        let Some((address, server)) = read_server(table, defaults, checks, report) else { continue };
        if let Some(first) = places.get(&address.value) {
            report.error(&address.at, format!("server {} is already at {first}", address.value));
            continue;
        }
        places.insert(address.value, address.at);
        servers.insert(address.value, server);
    }
    servers
}

fn read_server(
    table: &Table,
    defaults: &Defaults,
    checks: &Checks,
    report: &mut Report,
) -> Option<(Located<SocketAddr>, RealServer)> {
    let mut reader = Reader::new(table, report);
    let service_port = defaults.address.map(|address| address.port());
    let address = reader.parse("address", |text| parse_server_address(text, service_port));
    let address = reader.require("address", address, "address = \"192.168.100.101:80\"");
    let forward = read_forward(&mut reader).unwrap_or(defaults.forward);
    let server = RealServer {
        weight: reader.integer("weight", 0..=65_535).map_or(1, |weight| weight.value),
        forward,
        check: read_check(&mut reader, checks, defaults.protocol).or_else(|| defaults.check.clone()),
        inhibit_on_failure: reader
            .boolean("inhibit_on_failure")
            .map_or(defaults.inhibit_on_failure, |flag| flag.value),
    };
    if let (Some(address), Some(service)) = (&address, defaults.address) {
        check_reachable(address, service, forward, reader.report());
    }
    reader.finish(SERVICE_KEYS_OF_OTHERS);
    Some((address?, server))
}

/// What the way of forwarding demands of a server's address.
fn check_reachable(
    address: &Located<SocketAddr>,
    service: SocketAddr,
    forward: Forward,
    report: &mut Report,
) {
    let server = address.value;
    if forward != Forward::Nat && server.port() != service.port() {
        let text = format!(
            "with forward = \"{forward}\" packets keep their port, so the server's port must be the service's, {}",
            service.port()
        );
        report.error(&address.at, text).hint("leave the port out, or use forward = \"nat\"");
    }
    if forward != Forward::Tunnel && Family::of(server.ip()) != Family::of(service.ip()) {
        let text = format!("the server's address is of another family than the service's, {}", service.ip());
        report.error(&address.at, text).hint("only forward = \"tunnel\" goes from one family to the other");
    }
    if server == service {
        report.error(&address.at, "a server cannot have the address of its own service");
    }
}

fn parse_service_address(text: &str) -> Result<SocketAddr, String> {
    let address = text.parse().map_err(|_| not_an_address(text, "10.0.10.50"))?;
    check_address(address)
}

/// The port may be left out: then it is the service's.
fn parse_server_address(text: &str, service_port: Option<u16>) -> Result<SocketAddr, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        // Without a service address there is an error already; any port will do.
        return check_address(SocketAddr::new(ip, service_port.unwrap_or(1)));
    }
    let address = text.parse().map_err(|_| not_an_address(text, "192.168.100.101"))?;
    check_address(address)
}

fn not_an_address(text: &str, example: &str) -> String {
    // keepalived separates them by a space.
    if let Some((ip, port)) = text.split_once(' ')
        && let (Ok(ip), Ok(port)) = (ip.parse::<IpAddr>(), port.trim().parse::<u16>())
    {
        return format!("not an address and a port: write \"{}\"", SocketAddr::new(ip, port));
    }
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("without a port: write \"[{ip}]:80\""),
        Ok(IpAddr::V4(ip)) => format!("without a port: write \"{ip}:80\""),
        Err(_) => format!("not an address and a port, such as \"{example}:80\" or \"[2001:db8::1]:80\""),
    }
}

fn check_address(address: SocketAddr) -> Result<SocketAddr, String> {
    if address.port() == 0 {
        return Err("without a port: 0 is none".into());
    }
    if address.ip().is_unspecified() || address.ip().is_multicast() {
        return Err(format!("not the address of one machine: {}", address.ip()));
    }
    if matches!(address, SocketAddr::V6(v6) if v6.scope_id() != 0) {
        return Err("an address with a zone, which IPVS does not have".into());
    }
    Ok(address)
}

#[cfg(test)]
mod tests;
