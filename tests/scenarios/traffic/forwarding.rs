//! Every way to forward. The servers unpack what is tunnelled with the kernel's own devices, set up as an administrator
//! would. What is on the wire is what was configured, and answers do not pass the director unless it translates.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use trivet_tests::capture::{Mac, mac};
use trivet_tests::clock::{now, pace, wait_for};
use trivet_tests::host::Host;
use trivet_tests::ipvs;
use trivet_tests::packets::{GUE_PORT, Packet, Packets};

use crate::site::{Site, VIRTUAL, VIRTUAL_V6, alternate};

/// Name, what a drop-in says, the kernel's word for it, and what a packet to the server carries outside of the
/// client's own.
const WAYS: [(&str, &str, &str, &str); 8] = [
    ("nat", "forward = \"nat\"", "Masq", ""),
    ("route", "forward = \"route\"", "Route", ""),
    ("ipip", "forward = \"tunnel\"", "Tunnel", ""),
    ("gue", "forward = \"tunnel\"\ntunnel_type = \"gue\"\ntunnel_port = 6080", "Tunnel", "gue "),
    (
        "gue-csum",
        "forward = \"tunnel\"\ntunnel_type = \"gue\"\ntunnel_port = 6080\ntunnel_checksum = \"csum\"",
        "Tunnel",
        "gue-csum ",
    ),
    (
        "gue-remcsum",
        "forward = \"tunnel\"\ntunnel_type = \"gue\"\ntunnel_port = 6080\ntunnel_checksum = \"remcsum\"",
        "Tunnel",
        "gue-remcsum ",
    ),
    ("gre", "forward = \"tunnel\"\ntunnel_type = \"gre\"", "Tunnel", "gre "),
    (
        "gre-csum",
        "forward = \"tunnel\"\ntunnel_type = \"gre\"\ntunnel_checksum = \"csum\"",
        "Tunnel",
        "gre-csum ",
    ),
];

/// How late a capture may be.
const LAG: Duration = Duration::from_secs(15);
/// Requests to each service: each server is asked once.
const REQUESTS: usize = 2;

/// One way, from clients of one family to servers of one family.
struct Cell {
    way: usize,
    /// 4 or 6.
    clients: u8,
    servers: u8,
}

impl Cell {
    /// Tunnels alone lead from one family to the other.
    fn all() -> Vec<Self> {
        let mut cells = Vec::new();
        for (way, (_, _, word, _)) in WAYS.iter().enumerate() {
            for (clients, servers) in [(4, 4), (6, 6), (4, 6), (6, 4)] {
                if clients == servers || *word == "Tunnel" {
                    cells.push(Self { way, clients, servers });
                }
            }
        }
        cells
    }

    fn name(&self) -> String {
        format!("{}-{}-to-{}", WAYS[self.way].0, self.clients, self.servers)
    }

    /// The virtual address; cells of mixed families have ports of their own.
    fn service(&self) -> SocketAddr {
        let base = if self.clients == self.servers { 8001 } else { 8101 };
        let port = base + u16::try_from(self.way).expect("a few ways");
        if self.clients == 4 {
            SocketAddr::from((VIRTUAL, port))
        } else {
            SocketAddr::from((VIRTUAL_V6, port))
        }
    }

    /// A device of GRE takes packets with a checksum or without one, so that these go to addresses of their own.
    fn server(&self, number: u8) -> SocketAddr {
        let tens = if WAYS[self.way].0 == "gre-csum" { 11 } else { 10 };
        let port = self.service().port();
        let text = match self.servers {
            4 => format!("192.168.100.{tens}{number}:{port}"),
            _ => format!("[2001:db8:100::{tens}{number}]:{port}"),
        };
        text.parse().expect("an address")
    }

    fn drop_in(&self) -> String {
        let mut text =
            format!("address = \"{}\"\nscheduler = \"rr\"\n{}\n", self.service(), WAYS[self.way].1);
        for number in [1, 2] {
            let _ = write!(text, "[[server]]\naddress = \"{}\"\n", self.server(number));
        }
        text
    }

    fn is_nat(&self) -> bool {
        WAYS[self.way].2 == "Masq"
    }

    /// How a packet to the server must be packed.
    fn packing(&self) -> String {
        let own = format!("ipv{} tcp", self.clients);
        if WAYS[self.way].2 == "Tunnel" {
            format!("ipv{} {}{own}", self.servers, WAYS[self.way].3)
        } else {
            own
        }
    }
}

/// What an administrator sets up on a server so that it unpacks everything that it could be sent.
fn unpack(host: &Host, number: usize) {
    let (plain, summed) = (format!("192.168.100.10{number}"), format!("192.168.100.11{number}"));
    let (plain_v6, summed_v6) = (format!("2001:db8:100::10{number}"), format!("2001:db8:100::11{number}"));
    host.sh(&format!(
        "set -e
         ip link add name ipip type ipip local {plain}
         ip link add name sit type sit local {plain}
         ip link add name in6 type ip6tnl mode any local {plain_v6}
         ip link add name gre type gre local {plain}
         ip link add name gre-csum type gre local {summed} icsum
         ip link add name gre6 type ip6gre local {plain_v6}
         ip link add name gre6-csum type ip6gre local {summed_v6} icsum
         for device in ipip sit in6 gre gre-csum gre6 gre6-csum; do ip link set $device up; done
         ip fou add port {GUE_PORT} gue
         ip fou add port {GUE_PORT} gue -6"
    ));
}

/// What was seen where.
struct Seen {
    at_webs: [Packets; 2],
    outside: Packets,
    inside: Packets,
    director: Mac,
    webs: [Mac; 2],
}

