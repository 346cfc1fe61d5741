//! Virtual MAC addresses and accept mode: what is on the wire, what hosts learn, what somebody can break, and what is
//! left when it is over.

mod ipv6;
mod keepalived;
mod site;

use std::process::Command;

use site::{ADDRESS, SERVER, Site, VIRTUAL_MAC};
use trivet_tests::capture::mac;
use trivet_tests::clock::{PATIENCE, wait};
use trivet_tests::frames::Frame;
use trivet_tests::tap::Stamp;

const TABLES: &str = "nft list table inet trivet && nft list table arp trivet";
const LINK: &str = "ip link show vrrp.51";
const HELD: &str = "ip -4 -o addr show dev vrrp.51 | grep -q 10.0.0.50";

// RFC 9568: +7.2 +7.3 +6.4.1-garp +6.4.1-na +6.4.3-answer +6.4.2-silent
#[test]
fn advertisements_announcements_and_answers_have_the_virtual_mac_address_and_no_other() {
    let site = Site::new("vmac = true");
    let advert = site.advert(0, Stamp::default());
    let fields = advert.advert().expect("it is one");
    assert_eq!((fields.mac, fields.from.to_string().as_str()), (VIRTUAL_MAC, "10.0.0.1"));
    site.sent("the address is announced", advert.at, |sent| {
        sent.by == 0 && matches!(sent.frame, Some(Frame::Announcement { mac: VIRTUAL_MAC, .. }))
    });
    site.expect_ping(ADDRESS);
    site.expect_ping(SERVER);
    // The answers to these make the director ask for the client, which must not be in the name of the virtual address.
    site.hosts[0].sh("ip neigh flush dev eth0");
    site.expect_ping(ADDRESS);
    site.expect_one_mac();
    site.expect_answers_from_the_virtual_mac_only();
    // Nor does the virtual MAC address answer for the director's own address, nor that address for nothing.
    let own = || site.answers([10, 0, 0, 1].into());
    assert!(own().is_empty(), "nobody has asked for it: {:?}", own());
    site.client.sh("ip neigh flush to 10.0.0.1");
    site.expect_ping([10, 0, 0, 1].into());
    // The macvlan hears broadcasts a moment later than its parent, one after the other.
    site.client.sh(&format!("ip neigh flush to {ADDRESS}"));
    site.expect_ping(ADDRESS);
    assert_eq!(own(), [mac(&site.hosts[0], "eth0")]);
    assert_eq!(site.macs(0, Stamp::default()), [VIRTUAL_MAC]);
    assert_eq!(site.macs(2, Stamp::default()), [VIRTUAL_MAC], "the other segment");
    assert!(
        site.has(1, &format!("{LINK} | grep -q 'state DOWN'")),
        "a Backup's is down: it must not be heard"
    );

    // The subnet stays reached through the interface itself.
    assert!(site.has(0, "ip -4 route show dev vrrp.51 | grep -q '10.0.0.0/24.*metric 1000000'"));

    // The switch knows the virtual MAC address at the Active's port, by its advertisements.
    let fdb = site.lab.switch().sh("bridge fdb show | grep 00:00:5e:00:01:33");
    assert!(fdb.contains("dev a-eth0") && !fdb.contains("dev b-eth0"), "{fdb}");
}

#[test]
fn a_failover_changes_nothing_for_the_client_and_the_switch_learns_by_the_first_advertisement() {
    let mut site = Site::new("vmac = true");
    site.expect_ping(SERVER);
    for round in 0..2 {
        let stopped = Stamp::now();
        site.directors[0].stop("vrrpd");
        let advert = site.advert(1, stopped);
        assert_eq!(advert.advert().expect("it is one").mac, VIRTUAL_MAC, "round {round}");
        site.expect(1, "Active");
        site.expect_ping(SERVER);
        let fdb = site.lab.switch().sh("bridge fdb show | grep 00:00:5e:00:01:33");
        assert!(fdb.contains("dev b-eth0") && !fdb.contains("dev a-eth0"), "{fdb}");
        site.expect_one_mac();
        // Whoever has given up has nothing more to say with this MAC address: the switch would believe it.
        let stale = site
            .tap
            .since(advert.at)
            .into_iter()
            .find(|sent| sent.by == 0 && sent.bytes[6..12] == VIRTUAL_MAC);
        assert!(stale.is_none(), "{stale:?}");

        let started = Stamp::now();
        let host = &site.hosts[0];
        site.directors[0].run(host, "vrrpd");
        site.advert(0, started);
        site.expect(0, "Active");
        site.expect(1, "Backup");
        site.expect_ping(SERVER);
        site.expect_one_mac();
    }
    site.expect_answers_from_the_virtual_mac_only();
}

