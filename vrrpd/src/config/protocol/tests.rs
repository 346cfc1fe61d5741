use std::net::IpAddr;

use daemon::testing::TempRoot;

use super::*;
use crate::config::{Configuration, RouterConfig, load};
use crate::types::VirtualAddress;

const MINIMAL: &str = "interface = 'lo'\nvirtual_router_id = 51\naddresses = ['192.168.1.153/24']\n";

fn load_files(files: &[&str], present: Option<&Interfaces>) -> (Configuration, String) {
    let root = TempRoot::new();
    for (number, text) in files.iter().enumerate() {
        root.write(&format!("etc/trivet/vrrp.d/r{number}.toml"), text);
    }
    let mut report = Report::new();
    let configuration = load(root.path(), present, &mut report);
    (configuration, report.to_string())
}

fn load_one(lines: &str) -> (Option<RouterConfig>, String) {
    let (mut configuration, report) = load_files(&[&format!("{MINIMAL}{lines}")], None);
    (configuration.routers.remove("r0"), report)
}

// RFC 9568: +6.1-down
#[test]
fn what_is_left_out_is_as_the_rfc_has_it() {
    let (router, report) = load_one("");
    let settings = router.unwrap().settings;
    assert_eq!(report, "");
    assert_eq!((settings.preempt_delay, settings.startup_delay), (Duration::ZERO, Duration::ZERO));
    assert_eq!((settings.down_timer_adverts, settings.sync_group), (3, None));
}

#[test]
fn everything_can_be_said() {
    let lines =
        "preempt_delay = '5min'\nstartup_delay = 10\ndown_timer_adverts = 100\nchecksum = 'keepalived'\n";
    let (router, report) = load_one(lines);
    let router = router.unwrap();
    assert_eq!(report, "");
    assert_eq!(router.settings.preempt_delay, Duration::from_secs(300));
    assert_eq!(router.settings.startup_delay, Duration::from_secs(10));
    assert_eq!(router.settings.down_timer_adverts, 100);
    assert_eq!(router.checksum, Checksum::Fixed(ChecksumForm::Keepalived));
    for (word, checksum) in [("auto", Checksum::Auto), ("rfc", Checksum::Fixed(ChecksumForm::Rfc))] {
        assert_eq!(load_one(&format!("checksum = '{word}'\n")).0.unwrap().checksum, checksum);
    }
}

