//! Tracking with the real checkd and ipvsd on a private bus: weights and faults follow what they say, and what they
//! said stays when they, or the bus, are gone. Units and targets need a systemd: tracked_service.rs.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::web::Web;

struct Site {
    trivet: Trivet,
    web: Web,
    host: Host,
    _lab: Lab,
}

impl Site {
    /// No daemon runs yet.
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        lab.segment("other");
        let host = lab.host("keep1", &[("eth0", "lan", "10.0.0.1/24"), ("eth1", "other", "10.1.0.1/24")]);
        let web = Web::start(&host);
        let trivet = Trivet::start(&host, "tracking/keep1", &[]);
        Self { trivet, web, host, _lab: lab }
    }

    fn run(&mut self, daemons: &[&str]) {
        for daemon in daemons {
            self.trivet.run(&self.host, daemon);
        }
    }

    #[track_caller]
    fn expect(&self, router: &str, name: &'static str, value: &str) {
        self.trivet.wait_for_property(&Property::router(router, name), value);
    }

    /// An address goes a little later than the state is told.
    #[track_caller]
    fn expect_without(&self, address: &str) {
        wait(&format!("{address} is gone"), PATIENCE, || {
            let held = self.host.namespace().addresses("eth0");
            (!held.iter().any(|held| held.to_string() == address)).then_some(())
        });
    }

    #[track_caller]
    fn expect_text(&self, router: &str, name: &'static str, text: &str) -> String {
        self.trivet.wait_for_text(&Property::router(router, name), text)
    }
}

#[test]
fn a_check_changes_the_priority_or_is_a_fault_and_an_interface_too() {
    let mut site = Site::new();
    site.run(&["checkd", "vrrpd"]);
    site.expect("weighed", "EffectivePriority", "y 120");
    site.expect("strict", "State", "s \"Active\"");

    site.web.kill();
    site.expect("weighed", "EffectivePriority", "y 100");
    site.expect("strict", "State", "s \"Fault\"");
    site.expect_text("strict", "Reason", "check web of 10.0.0.1:80 is down: connection refused");
    site.expect_without("10.0.0.51");
    let tracks = site.expect_text("weighed", "Tracks", "\"down\"");
    for expected in
        ["\"check web of 10.0.0.1:80\"", "\"Contribution\" i 0", "\"Weight\" i 20", "\"Stale\" b false"]
    {
        assert!(tracks.contains(expected), "{expected} is not in {tracks}");
    }

    site.host.carrier("eth1", false);
    site.expect("weighed", "EffectivePriority", "y 70");
    site.host.carrier("eth1", true);
    site.expect("weighed", "EffectivePriority", "y 100");

    site.web.resume(&site.host);
    site.expect("weighed", "EffectivePriority", "y 120");
    site.expect("strict", "State", "s \"Active\"");
}

#[test]
fn what_was_known_stays_when_checkd_and_the_bus_are_gone() {
    let mut site = Site::new();
    site.run(&["checkd", "vrrpd"]);
    site.expect("weighed", "EffectivePriority", "y 120");
    site.expect("strict", "State", "s \"Active\"");
    let since = site.expect_text("strict", "StateSince", "t ");

    site.trivet.kill("checkd");
    let tracks = site.expect_text("weighed", "Tracks", "\"Stale\" b true");
    assert!(tracks.contains("checkd has left the bus"), "{tracks}");
    site.expect("weighed", "EffectivePriority", "y 120");
    site.run(&["checkd"]);
    wait("the answer is fresh again", PATIENCE, || {
        let tracks = site.trivet.property(&Property::router("weighed", "Tracks"))?;
        (!tracks.contains("\"Stale\" b true")).then_some(())
    });

    site.trivet.kill_bus();
    site.web.kill();
    site.trivet.start_bus(&site.host);
    site.expect_text("strict", "Reason", "is down");
    site.web.resume(&site.host);
    site.expect("strict", "State", "s \"Active\"");
    assert_ne!(site.expect_text("strict", "StateSince", "t "), since, "it was down in between");
}

