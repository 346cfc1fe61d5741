//! Configurations as the test thinks of them: at random, and as the files that say so.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::random::Random;

/// How packets reach a server, as the files and as `ipvsadm` call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Nat,
    Route,
    Tunnel,
}

impl Way {
    fn key(self) -> &'static str {
        match self {
            Self::Nat => "nat",
            Self::Route => "route",
            Self::Tunnel => "tunnel",
        }
    }

    pub(crate) fn column(self) -> &'static str {
        match self {
            Self::Nat => "Masq",
            Self::Route => "Route",
            Self::Tunnel => "Tunnel",
        }
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) ip: IpAddr,
    /// `None`: the one that the client asked for.
    pub(crate) port: Option<u16>,
    pub(crate) weight: u32,
    pub(crate) way: Way,
    pub(crate) thresholds: (u32, u32),
    pub(crate) is_checked: bool,
    pub(crate) inhibits: bool,
}

impl Server {
    /// As the file and the bus name it.
    pub(crate) fn name(&self) -> String {
        spell(self.ip, self.port)
    }
}

fn spell(ip: IpAddr, port: Option<u16>) -> String {
    match (ip, port) {
        (ip, None) => ip.to_string(),
        (IpAddr::V4(ip), Some(port)) => format!("{ip}:{port}"),
        (IpAddr::V6(ip), Some(port)) => format!("[{ip}]:{port}"),
    }
}

/// A server's address as `ipvsadm` shows it.
pub(crate) fn listed(ip: IpAddr, port: u16) -> String {
    spell(ip, Some(port))
}

/// One service of the kernel.
#[derive(Clone, Debug)]
pub(crate) struct Front {
    /// As `ipvsadm -Ln` begins the line.
    pub(crate) title: String,
    /// As `ipvsadm` is told which one is meant.
    pub(crate) option: String,
    pub(crate) port: u16,
}

