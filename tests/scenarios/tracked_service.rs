//! Trivet and systemd: the address is where nginx runs, and services run where the address is. The article that has one
//! address on two machines ends with that: nginx dies, the address moves; nginx is back, and so is the address.

use std::net::Ipv4Addr;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::installed::Installed;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::{copy, fixtures};

const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 153);
const ACTIVE: &str = "vrrp-active@keepalive_vi.target";
const FAULT: &str = "vrrp-fault@keepalive_vi.target";
const ROUTER: &str = "org.trivet.Vrrp1 /org/trivet/Vrrp1/router/keepalive_5fvi org.trivet.Vrrp1.Router";

struct Site {
    keeps: Vec<Installed>,
    hosts: Vec<Host>,
    _lab: Lab,
}

impl Site {
    /// nginx runs on all of them, and keep1 has the address.
    fn new(count: usize) -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        let host = |number: usize| {
            lab.host(&format!("keep{number}"), &[("ens32", "lan", &format!("192.168.1.15{number}/24"))])
        };
        let hosts: Vec<Host> = (1..=count).map(host).collect();
        let keeps: Vec<Installed> = hosts.iter().map(Installed::boot).collect();
        for (number, keep) in (1..).zip(&keeps) {
            keep.machine.wait_until_up();
            keep.machine.sh("systemctl start nginx && dpkg -i /root/trivet.deb");
            copy(&fixtures().join(format!("tracked-service/keep{number}")), keep.machine.root());
            keep.machine.sh("systemctl daemon-reload && systemctl reload vrrpd");
        }
        let site = Self { keeps, hosts, _lab: lab };
        site.expect_address(0);
        site
    }

    fn keep(&self) -> &Installed {
        &self.keeps[0]
    }

    #[track_caller]
    fn expect_address(&self, keep: usize) {
        let wanted: Vec<bool> = (0..self.hosts.len()).map(|number| number == keep).collect();
        wait_for("the address is on one machine", &wanted, || {
            let holds = |host: &Host| host.namespace().addresses("ens32").contains(&ADDRESS);
            self.hosts.iter().map(holds).collect()
        });
    }

    #[track_caller]
    fn expect_unit(&self, keep: usize, unit: &str, state: &str) {
        wait_for(&format!("{unit} on keep{}", keep + 1), &state.to_owned(), || {
            self.keeps[keep].unit(unit, "ActiveState")
        });
    }

    #[track_caller]
    fn expect_state(&self, keep: usize, state: &str) {
        let property = Property::router("keepalive_vi", "State");
        self.keeps[keep].wait_for_property(&property, &format!("s \"{state}\""));
    }

    fn maintenance(&self, on: bool) {
        self.keep().machine.sh(&format!("busctl call {ROUTER} SetMaintenance bs {on} test"));
    }
}

#[test]
fn nginx_dies_the_address_moves_nginx_returns_it_comes_back() {
    let site = Site::new(2);
    site.keep().machine.sh("systemctl enable --now role.service");
    site.expect_unit(0, ACTIVE, "active");
    site.expect_unit(0, "role.service", "active");
    site.expect_unit(1, ACTIVE, "inactive");

    site.keep().machine.sh("systemctl kill --signal=KILL nginx");
    site.expect_address(1);
    let reason = site.keep().property(&Property::router("keepalive_vi", "Reason")).unwrap_or_default();
    // What was seen first: it was killed, or has failed by that.
    assert!(reason.starts_with("s \"unit nginx.service is down: "), "{reason}");
    site.expect_unit(0, FAULT, "active");
    site.expect_unit(0, ACTIVE, "inactive");
    site.expect_unit(0, "role.service", "inactive");
    site.expect_unit(1, ACTIVE, "active");
    let journal = site.keep().machine.sh("journalctl --sync && journalctl --no-pager -o cat _PID=1");
    let at = |text: &str| journal.rfind(text).unwrap_or_else(|| panic!("{text:?} is not in:\n{journal}"));
    assert!(at("Stopped target vrrp-active@keepalive_vi") < at("Reached target vrrp-fault@keepalive_vi"));
    assert!(at("Stopped role.service") < at("Reached target vrrp-fault@keepalive_vi"));

    site.keep().machine.sh("systemctl start nginx");
    site.expect_address(0);
    site.expect_state(0, "Active");
    site.expect_unit(0, ACTIVE, "active");
    site.expect_unit(0, FAULT, "inactive");
    site.expect_unit(0, "role.service", "active");
    site.expect_unit(1, ACTIVE, "inactive");

    // A reload of nginx is no failure, a restart is one, and a short one.
    site.keep().machine.sh("systemctl reload nginx");
    site.expect_state(0, "Active");
    site.keep().machine.sh("systemctl restart nginx");
    site.expect_address(0);

    explained(&site);
}

