//! How packets reach a server: the keys `forward` and `tunnel_…`, of a service, a server, or a sorry server.

use daemon::diagnostic::Location;
use daemon::document::Table;
use daemon::reader::Reader;

use crate::table::{Checksum, Forward, Tunnel};

const FORWARDS: [(&str, Forward); 3] =
    [("nat", Forward::Nat), ("route", Forward::Route), ("tunnel", Forward::Tunnel(Tunnel::Ipip))];
/// What keepalived, ldirectord and ipvsadm call the ways to forward.
const FORWARDS_OF_OTHERS: [(&str, &str); 6] = [
    ("DR", "route"),
    ("TUN", "tunnel"),
    ("masq", "nat"),
    ("masquerading", "nat"),
    ("gate", "route"),
    ("ipip", "tunnel"),
];
const TUNNELS: [(&str, Tunnel); 3] = [
    ("ipip", Tunnel::Ipip),
    ("gue", Tunnel::Gue { port: 0, checksum: Checksum::None }),
    ("gre", Tunnel::Gre { checksum: Checksum::None }),
];
const CHECKSUMS: [(&str, Checksum); 3] =
    [("none", Checksum::None), ("csum", Checksum::Outer), ("remcsum", Checksum::Remote)];
const CHECKSUMS_OF_OTHERS: [(&str, &str); 1] = [("nocsum", "none")];
/// The keys that say nothing without a tunnel.
const OF_TUNNELS: [&str; 3] = ["tunnel_type", "tunnel_port", "tunnel_checksum"];

#[derive(Clone, Copy)]
pub(super) struct Ways {
    /// With the tunnel that the other three make, if it is one.
    pub(super) forward: Forward,
    tunnel: Tunnel,
    port: u16,
    checksum: Checksum,
}

impl Ways {
    pub(super) const DEFAULT: Self =
        Self { forward: Forward::Nat, tunnel: Tunnel::Ipip, port: 0, checksum: Checksum::None };

    fn whole_tunnel(self) -> Tunnel {
        match self.tunnel {
            Tunnel::Ipip => Tunnel::Ipip,
            Tunnel::Gue { .. } => Tunnel::Gue { port: self.port, checksum: self.checksum },
            Tunnel::Gre { .. } => Tunnel::Gre { checksum: self.checksum },
            other @ Tunnel::Other { .. } => other,
        }
    }
}

pub(super) fn read_ways(reader: &mut Reader<'_>, table: &Table, defaults: Ways) -> Ways {
    let forward = reader.choice("forward", &FORWARDS, &FORWARDS_OF_OTHERS);
    let tunnel = reader.choice("tunnel_type", &TUNNELS, &[]);
    let port = reader.integer("tunnel_port", 1..=65_535);
    let checksum = reader.choice("tunnel_checksum", &CHECKSUMS, &CHECKSUMS_OF_OTHERS);
    let ways = Ways {
        forward: forward.map_or(defaults.forward, |forward| forward.value),
        tunnel: tunnel.map_or(defaults.tunnel, |tunnel| tunnel.value),
        port: port.map_or(defaults.port, |port| port.value),
        checksum: checksum.map_or(defaults.checksum, |checksum| checksum.value),
    };
    if !ways.forward.is_tunnel() {
        if let Some((key, at)) = first_key(table, &OF_TUNNELS) {
            let text = format!("'{key}' says nothing where forward is \"{}\"", ways.forward);
            reader.report().error(&at, text).hint("write forward = \"tunnel\"");
        }
        return ways;
    }
    check_tunnel(reader, table, ways);
    Ways { forward: Forward::Tunnel(ways.whole_tunnel()), ..ways }
}

/// What a kind of tunnel has, and what it has not. What is inherited is reported where it stands.
fn check_tunnel(reader: &mut Reader<'_>, table: &Table, ways: Ways) {
    let (at, text, hint) = match ways.tunnel {
        Tunnel::Ipip => {
            let Some((key, at)) = first_key(table, &OF_TUNNELS[1..]) else { return };
            (at, format!("IP in IP has no '{key}'"), "write tunnel_type = \"gue\" or \"gre\"")
        }
        Tunnel::Gue { .. } if ways.port == 0 && !table.entries.contains_key("tunnel_port") => {
            let Some(entry) = table.entries.get("tunnel_type") else { return };
            let hint = "write tunnel_port = 6080, the port that the servers decapsulate";
            (entry.value.at.clone(), "GUE needs 'tunnel_port'".to_owned(), hint)
        }
        Tunnel::Gre { .. } if ways.checksum == Checksum::Remote => {
            let Some((_, at)) = first_key(table, &["tunnel_checksum", "tunnel_type"]) else { return };
            (at, "GRE has no remote checksum".to_owned(), "write \"csum\" or \"none\"")
        }
        Tunnel::Gre { .. } => {
            let Some((_, at)) = first_key(table, &["tunnel_port"]) else { return };
            (at, "GRE has no 'tunnel_port'".to_owned(), "leave it out, or write tunnel_type = \"gue\"")
        }
        Tunnel::Gue { .. } | Tunnel::Other { .. } => return,
    };
    reader.report().error(&at, text).hint(hint);
}

/// The first of these keys that the table has, and where.
fn first_key<'a>(table: &Table, keys: &[&'a str]) -> Option<(&'a str, Location)> {
    keys.iter().find_map(|key| Some((*key, table.entries.get(*key)?.key_at.clone())))
}