/// checkd is not there at all: wait, then be the last choice; know, and be a full member.
#[test]
fn a_router_that_cannot_hear_of_what_it_tracks_waits_and_is_then_the_last_choice() {
    let mut site = Site::new();
    site.run(&["vrrpd"]);
    site.expect_text("strict", "Reason", "waiting to hear of check web of 10.0.0.1:80");
    site.expect("strict", "State", "s \"Initialize\"");
    site.expect("weighed", "EffectivePriority", "y 100");
    site.expect("strict", "EffectivePriority", "y 1");
    site.expect("strict", "State", "s \"Active\"");
    site.expect_text("strict", "Reason", "with priority 1 only, since nothing is known of check web");
    site.run(&["checkd"]);
    site.expect("strict", "EffectivePriority", "y 100");
    site.expect("strict", "State", "s \"Active\"");
    site.expect("weighed", "EffectivePriority", "y 120");
}

/// Here there is no IPVS; where there is, director_pair.rs has services with servers.
#[test]
fn a_service_of_ipvsd_is_tracked() {
    let mut site = Site::new();
    site.run(&["vrrpd"]);
    site.expect_text("director", "Tracks", "ipvsd is not on the bus");
    site.run(&["ipvsd"]);
    site.expect_text("director", "Tracks", "\"What\" s \"service web\"");
    let tracks = site.expect_text("director", "Tracks", "\"State\" s \"down\"");
    assert!(tracks.contains("\"Contribution\" i 0"), "{tracks}");
    site.trivet.kill("ipvsd");
    site.expect_text("director", "Tracks", "\"Stale\" b true");
}

/// Properties show how things are, the signal shows how they went: every step, in order.
#[test]
fn every_transition_is_a_signal() {
    let mut site = Site::new();
    let address = trivet_tests::bus::address(&site.host);
    let mut monitor = std::process::Command::new("busctl");
    monitor.arg(format!("--address={address}")).args([
        "--json=short",
        "monitor",
        "--match=type='signal',interface='org.trivet.Vrrp1.Router',path='/org/trivet/Vrrp1/router/strict'",
    ]);
    let monitor = site.host.spawn("monitor", &mut monitor);
    wait("the monitor listens", PATIENCE, || monitor.log().contains("Monitoring").then_some(()));
    site.run(&["checkd", "vrrpd"]);
    site.expect("strict", "State", "s \"Active\"");
    site.web.kill();
    site.expect("strict", "State", "s \"Fault\"");
    let steps = [
        r#""data":["Initialize","Backup","started, listening"#,
        r#""data":["Backup","Active","no Active router was heard"#,
        r#""data":["Active","Fault","check web of 10.0.0.1:80 is down: connection refused"#,
    ];
    let log = wait("the last step is a signal", PATIENCE, || {
        Some(monitor.log()).filter(|log| log.contains(steps[2]))
    });
    let places = steps.map(|step| log.find(step).unwrap_or_else(|| panic!("{step} is not in:\n{log}")));
    assert!(places.is_sorted(), "in this order:\n{log}");
}

#[test]
fn maintenance_outlives_a_reload_and_a_restart_and_ends_on_order() {
    let mut site = Site::new();
    site.run(&["checkd", "vrrpd"]);
    site.expect("weighed", "State", "s \"Active\"");
    let set = |site: &Site, on: &str, reason: &str| {
        let path = "/org/trivet/Vrrp1/router/weighed";
        let call =
            ["call", "org.trivet.Vrrp1", path, "org.trivet.Vrrp1.Router", "SetMaintenance", "bs", on, reason];
        site.trivet.bus().busctl(&call)
    };
    set(&site, "true", "new kernel").unwrap();
    site.expect("weighed", "State", "s \"Fault\"");
    site.expect("weighed", "Reason", "s \"in maintenance by order of root: new kernel\"");
    site.expect_without("10.0.0.50");
    site.trivet.edit("vrrp.d/weighed.toml", "priority = 100", "priority = 101");
    site.trivet.reload("vrrpd");
    site.expect("weighed", "Priority", "y 101");
    site.expect("weighed", "State", "s \"Fault\"");
    site.trivet.kill("vrrpd");
    site.run(&["vrrpd"]);
    site.expect("weighed", "Reason", "s \"in maintenance by order of root: new kernel\"");
    set(&site, "false", "").unwrap();
    site.expect("weighed", "State", "s \"Active\"");
    let again = set(&site, "false", "").unwrap_err();
    assert!(again.contains("is not in maintenance"), "{again}");
}
