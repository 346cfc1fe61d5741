//! What the kernel's table should be when everybody has said what is true and time has passed: the manual's rules,
//! written down without a look at how ipvsd follows them. And what it is, by `ipvsadm`.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::common::table::ipvsadm_says;
use crate::site::{Server, Service, Way, listed};

/// A server as `ipvsadm` shows it: forwarding, weight, upper and lower threshold.
pub(crate) type Row = (String, u32, u32, u32);
pub(crate) type Servers = BTreeMap<String, Row>;
/// By the line of the service, such as `TCP 10.0.10.50:80 rr persistent 300`.
pub(crate) type Table = BTreeMap<String, Servers>;

/// What was ordered of a server, as far as it still matters after a while: who has no connections is drained at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Weight(u32),
    Out,
}

#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) services: Vec<Service>,
    pub(crate) is_up: BTreeMap<IpAddr, bool>,
    /// By service and server.
    pub(crate) orders: BTreeMap<(String, String), Order>,
    /// Services that others made.
    pub(crate) foreign: Table,
}

impl Truth {
    /// What is wrong with a table; nothing if it is right.
    pub(crate) fn objections(&self, table: &Table) -> Vec<String> {
        let (mut wrong, mut rest) = (Vec::new(), table.clone());
        for service in &self.services {
            let right = self.right(service);
            for (index, front) in service.fronts.iter().enumerate() {
                let line = line(service, &front.title);
                let wanted: Vec<Servers> = right.iter().map(|stand| stand[index].clone()).collect();
                match rest.remove(&line) {
                    None => wrong.push(format!("{}: '{line}' is missing", service.name)),
                    Some(found) if !wanted.contains(&found) => {
                        wrong.push(format!(
                            "{}: '{line}' has {found:?}, and should have {wanted:?}",
                            service.name
                        ));
                    }
                    Some(_) => {}
                }
            }
        }
        for (line, servers) in &self.foreign {
            if rest.remove(line).as_ref() != Some(servers) {
                wrong.push(format!("'{line}' of others was touched"));
            }
        }
        wrong.extend(rest.keys().map(|line| format!("'{line}' should not be there")));
        wrong
    }

    /// The servers at each front, in each way that is right: within a quorum's hysteresis both are.
    fn right(&self, service: &Service) -> Vec<Vec<Servers>> {
        let weight: u32 =
            service.servers.iter().filter_map(|server| self.usable_weight(service, server)).sum();
        let is_lost = weight == 0 || weight < service.quorum - service.hysteresis;
        let is_held = weight > 0 && weight >= service.quorum + service.hysteresis;
        let mut stands = Vec::new();
        if service.sorry.is_none() || !is_lost {
            stands.push(self.served(service, weight == 0));
        }
        if service.sorry.is_some() && !is_held {
            stands.push(self.sorry(service));
        }
        stands
    }

    fn order(&self, service: &Service, server: &Server) -> Option<Order> {
        self.orders.get(&(service.name.clone(), server.name())).copied()
    }

    fn is_up(&self, server: &Server) -> bool {
        !server.is_checked || self.is_up[&server.ip]
    }

    fn weight(&self, service: &Service, server: &Server) -> u32 {
        match self.order(service, server) {
            Some(Order::Weight(weight)) => weight,
            Some(Order::Out) | None => server.weight,
        }
    }

    /// `None`: it must not be used.
    fn usable_weight(&self, service: &Service, server: &Server) -> Option<u32> {
        let is_usable = self.is_up(server) && self.order(service, server) != Some(Order::Out);
        is_usable.then(|| self.weight(service, server))
    }

    /// The servers answer, as many as can; with `all_down = "keep"` all of them where none can.
    fn served(&self, service: &Service, is_none_usable: bool) -> Vec<Servers> {
        let keeps = service.keeps_all && is_none_usable;
        let weight = |server: &Server| {
            let is_kept = keeps && self.order(service, server) != Some(Order::Out);
            let usable = self.usable_weight(service, server);
            usable.or_else(|| is_kept.then(|| self.weight(service, server))).or(server.inhibits.then_some(0))
        };
        self.at_each_front(service, weight)
    }

    fn sorry(&self, service: &Service) -> Vec<Servers> {
        let mut fronts = self.at_each_front(service, |server| server.inhibits.then_some(0));
        let (ip, port) = service.sorry.unwrap();
        for (servers, front) in fronts.iter_mut().zip(&service.fronts) {
            servers.insert(listed(ip, port.unwrap_or(front.port)), row(service.way, 1, (0, 0)));
        }
        fronts
    }

    fn at_each_front(&self, service: &Service, weight: impl Fn(&Server) -> Option<u32>) -> Vec<Servers> {
        let fronts = service.fronts.iter();
        fronts
            .map(|front| {
                let servers = service.servers.iter();
                servers
                    .filter_map(|server| {
                        let address = listed(server.ip, server.port.unwrap_or(front.port));
                        Some((address, row(server.way, weight(server)?, server.thresholds)))
                    })
                    .collect()
            })
            .collect()
    }
}

fn row(way: Way, weight: u32, (upper, lower): (u32, u32)) -> Row {
    (way.column().into(), weight, upper, lower)
}

/// As `ipvsadm -Ln` shows a service.
fn line(service: &Service, title: &str) -> String {
    let mut line = format!("{title} {}", service.scheduler);
    if !service.flags.is_empty() {
        line += &format!(" ({})", service.flags.join(","));
    }
    if let Some(seconds) = service.persistence {
        line += &format!(" persistent {seconds}");
    }
    if let Some((_, mask)) = service.prefix {
        line += &format!(" mask {mask}");
    }
    if service.one_packet {
        line += " ops";
    }
    line
}

/// The kernel's table; `None` if it changed while it was read.
pub(crate) fn read() -> Option<Table> {
    let (text, thresholds) = (ipvsadm_says("-Ln"), ipvsadm_says("-Ln --thresholds"));
    let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let mut limits = thresholds.lines().skip(3).map(words).filter(|words| words[0] == "->");
    let mut table = Table::new();
    let mut servers = None;
    for words in text.lines().skip(3).map(words) {
        if words[0] != "->" {
            servers = Some(table.entry(words.join(" ")).or_default());
            continue;
        }
        let limit = limits.next().filter(|limit| limit[1] == words[1])?;
        let row = (
            words[2].clone(),
            words[3].parse().unwrap(),
            limit[2].parse().unwrap(),
            limit[3].parse().unwrap(),
        );
        servers.as_mut().unwrap().insert(words[1].clone(), row);
    }
    limits.next().is_none().then_some(table)
}
