//! Where the clients of one service connect, and what that demands of its servers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use daemon::diagnostic::Location;
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use super::address::{MOST, parse_backend, parse_fronts};
use crate::service::Backend;
use crate::table::{Family, Protocol, ServiceKey};

/// The services that one file makes in the kernel. Questions about one server cost no walk along all of them: there may
/// be thousands of both.
#[derive(Debug, Default)]
pub(super) struct Fronts {
    /// In the file's order; empty if they are missing or wrong, which has been reported.
    all: Vec<Located<ServiceKey>>,
    /// The ports of servers that do not say theirs; 0: of marks, and of all ports.
    ports: BTreeSet<u16>,
    families: BTreeSet<Family>,
    addresses: BTreeSet<SocketAddr>,
    ips: BTreeSet<IpAddr>,
}

impl Fronts {
    fn new(all: Vec<Located<ServiceKey>>) -> Self {
        let mut fronts = Self::default();
        for Located { value: front, .. } in &all {
            fronts.families.insert(front.family());
            match front {
                ServiceKey::Address { address, .. } => {
                    fronts.ports.insert(address.port());
                    fronts.addresses.insert(*address);
                    fronts.ips.insert(address.ip());
                }
                ServiceKey::Mark { .. } => _ = fronts.ports.insert(0),
            }
        }
        Self { all, ..fronts }
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ServiceKey> {
        self.all.iter().map(|front| &front.value)
    }

    pub(super) fn number(&self) -> usize {
        self.all.len()
    }

    pub(super) fn have_marks(&self) -> bool {
        self.keys().any(|front| matches!(front, ServiceKey::Mark { .. }))
    }

    pub(super) fn have_family(&self, family: Family) -> bool {
        self.families.contains(&family)
    }

    /// Nobody but this machine itself connects there.
    pub(super) fn are_of_this_machine(&self) -> bool {
        !self.have_marks() && self.ips.iter().all(IpAddr::is_loopback)
    }

    /// Where an address with all of its ports stands.
    pub(super) fn of_all_ports(&self) -> Option<&Location> {
        let is_all = |front: &&Located<ServiceKey>| matches!(&front.value, ServiceKey::Address { address, .. } if address.port() == 0);
        self.all.iter().find(is_all).map(|front| &front.at)
    }

    /// Where the check of a server goes that does not say its port: the first there is, or 0.
    pub(super) fn first_port(&self) -> u16 {
        let port = |front: &ServiceKey| match front {
            ServiceKey::Address { address, .. } => address.port(),
            ServiceKey::Mark { .. } => 0,
        };
        self.keys().map(port).find(|port| *port != 0).unwrap_or(0)
    }

    /// One whose packets have another port.
    pub(super) fn with_other_port(&self, port: u16) -> Option<&ServiceKey> {
        if self.ports.iter().all(|known| *known == port) {
            return None;
        }
        self.keys().find(|front| match front {
            ServiceKey::Address { address, .. } => address.port() != port,
            ServiceKey::Mark { .. } => true,
        })
    }

    pub(super) fn of_other_family(&self, family: Family) -> Option<&ServiceKey> {
        if self.families.iter().all(|known| *known == family) {
            return None;
        }
        self.keys().find(|front| front.family() != family)
    }

    /// Whether a server would be its own service.
    pub(super) fn are_at(&self, backend: &Backend) -> bool {
        match backend.port {
            Some(port) => self.addresses.contains(&SocketAddr::new(backend.ip, port)),
            None => self.ips.contains(&backend.ip),
        }
    }

    /// One of `servers` that is the same as this one behind one of the services, be it written with a port or without.
    pub(super) fn same_server<'a, T>(
        &self,
        server: &Backend,
        servers: &'a BTreeMap<Backend, T>,
    ) -> Option<&'a T> {
        if let Some(same) = servers.get(server) {
            return Some(same);
        }
        let without = Backend { ip: server.ip, port: None };
        match server.port {
            Some(port) if self.ports.contains(&port) => servers.get(&without),
            Some(_) => None,
            None => {
                let last = Backend { ip: server.ip, port: Some(u16::MAX) };
                let has_our_port =
                    |known: &Backend| known.port.is_some_and(|port| self.ports.contains(&port));
                servers.range(without..=last).find(|(known, _)| has_our_port(known)).map(|(_, same)| same)
            }
        }
    }

    pub(super) fn into_located(self) -> Vec<Located<ServiceKey>> {
        self.all
    }
}

/// The keys `address`, `addresses`, `mark`, `marks` and `family`.
pub(super) fn read_fronts(reader: &mut Reader<'_>, table: &Table, protocol: Protocol) -> Fronts {
    let mut fronts = read_addresses(reader, protocol);
    fronts.extend(read_marks(reader, table));
    let named = ["address", "addresses", "mark", "marks"];
    if fronts.is_empty() && !named.iter().any(|key| table.entries.contains_key(*key)) {
        reader.mistake("'address' is missing", "for example: address = \"10.0.10.50:80\"");
    }
    if let Some(many) = fronts.get(MOST) {
        let text = format!("a service of more than {MOST} addresses and ports");
        reader.report().error(&many.at, text).hint("a firewall mark can stand for any number");
        fronts.truncate(MOST);
    }
    Fronts::new(fronts)
}

fn read_addresses(reader: &mut Reader<'_>, protocol: Protocol) -> Vec<Located<ServiceKey>> {
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
            Ok(addresses) => {
                if addresses.iter().any(|address| address.ip().is_loopback()) {
                    let text =
                        format!("'{text}' is a loopback address: only this machine itself connects there");
                    reader.report().warning(&value.at, text);
                }
                let front = |address| ServiceKey::Address { protocol, address };
                fronts.extend(
                    addresses
                        .into_iter()
                        .map(|address| Located { value: front(address), at: value.at.clone() }),
                );
            }
            Err(reason) => _ = reader.report().error(&value.at, format!("'{text}' is {reason}")),
        }
        // More of them would only be more of the same mistake.
        if fronts.len() > MOST {
            break;
        }
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
        reader
            .report()
            .error(&family.at, "'family' is about firewall marks, and there is none")
            .hint("leave it out: an address says its family itself");
    }
    let family = family.map(|family| family.value).or_else(|| family_of_servers(table)).unwrap_or(Family::V4);
    let mut marks = Vec::new();
    for value in values {
        let number = if let Kind::Integer(number) = value.kind { number } else { None };
        match number.and_then(|number| u32::try_from(number).ok()).filter(|mark| *mark > 0) {
            Some(mark) => {
                marks.push(Located { value: ServiceKey::Mark { family, mark }, at: value.at.clone() });
            }
            None => _ = reader.report().error(&value.at, "a firewall mark must be from 1 to 4294967295"),
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
