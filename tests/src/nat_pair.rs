//! The network of the first seed: two directors between an outside and an inside segment, two web servers whose
//! gateway is the virtual inside address, and a client outside. Without directors' programs: those are the test's.

use std::net::{Ipv4Addr, SocketAddr};

use crate::host::Host;
use crate::lab::Lab;
use crate::web::Web;

pub const OUTSIDE: Ipv4Addr = Ipv4Addr::new(10, 0, 10, 50);
pub const INSIDE: Ipv4Addr = Ipv4Addr::new(192, 168, 100, 10);
pub const SERVICE: &str = "10.0.10.50:80";
pub const SERVERS: [&str; 2] = ["192.168.100.101:80", "192.168.100.102:80"];

/// Fields are in the order in which they must end: programs, hosts, lab.
#[derive(Debug)]
pub struct NatPair {
    pub webs: [Web; 2],
    pub web_hosts: [Host; 2],
    pub client: Host,
    pub directors: [Host; 2],
    pub lab: Lab,
}

impl NatPair {
    pub fn new() -> Self {
        let lab = Lab::new();
        lab.segment("outside");
        lab.segment("inside");
        let directors = [1, 2].map(|number| director(&lab, number));
        let client = lab.host("client", &[("eth0", "outside", "10.0.10.100/24")]);
        let web_hosts = [1, 2].map(|number| web(&lab, number));
        let webs = [Web::start(&web_hosts[0]), Web::start(&web_hosts[1])];
        Self { webs, web_hosts, client, directors, lab }
    }

    /// Where the client asks.
    pub fn service() -> SocketAddr {
        SocketAddr::from((OUTSIDE, 80))
    }

    /// Which directors hold both virtual addresses, and which hold only one (a state that must not last).
    pub fn holders(&self) -> Holders {
        let holds = |host: &Host| {
            let outside = host.namespace().addresses("eth0").contains(&OUTSIDE);
            let inside = host.namespace().addresses("eth1").contains(&INSIDE);
            (outside, inside)
        };
        Holders([holds(&self.directors[0]), holds(&self.directors[1])])
    }

    /// The director that holds both, and nobody else any.
    pub fn active(&self) -> Option<usize> {
        match self.holders().0 {
            [(true, true), (false, false)] => Some(0),
            [(false, false), (true, true)] => Some(1),
            _ => None,
        }
    }
}

impl Default for NatPair {
    fn default() -> Self {
        Self::new()
    }
}

/// For each director, whether it holds the outside and the inside address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holders(pub [(bool, bool); 2]);

fn director(lab: &Lab, number: u8) -> Host {
    let (outside, inside) = (format!("10.0.10.5{number}/24"), format!("192.168.100.1{number}/22"));
    let host =
        lab.host(&format!("lvs{number}"), &[("eth0", "outside", &outside), ("eth1", "inside", &inside)]);
    host.sh(
        "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0",
    );
    host
}

fn web(lab: &Lab, number: u8) -> Host {
    let host =
        lab.host(&format!("web{number}"), &[("eth0", "inside", &format!("192.168.100.10{number}/22"))]);
    host.sh(&format!("ip route add default via {INSIDE}"));
    host
}
