//! The messages to the real kernel's IPVS and its answers, each test in a network namespace of its own, judged by
//! `ipvsadm -Ln`.
//!
//! Where the kernel has no IPVS the tests are left out, and say so; with TRIVET_FLOOR=4 or REQUIRE_ALL_FLOORS=1 they
//! fail instead. `tests/run 4` runs them; by hand, in a machine that has IPVS:
//! `TRIVET_FLOOR=4 tests/vm target/debug/deps/wire-…`

#![allow(clippy::unwrap_used, reason = "as in every test")]

mod common;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use common::table::{address, ipvsadm_says, kernel, listing, tcp};
use ipvsd::service::SCHEDULERS;
use ipvsd::table::{
    Change, Checksum, Entry, FLAG_PERSISTENT, Family, Forward, Protocol, Server, Service, ServiceKey, Table,
    Tunnel,
};
use nix::errno::Errno;

const TUNNEL: Forward = Forward::Tunnel(Tunnel::Ipip);

fn service(scheduler: &str, family: Family) -> Service {
    Service {
        scheduler: scheduler.into(),
        flags: 0,
        timeout: 0,
        netmask: Service::whole_netmask(family),
        persistence_engine: None,
    }
}

fn server(forward: Forward, weight: u32) -> Server {
    Server { forward, weight, upper_threshold: 0, lower_threshold: 0 }
}

#[test]
fn services_and_servers_are_made_changed_and_removed_and_read_back_as_they_are() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let new = |text, forward, weight| Change::NewServer {
        key,
        address: address(text),
        server: server(forward, weight),
    };
    let changes = [
        Change::NewService { key, service: service("rr", Family::V4) },
        new("192.168.100.101:8080", Forward::Nat, 1),
        new("192.168.100.102:80", Forward::Route, 65_535),
        new("192.168.100.103:80", TUNNEL, 0),
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let expected = [
        "TCP 10.0.10.50:80 rr",
        "-> 192.168.100.101:8080 Masq 1 0 0",
        "-> 192.168.100.102:80 Route 65535 0 0",
        "-> 192.168.100.103:80 Tunnel 0 0 0",
    ];
    assert_eq!(listing(), expected);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table, "what is read is what was written");

    let mut persistent = service("wlc", Family::V4);
    (persistent.flags, persistent.timeout) = (FLAG_PERSISTENT, 300);
    let changes = [
        Change::SetService { key, service: persistent },
        Change::SetServer { key, address: address("192.168.100.102:80"), server: server(TUNNEL, 2) },
        Change::DelServer { key, address: address("192.168.100.101:8080") },
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let expected = [
        "TCP 10.0.10.50:80 wlc persistent 300",
        "-> 192.168.100.102:80 Tunnel 2 0 0",
        "-> 192.168.100.103:80 Tunnel 0 0 0",
    ];
    assert_eq!(listing(), expected);
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);

    assert_eq!(kernel.apply(&[Change::DelService { key }]).unwrap(), []);
    assert!(listing().is_empty() && kernel.dump().unwrap().table.is_empty());
}

