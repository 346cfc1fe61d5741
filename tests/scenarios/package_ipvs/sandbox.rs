//! What ipvsd can do where its unit puts it, and what it cannot.

use std::fmt::Write as _;

use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::Site;

/// As `systemd-analyze security` counts, from 0 (safe) to 10.
const EXPOSURE: f64 = 1.2;
const NET_ADMIN: u64 = 1 << 12;
/// The only places that it can write to.
const OWN: [&str; 2] = ["/run/trivet/ipvsd", "/var/lib/trivet/ipvsd"];

/// What takes more than it has: each works, or could, for root outside the unit.
const DEEDS: [&str; 11] = [
    "sysctl -qw net.ipv4.ip_forward=1",
    "sysctl -qw kernel.printk='1 1 1 1'",
    "mount -t tmpfs none /mnt",
    "unshare --user true",
    "unshare --net true",
    "chrt --rr 1 true",
    "cat /root/trivet.deb",
    "touch /run/trivet-vrrpd/by-ipvsd",
    "kill -0 $(pidof vrrpd)",
    "cat /proc/$(pidof vrrpd)/environ",
    "busctl call org.trivet.Vrrp1 /org/trivet/Vrrp1 org.freedesktop.DBus.Properties Set ssv x y s z",
];

#[test]
fn its_unit_gives_it_what_it_needs_and_no_more_and_looks_after_it() {
    let site = Site::new(&[]);
    it_is_a_user_of_its_own_that_may_administrate_the_network_and_write_to_its_own_two_directories(&site);
    what_it_does_not_need_it_cannot_do_and_systemd_finds_little_to_say(&site);
    its_watchdog_is_fed_and_one_that_hangs_is_replaced(&site);
}

fn it_is_a_user_of_its_own_that_may_administrate_the_network_and_write_to_its_own_two_directories(
    site: &Site,
) {
    let pid = site.unit("MainPID");
    assert_eq!(site.sh(&format!("ps -o user:32=,group:32= -p {pid} | xargs")), "trivet-ipvsd trivet-ipvsd");
    assert!(site.sh("getent passwd trivet-ipvsd").ends_with("/nologin"));
    let field = |name: &str| site.sh(&format!("grep '^{name}:' /proc/{pid}/status | cut -f2"));
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(set), format!("{NET_ADMIN:016x}"), "{set}");
    }
    assert_eq!([field("NoNewPrivs"), field("Seccomp"), field("Groups")], ["1", "2", &field("Gid")]);

    // As its user, where it is, with its capability: in its own mounts, and without the filter of its system calls.
    let there = format!(
        "nsenter -t {pid} -m setpriv --reuid=trivet-ipvsd --regid=trivet-ipvsd --clear-groups --no-new-privs \
         --inh-caps=-all,+net_admin --ambient-caps=-all,+net_admin --bounding-set=-all,+net_admin"
    );
    assert_eq!(
        site.sh(&format!("{there} grep ^CapEff: /proc/self/status")),
        format!("CapEff:\t{NET_ADMIN:016x}")
    );
    let search = "find / '(' -path /proc -o -path /sys/fs/cgroup ')' -prune -o '(' -type d -o -type f ')' -writable -print 2>/dev/null";
    let found = site.machine().try_sh(&format!("{there} {search}")).1;
    let elsewhere: Vec<_> =
        found.lines().filter(|path| !OWN.iter().any(|own| path.starts_with(own))).collect();
    assert!(elsewhere.is_empty(), "ipvsd can write to {elsewhere:?}");
    for own in OWN {
        assert!(found.lines().any(|path| path == own), "{own} is not writable:\n{found}");
        site.sh(&format!("{there} touch {own}/by-ipvsd && rm {own}/by-ipvsd"));
    }
    for place in [
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/run/lock",
        "/run/trivet",
        "/etc/trivet/ipvs.d",
        "/proc/sys/net/ipv4",
    ] {
        site.refused(&format!("{there} touch {place}/by-ipvsd"));
    }
    // Below /proc its network is read-only but for what IPVS has there, although the capability would be enough.
    let sysctls = "find /proc/sys -type f -writable -not -path '/proc/sys/net/ipv4/vs/*' 2>/dev/null";
    assert_eq!(site.machine().try_sh(&format!("{there} {sysctls}")).1, "");
}

fn what_it_does_not_need_it_cannot_do_and_systemd_finds_little_to_say(site: &Site) {
    let pid = site.unit("MainPID");
    let mut script = String::new();
    for deed in DEEDS {
        let _ = writeln!(script, "({deed}) >/dev/null 2>&1 && echo \"worked: {deed}\"");
    }
    script.push_str("true && echo 'worked: true'\n");
    // In the unit itself, with everything that it forbids: before the daemon starts.
    site.machine().write("etc/trivet/deeds", &script);
    let drop_in = "[Service]\nExecStartPre=/bin/sh /etc/trivet/deeds\n";
    site.machine().write("etc/systemd/system/ipvsd.service.d/deeds.conf", drop_in);
    site.sh("systemctl daemon-reload && systemctl restart ipvsd");
    site.expect_another(&pid);
    let worked = site.sh("journalctl --sync && journalctl -u ipvsd -t sh --no-pager -o cat");
    assert_eq!(worked, "worked: true");

    let verdict = site.sh("systemd-analyze security --no-pager ipvsd.service | tail -n 1");
    eprintln!("ipvsd: {verdict}");
    let exposure: f64 = verdict.split_whitespace().find_map(|word| word.parse().ok()).expect("an exposure");
    assert!(exposure <= EXPOSURE, "{verdict}");
}

fn its_watchdog_is_fed_and_one_that_hangs_is_replaced(site: &Site) {
    assert_eq!(site.unit("WatchdogUSec"), "30s");
    let drop_in = "[Service]\nWatchdogSec=3s\nTimeoutAbortSec=1s\n";
    site.machine().write("etc/systemd/system/ipvsd.service.d/watchdog.conf", drop_in);
    let before = site.unit("MainPID");
    site.sh("systemctl daemon-reload && systemctl restart ipvsd");
    site.expect_another(&before);
    let pid = site.unit("MainPID");
    let mut seen = Vec::new();
    wait("signs of life", PATIENCE, || {
        let fed = site.unit("WatchdogTimestampMonotonic");
        if seen.last() != Some(&fed) {
            seen.push(fed);
        }
        (seen.len() > 3).then_some(())
    });
    assert_eq!((site.unit("MainPID"), site.unit("NRestarts")), (pid.clone(), "0".to_owned()));

    site.sh(&format!("kill -STOP {pid}"));
    site.expect_another(&pid);
    let journal = site.journal();
    assert!(journal.contains("Watchdog timeout (limit 3s)!"), "{journal}");
    wait_for("it is counted", &"1".to_owned(), || site.unit("NRestarts"));
}
