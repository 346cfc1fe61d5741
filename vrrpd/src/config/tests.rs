use std::os::unix::fs::PermissionsExt;

use daemon::testing::TempRoot;

use super::*;
use crate::router::settings::Garp;

const GATEWAY: &str = "etc/trivet/vrrp.d/gateway.toml";
const MINIMAL: &str = "interface = 'eth0'\nvirtual_router_id = 51\naddresses = ['192.168.1.153/24']\n";

fn load_root(root: &TempRoot) -> (Configuration, String) {
    let mut report = Report::new();
    let configuration = load(root.path(), None, &mut report);
    (configuration, report.to_string())
}

/// The report about one file, with the root taken out of the paths.
fn report(text: &str) -> String {
    let root = TempRoot::new();
    root.write(GATEWAY, text);
    load_root(&root).1.replace(&format!("{}/", root.path().display()), "")
}

fn assert_reports(text: &str, expected: &[&str]) {
    let report = report(text);
    for expected in expected {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
}

fn router(text: &str) -> RouterConfig {
    let root = TempRoot::new();
    root.write(GATEWAY, text);
    let (mut configuration, report) = load_root(&root);
    assert!(!report.contains("error"), "{report}");
    configuration.routers.remove("gateway").expect("there is a router")
}

// RFC 9568: +5.2.3
#[test]
fn what_is_left_out_has_the_defaults_that_keepalived_and_the_rfc_have() {
    let router = router(MINIMAL);
    assert_eq!((&*router.interface, router.vrid.get()), ("eth0", 51));
    assert_eq!(router.settings.version, Version::V3);
    assert_eq!(router.settings.priority, Priority(100));
    assert!(router.settings.preempt);
    assert_eq!(router.settings.advert_interval, Centiseconds(100));
    assert_eq!(router.settings.addresses[0].to_string(), "192.168.1.153/24 on eth0");
    assert_eq!(router.settings.garp, Garp::default());
    assert_eq!(router.authentication, Authentication::None);
    assert_eq!(router.checksum, Checksum::Auto);
}

#[test]
fn everything_can_be_said() {
    let root = TempRoot::new();
    root.write("etc/trivet/gateway.pass", "XXX999XX\n");
    root.write(
        GATEWAY,
        "interface = 'eth1'\nvirtual_router_id = 1\nversion = 2\npriority = 101\npreempt = false\n\
         advert_interval = '2s'\n\
         addresses = ['192.168.100.10/22', { address = '10.0.10.50/24', interface = 'eth0' }, '10.9.9.9']\n\
         [authentication]\ntype = 'pass'\npassword_file = '/etc/trivet/gateway.pass'\n\
         [garp]\nrepeat = 3\ndelay = '1s'\nrefresh = 0\nrefresh_repeat = 2\ninterval = '10ms'\n",
    );
    root.write("etc/trivet/vrrpd.toml", "log_level = 'debug'\n");
    let (configuration, report) = load_root(&root);
    assert!(!report.contains("error"), "{report}");
    assert_eq!(configuration.settings.log_level, LevelFilter::Debug);
    let router = &configuration.routers["gateway"];
    assert_eq!(router.authentication, Authentication::Pass(*b"XXX999XX"));
    assert_eq!(router.settings.advert_interval, Centiseconds(200));
    let addresses: Vec<_> = router.settings.addresses.iter().map(ToString::to_string).collect();
    assert_eq!(addresses, ["192.168.100.10/22 on eth1", "10.0.10.50/24 on eth0", "10.9.9.9/32 on eth1"]);
    let garp = router.settings.garp;
    assert_eq!((garp.repeat, garp.refresh_repeat, garp.refresh), (3, 2, Duration::ZERO));
    assert_eq!((garp.delay, garp.interval), (Duration::from_secs(1), Duration::from_millis(10)));
}

#[test]
fn keepaliveds_words_are_answered_with_ours() {
    assert_reports(
        "interface = 'eth0'\nvirtual_router_id = 1\nstate = 'MASTER'\nadvert_int = 1\nnopreempt = true\n\
         virtual_ipaddress = ['10.0.0.1/24']\nprority = 7\n",
        &[
            "vrrp.d/gateway.toml:3:1: error: unknown key 'state'",
            "hint: there is no initial state",
            "gateway.toml:4:1: error: unknown key 'advert_int'",
            "hint: keepalived's advert_int is advert_interval",
            "gateway.toml:5:1: error: unknown key 'nopreempt'",
            "gateway.toml:6:1: error: unknown key 'virtual_ipaddress'",
            "gateway.toml:7:1: error: unknown key 'prority'",
            "hint: did you mean 'priority'?",
            "error: 'addresses' is missing",
            "6 errors",
        ],
    );
}

// RFC 9568: -5.2.4
#[test]
fn wrong_types_and_values_are_all_reported_where_they_stand() {
    assert_reports(
        "interface = 7\nvirtual_router_id = 256\nversion = 4\npriority = 0\npreempt = 'no'\n\
         advert_interval = '5ms'\naddresses = ['10.0.0.300/24', '10.0.0.1/33', 5, '224.0.0.18/32', 'fe80::1/64']\n\
         checksum = 'md5'\ngarp = 5\n",
        &[
            "toml:1:13: error: 'interface' must be a string, not an integer",
            "toml:2:21: error: 'virtual_router_id' must be from 1 to 255",
            "toml:3:11: error: 'version' must be from 2 to 3",
            "toml:4:12: error: 'priority' must be from 1 to 255",
            "toml:5:11: error: 'preempt' must be true or false",
            "toml:6:19: error: 'advert_interval' must be from 10ms to 40.95s",
            "toml:7:14: error: '10.0.0.300' is not an IP address",
            "toml:7:31: error: '33' is not the length of an IPv4 prefix",
            "toml:7:46: error: an address must be a string or a table, not an integer",
            "toml:7:49: error: 224.0.0.18 is a multicast address",
            "toml:8:12: error: 'checksum' cannot be \"md5\"",
            "toml:9:8: error: 'garp' must be a table",
            "12 errors",
        ],
    );
}

// RFC 9568: -5.2.7
#[test]
fn intervals_must_fit_the_version() {
    for (version, interval, message) in [
        (2, "0.5", "must be from 1s to 4min 15s"),
        (2, "'1500ms'", "must be whole seconds in version 2"),
        (3, "'15ms'", "must be a multiple of 10ms"),
        (3, "41", "must be from 10ms to 40.95s"),
    ] {
        assert_reports(&format!("{MINIMAL}version = {version}\nadvert_interval = {interval}\n"), &[message]);
    }
    let fast = router(&format!("{MINIMAL}advert_interval = '10ms'\n"));
    assert_eq!(fast.settings.advert_interval, Centiseconds(1));
}

#[test]
fn a_vrid_twice_on_one_interface_and_an_address_twice_are_errors_that_name_both_places() {
    let root = TempRoot::new();
    root.write("etc/trivet/vrrp.d/a.toml", MINIMAL);
    root.write("etc/trivet/vrrp.d/b.toml", &MINIMAL.replace("eth0", "eth1"));
    root.write("etc/trivet/vrrp.d/c.toml", &MINIMAL.replace(".153", ".154"));
    let (_, report) = load_root(&root);
    for expected in [
        "b.toml:3:14: error: the address 192.168.1.153 is used twice",
        "c.toml:2:21: error: virtual_router_id 51 is used twice on eth0",
        "vrrp.d/a.toml:2:21\n",
        "vrrp.d/a.toml:3:14\n",
        "2 errors",
    ] {
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    assert_reports(
        &MINIMAL.replace("['192.168.1.153/24']", "['10.0.0.1/24', '10.0.0.1/32']"),
        &["the address 10.0.0.1 is used twice"],
    );
}

#[test]
fn a_link_local_address_may_be_on_each_interface_and_only_once_on_one() {
    let root = TempRoot::new();
    let file = |interface: &str, vrid: u8| {
        format!("interface = '{interface}'\nvirtual_router_id = {vrid}\naddresses = ['fe80::1/64']\n")
    };
    root.write("etc/trivet/vrrp.d/a.toml", &file("eth0", 1));
    root.write("etc/trivet/vrrp.d/b.toml", &file("eth1", 1));
    let (configuration, report) = load_root(&root);
    assert_eq!((configuration.routers.len(), &*report), (2, ""));
    root.write("etc/trivet/vrrp.d/c.toml", &file("eth0", 2));
    let report = load_root(&root).1;
    assert!(report.contains("c.toml:3:14: error: the address fe80::1 is used twice"), "{report}");
}

#[test]
fn a_missing_interface_is_a_warning_when_the_configuration_is_checked() {
    let root = TempRoot::new();
    root.write(GATEWAY, MINIMAL);
    let mut report = Report::new();
    load(root.path(), Some(&Interfaces::default()), &mut report);
    assert!(!report.has_errors());
    assert!(
        report.to_string().contains("toml:1:13: warning: interface eth0 does not exist (yet)"),
        "{report}"
    );
    assert_eq!(
        load_root(&root).1,
        "",
        "and not worth a word when the daemon runs: the router's state says it"
    );
}

fn with_password(lines: &str) -> String {
    format!("{MINIMAL}version = 2\n[authentication]\ntype = 'pass'\n{lines}\n")
}

#[test]
fn a_long_password_is_cut_as_keepalived_does_with_a_warning() {
    let text = with_password("password = 'XXX999XXX'");
    assert_eq!(router(&text).authentication, Authentication::Pass(*b"XXX999XX"));
    assert_reports(&text, &["warning: the password is longer than 8 bytes"]);
    let short = router(&with_password("password = 'abc'"));
    assert_eq!(short.authentication, Authentication::Pass(*b"abc\0\0\0\0\0"));
}

#[test]
fn mistakes_about_passwords_are_reported_and_no_password_is_ever_printed() {
    for (lines, expected) in [
        ("", "the password is missing"),
        ("password = ''", "the password is empty"),
        ("password = 'hunter2'\npassword_file = '/x'", "the password is given 2 times"),
        ("password_file = '/nowhere/hunter'", "cannot read the password from"),
        ("auth_pass = 'hunter2'", "keepalived's auth_pass is password_file"),
        ("pasword = 'hunter2'", "did you mean 'password'?"),
        ("password = 'hunter2hunter2'", "longer than 8 bytes"),
        ("password_credential = 'vrrp'", "there are no credentials"),
    ] {
        let report = report(&with_password(lines));
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
        assert!(!report.contains("hunter2"), "{report}");
    }
    assert_reports(
        &with_password("password = 'x'").replace("version = 2", "version = 3"),
        &["error: version 3 has no authentication"],
    );
    assert!(!format!("{:?}", router(&with_password("password = 'hunter2'"))).contains("hunter2"));
}

#[test]
fn a_password_that_everybody_can_read_is_warned_of() {
    let root = TempRoot::new();
    root.write(GATEWAY, &with_password("password = 'x'"));
    let path = root.path().join(GATEWAY);
    for (mode, warned) in [(0o644, true), (0o640, false)] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let (_, report) = load_root(&root);
        assert_eq!(report.contains("everybody on this machine can read the password"), warned, "{report}");
    }
}

#[test]
fn no_files_are_a_configuration_without_routers() {
    let (configuration, report) = load_root(&TempRoot::new());
    assert!(configuration.routers.is_empty() && report.is_empty());
}

#[test]
fn the_example_of_the_daemon_wide_file_has_the_defaults() {
    let root = TempRoot::new();
    let example = include_str!("../../../etc/trivet/vrrpd.toml.example");
    root.write("etc/trivet/vrrpd.toml", &example.replace("\n#log_level", "\nlog_level"));
    let (configuration, report) = load_root(&root);
    assert!(report.is_empty(), "{report}");
    assert_eq!(configuration.settings.log_level, LevelFilter::Info);
}

/// The examples that are installed, each as if its ending were `.toml`.
#[test]
fn the_installed_examples_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/vrrp.d");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "example") {
            continue;
        }
        let root = TempRoot::new();
        for name in ["gateway", "web-route"] {
            root.write(&format!("etc/trivet/{name}.pass"), "secret");
        }
        root.write(GATEWAY, &std::fs::read_to_string(&path).unwrap());
        let (configuration, report) = load_root(&root);
        assert!(!report.contains("error"), "{}:\n{report}", path.display());
        assert_eq!(configuration.routers.len(), 1);
        count += 1;
    }
    assert!(count >= 2);
}

#[test]
fn a_key_is_not_called_unknown_because_another_is_missing() {
    let root = TempRoot::new();
    let keys = "preempt_delay = 5\nstartup_delay = 5\ndown_timer_adverts = 4\nsync_group = \"a\"\ntrack = []\n\
                routes = []\nrules = []\naccept = true\nvmac = false\nchecksum = \"rfc\"\npriority = 5\n";
    root.write("etc/trivet/vrrp.d/gateway.toml", keys);
    let mut report = Report::new();
    load(root.path(), None, &mut report);
    let errors: Vec<String> =
        report.diagnostics().iter().map(|diagnostic| diagnostic.message.clone()).collect();
    assert!(errors.iter().any(|error| error.contains("'addresses'")), "{errors:?}");
    assert!(errors.iter().all(|error| !error.contains("unknown key")), "{errors:?}");
}
