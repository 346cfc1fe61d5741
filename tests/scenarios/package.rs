//! The package under a real systemd: Debian 13 in a machine of the lab. What a user gets with `apt install`.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::installed::Installed;
use trivet_tests::lab::Lab;

const DAEMONS: [&str; 3] = ["vrrpd", "ipvsd", "checkd"];
/// `systemd-analyze security` prints an exposure from 0 (safe) to 10.
const EXPOSURE: f64 = 2.5;

/// A director alone, so that it becomes Active.
struct Site {
    trivet: Installed,
    director: Host,
    _lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        let director = lab.lone_director();
        let trivet = Installed::boot(&director);
        trivet.install("nat-pair/lvs1");
        let site = Self { trivet, director, _lab: lab };
        site.trivet.wait_until_active();
        site.expect_active();
        site
    }

    fn expect_active(&self) {
        self.trivet.wait_for_property(&Property::router("gateway", "State"), "s \"Active\"");
        wait_for("each virtual address once, and where it belongs", &self.addresses(true), || self.held());
    }

    fn addresses(&self, active: bool) -> [Vec<String>; 2] {
        let own = [["10.0.10.51", "10.0.10.50"], ["192.168.100.11", "192.168.100.10"]];
        own.map(|pair| pair.iter().take(if active { 2 } else { 1 }).map(ToString::to_string).collect())
    }

    fn held(&self) -> [Vec<String>; 2] {
        ["eth0", "eth1"].map(|interface| {
            self.director.namespace().addresses(interface).iter().map(ToString::to_string).collect()
        })
    }

    fn status(&self, daemon: &str, field: &str) -> String {
        let pid = self.trivet.unit(daemon, "MainPID");
        self.trivet.machine.sh(&format!("grep '^{field}:' /proc/{pid}/status | cut -f2")).trim().to_owned()
    }

    fn restarted(&self, daemon: &str, before: &str) {
        wait(&format!("systemd starts {daemon} again"), PATIENCE, || {
            let now = self.trivet.unit(daemon, "MainPID");
            (now != "0" && now != before && self.trivet.unit(daemon, "ActiveState") == "active").then_some(())
        });
    }
}

#[test]
fn each_daemon_is_its_own_user_with_its_capabilities_and_no_more() {
    let site = Site::new();
    const NET_ADMIN: u64 = 1 << 12;
    const NET_RAW: u64 = 1 << 13;
    for (daemon, capabilities) in DAEMONS.into_iter().zip([NET_ADMIN | NET_RAW, NET_ADMIN, 0]) {
        let user =
            site.trivet.machine.sh(&format!("ps -o user:32= -p {}", site.trivet.unit(daemon, "MainPID")));
        assert_eq!(user.trim(), format!("trivet-{daemon}"));
        for field in ["CapBnd", "CapEff", "CapPrm"] {
            assert_eq!(site.status(daemon, field), format!("{capabilities:016x}"), "{daemon} {field}");
        }
        assert_eq!(site.status(daemon, "NoNewPrivs"), "1");
        let verdict = site
            .trivet
            .machine
            .sh(&format!("systemd-analyze security --no-pager {daemon}.service | tail -n 1"));
        let exposure: f64 = verdict
            .split_whitespace()
            .find_map(|word| word.parse().ok())
            .unwrap_or_else(|| panic!("no exposure in {verdict:?}"));
        assert!(exposure <= EXPOSURE, "{daemon}: {verdict}");
        eprint!("{daemon}: {verdict}");
    }
}

#[test]
fn checkd_may_do_nothing_but_connect_and_write_where_its_results_are_kept() {
    let site = Site::new();
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(site.status("checkd", set), format!("{:016x}", 0), "{set}");
    }
    assert_eq!(
        (site.status("checkd", "NoNewPrivs"), site.status("checkd", "Seccomp")),
        ("1".into(), "2".into())
    );
    // As its user and where it is: in its own mounts, without a capability.
    let machine = &site.trivet.machine;
    let pid = site.trivet.unit("checkd", "MainPID");
    let there = format!(
        "nsenter -t {pid} -m setpriv --reuid=trivet-checkd --regid=trivet-checkd --clear-groups --no-new-privs \
         --inh-caps=-all --ambient-caps=-all --bounding-set=-all"
    );
    assert_eq!(machine.sh(&format!("{there} id -un")).trim(), "trivet-checkd");
    // What it may write to, if it is a place to keep something: below /proc are its own processes, and in its control
    // group it may ask to be told when memory is short.
    let search = "find / '(' -path /proc -o -path /sys/fs/cgroup ')' -prune -o '(' -type d -o -type f ')' -writable -print 2>/dev/null";
    let found = machine.try_sh(&format!("{there} {search}")).1;
    let elsewhere: Vec<_> = found.lines().filter(|path| !path.starts_with("/run/trivet-checkd")).collect();
    assert!(found.lines().any(|path| path == "/run/trivet-checkd"), "its own directory:\n{found}");
    assert!(elsewhere.is_empty(), "checkd can write to {elsewhere:?}");
    for path in ["/tmp", "/var/tmp", "/run/lock", "/dev/shm", "/etc/trivet", "/run", "/run/trivet-vrrpd"] {
        let (success, said) = machine.try_sh(&format!("{there} touch {path}/by-checkd"));
        assert!(!success, "checkd can write to {path}: {said}");
    }
    machine.sh(&format!("{there} touch /run/trivet-checkd/by-checkd"));
    machine.sh("rm /run/trivet-checkd/by-checkd");
}