/// What happened can be found by its fields, and is explained.
fn explained(site: &Site) {
    let machine = &site.keep().machine;
    let id = "MESSAGE_ID=5b2f0c1e7f6a4e0f9c3d8a41d7e69b12";
    let found = machine.sh(&format!("journalctl --no-pager -x {id} VIRTUAL_ROUTER=keepalive_vi STATE=Fault"));
    for expected in
        ["unit nginx.service is down", "Virtual router keepalive_vi is now Fault", "cannot take part until"]
    {
        assert!(found.contains(expected), "{expected:?} is not in:\n{found}");
    }
}

/// The service takes longer to start than the router stays what it is.
#[test]
fn targets_and_services_end_where_the_state_ends_however_fast_it_changes() {
    let site = Site::new(1);
    site.keep().machine.sh("systemctl enable --now role.service");
    site.expect_unit(0, "role.service", "active");
    let call = |on: bool| format!("busctl call {ROUTER} SetMaintenance bs {on} test");
    let flap = format!("for i in $(seq 10); do {}; {}; done", call(true), call(false));
    site.keep().machine.sh(&flap);
    site.expect_state(0, "Active");
    site.expect_unit(0, ACTIVE, "active");
    site.expect_unit(0, FAULT, "inactive");
    site.expect_unit(0, "role.service", "active");
    site.keep().machine.sh(&format!("{flap}; {}", call(true)));
    site.expect_unit(0, FAULT, "active");
    site.expect_unit(0, ACTIVE, "inactive");
    site.expect_unit(0, "role.service", "inactive");
    site.maintenance(false);
    site.expect_unit(0, "role.service", "active");

    site.keep().machine.sh("systemctl stop vrrpd");
    assert_eq!(site.keep().unit(ACTIVE, "ActiveState"), "inactive", "it was told before vrrpd ended");
    site.expect_unit(0, "role.service", "inactive");
}

#[test]
fn systemd_and_the_bus_may_be_exchanged_and_a_crash_leaves_the_targets_to_the_next_vrrpd() {
    let site = Site::new(1);
    let machine = &site.keep().machine;
    // Long enough for a crashed vrrpd to be back in time.
    machine.sh("sed -i 's/100ms/1s/' /etc/trivet/vrrp.d/keepalive_vi.toml && systemctl reload vrrpd");
    site.expect_unit(0, ACTIVE, "active");
    let entered = |unit: &str| site.keep().unit(unit, "ActiveEnterTimestampMonotonic");
    let before = entered(ACTIVE);
    machine.sh("systemctl kill --kill-whom=main --signal=KILL vrrpd");
    let reason = Property::router("keepalive_vi", "Reason");
    wait("the next vrrpd goes on", PATIENCE, || {
        site.keep().property(&reason)?.contains("goes on").then_some(())
    });
    assert_eq!(entered(ACTIVE), before, "it went on, and so did the target");

    machine.sh("systemctl daemon-reexec");
    machine.sh("systemctl stop nginx");
    site.expect_unit(0, FAULT, "active");
    machine.sh("systemctl start nginx");
    site.expect_unit(0, ACTIVE, "active");

    machine.sh("systemctl kill --signal=KILL dbus; systemctl stop nginx");
    site.expect_unit(0, FAULT, "active");
    // Somebody else meddles while nobody looks.
    machine.sh(&format!(
        "systemctl kill --kill-whom=main --signal=STOP vrrpd; systemctl start {ACTIVE}; systemctl kill --kill-whom=main --signal=KILL vrrpd"
    ));
    site.expect_unit(0, FAULT, "active");
    site.expect_unit(0, ACTIVE, "inactive");

    // One that crashes and cannot start again: nothing says any more that it is anything.
    machine.sh("systemctl start nginx");
    site.expect_unit(0, ACTIVE, "active");
    machine.sh("sed -i 's/^priority/prority/' /etc/trivet/vrrp.d/keepalive_vi.toml");
    machine.sh("systemctl kill --kill-whom=main --signal=KILL vrrpd");
    site.expect_unit(0, "vrrpd", "failed");
    site.expect_unit(0, ACTIVE, "inactive");
    site.expect_unit(0, FAULT, "inactive");
}

