//! What outlives what: orders the machine, the list of what is ours the daemon.

use trivet_tests::clock::{PATIENCE, wait};

use crate::site::{SERVICE, Site};

const ORDERS: &str = "/var/lib/trivet/ipvsd/orders";
const OWNED: &str = "/run/trivet/ipvsd/owned";

#[test]
fn orders_outlive_a_crash_an_upgrade_and_a_reboot_and_what_is_ours_only_the_daemon() {
    let mut site = Site::new(&[]);
    site.sh(&format!("busctl call {SERVICE} Disable ss 192.168.100.101 'its disk: sda'"));
    site.sh(&format!("busctl call {SERVICE} SetWeight sqs 192.168.100.102 7 half"));
    let orders = site.orders();
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert!(orders[0].starts_with("disabled | root | its disk: sda | 1"), "{orders:?}");
    assert!(orders[1].starts_with("weight 7 | root | half | 1"), "{orders:?}");
    site.expect_in_journal("web: server 192.168.100.101: disabled by root: its disk: sda");
    // As ipvsd writes it where there is a table: one of a service that has no file.
    let unused = "install -m 600 -o trivet-ipvsd -g trivet-ipvsd /dev/stdin";
    site.sh(&format!("echo 'tcp 10.0.10.99:80' | {unused} {OWNED}"));
    modes(&site);

    for how in [
        "kill -KILL $(systemctl show --value -p MainPID ipvsd)",
        "systemctl restart ipvsd",
        "systemctl stop ipvsd && systemctl start ipvsd",
        "dpkg -i /root/trivet.deb",
    ] {
        let before = site.unit("MainPID");
        site.sh(how);
        site.expect_another(&before);
        site.expect_orders(&orders);
        assert_eq!(site.sh(&format!("cat {OWNED}")), "tcp 10.0.10.99:80", "after {how}");
    }
    modes(&site);

    site.trivet.machine.power_off();
    site.trivet.machine.boot(&site.host);
    site.trivet.machine.wait_until_up();
    site.expect_service("web");
    site.expect_orders(&orders);
    // With the kernel's table goes the knowledge of what in it was ours.
    assert!(
        !site.machine().try_sh(&format!("cat {OWNED}")).1.contains("10.0.10.99"),
        "it outlived the table"
    );
    site.sh(&format!("busctl call {SERVICE} ClearOverride s 192.168.100.102"));
    wait("one order is left", PATIENCE, || (site.sh(&format!("wc -l <{ORDERS}")) == "1").then_some(()));

    site.sh("dpkg --purge trivet");
    let left = "ls -d /var/lib/trivet /run/trivet /etc/systemd/system/*/ipvsd.service 2>/dev/null || true";
    assert_eq!(site.sh(left), "", "left behind");
}

/// Whose the files are, and who may look.
fn modes(site: &Site) {
    let owner = "trivet-ipvsd:trivet-ipvsd";
    let expected = [
        "/var/lib/trivet root:root 755".to_owned(),
        format!("/var/lib/trivet/ipvsd {owner} 700"),
        format!("{ORDERS} {owner} 600"),
        "/run/trivet root:root 755".to_owned(),
        format!("/run/trivet/ipvsd {owner} 700"),
        format!("{OWNED} {owner} 600"),
    ];
    let paths: Vec<&str> = expected.iter().filter_map(|line| line.split(' ').next()).collect();
    let found = site.sh(&format!("stat -c '%n %U:%G %a' {}", paths.join(" ")));
    assert_eq!(found.lines().collect::<Vec<_>>(), expected);
}