#[derive(Clone, Debug)]
pub(crate) struct Service {
    pub(crate) name: String,
    /// The lines of the file that say where clients connect.
    place: String,
    pub(crate) fronts: Vec<Front>,
    pub(crate) scheduler: &'static str,
    /// As the file and `ipvsadm` name them, in the order of the latter.
    pub(crate) flags: Vec<&'static str>,
    pub(crate) one_packet: bool,
    pub(crate) persistence: Option<u32>,
    /// As the file says it, and as `ipvsadm` does.
    pub(crate) prefix: Option<(u32, &'static str)>,
    pub(crate) way: Way,
    pub(crate) servers: Vec<Server>,
    pub(crate) quorum: u32,
    pub(crate) hysteresis: u32,
    pub(crate) sorry: Option<(IpAddr, Option<u16>)>,
    pub(crate) keeps_all: bool,
    slow_start: bool,
}

pub(crate) const SERVICES: u32 = 8;
const SERVERS: u16 = 6;

/// Every machine that can be a server.
pub(crate) fn hosts() -> Vec<IpAddr> {
    (101..=101 + SERVERS).flat_map(|number| [v4(number), v6(number)]).collect()
}

fn v4(number: u16) -> IpAddr {
    format!("192.168.100.{number}").parse().unwrap()
}

fn v6(number: u16) -> IpAddr {
    format!("2001:db8:1::{number}").parse().unwrap()
}

/// Where clients connect to a service, and the family and the ports of its servers. A service with this number is
/// always of this kind, so that its servers keep their names and with them what was ordered.
struct Kind {
    place: &'static str,
    fronts: &'static [(&'static str, &'static str, u16)],
    port: Option<u16>,
    is_v6: bool,
    is_udp: bool,
}

const KINDS: [Kind; 8] = [
    Kind {
        place: "addresses = [\"10.0.10.50:80\", \"10.0.10.60:80\"]",
        fronts: &[
            ("TCP 10.0.10.50:80", "-t 10.0.10.50:80", 80),
            ("TCP 10.0.10.60:80", "-t 10.0.10.60:80", 80),
        ],
        port: Some(80),
        is_v6: false,
        is_udp: false,
    },
    Kind {
        place: "address = \"10.0.10.51:53\"\nprotocol = \"udp\"",
        fronts: &[("UDP 10.0.10.51:53", "-u 10.0.10.51:53", 53)],
        port: Some(53),
        is_v6: false,
        is_udp: true,
    },
    Kind {
        place: "address = \"[2001:db8::52]:443\"",
        fronts: &[("TCP [2001:db8::52]:443", "-t [2001:db8::52]:443", 443)],
        port: Some(443),
        is_v6: true,
        is_udp: false,
    },
    Kind {
        place: "mark = 103\nfamily = \"ipv4\"",
        fronts: &[("FWM 103", "-f 103", 0)],
        port: None,
        is_v6: false,
        is_udp: false,
    },
    Kind {
        place: "address = \"10.0.10.54:8000-8001\"",
        fronts: &[
            ("TCP 10.0.10.54:8000", "-t 10.0.10.54:8000", 8000),
            ("TCP 10.0.10.54:8001", "-t 10.0.10.54:8001", 8001),
        ],
        port: None,
        is_v6: false,
        is_udp: false,
    },
    Kind {
        place: "address = \"10.0.10.55:*\"",
        fronts: &[("TCP 10.0.10.55:0", "-t 10.0.10.55:0", 0)],
        port: None,
        is_v6: false,
        is_udp: false,
    },
    Kind {
        place: "mark = 106\nfamily = \"ipv6\"",
        fronts: &[("FWM 106 IPv6", "-f 106 -6", 0)],
        port: None,
        is_v6: true,
        is_udp: false,
    },
    // Its servers are of both families, which only tunnels allow.
    Kind {
        place: "address = \"10.0.10.57:80\"",
        fronts: &[("TCP 10.0.10.57:80", "-t 10.0.10.57:80", 80)],
        port: Some(80),
        is_v6: false,
        is_udp: false,
    },
];
const ALL_PORTS: u32 = 5;
const MIXED: u32 = 7;

const SCHEDULERS: [&str; 14] =
    ["rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "mh", "sed", "nq", "fo", "ovf", "twos"];

impl Service {
    pub(crate) fn random(random: &mut Random, number: u32) -> Self {
        let kind = &KINDS[usize::try_from(number).unwrap()];
        let scheduler = random.one_of(&SCHEDULERS);
        let flags = ["sh-fallback", "sh-port", "mh-fallback", "mh-port"];
        let flags =
            flags.into_iter().filter(|flag| flag.starts_with(scheduler) && random.once_in(2)).collect();
        let one_packet = kind.is_udp && random.once_in(2);
        let persistence =
            (number == ALL_PORTS || !one_packet && random.once_in(3)).then(|| 60 + random.below(600));
        let masks =
            if kind.is_v6 { [(64, "64"), (48, "48")] } else { [(24, "255.255.255.0"), (16, "255.255.0.0")] };
        let prefix = (persistence.is_some() && random.once_in(2)).then(|| random.one_of(&masks));
        let way = match number {
            MIXED => Way::Tunnel,
            _ => random.one_of(&[Way::Nat, Way::Route, Way::Tunnel]),
        };
        let mut servers = Vec::new();
        for host in 101..=100 + SERVERS {
            if !random.once_in(3) {
                servers.push(Server::random(random, number, host, way));
            }
        }
        if servers.iter().all(|server| server.weight == 0) {
            servers.push(Server { weight: 1, ..Server::random(random, number, 107, way) });
        }
        let total: u32 = servers.iter().map(|server| server.weight).sum();
        let quorum = 1 + random.below(total.min(6));
        let hysteresis = random.below(quorum.min(total - quorum + 1));
        let sorry = if kind.is_v6 { v6(200) } else { v4(200) };
        let sorry = random.once_in(3).then_some((sorry, kind.port));
        Self {
            name: format!("s{number}"),
            place: kind.place.into(),
            fronts: kind
                .fronts
                .iter()
                .map(|(title, option, port)| Front {
                    title: (*title).into(),
                    option: (*option).into(),
                    port: *port,
                })
                .collect(),
            scheduler,
            flags,
            one_packet,
            persistence,
            prefix,
            way,
            servers,
            quorum,
            hysteresis,
            sorry,
            keeps_all: sorry.is_none() && random.once_in(2),
            slow_start: random.once_in(4),
        }
    }

    /// The file.
    pub(crate) fn toml(&self) -> String {
        let mut text =
            format!("{}\nscheduler = \"{}\"\nforward = \"{}\"\n", self.place, self.scheduler, self.way.key());
        if !self.flags.is_empty() {
            let _ = writeln!(text, "scheduler_flags = {:?}", self.flags);
        }
        if self.one_packet {
            text += "one_packet = true\n";
        }
        if let Some(seconds) = self.persistence {
            let _ = writeln!(text, "persistence = {seconds}");
        }
        if let Some((length, _)) = self.prefix {
            let _ = writeln!(text, "persistence_prefix = {length}");
        }
        let _ = writeln!(text, "quorum = {}\nhysteresis = {}", self.quorum, self.hysteresis);
        if let Some((ip, port)) = self.sorry {
            let _ = writeln!(text, "sorry_server = \"{}\"", spell(ip, port));
        }
        if self.keeps_all {
            text += "all_down = \"keep\"\n";
        }
        if self.slow_start {
            text += "slow_start = \"1s\"\n";
        }
        for server in &self.servers {
            server.write(&mut text, self.way);
        }
        text
    }
}

impl Server {
    fn random(random: &mut Random, service: u32, host: u16, way: Way) -> Self {
        let kind = &KINDS[usize::try_from(service).unwrap()];
        let is_v6 = kind.is_v6 || service == MIXED && host % 2 == 1;
        // Some of the first service listen elsewhere, which only NAT allows.
        let is_elsewhere = service == 0 && host % 2 == 1;
        let way = match (service, is_elsewhere) {
            (MIXED, _) => way,
            (_, true) => Way::Nat,
            (_, false) if random.once_in(3) => random.one_of(&[Way::Nat, Way::Route, Way::Tunnel]),
            (_, false) => way,
        };
        Self {
            ip: if is_v6 { v6(host) } else { v4(host) },
            port: if is_elsewhere { Some(8080) } else { kind.port },
            weight: random.one_of(&[0, 1, 1, 2, 3, 100]),
            way,
            thresholds: random.one_of(&[(0, 0), (0, 0), (1000, 0), (1000, 800)]),
            is_checked: !random.once_in(4),
            inhibits: random.once_in(2),
        }
    }

    fn write(&self, text: &mut String, usual: Way) {
        let _ = writeln!(text, "[[server]]\naddress = \"{}\"\nweight = {}", self.name(), self.weight);
        if self.way != usual {
            let _ = writeln!(text, "forward = \"{}\"", self.way.key());
        }
        if self.thresholds.0 > 0 {
            let _ = writeln!(
                text,
                "upper_threshold = {}\nlower_threshold = {}",
                self.thresholds.0, self.thresholds.1
            );
        }
        if self.is_checked {
            *text += if self.port.is_some() { "check = \"tcp\"\n" } else { "check = \"ping\"\n" };
        }
        let _ = writeln!(text, "inhibit_on_failure = {}", self.inhibits);
    }
}

pub(crate) fn random_services(random: &mut Random) -> Vec<Service> {
    let mut services = Vec::new();
    for number in 0..SERVICES {
        if !random.once_in(4) {
            services.push(Service::random(random, number));
        }
    }
    services
}
