//! The same over IPv6, with 00-00-5E-00-02-{VRID}; the neighbours' entries, and neighbour discovery with accept = false.

use std::net::{IpAddr, Ipv6Addr, SocketAddrV6};
use std::os::fd::AsRawFd as _;
use std::process::Command;

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn6, sendto, setsockopt, socket,
    sockopt,
};
use trivet_tests::capture::Mac;
use trivet_tests::clock::{PATIENCE, wait};
use trivet_tests::frames::Frame;
use trivet_tests::tap::Stamp;
use trivet_tests::trivet::Trivet;

use crate::site::Site;

const VIRTUAL_MAC: Mac = [0, 0, 0x5e, 0, 2, 51];
const ADDRESS: &str = "fd00::50";
const SERVER: &str = "fd01::9";

fn router(interface: &str, net: u8, priority: u8, more: &str) -> String {
    format!(
        "interface = \"{interface}\"\nvirtual_router_id = 51\npriority = {priority}\nadvert_interval = \"100ms\"\n\
         addresses = [\"fe80::5{net}/64\", \"fd0{net}::50/64\"]\n{more}\n"
    )
}

/// Both directors run, the first is Active.
fn site(accept: bool) -> Site {
    let mut site = Site::bare();
    for (number, host) in site.hosts.iter().enumerate() {
        let last = number + 1;
        host.sh(&format!(
            "sysctl -qw net.ipv6.conf.all.forwarding=1
             ip -6 addr add fd00::{last}/64 dev eth0 nodad && ip -6 addr add fd01::{last}/64 dev eth1 nodad"
        ));
    }
    site.client.sh("ip -6 addr add fd00::100/64 dev eth0 nodad && ip -6 route add fd01::/64 via fd00::50");
    site.server.sh("ip -6 addr add fd01::9/64 dev eth0 nodad && ip -6 route add fd00::/64 via fd01::50");
    for number in [0, 1] {
        let priority = if number == 0 { 150 } else { 100 };
        let lan = router("eth0", 0, priority, &format!("vmac = true\naccept = {accept}"));
        let dmz = router("eth1", 1, priority, "vmac = { name = \"vrrp6-dmz.51\" }");
        let files = [("vrrp.d/lan.toml", lan.as_str()), ("vrrp.d/dmz.toml", dmz.as_str())];
        site.directors[number] = Trivet::with_files(&site.hosts[number], &files);
        site.start(number);
    }
    site.expect(0, "Active");
    site.expect(1, "Backup");
    site
}

fn pings(site: &Site, address: &str) -> bool {
    let ping = || Command::new("ping").args(["-6", "-c1", "-W1", address]).output();
    site.client.namespace().within(ping).expect("ping is installed").status.success()
}

#[track_caller]
fn expect_ping(site: &Site, address: &str) {
    wait(&format!("the client reaches {address}"), PATIENCE, || pings(site, address).then_some(()));
}

#[track_caller]
fn expect_one_mac(site: &Site) {
    let entry = site.client.sh(&format!("ip -6 neigh show {ADDRESS}"));
    assert!(entry.contains("lladdr 00:00:5e:00:02:33 router"), "the client's entry: {entry:?}");
    let all = site.neighbours.log();
    let other = |line: &&str| {
        line.starts_with("fd00::50 ") && line.contains("lladdr") && !line.contains("00:00:5e:00:02:33")
    };
    assert_eq!(all.lines().find(other), None, "an entry of another MAC address");
}

#[test]
fn an_ipv6_router_is_known_by_its_virtual_mac_address_before_and_after_a_failover() {
    let mut site = site(true);
    let advert = site.advert(0, Stamp::default());
    let fields = advert.advert().expect("it is one");
    assert_eq!((fields.mac, fields.hop_limit), (VIRTUAL_MAC, 255));
    assert!(matches!(fields.from, IpAddr::V6(from) if from.is_unicast_link_local()));
    for address in [ADDRESS, "fe80::50"] {
        let address: IpAddr = address.parse().expect("an address");
        site.sent("it is announced", advert.at, |sent| {
            sent.by == 0 && sent.frame == Some(Frame::Announcement { address, mac: VIRTUAL_MAC })
        });
    }
    expect_ping(&site, SERVER);
    expect_ping(&site, ADDRESS);
    expect_ping(&site, "fe80::50%eth0");
    expect_one_mac(&site);
    // RFC 9568, 7.4: no address is made from the virtual MAC address.
    assert!(!site.has(0, "ip -6 -o addr show dev vrrp6.51 | grep -q 5eff:fe00"));
    assert!(site.has(1, "ip link show vrrp6.51 | grep -q 'state DOWN'"));

    let stopped = Stamp::now();
    site.directors[0].stop("vrrpd");
    let advert = site.advert(1, stopped);
    site.expect(1, "Active");
    expect_ping(&site, SERVER);
    expect_ping(&site, ADDRESS);
    expect_one_mac(&site);
    let stale =
        site.tap.since(advert.at).into_iter().find(|sent| sent.by == 0 && sent.bytes[6..12] == VIRTUAL_MAC);
    assert!(stale.is_none(), "{stale:?}");
}

#[test]
fn with_accept_false_neighbour_discovery_and_routing_work_and_nothing_else() {
    let site = site(false);
    expect_ping(&site, SERVER);
    for address in [ADDRESS, "fe80::50%eth0"] {
        assert!(!pings(&site, address), "{address} must not be accepted");
    }
    // Asked anew, it still answers, also when asked directly (RFC 4861, 7.3.3).
    site.client.sh("ip -6 neigh flush dev eth0");
    expect_ping(&site, SERVER);
    expect_one_mac(&site);
    site.client.sh(&format!("ip -6 neigh change {ADDRESS} lladdr 00:00:5e:00:02:33 dev eth0 nud probe"));
    wait("the director answers a question that is for it alone", PATIENCE, || {
        site.client.sh(&format!("ip -6 neigh show {ADDRESS}")).contains("REACHABLE").then_some(())
    });
}

/// RFC 4861, 4.2 and 4.6.2: "make yourself an address of fd99::/64", to the director's link-local virtual address.
fn send_router_advertisement() {
    let mut message = vec![134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0];
    message.extend([3, 4, 64, 0xc0, 0, 0, 14, 16, 0, 0, 7, 8, 0, 0, 0, 0]);
    message.extend("fd99::".parse::<Ipv6Addr>().expect("an address").octets());
    let socket = socket(AddressFamily::Inet6, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::IcmpV6)
        .expect("a raw socket");
    setsockopt(&socket, sockopt::Ipv6Ttl, &255).expect("setting the hop limit");
    let index = if_nametoindex("eth0").expect("the client has eth0");
    let to = SockaddrIn6::from(SocketAddrV6::new("fe80::50".parse().expect("an address"), 0, 0, index));
    sendto(socket.as_raw_fd(), &message, &to, MsgFlags::empty()).expect("sending a router advertisement");
}

#[test]
fn no_router_advertisement_makes_an_address_of_the_virtual_mac_address() {
    let site = site(true);
    expect_ping(&site, "fe80::50%eth0");
    // A router that listens to others, as those with an uplink do.
    site.hosts[0].sh("sysctl -qw net.ipv6.conf.vrrp6/51.accept_ra=2");
    site.client.namespace().within(send_router_advertisement);
    expect_ping(&site, "fe80::50%eth0");
    let addresses = site.hosts[0].sh("ip -6 -o addr show dev vrrp6.51");
    assert!(!addresses.contains("fd99:"), "RFC 9568, 7.4: {addresses}");
}
