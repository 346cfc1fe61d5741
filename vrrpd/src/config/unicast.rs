//! The table `[unicast]`: peers to which advertisements are sent one by one, where the network carries no multicast.

use std::collections::BTreeMap;
use std::net::IpAddr;

use daemon::diagnostic::{Location, Report};
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use crate::interfaces::Interfaces;
use crate::packet::TTL;
use crate::transport::{Peer, Transport, Unicast};
use crate::types::{Family, VirtualAddress};

const OTHER_KEYS: &[(&str, &str)] = &[
    ("unicast_peer", "keepalived's unicast_peer is peers = [\"10.0.0.2\"] here"),
    ("unicast_src_ip", "keepalived's unicast_src_ip is source = \"10.0.0.1\" here"),
    ("unicast_ttl", "keepalived's unicast_ttl is ttl = 255 here"),
    ("check_unicast_src", "keepalived's check_unicast_src is check_source = true here, and the default"),
    ("min_ttl", "it belongs to a peer: { address = \"10.0.0.2\", min_ttl = 253 }"),
    ("max_ttl", "it belongs to a peer: { address = \"10.0.0.2\", max_ttl = 254 }"),
];

/// What a router's peers must not contradict.
#[derive(Debug)]
pub(super) struct Context<'a> {
    pub(super) family: Option<Family>,
    pub(super) addresses: &'a [VirtualAddress],
    /// The virtual addresses are this machine's own (priority 255).
    pub(super) owner: bool,
    /// For `--check`: this machine's interfaces.
    pub(super) present: Option<&'a Interfaces>,
}

pub(super) fn read(reader: &mut Reader<'_>, context: &Context<'_>) -> Transport {
    let Some(table) = reader.table("unicast") else { return Transport::Multicast };
    let mut reader = Reader::new(table, reader.report());
    let source = reader.parse("source", address);
    let source = source.filter(|source| context.accepts_source(source, reader.report()));
    let source = source.map(|source| source.value);
    let ttl = reader.integer::<u8>("ttl", 1..=255);
    let check_source = reader.boolean("check_source");
    let peers = read_peers(&mut reader, context, source);
    reader.finish(OTHER_KEYS);
    Transport::Unicast(Unicast {
        source,
        peers,
        ttl: ttl.map_or(TTL, |ttl| ttl.value),
        check_source: check_source.is_none_or(|check| check.value),
    })
}

fn read_peers(reader: &mut Reader<'_>, context: &Context<'_>, source: Option<IpAddr>) -> Vec<Peer> {
    let array = reader.array("peers");
    let Some(array) = reader.require("peers", array, "peers = [\"10.0.0.2\"]") else { return Vec::new() };
    let report = reader.report();
    if array.value.is_empty() {
        let message = "without a peer nobody hears this router, and two would be Active";
        report.error(&array.at, message).hint("list the other routers, or remove [unicast] for multicast");
    }
    let mut seen: BTreeMap<IpAddr, Location> = BTreeMap::new();
    let mut peers = Vec::with_capacity(array.value.len());
    for value in array.value {
        let Some((address, peer)) = read_peer(value, report) else { continue };
        if let Some(first) = seen.get(&peer.address) {
            let message = format!("the peer {} is listed twice", peer.address);
            report.error(&address.at, message).hint(format!("the other is at {first}"));
        } else if context.accepts_peer(&address, source, report) {
            seen.insert(peer.address, address.at);
            peers.push(peer);
        }
    }
    peers
}

/// `"10.0.0.2"`, or `{ address = "10.0.0.2", min_ttl = 253, max_ttl = 255 }`.
fn read_peer(value: &Value, report: &mut Report) -> Option<(Located<IpAddr>, Peer)> {
    match &value.kind {
        Kind::String(text) => match address(text) {
            Ok(address) => {
                let peer = Peer { address, ttl: (TTL, TTL) };
                Some((Located { value: address, at: value.at.clone() }, peer))
            }
            Err(why) => {
                report.error(&value.at, format!("this peer is {why}"));
                None
            }
        },
        Kind::Table(table) => read_table(table, report),
        Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) | Kind::Datetime(_) | Kind::Array(_) => {
            let message = format!("a peer must be a string or a table, not {}", value.kind.describe());
            report.error(&value.at, message).hint("\"10.0.0.2\"");
            None
        }
    }
}