#[test]
fn a_director_that_loses_its_cable_and_finds_it_again_is_followed_by_the_client() {
    let site = Site::new("vmac = true");
    site.expect_ping(SERVER);
    site.hosts[0].cut();
    site.expect(1, "Active");
    site.expect_ping(SERVER);
    site.hosts[0].plug();
    // Both are Active with the same MAC address until one hears the other: each hears the other's advertisements all
    // the same, once.
    site.expect(1, "Backup");
    site.expect_ping(SERVER);
    site.expect_one_mac();
}

#[test]
fn advertisements_can_leave_with_the_interfaces_own_mac_address() {
    let site = Site::new("vmac = { advertise_from_parent = true }");
    let own = mac(&site.hosts[0], "eth0");
    assert_eq!(site.advert(0, Stamp::default()).advert().map(|advert| advert.mac), Some(own));
    site.expect_ping(ADDRESS);
    site.expect_one_mac();
    site.expect_answers_from_the_virtual_mac_only();
}

// RFC 9568: -6.4.3-accept +6.4.3-forward
#[test]
fn with_accept_false_the_address_routes_and_answers_arp_and_accepts_nothing() {
    let site = Site::new("vmac = true\naccept = false");
    site.expect_ping(SERVER);
    assert!(!site.pings(ADDRESS), "it must not accept");
    site.expect_one_mac();
    // The machine itself may, and its own address is not concerned.
    site.wait_until(0, "ping -c1 -W1 10.0.0.50", true);
    site.expect_ping([10, 0, 0, 1].into());

    // Somebody reloads his firewall. A ping that gets through meanwhile would be an accident, one afterwards a mistake.
    for flush in ["nft flush ruleset", "nft delete table inet trivet", "nft flush chain inet trivet input"] {
        site.hosts[0].sh(flush);
        site.wait_until(0, &format!("{TABLES} && nft list chain inet trivet input | grep -q refused4"), true);
        assert!(!site.pings(ADDRESS), "after {flush}");
        site.expect_ping(SERVER);
    }
    wait("it says so", PATIENCE, || {
        site.directors[0]
            .process("vrrpd")
            .log()
            .contains("somebody changed our nftables tables")
            .then_some(())
    });
    site.expect_one_mac();
}

#[test]
fn accept_false_needs_no_virtual_mac_address() {
    let site = Site::new("accept = false");
    site.expect_ping(SERVER);
    assert!(!site.pings(ADDRESS), "it must not accept");
    assert!(site.has(0, "ip -4 -o addr show dev eth0 | grep -q 10.0.0.50"));
}

#[test]
fn without_nft_a_router_that_needs_it_is_in_fault_and_takes_no_address() {
    let mut site = Site::bare();
    site.configure(0, "accept = false");
    site.directors[0].start_bus(&site.hosts[0]);
    site.directors[0].run_under(&site.hosts[0], &["env", "PATH=/nonexistent"], "vrrpd");
    site.expect_reason(0, "install the package nftables");
    site.expect(0, "Fault");
    assert!(!site.has(0, "ip -4 -o addr show | grep -q 10.0.0.50"), "it would accept");
}

#[test]
fn an_interface_that_somebody_deletes_sets_down_or_reconfigures_is_put_right() {
    let site = Site::new("vmac = true");
    for sabotage in [
        "ip link del vrrp.51",
        "ip link set vrrp.51 down",
        "ip addr flush dev vrrp.51",
        "ip link set vrrp.51 address 02:00:00:00:00:99",
    ] {
        site.hosts[0].sh(sabotage);
        site.wait_until(
            0,
            &format!("{HELD} && {LINK} | grep -q ',UP' && {LINK} | grep -q 00:00:5e:00:01:33"),
            true,
        );
        site.expect_ping(SERVER);
        site.expect_ping(ADDRESS);
    }
    site.expect(0, "Active");
    site.expect_one_mac();
}

#[test]
fn a_foreign_interface_of_that_name_is_never_touched_and_is_the_reason() {
    let mut site = Site::bare();
    site.hosts[0].sh("ip link add vrrp.51 link eth0 type macvlan mode bridge && ip link set vrrp.51 up");
    site.configure(0, "vmac = true");
    let check = site.directors[0].check("vrrpd");
    assert_eq!(check.status.code(), Some(0), "it may be gone when the daemon starts");
    site.start(0);
    site.expect_reason(0, "vrrp.51 is another interface, not made by vrrpd");
    site.directors[0].stop("vrrpd");
    site.directors[0].release(&site.hosts[0]);
    assert!(site.has(0, LINK), "it is not ours");
    site.start(0);
    site.expect_reason(0, "vrrp.51 is another interface, not made by vrrpd");
    site.hosts[0].sh("ip link del vrrp.51");
    site.expect(0, "Active");
    site.expect_ping(ADDRESS);
}