impl Seen {
    fn start(site: &Site) -> Self {
        Self {
            at_webs: [0, 1].map(|index: usize| Packets::start(&site.web_hosts[index], "eth0")),
            outside: Packets::start(&site.client, "eth0"),
            inside: Packets::start(&site.client, "eth1"),
            director: mac(&site.director, "eth1"),
            webs: [0, 1].map(|index: usize| mac(&site.web_hosts[index], "eth0")),
        }
    }

    /// Both of the following; what is seen is written down a little later than it happens.
    fn check(&self, cell: &Cell) -> Result<(), String> {
        let deadline = now() + LAG;
        loop {
            let result = self.check_requests(cell).and_then(|()| self.check_answers(cell));
            if result.is_ok() || now() > deadline {
                return result;
            }
            pace(LAG / 100);
        }
    }

    /// Requests come from the director, packed as they should be, to the server that was configured.
    fn check_requests(&self, cell: &Cell) -> Result<(), String> {
        for (packets, number) in self.at_webs.iter().zip([1, 2]) {
            let server = cell.server(number);
            let requests = packets.to(if cell.is_nat() { server } else { cell.service() });
            if requests.is_empty() {
                return Err(format!("web{number} got no packet"));
            }
            let is_right = |packet: &Packet| {
                let is_unpacked = cell.packing() == "ipv4 tcp" || cell.packing() == "ipv6 tcp";
                packet.packing() == cell.packing()
                    && packet.sender == self.director
                    // A routed packet is not changed at all: its target is the service's address.
                    && (packet.outer_target == server.ip()) == (cell.is_nat() || !is_unpacked)
            };
            if let Some(wrong) = requests.iter().find(|packet| !is_right(packet)) {
                return Err(format!("web{number} got {wrong:?} instead of {}", cell.packing()));
            }
        }
        Ok(())
    }

    /// Answers come through the director if it translates, and otherwise from the servers themselves.
    fn check_answers(&self, cell: &Cell) -> Result<(), String> {
        let (outside, inside) = (self.outside.from(cell.service()), self.inside.from(cell.service()));
        if cell.is_nat() {
            return match (outside.len(), inside.len()) {
                (1.., 0) => Ok(()),
                (through, beside) => {
                    Err(format!("{through} answers through the director, {beside} beside it"))
                }
            };
        }
        if !outside.is_empty() || inside.is_empty() {
            return Err(format!("{} answers through the director, {} beside", outside.len(), inside.len()));
        }
        let stranger = inside.iter().find(|packet| !self.webs.contains(&packet.sender));
        stranger.map_or(Ok(()), |packet| Err(format!("an answer from nobody's station: {packet:?}")))
    }
}

#[test]
fn every_way_to_forward_is_on_the_wire_what_was_configured_and_clients_are_answered() {
    let cells = Cell::all();
    let files: Vec<_> =
        cells.iter().map(|cell| (format!("ipvs.d/{}.toml", cell.name()), cell.drop_in())).collect();
    let files: Vec<_> = files.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let site = Site::new(2, &["ipvsd"], &files);
    (1..).zip(&site.web_hosts).for_each(|(number, host)| unpack(host, number));
    site.expect_table(cells.len(), cells.len() * 2);
    let seen = Seen::start(&site);

    let mut failures = Vec::new();
    for cell in &cells {
        let answers: Result<Vec<_>, _> = (0..REQUESTS).map(|_| site.ask(cell.service())).collect();
        let result = match answers {
            Ok(answers) if alternate(&answers) => seen.check(cell).and_then(|()| remembered(&site, cell)),
            Ok(answers) => Err(format!("the answers do not alternate: {answers:?}")),
            Err(error) => Err(error),
        };
        failures.extend(result.err().map(|error| format!("{}: {error}", cell.name())));
    }
    assert!(failures.is_empty(), "{}\n{}", failures.join("\n"), ipvs::table(&site.director));
    judge_by_ipvsadm(&site, &cells);
}

/// The kernel remembers a connection to each server, for as long as the state in which it ended lets it.
fn remembered(site: &Site, cell: &Cell) -> Result<(), String> {
    let (connections, service) = (ipvs::connections(&site.director), cell.service().to_string());
    let servers = [1, 2].map(|number| cell.server(number).to_string());
    let known = |server: &String| {
        connections.iter().filter(|found| found.service == service && found.server == *server).count()
    };
    let counts = servers.each_ref().map(known);
    if counts == [1, 1] {
        Ok(())
    } else {
        Err(format!("{counts:?} connections to {servers:?}: {connections:#?}"))
    }
}

/// The kernel's own books agree.
fn judge_by_ipvsadm(site: &Site, cells: &[Cell]) {
    let table = ipvs::table(&site.director);
    for cell in cells {
        let service = cell.service().to_string();
        let servers = ipvs::servers_in(&table, &service);
        for number in [1, 2] {
            let address = cell.server(number).to_string();
            let found = servers.iter().find(|server| server.address == address);
            let word = found.map(|server| server.forward.as_str());
            assert_eq!(word, Some(WAYS[cell.way].2), "{}: {servers:?}", cell.name());
        }
    }
    let wanted: Vec<_> = cells.iter().map(|cell| (cell.name(), 2, true, cell.is_nat())).collect();
    wait_for("connections, packets in, and packets out where it translates", &wanted, || {
        let traffic = ipvs::traffic(&site.director);
        let of = |cell: &Cell| traffic.get(&cell.service().to_string()).copied().unwrap_or_default();
        let row = |cell: &Cell| {
            let of = of(cell);
            (cell.name(), of.connections, of.packets_in > 0, of.packets_out > 0)
        };
        cells.iter().map(row).collect()
    });
}