fn read_table(table: &Table, report: &mut Report) -> Option<(Located<IpAddr>, Peer)> {
    let mut reader = Reader::new(table, report);
    let located = reader.parse("address", address);
    let located = reader.require("address", located, "{ address = \"10.0.0.2\", min_ttl = 253 }");
    let least = reader.integer::<u8>("min_ttl", 1..=255);
    let most = reader.integer::<u8>("max_ttl", 1..=255);
    reader.finish(OTHER_KEYS);
    let ttl = match (&least, &most) {
        (Some(least), Some(most)) => (least.value, most.value),
        (Some(least), None) => (least.value, TTL),
        // Whoever names the greatest that can arrive knows that no less than one router is between.
        (None, Some(most)) => (1, most.value),
        (None, None) => (TTL, TTL),
    };
    if let (Some(least), Some(most)) = (least, most)
        && least.value > most.value
    {
        let message = format!("min_ttl {} is greater than max_ttl {}", least.value, most.value);
        report.error(&least.at, message).hint("the TTL is 255 less the routers in between");
        return None;
    }
    let located = located?;
    let peer = Peer { address: located.value, ttl };
    Some((located, peer))
}

/// The error is the end of the sentence "… is …".
fn address(text: &str) -> Result<IpAddr, String> {
    let Ok(address) = text.parse::<IpAddr>() else {
        return Err(format!("not an address: \"{text}\"; write it without prefix length and interface"));
    };
    let broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_multicast() || broadcast {
        Err(format!("{address}, which is not the address of one machine"))
    } else if address.is_unspecified() || address.is_loopback() {
        Err(format!("{address}, which no other machine can reach"))
    } else {
        Ok(address)
    }
}

impl Context<'_> {
    fn accepts_source(&self, source: &Located<IpAddr>, report: &mut Report) -> bool {
        if !self.is_of_our_family("source", source, report) {
            return false;
        }
        if self.is_virtual(source.value) && !self.owner {
            let message = format!("the source {} is a virtual address of this router", source.value);
            let hint = "only the Active router has it; use an address that this machine always has";
            report.error(&source.at, message).hint(hint);
            return false;
        }
        if self.present.is_some_and(|present| !present.has(source.value)) {
            let message = format!("this machine does not have the source {} (yet)", source.value);
            report.warning(&source.at, message).hint("the router stays in the state Fault until it does");
        }
        true
    }

    fn accepts_peer(&self, peer: &Located<IpAddr>, source: Option<IpAddr>, report: &mut Report) -> bool {
        let address = peer.value;
        if !self.is_of_our_family("peer", peer, report) {
            return false;
        }
        let own = source == Some(address) || self.present.is_some_and(|present| present.has(address));
        let (message, hint) = if self.is_virtual(address) {
            let hint = "whichever router is Active has it; list the addresses that the others always have";
            (format!("the peer {address} is a virtual address of this router"), hint)
        } else if own {
            let hint = "list only the others: each router's file has other peers";
            (format!("the peer {address} is this machine itself"), hint)
        } else {
            return true;
        };
        report.error(&peer.at, message).hint(hint);
        false
    }

    fn is_of_our_family(&self, what: &str, address: &Located<IpAddr>, report: &mut Report) -> bool {
        let theirs = Family::of(address.value);
        let Some(ours) = self.family.filter(|ours| *ours != theirs) else { return true };
        let message = format!("the {what} {} is {theirs}, the router's addresses are {ours}", address.value);
        let hint = "a router has one family; the other one is another file";
        report.error(&address.at, message).hint(hint);
        false
    }

    fn is_virtual(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|own| own.address == address)
    }
}

#[cfg(test)]
mod tests {
    use daemon::testing::TempRoot;

    use super::*;
    use crate::config;

    const ROUTER: &str =
        "interface = 'eth0'\nvirtual_router_id = 5\naddresses = ['10.0.0.9/24']\n[unicast]\n";

    fn load(text: &str) -> (Option<Unicast>, String) {
        let root = TempRoot::new();
        root.write("etc/trivet/vrrp.d/cloud.toml", text);
        let mut report = Report::new();
        let router = config::load(root.path(), None, &mut report).routers.remove("cloud");
        let unicast = router.and_then(|router| match router.transport {
            Transport::Unicast(unicast) => Some(unicast),
            Transport::Multicast => None,
        });
        (unicast, report.to_string())
    }

    fn assert_reports(unicast: &str, expected: &[&str]) {
        let (_, report) = load(&format!("{ROUTER}{unicast}\n"));
        for expected in expected {
            assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
        }
    }

    #[test]
    fn a_peer_needs_only_its_address_and_then_has_to_be_on_the_link() {
        let (unicast, report) = load(&format!("{ROUTER}peers = ['10.0.0.2']"));
        assert_eq!(report, "");
        let peer = Peer { address: "10.0.0.2".parse().unwrap(), ttl: (255, 255) };
        let expected = Unicast { source: None, peers: vec![peer], ttl: 255, check_source: true };
        assert_eq!(unicast, Some(expected));
    }