#[test]
fn the_virtual_mac_address_comes_and_goes_with_a_reload_and_the_address_moves() {
    let site = Site::new("");
    let on_parent = "ip -4 -o addr show dev eth0 | grep -q 10.0.0.50";
    site.wait_until(0, on_parent, true);
    site.directors[0].edit(
        "vrrp.d/lan.toml",
        "virtual_router_id = 51",
        "virtual_router_id = 51\nvmac = true",
    );
    site.directors[0].reload("vrrpd");
    site.wait_until(0, HELD, true);
    site.wait_until(0, on_parent, false);
    site.expect_ping(ADDRESS);
    site.expect(0, "Active");

    site.directors[0].edit("vrrp.d/lan.toml", "vmac = true", "");
    site.directors[0].reload("vrrpd");
    site.wait_until(0, on_parent, true);
    site.wait_until(0, LINK, false);
    site.wait_until(0, "nft list table arp trivet | grep -q 10.0.0.50", false);
    site.expect(0, "Active");
    site.expect_ping(ADDRESS);
}

#[test]
fn the_interface_goes_with_its_parent_and_comes_back_with_it() {
    let mut site = Site::bare();
    site.configure(0, "vmac = true");
    let make = "ip link add eth9 type veth peer name other && ip link set other up && ip addr add 10.9.0.1/24 dev eth9 &&
                ip link set eth9 up";
    site.hosts[0].sh(make);
    site.directors[0].edit("vrrp.d/lan.toml", "eth0", "eth9");
    site.start(0);
    site.expect(0, "Active");
    site.hosts[0].sh("ip link del eth9");
    site.expect_reason(0, "interface eth9 does not exist");
    site.hosts[0].sh(make);
    site.expect(0, "Active");
    site.wait_until(0, HELD, true);
}

#[test]
fn after_a_crash_the_next_daemon_goes_on_with_the_same_interface_and_rules() {
    let mut site = Site::bare();
    for number in [0, 1] {
        site.configure(number, "vmac = true\naccept = false");
        for file in ["vrrp.d/lan.toml", "vrrp.d/dmz.toml"] {
            site.directors[number].edit(file, "100ms", "1s");
        }
        site.start(number);
    }
    site.expect(0, "Active");
    site.expect(1, "Backup");
    site.wait_until(0, HELD, true);
    let index = || site.hosts[0].sh("ip -o link show vrrp.51").split(':').next().map(str::to_owned);
    let (before, since) = (index(), site.since(1));
    let mut monitor = Command::new("ip");
    let links = site.hosts[0].spawn("links", monitor.args(["monitor", "link", "address"]));
    let crashed = Stamp::now();
    let host = &site.hosts[0];
    site.directors[0].kill("vrrpd");
    site.directors[0].run(host, "vrrpd");
    site.expect(0, "Active");
    assert!(site.has(0, HELD) && site.has(0, TABLES));
    site.advert(0, crashed);
    assert_eq!(index(), before, "the same interface");
    let deleted =
        |line: &&str| line.contains("Deleted") || line.contains("vrrp.51") && line.contains("state DOWN");
    assert_eq!(links.log().lines().find(deleted), None, "neither down nor without its address for a moment");
    assert!(!site.pings(ADDRESS), "it must not accept");
    site.expect_ping(SERVER);
    assert_eq!(site.since(1), since, "the other has been a Backup all the time");
}

#[test]
fn nothing_is_left_behind_by_a_stop_a_kill_or_another_configuration() {
    let mut site = Site::new("vmac = true\naccept = false");
    let nothing =
        "! ip link show vrrp.51 && ! ip link show vrrp-dmz.51 && ! nft list tables | grep -q trivet";
    site.wait_until(0, HELD, true);
    site.directors[0].stop("vrrpd");
    assert!(site.has(0, nothing), "after a stop");
    site.expect(1, "Active");

    let host = &site.hosts[0];
    site.directors[0].run(host, "vrrpd");
    site.expect(0, "Active");
    site.wait_until(0, HELD, true);
    site.directors[0].kill("vrrpd");
    assert!(site.has(0, LINK) && site.has(0, TABLES), "killed, it could not clean up");
    site.directors[0].release(&site.hosts[0]);
    assert!(site.has(0, nothing), "after a kill and vrrpd --release");

    site.directors[0].run(&site.hosts[0], "vrrpd");
    site.expect(1, "Backup");
    site.directors[1].stop("vrrpd");
    assert!(site.has(1, nothing), "after a Backup's stop");
    site.directors[0].kill("vrrpd");
    site.directors[0].release(&site.hosts[0]);

    // Killed, and started again with routers that need none of it.
    site.directors[0].run(&site.hosts[0], "vrrpd");
    site.expect(0, "Active");
    site.directors[0].kill("vrrpd");
    for (file, key) in [("lan", "vmac = true\naccept = false"), ("dmz", "vmac = { name = \"vrrp-dmz.51\" }")]
    {
        site.directors[0].edit(&format!("vrrp.d/{file}.toml"), key, "");
    }
    site.directors[0].run(&site.hosts[0], "vrrpd");
    site.wait_until(0, nothing, true);
    site.expect(0, "Active");
}
