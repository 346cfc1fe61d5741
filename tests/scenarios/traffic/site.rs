//! A director between an outside and an inside segment, web servers inside, and a client whose second leg is the way
//! that answers take which do not go through the director.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::client::ask_from;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::held::Held;
use trivet_tests::host::Host;
use trivet_tests::ipvs;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::web::Web;

pub(crate) const VIRTUAL: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 50);
pub(crate) const VIRTUAL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x50);
pub(crate) const CLIENT: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 100);
pub(crate) const CLIENT_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 0, 0, 0, 0, 0x100);
/// On its outside leg, too, and of another network of 64 bits.
pub(crate) const OTHER_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x10, 1, 0, 0, 0, 0x100);
/// Of a request that should be answered; an emulated machine needs it.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(10);
/// For one that should not.
pub(crate) const SHORT: Duration = Duration::from_secs(2);

/// Where the web servers listen; nginx counts them among its connections.
const PLACES: [&str; 8] =
    ["80", "443", "8001-8009", "[::]:8001-8009", "8101-8108", "[::]:8101-8108", "8201-8206", "8301-8304"];

pub(crate) struct Site {
    pub(crate) trivet: Trivet,
    pub(crate) webs: Vec<Web>,
    pub(crate) web_hosts: Vec<Host>,
    pub(crate) client: Host,
    pub(crate) director: Host,
    _lab: Lab,
}

impl Site {
    /// With so many web servers, the daemons, and their drop-ins: ("ipvs.d/web.toml", TEXT).
    pub(crate) fn new(servers: u8, daemons: &[&str], files: &[(&str, &str)]) -> Self {
        ipvs::require();
        let lab = Lab::new();
        lab.segment("outside");
        lab.segment("inside");
        let director = director(&lab);
        let client = client(&lab);
        let web_hosts: Vec<_> = (1..=servers).map(|number| web(&lab, number)).collect();
        let webs = web_hosts.iter().map(|host| Web::listening(host, &PLACES)).collect();
        let mut trivet = Trivet::with_files(&director, files);
        trivet.start_all(&director, daemons);
        Self { trivet, webs, web_hosts, client, director, _lab: lab }
    }

    /// Services that have the same two servers: ("ipvs.d/web.toml", TEXT), and the servers' tables.
    pub(crate) fn with_services(services: &[(&str, &str)], servers: &str) -> Self {
        let files: Vec<_> = services.iter().map(|(name, text)| (*name, format!("{text}{servers}"))).collect();
        let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
        Self::new(2, &["ipvsd"], &files)
    }

    /// The director's firewall marks packets by such a rule.
    pub(crate) fn mark(&self, rule: &str) {
        let chain = format!("type filter hook prerouting priority mangle; {rule}");
        self.director.sh(&format!("nft 'table inet marks {{ chain incoming {{ {chain}; }}; }}'"));
    }

    /// One request from the client's own address.
    pub(crate) fn ask(&self, target: SocketAddr) -> Result<String, String> {
        let from = if target.is_ipv4() { IpAddr::V4(CLIENT) } else { IpAddr::V6(CLIENT_V6) };
        ask_from(&self.client, from, target, TIMEOUT)
    }

    /// The answering servers of so many requests, one after the other; all must be answered.
    #[track_caller]
    pub(crate) fn answers(&self, target: SocketAddr, count: usize) -> Vec<String> {
        let ask = |_| self.ask(target).unwrap_or_else(|error| panic!("asking {target}: {error}"));
        (0..count).map(ask).collect()
    }

    /// Who answers another of the client's addresses.
    #[track_caller]
    pub(crate) fn asked_by(&self, client: impl Into<IpAddr>, target: impl Into<SocketAddr>) -> String {
        let (client, target) = (client.into(), target.into());
        let answer = ask_from(&self.client, client, target, TIMEOUT);
        answer.unwrap_or_else(|error| panic!("{client} asks {target}: {error}"))
    }

    /// All requests, each from an address to a target, are answered by one server, which is told.
    #[track_caller]
    pub(crate) fn one_answers<C, T>(&self, requests: &[(C, T)]) -> String
    where
        C: Into<IpAddr> + Copy + Debug,
        T: Into<SocketAddr> + Copy + Debug,
    {
        let answers: Vec<_> =
            requests.iter().map(|(client, target)| self.asked_by(*client, *target)).collect();
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{requests:?}: {answers:?}");
        answers[0].clone()
    }

    #[track_caller]
    pub(crate) fn hold(&self, port: u16) -> Held {
        self.try_hold(port, TIMEOUT).unwrap_or_else(|error| panic!("holding port {port}: {error}"))
    }

    pub(crate) fn try_hold(&self, port: u16, timeout: Duration) -> Result<Held, String> {
        Held::open(&self.client, CLIENT.into(), at(port), timeout)
    }

    /// Waits until a service's servers have these weights: `[("192.168.100.101:80", 1)]`.
    #[track_caller]
    pub(crate) fn expect(&self, what: &str, port: u16, wanted: &[(&str, u32)]) {
        let service = at(port).to_string();
        let wanted: Vec<_> =
            wanted.iter().map(|(address, weight)| ((*address).to_owned(), *weight)).collect();
        wait_for(what, &wanted, || ipvs::weights(&self.director, &service));
    }