#[test]
fn what_cannot_be_is_refused_where_it_stands() {
    for (lines, expected) in [
        ("preempt_delay = 1001", "r0.toml:4:17: error: 'preempt_delay' must be from 0"),
        ("preempt_delay = 1\npreempt = false", "error: 'preempt_delay' has no meaning with preempt = false"),
        ("startup_delay = 'soon'", "r0.toml:4:17: error"),
        ("down_timer_adverts = 0", "error: 'down_timer_adverts' must be from 1 to 100"),
        ("down_timer_adverts = 101", "error: 'down_timer_adverts' must be from 1 to 100"),
        ("sync_group = ''", "error: 'sync_group' is not a name of 1 to 64 bytes"),
        ("checksum = 'frr'", "error: 'checksum' cannot be \"frr\""),
        ("vrrp_startup_delay = 1", "startup_delay = \"10s\""),
    ] {
        let (_, report) = load_one(&format!("{lines}\n"));
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
}

// RFC 9568: -5.2.3
#[test]
fn the_vrids_are_1_to_255() {
    for (number, good) in [(0, false), (1, true), (255, true), (256, false)] {
        let text = MINIMAL.replace("51", &number.to_string());
        let (configuration, report) = load_files(&[&text], None);
        assert_eq!(report.contains("error: 'virtual_router_id' must be from 1 to 255"), !good, "{report}");
        assert_eq!(configuration.routers.len(), usize::from(good));
    }
}

#[test]
fn what_changes_nothing_or_is_a_risk_is_warned_of() {
    for (lines, expected) in [
        ("preempt_delay = 1\npriority = 255", "warning: a router of priority 255 always preempts at once"),
        ("down_timer_adverts = 1", "warning: with down_timer_adverts = 1 a single lost advertisement"),
        ("checksum = 'rfc'\nversion = 2", "warning: version 2 has one form of the checksum only"),
    ] {
        let (router, report) = load_one(&format!("{lines}\n"));
        assert!(report.contains(expected) && !report.contains("error"), "{report}");
        assert!(router.is_some());
    }
}

#[test]
fn members_of_a_sync_group_find_each_other_by_its_name() {
    let member = |vrid: u8, more: &str| {
        format!(
            "interface = 'lo'\nvirtual_router_id = {vrid}\naddresses = ['10.0.0.{vrid}/24']\nsync_group = 'g'\n{more}"
        )
    };
    let (configuration, report) = load_files(&[&member(1, ""), &member(2, "")], None);
    assert_eq!(report, "");
    assert!(configuration.routers.values().all(|router| router.settings.sync_group.as_deref() == Some("g")));
    let (_, report) = load_files(&[&member(1, "")], None);
    assert!(report.contains("r0.toml:4:14: warning: sync group \"g\" has one member only"), "{report}");
    let (_, report) = load_files(&[&member(1, ""), &member(2, "priority = 7\n")], None);
    assert!(report.contains("warning: sync group \"g\" has members of priority 100 and 7"), "{report}");
}

// RFC 9568: -5.2.4
#[test]
fn an_owner_must_have_its_addresses_where_the_interfaces_are_known() {
    let present = crate::monitor::dump().unwrap();
    let lo = present.by_name("lo").unwrap();
    assert!(lo.own().any(|own| own.address == IpAddr::from([127, 0, 0, 1])), "as everywhere");
    let owner = format!("{MINIMAL}priority = 255\n");
    let (_, report) = load_files(&[&owner], Some(&present));
    let expected = "toml:4:12: error: priority 255 is for the machine that owns the addresses, and lo has no 192.168.1.153";
    assert!(report.contains(expected), "{report}");
    let (_, report) = load_files(&[&format!("{MINIMAL}priority = 254\n")], Some(&present));
    assert!(!report.contains("error"), "{report}");
    let elsewhere = owner.replace("'lo'", "'nowhere0'");
    let (_, report) = load_files(&[&elsewhere], Some(&present));
    assert!(!report.contains("error"), "it may get it with the interface: {report}");
}

/// What `check_ipv6` says of a file with these addresses.
fn ipv6_report(addresses: &[&str], version: Version) -> String {
    let root = TempRoot::new();
    root.write("etc/trivet/vrrp.d/six.toml", "version = 2\naddresses = []\n");
    let mut report = Report::new();
    let files = daemon::dropin::load_directory(root.path(), "vrrp.d", &mut report);
    let mut reader = Reader::new(&files[0].table, &mut report);
    let address = |text: &&str| VirtualAddress {
        interface: "lo".into(),
        address: text.parse().unwrap(),
        prefix_len: 64,
    };
    let addresses = addresses.iter().map(address).collect();
    check(&mut reader, &Settings { version, addresses, ..Settings::default() }, Family::V6, None);
    report.to_string()
}

// RFC 9568: +5.2.9-first -5.2.9-first
#[test]
fn an_ipv6_router_without_a_link_local_address_first_is_warned_of_and_version_2_refused() {
    assert_eq!(ipv6_report(&["fe80::1", "2001:db8::1"], Version::V3), "");
    for addresses in [&["2001:db8::1", "fe80::1"][..], &["2001:db8::1"]] {
        let report = ipv6_report(addresses, Version::V3);
        assert!(report.contains("six.toml:2:13: warning: the first address of an IPv6 router"), "{report}");
    }
    let report = ipv6_report(&["fe80::1"], Version::V2);
    assert!(report.contains("six.toml:1:11: error: version 2 is of IPv4"), "{report}");
}
