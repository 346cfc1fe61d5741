use daemon::testing::TempRoot;

use super::super::{RouterConfig, load};
use super::*;

const MINIMAL: &str = "interface = 'eth0'\nvirtual_router_id = 51\naddresses = ['192.168.1.153/24']\n";

fn read(text: &str) -> (Option<RouterConfig>, String) {
    let root = TempRoot::new();
    root.write("etc/trivet/vrrp.d/gateway.toml", &format!("{MINIMAL}{text}\n"));
    root.write("etc/trivet/check.d/drupal.toml", "type = 'http'");
    root.write("etc/trivet/check.d/resolver.toml", "type = 'dns'");
    root.write("etc/trivet/check.d/disk.toml", "type = 'exec'");
    root.write("etc/trivet/check.d/mail.toml", "type = 'smtp'");
    root.write("etc/trivet/check.d/upstream.toml", "type = 'tcp'\naddress = '10.0.0.9'\nport = 80");
    root.write("etc/trivet/ipvs.d/web.toml", "address = '10.0.0.1:80'");
    let mut report = Report::new();
    let mut configuration = load(root.path(), None, &mut report);
    (configuration.routers.remove("gateway"), report.to_string())
}

fn tracked(text: &str) -> Vec<Tracker> {
    let (router, report) = read(text);
    assert_eq!(report, "");
    router.expect("there is a router").track
}

#[test]
fn all_that_can_be_tracked_is_read_with_and_without_a_weight() {
    let trackers = tracked(
        "track = [{ interface = 'eth1', weight = -20 }, { unit = 'nginx' },\n\
         { check = 'drupal', target = '10.0.0.1:80', weight = 10 }, { service = 'web', reverse = true },\n\
         { check = 'tcp', target = '[2001:db8::1]:80' }]",
    );
    let shown: Vec<_> =
        trackers.iter().map(|tracker| (tracker.what.to_string(), tracker.weight, tracker.reverse)).collect();
    let expected = [
        ("interface eth1", Some(-20), false),
        ("unit nginx.service", None, false),
        ("check drupal of 10.0.0.1:80", Some(10), false),
        ("service web", None, true),
        ("check tcp of [2001:db8::1]:80", None, false),
    ];
    assert_eq!(shown, expected.map(|(what, weight, reverse)| (what.to_owned(), weight, reverse)));
    assert!(tracked("").is_empty());
}

#[test]
fn a_target_has_a_port_only_where_the_check_needs_one_and_is_left_out_for_this_machine() {
    let trackers = tracked(
        "track = [{ check = 'ping', target = '10.0.0.1' }, { check = 'ping', target = 'fe80::1%2' },\n\
         { check = 'resolver', target = '10.0.0.1' }, { check = 'resolver', target = '10.0.0.1:5353' },\n\
         { check = 'disk' }, { check = 'upstream' }, { check = 'mail', target = '10.0.0.1' }]",
    );
    let shown: Vec<String> = trackers.iter().map(|tracker| tracker.what.to_string()).collect();
    let expected = [
        "check ping of 10.0.0.1",
        "check ping of fe80::1%2",
        "check resolver of 10.0.0.1",
        "check resolver of 10.0.0.1:5353",
        "check disk",
        "check upstream",
        "check mail of 10.0.0.1",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn mistakes_are_reported_where_they_stand_with_what_to_do() {
    for (text, expected) in [
        ("track = 5", &["toml:4:9: error: 'track' must be an array"][..]),
        ("track = ['nginx']", &["toml:4:10: error: what is tracked must be a table, not a string"]),
        ("track = [{ }]", &["toml:4:10: error: nothing is tracked here", "give one of interface, unit"]),
        (
            "track = [{ unit = 'a', interface = 'eth1' }]",
            &["one thing is tracked at a time, not interface and unit"],
        ),
        ("track = [{ unit = 'a b' }]", &["'unit' is not the name of a systemd unit: \"a b\""]),
        ("track = [{ unit = 'a', weight = 0 }]", &["a 'weight' of 0", "keepalived's weight 0"]),
        ("track = [{ unit = 'a', weight = 254 }]", &["'weight' must be from -253 to 253"]),
        (
            "track = [{ check = 'drupl', target = '10.0.0.1:80' }]",
            &["there is no check 'drupl'", "\"drupal\"?"],
        ),
        (
            "track = [{ check = 'drupal' }]",
            &["'target' is missing", "{ check = \"drupal\", target = \"10.0.0.1:80\" }"],
        ),
        (
            "track = [{ check = 'ping' }]",
            &["'target' is missing", "{ check = \"ping\", target = \"10.0.0.1\" }"],
        ),
        (
            "track = [{ check = 'drupal', target = '2001:db8::1' }]",
            &["toml:4:39: error: 'target' is an address without a port", "\"[2001:db8::1]:80\""],
        ),
        ("track = [{ check = 'ping', target = 'web1' }]", &["'target' is not an address such as"]),
        ("track = [{ check = 'disk', target = '' }]", &["'target' is empty", "leave it out"]),
        ("track = [{ check = 'disk' }, { check = 'disk' }]", &["check disk is tracked twice"]),
        ("track = [{ unit = 'a', target = '10.0.0.1:80' }]", &["'target' belongs to a check"]),
        (
            "track = [{ service = 'mail' }]",
            &["there is no virtual service 'mail'", "/etc/trivet/ipvs.d/mail.toml"],
        ),
        (
            "track = [{ unit = 'a' }, { unit = 'a.service' }]",
            &["toml:4:26: error: unit a.service is tracked twice"],
        ),
        ("track = [{ script = '/x' }]", &["unknown key 'script'", "checks belong to checkd"]),
        (
            "priority = 255\ntrack = [{ unit = 'a', weight = 5 }]",
            &["cannot have a 'weight'", "leave 'weight' out"],
        ),
        ("track_script = ['x']", &["track_script", "checks belong to checkd"]),
        ("track = [{ interface = 'eth0' }]", &["warning: interface eth0 is tracked always"]),
    ] {
        let (_, report) = read(text);
        for expected in expected {
            assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
        }
    }
    assert!(
        !read("priority = 255\ntrack = [{ unit = 'a' }]").1.contains("error"),
        "a fault an owner may have"
    );
}

#[test]
fn a_name_of_which_systemd_makes_no_target_is_refused() {
    let root = TempRoot::new();
    root.write(&format!("etc/trivet/vrrp.d/{}.toml", "x".repeat(240)), MINIMAL);
    let mut report = Report::new();
    load(root.path(), None, &mut report);
    assert!(report.to_string().contains("would be longer than systemd allows"), "{report}");
}