#[test]
fn ipv6_udp_and_sctp_services_are_taken_and_read_back() {
    let Some(mut kernel) = kernel() else { return };
    let six = tcp("[2001:db8::50]:443");
    let udp = ServiceKey::Address { protocol: Protocol::Udp, address: address("10.0.10.50:53") };
    let sctp = ServiceKey::Address { protocol: Protocol::Sctp, address: address("10.0.10.50:5060") };
    let mut persistent = service("sh", Family::V6);
    (persistent.flags, persistent.timeout) = (FLAG_PERSISTENT, 60);
    let changes = [
        Change::NewService { key: six, service: persistent },
        Change::NewServer {
            key: six,
            address: address("[2001:db8::1]:443"),
            server: server(Forward::Route, 1),
        },
        Change::NewServer { key: six, address: address("[2001:db8::2]:443"), server: server(TUNNEL, 1) },
        Change::NewService { key: udp, service: service("rr", Family::V4) },
        Change::NewServer {
            key: udp,
            address: address("192.168.100.101:53"),
            server: server(Forward::Nat, 1),
        },
        Change::NewService { key: sctp, service: service("rr", Family::V4) },
    ];
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);
    let text = listing().join("\n");
    for line in ["TCP [2001:db8::50]:443 sh persistent 60", "UDP 10.0.10.50:53 rr", "SCTP 10.0.10.50:5060 rr"]
    {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn every_scheduler_that_a_configuration_can_name_is_known_to_the_kernel_and_no_other() {
    let Some(mut kernel) = kernel() else { return };
    for (name, _) in SCHEDULERS {
        let key = tcp("10.0.10.50:80");
        let make = Change::NewService { key, service: service(name, Family::V4) };
        assert_eq!(kernel.apply(&[make]).unwrap(), [], "{name}");
        assert_eq!(listing(), [format!("TCP 10.0.10.50:80 {name}")]);
        kernel.apply(&[Change::DelService { key }]).unwrap();
    }
    let make = Change::NewService { key: tcp("10.0.10.50:80"), service: service("bogus", Family::V4) };
    assert_eq!(kernel.apply(&[make]).unwrap(), [(0, Errno::ENOENT)]);
}

#[test]
fn refusals_in_a_large_batch_are_told_apart_and_the_rest_is_done() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let nth = |number: u16| SocketAddr::from(([192, 168, 100, 101], number + 1));
    let mut changes = vec![Change::NewService { key, service: service("rr", Family::V4) }];
    for number in 0..2_000 {
        changes.push(Change::NewServer { key, address: nth(number), server: server(Forward::Nat, 1) });
    }
    changes.insert(300, changes[5].clone()); // is there already
    changes[700] = Change::DelServer { key, address: nth(60_000) }; // never was
    changes.push(Change::SetService { key: tcp("10.9.9.9:9"), service: service("rr", Family::V4) });
    let last = changes.len() - 1;
    let refused = kernel.apply(&changes).unwrap();
    assert_eq!(refused, [(300, Errno::EEXIST), (700, Errno::ENOENT), (last, Errno::ESRCH)]);
    assert_eq!(kernel.dump().unwrap().table[&key].servers.len(), 1_999);
    assert_eq!(kernel.apply(&changes).unwrap().len(), changes.len(), "everything is refused the second time");
    assert_eq!(kernel.dump().unwrap().table[&key].servers.len(), 1_999);
}

#[test]
fn tunnels_of_every_kind_are_taken_and_read_back() {
    let Some(mut kernel) = kernel() else { return };
    let key = tcp("10.0.10.50:80");
    let tunnels = [
        Tunnel::Ipip,
        Tunnel::Gue { port: 6080, checksum: Checksum::None },
        Tunnel::Gue { port: 6081, checksum: Checksum::Outer },
        Tunnel::Gue { port: 6082, checksum: Checksum::Remote },
        Tunnel::Gre { checksum: Checksum::None },
        Tunnel::Gre { checksum: Checksum::Outer },
    ];
    let mut changes = vec![Change::NewService { key, service: service("rr", Family::V4) }];
    for (number, tunnel) in (101_u8..).zip(tunnels) {
        let address = SocketAddr::from(([192, 168, 100, number], 80));
        changes.push(Change::NewServer { key, address, server: server(Forward::Tunnel(tunnel), 1) });
    }
    // From one kind to another, in place.
    let first = address("192.168.100.101:80");
    let gre = Forward::Tunnel(Tunnel::Gre { checksum: Checksum::Outer });
    changes.push(Change::SetServer { key, address: first, server: server(gre, 2) });
    changes.push(Change::SetServer { key, address: first, server: server(TUNNEL, 3) });
    assert_eq!(kernel.apply(&changes).unwrap(), []);
    let mut table = Table::new();
    changes.iter().for_each(|change| change.apply_to(&mut table));
    assert_eq!(kernel.dump().unwrap().table, table);
    let text = ipvsadm_says("-Ln --tun-info");
    for line in ["gue", "6082", "gre", "ipip"] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
}

#[test]
fn the_table_of_another_namespace_is_not_ours() {
    let Some(mut outer) = kernel() else { return };
    let thread = std::thread::spawn(|| {
        let Some(mut inner) = kernel() else { return };
        let key = tcp("10.0.10.50:80");
        inner.apply(&[Change::NewService { key, service: service("rr", Family::V4) }]).unwrap();
        let entry = Entry { service: service("rr", Family::V4), servers: BTreeMap::new() };
        assert_eq!(inner.dump().unwrap().table, Table::from([(key, Arc::new(entry))]));
    });
    thread.join().unwrap();
    assert!(outer.dump().unwrap().table.is_empty());
}
