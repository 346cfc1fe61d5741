use daemon::diagnostic::Report;
use daemon::testing::TempRoot;

use super::*;
use crate::config;

pub(crate) fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Alive at 100 s, safe for 2 s.
pub(crate) fn past(routers: &[(&str, bool)]) -> Past {
    let address = |interface: &str, address: &str, prefix_len| VirtualAddress {
        interface: interface.into(),
        address: address.parse().unwrap(),
        prefix_len,
    };
    let held = |(name, active): &(&str, bool)| Held {
        name: (*name).to_owned(),
        active: *active,
        since: 1_763_000_000_000_000,
        safe: seconds(2),
        interface: "eth1".into(),
        family: Family::V4,
        vrid: 51,
        version: 3,
        addresses: vec![address("eth1", "10.0.0.1", 24), address("eth0.5", "fe80::1", 64)],
    };
    let routers = routers.iter().map(held).collect();
    Past { boot: "b".into(), alive: seconds(100), handed_over: false, resumed: Vec::new(), routers }
}

fn names(past: &Past, now: Duration) -> Vec<&str> {
    past.resumable("b", now).into_iter().map(|(router, _)| router.name.as_str()).collect()
}

fn config(version: u8, interval: &str) -> RouterConfig {
    let root = TempRoot::new();
    let text = format!(
        "interface = \"lo\"\nvirtual_router_id = 51\naddresses = [\"10.0.0.9/24\"]\nversion = {version}\nadvert_interval = \"{interval}\"\n"
    );
    root.write("etc/trivet/vrrp.d/gateway.toml", &text);
    let mut routers = config::load(root.path(), None, &mut Report::new()).routers;
    routers.remove("gateway").unwrap()
}

#[test]
fn an_active_router_goes_on_until_a_backup_can_have_taken_over() {
    let past = past(&[("a", true), ("b", false)]);
    assert_eq!(names(&past, seconds(100)), ["a"]);
    let late = seconds(102) - Duration::from_nanos(1);
    assert_eq!(past.resumable("b", late), [(&past.routers[0], Duration::from_nanos(1))]);
    assert_eq!(names(&past, seconds(102)), [""; 0]);
}

#[test]
fn nobody_goes_on_after_a_reboot() {
    let past = past(&[("a", true)]);
    assert!(past.resumable("c", seconds(101)).is_empty(), "another boot");
    assert!(past.resumable("b", seconds(99)).is_empty(), "alive in the future: another boot");
}

#[test]
fn after_a_few_crashes_in_a_minute_routers_begin_as_backups() {
    let mut past = past(&[("a", true)]);
    past.resumed = vec![seconds(41), seconds(60), seconds(99)];
    assert_eq!(names(&past, seconds(100)), [""; 0]);
    past.handed_over = true;
    assert_eq!(names(&past, seconds(100)), ["a"], "a restart is no crash");
    past.handed_over = false;
    assert_eq!(names(&past, seconds(101)), ["a"], "the first is a minute ago");
    assert_eq!(past.crashes(seconds(101)).collect::<Vec<_>>(), [seconds(60), seconds(99)]);
}

#[test]
fn a_crashed_router_is_safe_for_two_intervals_and_the_least_skew() {
    for (version, interval, micros) in [
        // 3 intervals, 2/256 of one, less one interval and a millisecond.
        (3, "1s", 2_006_812),
        (3, "10ms", 19_078),
        (2, "3s", 6_006_812),
    ] {
        let config = config(version, interval);
        assert_eq!(Held::new("a", &config, true, 0).safe.as_micros(), micros);
    }
}

#[test]
fn a_router_that_hands_over_makes_its_backups_wait_three_seconds_at_least() {
    for (version, interval, said, millis) in
        [(3, "10ms", 100, 3_007), (3, "2s", 200, 6_015), (2, "1s", 100, 3_007), (2, "3s", 300, 9_007)]
    {
        let config = config(version, interval);
        assert_eq!(hand_over_interval(&config.settings), Centiseconds(said));
        let held = Held::new("a", &config, true, 0).handed_over(&config.settings);
        assert_eq!(held.safe.as_millis(), millis);
    }
}

#[test]
fn a_damaged_or_foreign_record_is_refused_and_none_makes_the_reader_panic() {
    let whole = format!(
        "{TITLE}\nboot b\nalive 00000000100000000000\nhanded over\nresumed 00000000003000000000\nrouter + 00000000000000000007 2000000 eth1 IPv4 51 3 eth1:10.0.0.1/24 = a b\nend\n"
    );
    let past = parse(&whole).unwrap();
    assert_eq!((past.handed_over, past.resumed, past.alive), (true, vec![seconds(3)], seconds(100)));
    assert_eq!(past.routers[0].name, "a b");
    for end in 0..whole.len() - 1 {
        assert!(parse(&whole[..end]).is_err(), "cut after {end} bytes");
    }
    for (right, wrong) in [
        ("version 1", "version 2"),
        ("eth1:10.0.0.1/24", "eth1:10.0.0.1"),
        ("eth1:10.0.0.1/24", "10.0.0.1/24"),
        (" + ", " * "),
        ("handed over", "handed down"),
        ("alive 0", "alive x"),
    ] {
        assert!(parse(&whole.replace(right, wrong)).is_err(), "{wrong}");
    }
    let mut random = crate::testing::Random::new(3);
    let mut bytes = whole.into_bytes();
    for _ in 0..20_000 {
        let at = usize::try_from(random.below(bytes.len().try_into().unwrap())).unwrap();
        bytes[at] = random.byte();
        let _ = parse(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn addresses_are_kept_after_a_crash_and_for_a_restart_and_never_else() {
    let running = past(&[("a", true)]);
    let handed_over = Past { handed_over: true, ..running.clone() };
    for (result, status, after_crash, after_hand_over) in [
        (None, None, false, false),
        (Some("success"), Some("0"), false, true),
        (Some("signal"), Some("KILL"), true, true),
        (Some("core-dump"), Some("ABRT"), true, true),
        (Some("oom-kill"), Some("KILL"), true, true),
        (Some("exit-code"), Some("1"), true, true),
        (Some("exit-code"), Some("78"), false, false),
        (Some("exit-code"), Some("203"), false, false),
        (Some("watchdog"), Some("ABRT"), false, false),
        (Some("timeout"), Some("KILL"), false, false),
        (Some("protocol"), None, false, false),
        (Some("start-limit-hit"), None, false, false),
        (Some("resources"), None, false, false),
        (Some("a new word"), None, false, false),
    ] {
        let ending = Ending::of(result, status);
        assert_eq!(ending.keeps(&running), after_crash, "{result:?} {status:?}");
        assert_eq!(ending.keeps(&handed_over), after_hand_over, "{result:?} {status:?}, handed over");
    }
}