#[test]
fn systemctl_reload_with_a_mistake_fails_visibly_and_leaves_everything_running() {
    let site = Site::new();
    let before = DAEMONS.map(|daemon| site.trivet.unit(daemon, "MainPID"));
    site.trivet.machine.sh("sed -i 's/^priority = 100/priority = 1000/' /etc/trivet/vrrp.d/gateway.toml");
    site.trivet.machine.sh("sed -i 's/^scheduler = .*/scheduler = \"rrr\"/' /etc/trivet/ipvs.d/web.toml");
    site.trivet.machine.sh("sed -i 's/^type = .*/type = \"tpc\"/' /etc/trivet/check.d/web.toml");
    for (daemon, file) in DAEMONS.into_iter().zip(["gateway.toml:5:", "web.toml:4:", "web.toml:2:"]) {
        let (success, _) = site.trivet.machine.try_sh(&format!("systemctl reload {daemon}"));
        assert!(!success, "systemctl reload {daemon} must fail");
        let journal =
            site.trivet.machine.sh(&format!("journalctl --sync && journalctl -u {daemon} --no-pager -o cat"));
        assert!(journal.contains(file), "the journal of {daemon} must name {file}:\n{journal}");
        assert_eq!(site.trivet.unit(daemon, "ActiveState"), "active");
    }
    assert_eq!(DAEMONS.map(|daemon| site.trivet.unit(daemon, "MainPID")), before, "nothing was restarted");
    site.expect_active();
    site.trivet.wait_for_property(&Property::router("gateway", "Priority"), "y 100");
}

#[test]
fn a_hanging_vrrpd_is_killed_by_the_watchdog_and_a_crashed_one_restarted() {
    let site = Site::new();
    let pid = site.trivet.unit("vrrpd", "MainPID");
    site.trivet.machine.sh(&format!("kill -STOP {pid}"));
    site.restarted("vrrpd", &pid);
    let journal = site.trivet.machine.sh("journalctl --sync && journalctl -u vrrpd --no-pager -o cat");
    assert!(journal.contains("Watchdog timeout"), "the watchdog ended it:\n{journal}");
    site.expect_active();

    let pid = site.trivet.unit("vrrpd", "MainPID");
    site.trivet.machine.sh(&format!("kill -KILL {pid}"));
    site.restarted("vrrpd", &pid);
    site.expect_active();
}

#[test]
fn a_vrrpd_that_stays_away_leaves_no_address_behind() {
    let site = Site::new();
    site.trivet.machine.sh("mkdir -p /run/systemd/system/vrrpd.service.d");
    let drop_in = "/run/systemd/system/vrrpd.service.d/away.conf";
    site.trivet
        .machine
        .sh(&format!("printf '[Service]\\nRestart=no\\n' >{drop_in} && systemctl daemon-reload"));
    site.trivet.machine.sh(&format!("kill -KILL {}", site.trivet.unit("vrrpd", "MainPID")));
    wait_for("its addresses are removed", &site.addresses(false), || site.held());
}

#[test]
fn an_ordinary_user_may_look_at_the_bus_but_not_command() {
    let site = Site::new();
    let user = "setpriv --reuid=65534 --regid=65534 --clear-groups";
    let state = Property::router("gateway", "State").command();
    assert_eq!(site.trivet.machine.sh(&format!("{user} {state}")).trim(), "s \"Active\"");
    let announce =
        "busctl call org.trivet.Vrrp1 /org/trivet/Vrrp1/router/gateway org.trivet.Vrrp1.Router Announce";
    let (success, said) = site.trivet.machine.try_sh(&format!("{user} {announce}"));
    assert!(!success && said.contains("denied"), "an ordinary user must be refused: {said}");
    site.trivet.machine.sh(announce);
    for daemon in DAEMONS {
        let said = site.trivet.machine.sh(&format!("systemctl status {daemon} --no-pager"));
        assert!(said.contains("Status: \""), "systemctl status shows a line in words:\n{said}");
    }
}

#[test]
fn purge_removes_units_files_and_addresses() {
    let site = Site::new();
    site.trivet.machine.sh("dpkg --purge trivet");
    wait_for("its addresses are removed", &site.addresses(false), || site.held());
    for unit in DAEMONS.into_iter().chain(["checkd-exec.service", "checkd-exec.socket"]) {
        assert_eq!(site.trivet.unit(unit, "LoadState"), "not-found");
    }
    let left = site.trivet.machine.sh("ls -d /usr/sbin/vrrpd /lib/systemd/system/vrrpd* /run/trivet /run/trivet-vrrpd /run/trivet-checkd /run/trivet-checkd-exec /var/lib/trivet /usr/libexec/trivet /usr/share/dbus-1/system.d/org.trivet* 2>/dev/null || true");
    assert_eq!(left, "", "left behind");
}
