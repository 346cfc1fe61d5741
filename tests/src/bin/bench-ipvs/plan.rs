//! What is balanced, written down for all four so that each means the same: the size of keepalived's own worst public
//! case (its issue 2318).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use ipvsd::table::{Entry, Family, Forward, Protocol, Server, Service, ServiceKey, Table};

pub(crate) const SERVICES: u32 = 2_277;
pub(crate) const SERVERS: u32 = 37_205;
const PORT: u16 = 80;
const FIRST_SERVICE: u32 = u32::from_be_bytes([10, 200, 0, 0]);
const FIRST_SERVER: u32 = u32::from_be_bytes([10, 64, 0, 0]);
/// The service whose first server changes its weight.
const CHANGING: u32 = 1_000;

/// Which servers are up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Up {
    All,
    /// The last one of each service is not.
    AllButOne,
    None,
}

/// What is wanted at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) up: Up,
    /// Of the first server of one service.
    pub(crate) weight: u16,
}

fn servers(service: u32) -> std::ops::Range<u32> {
    let bound = |number: u32| {
        let bound = u64::from(SERVERS) * u64::from(number) / u64::from(SERVICES);
        u32::try_from(bound).expect("no more than all")
    };
    bound(service)..bound(service + 1)
}

fn address(first: u32, number: u32) -> SocketAddr {
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::from(first + number), PORT))
}

fn key(service: u32) -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::Tcp, address: address(FIRST_SERVICE, service) }
}

/// The services to look at until something is done: whoever goes through all of them in the one order or the other gets
/// to one of these last.
pub(crate) fn telling(is_weight: bool) -> Vec<ServiceKey> {
    if is_weight { vec![key(CHANGING)] } else { vec![key(SERVICES - 1), key(0)] }
}

/// The addresses of the last server of each service, or of all servers.
pub(crate) fn targets(last_only: bool) -> Vec<String> {
    let of = |service| {
        let mut range = servers(service);
        if last_only {
            range.start = range.end - 1;
        }
        range.map(|server| address(FIRST_SERVER, server).to_string())
    };
    (0..SERVICES).flat_map(of).collect()
}

impl Plan {
    pub(crate) const START: Self = Self { up: Up::All, weight: 1 };

    fn weight(self, service: u32, server: u32) -> u16 {
        if service == CHANGING && server == servers(service).start { self.weight } else { 1 }
    }

    fn entry(self, service: u32) -> Entry {
        let range = servers(service);
        let used = match self.up {
            Up::All => range,
            Up::AllButOne => range.start..range.end - 1,
            Up::None => range.start..range.start,
        };
        let server = |number| {
            let weight = self.weight(service, number).into();
            let server = Server { forward: Forward::Route, weight, upper_threshold: 0, lower_threshold: 0 };
            (address(FIRST_SERVER, number), server)
        };
        let parameters = Service {
            scheduler: "rr".into(),
            flags: 0,
            timeout: 0,
            netmask: Service::whole_netmask(Family::V4),
            persistence_engine: None,
        };
        Entry { service: parameters, servers: used.map(server).collect() }
    }

    pub(crate) fn table(self) -> Table {
        (0..SERVICES).map(|service| (key(service), Arc::new(self.entry(service)))).collect()
    }

    pub(crate) fn keepalived(self, directory: &Path) -> String {
        let mut text = String::from("global_defs {\n router_id bench\n}\n");
        for name in ["one", "all"] {
            let file = directory.join(name);
            put(
                &mut text,
                format_args!("track_file {name} {{\n file \"{}\"\n weight 1\n}}\n", file.display()),
            );
        }
        for service in 0..SERVICES {
            let SocketAddr::V4(front) = address(FIRST_SERVICE, service) else { continue };
            let front = format!("{} {}", front.ip(), front.port());
            put(
                &mut text,
                format_args!("virtual_server {front} {{\n lvs_sched rr\n lvs_method DR\n protocol TCP\n"),
            );
            for server in servers(service) {
                let SocketAddr::V4(back) = address(FIRST_SERVER, server) else { continue };
                let (ip, port, weight) = (back.ip(), back.port(), self.weight(service, server));
                let file = if server + 1 == servers(service).end { "one" } else { "all" };
                put(
                    &mut text,
                    format_args!(" real_server {ip} {port} {{\n weight {weight}\n FILE_CHECK {{\n"),
                );
                put(&mut text, format_args!(" track_file {file}\n }}\n }}\n"));
            }
            text.push_str("}\n");
        }
        text
    }

    /// Writes ipvsd's drop-ins; those that are as they should be stay untouched.
    pub(crate) fn ipvsd(self, root: &Path) {
        let directory = root.join("etc/trivet/ipvs.d");
        std::fs::create_dir_all(&directory).expect("making directories");
        for service in 0..SERVICES {
            let mut text = format!("address = \"{}\"\nscheduler = \"rr\"\n", address(FIRST_SERVICE, service));
            text.push_str("forward = \"route\"\ncheck = \"tcp\"\ninitially = \"admitted\"\n");
            for server in servers(service) {
                let back = address(FIRST_SERVER, server);
                let weight = self.weight(service, server);
                put(&mut text, format_args!("[[server]]\naddress = \"{back}\"\nweight = {weight}\n"));
            }
            let file = directory.join(format!("service-{service:04}.toml"));
            if std::fs::read_to_string(&file).is_ok_and(|there| there == text) {
                continue;
            }
            std::fs::write(file, text).expect("writing a drop-in");
        }
    }

    pub(crate) fn ipvsadm(self) -> String {
        let mut text = String::new();
        for service in 0..SERVICES {
            let front = address(FIRST_SERVICE, service);
            put(&mut text, format_args!("-A -t {front} -s rr\n"));
            for server in servers(service) {
                let back = address(FIRST_SERVER, server);
                let weight = self.weight(service, server);
                put(&mut text, format_args!("-a -t {front} -r {back} -g -w {weight}\n"));
            }
        }
        text
    }
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    text.write_fmt(what).expect("writing to a String");
}

/// Of each server of a service.
pub(crate) type Weights = BTreeMap<SocketAddr, u32>;

pub(crate) fn weights(entry: &Entry) -> Weights {
    entry.servers.iter().map(|(address, server)| (*address, server.weight)).collect()
}