    /// Waits until the service says this of itself.
    #[track_caller]
    pub(crate) fn says(&self, service: &str, name: &'static str, text: &str) -> String {
        self.trivet.wait_for_text(&Property::service(service, name), text)
    }

    /// A verb of a service, as an operator would use it.
    #[track_caller]
    pub(crate) fn order(&self, service: &str, verb: &str, arguments: &[&str]) {
        let path = format!("/org/trivet/Ipvs1/service/{service}");
        let head = ["call", "org.trivet.Ipvs1", &path, "org.trivet.Ipvs1.Service", verb];
        let result = self.trivet.bus().busctl(&[&head, arguments].concat());
        result.unwrap_or_else(|error| panic!("{verb} {arguments:?}: {error}"));
    }

    /// Waits until the kernel has all these services, with so many servers together, and ipvsd takes orders.
    #[track_caller]
    pub(crate) fn expect_table(&self, services: usize, servers: usize) {
        wait(&format!("{services} services with {servers} servers"), PATIENCE, || {
            let table = ipvs::table(&self.director);
            let count = |starts: &[&str]| {
                table.lines().filter(|line| starts.iter().any(|start| line.starts_with(start))).count()
            };
            // The heading has one arrow of its own.
            let found = (count(&["TCP", "UDP", "SCTP", "FWM"]), count(&["  ->"]));
            (found == (services, servers + 1)).then_some(())
        });
        let question =
            ["get-property", "org.trivet.Ipvs1", "/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Services"];
        wait("ipvsd on the bus", PATIENCE, || self.trivet.bus().busctl(&question).ok());
    }
}

/// A port of the virtual address.
pub(crate) fn at(port: u16) -> SocketAddr {
    SocketAddr::from((VIRTUAL, port))
}

pub(crate) fn alternate(answers: &[String]) -> bool {
    answers.windows(2).all(|two| two[0] != two[1])
}

fn director(lab: &Lab) -> Host {
    let host =
        lab.host("director", &[("eth0", "outside", "10.0.10.51/24"), ("eth1", "inside", "192.168.100.1/24")]);
    host.sh(&format!(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0
         sysctl -qw net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0
         ip addr add {VIRTUAL}/32 dev eth0
         ip addr add 10.0.10.60/32 dev eth0
         ip addr add 10.0.10.61/32 dev eth0
         ip -6 addr add 2001:db8:10::51/64 dev eth0 nodad
         ip -6 addr add {VIRTUAL_V6}/128 dev eth0 nodad
         for last in 60 61 62 63; do ip -6 addr add 2001:db8:10::$last/128 dev eth0 nodad; done
         ip -6 addr add 2001:db8:100::1/64 dev eth1 nodad
         ip -6 route add 2001:db8:10:1::/64 via {CLIENT_V6}
         ip route add 10.0.16.0/20 via {CLIENT}"
    ));
    host
}

/// Its addresses of 10.0.16.0/20 stand for many clients.
fn client(lab: &Lab) -> Host {
    let host = lab
        .host("client", &[("eth0", "outside", "10.0.10.100/24"), ("eth1", "inside", "192.168.100.100/24")]);
    host.sh(&format!(
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0 net.ipv4.conf.eth1.rp_filter=0
         ip -6 addr add {CLIENT_V6}/64 dev eth0 nodad
         ip -6 addr add {OTHER_V6}/128 dev eth0 nodad
         ip -6 addr add 2001:db8:100::100/64 dev eth1 nodad
         for net in 21 22; do for last in 1 2 3 4; do ip addr add 10.0.$net.$last/32 dev eth0; done; done"
    ));
    host
}

/// It holds the virtual addresses without announcing them. What it says in their name goes to the client by itself, all
/// else by way of the director.
fn web(lab: &Lab, number: u8) -> Host {
    let own = format!("192.168.100.10{number}/24");
    let host = lab.host(&format!("web{number}"), &[("eth0", "inside", &own)]);
    host.sh(&format!(
        "sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.eth0.rp_filter=0
         sysctl -qw net.ipv4.conf.all.arp_ignore=1 net.ipv4.conf.all.arp_announce=2
         ip addr add 192.168.100.11{number}/24 dev eth0
         ip -6 addr add 2001:db8:100::10{number}/64 dev eth0 nodad
         ip -6 addr add 2001:db8:100::11{number}/64 dev eth0 nodad
         ip addr add {VIRTUAL}/32 dev lo
         ip -6 addr add {VIRTUAL_V6}/128 dev lo nodad
         ip route add default via 192.168.100.1
         ip -6 route add default via 2001:db8:100::1
         ip rule add from {VIRTUAL} lookup 100
         ip route add default via 192.168.100.100 table 100
         ip -6 rule add from {VIRTUAL_V6} lookup 100
         ip -6 route add default via 2001:db8:100::100 table 100"
    ));
    host
}