    #[test]
    fn everything_can_be_said() {
        let (unicast, report) = load(&format!(
            "{ROUTER}source = '10.0.0.1'\nttl = 64\ncheck_source = false\npeers = ['10.0.0.2', \
             {{ address = '10.1.0.2', min_ttl = 252 }}, {{ address = '10.1.0.3', max_ttl = 254 }}, \
             {{ address = '10.1.0.4', min_ttl = 60, max_ttl = 62 }}]"
        ));
        assert_eq!(report, "");
        let unicast = unicast.unwrap();
        assert_eq!((unicast.source, unicast.ttl), (Some("10.0.0.1".parse().unwrap()), 64));
        assert!(!unicast.check_source);
        let ttls: Vec<_> = unicast.peers.iter().map(|peer| peer.ttl).collect();
        assert_eq!(ttls, [(255, 255), (252, 255), (1, 254), (60, 62)]);
    }

    #[test]
    fn what_cannot_work_is_refused_where_it_stands() {
        for (unicast, expected) in [
            ("", "toml:4:1: error: 'peers' is missing"),
            ("peers = []", "toml:5:9: error: without a peer nobody hears this router"),
            (
                "peers = ['fe80::1']",
                "toml:5:10: error: the peer fe80::1 is IPv6, the router's addresses are IPv4",
            ),
            ("source = '::1:2'\npeers = ['10.0.0.2']", "the source ::1:2 is IPv6"),
            ("peers = ['10.0.0.2', '10.0.0.2']", "toml:5:22: error: the peer 10.0.0.2 is listed twice"),
            ("source = '10.0.0.1'\npeers = ['10.0.0.1']", "the peer 10.0.0.1 is this machine itself"),
            ("peers = ['10.0.0.9']", "the peer 10.0.0.9 is a virtual address of this router"),
            ("source = '10.0.0.9'\npeers = ['10.0.0.2']", "the source 10.0.0.9 is a virtual address"),
            ("peers = ['224.0.0.18']", "not the address of one machine"),
            ("peers = ['127.0.0.1']", "which no other machine can reach"),
            ("peers = ['10.0.0.2/24']", "write it without prefix length"),
            ("peers = [7]", "a peer must be a string or a table, not an integer"),
            ("peers = ['10.0.0.2']\nttl = 0", "'ttl' must be from 1 to 255"),
            (
                "peers = [{ address = '10.0.0.2', min_ttl = 9, max_ttl = 8 }]",
                "min_ttl 9 is greater than max_ttl 8",
            ),
            ("peers = [{ min_ttl = 9 }]", "'address' is missing"),
            ("unicast_peer = ['10.0.0.2']", "hint: keepalived's unicast_peer is peers"),
        ] {
            assert_reports(unicast, &[expected]);
        }
    }

    #[test]
    fn an_owner_may_send_from_its_own_address() {
        let text = format!("priority = 255\n{ROUTER}source = '10.0.0.9'\npeers = ['10.0.0.2']");
        let (unicast, report) = load(&text);
        assert_eq!(report, "");
        assert_eq!(unicast.unwrap().source, Some("10.0.0.9".parse().unwrap()));
    }

    /// keepalived allows it when their peers differ. A VRID is a number from 1 to 255 for each interface and family: we
    /// keep it unambiguous, so that every packet, counter and message has one router to which it belongs.
    #[test]
    fn two_unicast_routers_with_one_vrid_on_one_interface_are_refused_whoever_their_peers_are() {
        let root = TempRoot::new();
        root.write("etc/trivet/vrrp.d/a.toml", &format!("{ROUTER}peers = ['10.0.0.2']"));
        let other = ROUTER.replace("10.0.0.9", "10.0.0.8");
        root.write("etc/trivet/vrrp.d/b.toml", &format!("{other}peers = ['10.0.0.3']"));
        let mut report = Report::new();
        config::load(root.path(), None, &mut report);
        let text = report.to_string();
        assert!(text.contains("b.toml:2:21: error: virtual_router_id 5 is used twice on eth0"), "{text}");
    }

    #[test]
    fn a_check_on_the_machine_itself_knows_its_own_addresses() {
        use crate::interfaces::tests::{address, apply, link, up};
        use netlink_packet_route::RouteNetlinkMessage;
        let mut interfaces = Interfaces::default();
        apply(&mut interfaces, &link(2, "eth0", up()));
        apply(&mut interfaces, &RouteNetlinkMessage::NewAddress(address(2, [10, 0, 0, 1], 24, 0)));
        let root = TempRoot::new();
        let text = format!("{ROUTER}source = '10.0.0.77'\npeers = ['10.0.0.1', '10.0.0.2']");
        root.write("etc/trivet/vrrp.d/cloud.toml", &text);
        let mut report = Report::new();
        config::load(root.path(), Some(&interfaces), &mut report);
        let text = report.to_string();
        assert!(text.contains("warning: this machine does not have the source 10.0.0.77 (yet)"), "{text}");
        assert!(text.contains("error: the peer 10.0.0.1 is this machine itself"), "{text}");
    }
}