#[test]
fn polkit_lets_vrrpd_do_exactly_that_and_others_what_the_administrator_allows() {
    let site = Site::new(1);
    let machine = &site.keep().machine;
    site.expect_unit(0, ACTIVE, "active");
    let systemd = |method: &str, unit: &str| {
        let call = format!(
            "busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager {method} ss {unit} replace"
        );
        machine.try_sh(&format!("setpriv --reuid=trivet-vrrpd --regid=trivet-vrrpd --clear-groups {call}")).0
    };
    assert!(systemd("StartUnit", "vrrp-active@other.target"));
    assert!(systemd("StopUnit", "vrrp-active@other.target"));
    for (method, unit) in [
        ("StopUnit", "nginx.service"),
        ("StartUnit", "nginx.service"),
        ("RestartUnit", ACTIVE),
        ("StartUnit", "vrrp-active@x.service"),
        ("StopUnit", "vrrpd.service"),
    ] {
        assert!(!systemd(method, unit), "{method} {unit} must be refused");
    }
    assert_eq!(site.keep().unit("nginx", "ActiveState"), "active");

    let as_nobody = format!(
        "setpriv --reuid=65534 --regid=65534 --clear-groups busctl call {ROUTER} SetMaintenance bs true cleaning"
    );
    let (success, said) = machine.try_sh(&as_nobody);
    assert!(!success && said.contains("Access denied"), "{said}");
    site.expect_state(0, "Active");
    machine.write(
        "etc/polkit-1/rules.d/10-nobody.rules",
        "polkit.addRule(function(action, subject) {\n  if (action.id == 'org.trivet.vrrp1.set-maintenance' && subject.user == 'nobody') return polkit.Result.YES;\n});\n",
    );
    wait("polkit has read the rule, and nobody is somebody", PATIENCE, || {
        machine.try_sh(&as_nobody).0.then_some(())
    });
    let reason = site.keep().property(&Property::router("keepalive_vi", "Reason"));
    assert_eq!(reason.as_deref(), Some("s \"in maintenance by order of nobody (uid 65534): cleaning\""));
}

#[test]
fn without_polkit_vrrp_goes_on_and_the_journal_says_what_is_missing() {
    let site = Site::new(1);
    let machine = &site.keep().machine;
    site.expect_unit(0, ACTIVE, "active");
    // As where it is not installed: the bus does not know whom to start for it.
    let activation = "/usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service";
    machine.sh(&format!("mv {activation} /root/ && systemctl reload dbus && systemctl stop polkit"));
    site.maintenance(true);
    site.expect_state(0, "Fault");
    let journal =
        || machine.sh("journalctl -u vrrpd --no-pager -o cat MESSAGE_ID=0d32cf82395648db8a6dee8eb9d55abc");
    wait("the journal says what is missing", PATIENCE, || {
        journal().contains("it takes polkitd").then_some(())
    });
    site.maintenance(false);
    site.expect_state(0, "Active");
    site.maintenance(true);
    machine.sh(&format!("mv /root/org.freedesktop.PolicyKit1.service {activation} && systemctl reload dbus"));
    site.expect_unit(0, FAULT, "active");
    site.expect_unit(0, ACTIVE, "inactive");
    assert_eq!(journal().lines().count(), 1, "said once:\n{}", journal());
}
