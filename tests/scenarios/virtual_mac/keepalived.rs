//! With keepalived's `use_vmac` on the other director, in both directions.

use nix::sys::signal::Signal;
use trivet_tests::host::Process;
use trivet_tests::tap::Stamp;

use crate::site::{ADDRESS, SERVER, Site, VIRTUAL_MAC};

/// The same two routers in keepalived's words. Its checksum of version 3 is not the RFC's; vrrpd follows its peers.
fn start(site: &Site, number: usize) -> Process {
    let priority = if number == 0 { 150 } else { 100 };
    let instance = |name: &str, interface: &str, net: u8, vmac: &str| {
        format!(
            "vrrp_instance {name} {{\n state BACKUP\n interface {interface}\n use_vmac {vmac}\n virtual_router_id 51\n \
             priority {priority}\n advert_int 0.1\n virtual_ipaddress {{ 10.{net}.0.50/24 }}\n}}\n"
        )
    };
    let text = format!(
        "global_defs {{\n vrrp_version 3\n}}\n{}{}",
        instance("lan", "eth0", 0, "vrrp.51"),
        instance("dmz", "eth1", 1, "vrrp-dmz.51")
    );
    trivet_tests::keepalived::start(&site.hosts[number], &text)
}

#[test]
fn vrrpd_takes_over_from_a_keepalived_with_use_vmac_and_gives_back() {
    let mut site = Site::bare();
    let theirs = start(&site, 0);
    site.advert(0, Stamp::default());
    site.configure(1, "vmac = true");
    site.start(1);
    site.expect(1, "Backup");
    site.expect_ping(SERVER);

    let stopped = Stamp::now();
    theirs.stop();
    drop(theirs);
    site.advert(1, stopped);
    site.expect(1, "Active");
    site.expect_ping(SERVER);
    site.expect_ping(ADDRESS);
    assert_eq!(site.macs(1, stopped), [VIRTUAL_MAC]);

    let _theirs = start(&site, 0);
    site.expect(1, "Backup");
    site.expect_ping(SERVER);
}

#[test]
fn a_keepalived_with_use_vmac_takes_over_from_vrrpd_and_gives_back() {
    let mut site = Site::bare();
    site.configure(0, "vmac = true");
    site.start(0);
    site.expect(0, "Active");
    let theirs = start(&site, 1);
    site.expect_ping(SERVER);
    site.expect_one_mac();

    let killed = Stamp::now();
    site.directors[0].kill("vrrpd");
    site.directors[0].release(&site.hosts[0]);
    let advert = site.advert(1, killed);
    assert_eq!(advert.advert().map(|advert| advert.mac), Some(VIRTUAL_MAC));
    site.expect_ping(SERVER);

    let started = Stamp::now();
    site.directors[0].run(&site.hosts[0], "vrrpd");
    site.expect(0, "Active");
    site.advert(0, started);
    site.expect_ping(SERVER);
    theirs.signal(Signal::SIGTERM);
}
