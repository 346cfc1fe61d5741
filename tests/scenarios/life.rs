//! ARCHITECTURE.md section 6, as far as it is about vrrpd, under a real systemd: what the peer, the wire and the journal
//! see of a restart, a crash, a hang, a stop, and of a vrrpd that does not come back.

use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::capture::Seen;
use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::pair_beside_keepalived::{OURS, PairBesideKeepalived};
use trivet_tests::stalls::judge;

const SECOND: Duration = Duration::from_secs(1);
/// Before the peer can have taken over: it waits for three seconds and its skew.
const SOON: Duration = Duration::from_millis(2500);

fn state() -> Property {
    Property::router("gateway", "State")
}

#[test]
fn a_restart_and_an_upgrade_are_no_failover() {
    let pair = PairBesideKeepalived::new(SECOND);
    for how in [
        "systemctl restart vrrpd",
        "systemctl try-restart vrrpd",
        "systemctl restart trivet.target",
        "dpkg -i /root/trivet.deb",
    ] {
        let since = now();
        let before = pair.trivet.unit("vrrpd", "MainPID");
        pair.trivet.machine.sh(how);
        pair.expect_adverts(4);
        assert_ne!(pair.trivet.unit("vrrpd", "MainPID"), before, "{how}: the same process");
        let silence = pair.assert_no_failover(since);
        eprintln!("{how}: no failover, {silence:?} without an advertisement");
    }
    pair.expect_in_journal("making room for the next vrrpd");
    pair.expect_in_journal("goes on as Active");

    // Whoever runs: its loop has real-time priority, and the threads that strangers keep busy have not.
    let pid = pair.trivet.unit("vrrpd", "MainPID");
    let threads = pair.trivet.machine.sh(&format!("ps -L -o cls=,comm= -p {pid}"));
    let real_time: Vec<_> = threads.lines().filter(|line| line.trim_start().starts_with("RR")).collect();
    assert_eq!(real_time.len(), 1, "{threads}");
    assert!(real_time[0].ends_with("vrrpd"), "{threads}");
}

/// Faster than a restart can be: the Backup has been told to wait.
#[test]
fn a_restart_is_no_failover_even_if_it_takes_longer_than_the_backup_waits() {
    judge(Duration::from_millis(50), restart_slowly);
}

fn restart_slowly() {
    let interval = Duration::from_millis(50);
    let pair = PairBesideKeepalived::new(interval);
    // As if the new version took its time to start: longer than 3 intervals and the skew.
    pair.drop_in("[Service]\\nExecStartPre=/bin/sleep 1\\n");
    let since = now();
    pair.trivet.machine.sh("systemctl restart vrrpd");
    pair.expect_adverts(40);
    let silence = pair.assert_no_failover(since);
    assert!(silence > SECOND, "the restart took {silence:?}: too short to show anything");
    eprintln!("no failover, {silence:?} without an advertisement every {interval:?}");
}

#[test]
fn a_restart_with_another_configuration_goes_on_with_the_difference() {
    let pair = PairBesideKeepalived::new(SECOND);
    let router = |name: &str, vrid: u8, addresses: &str| {
        let path = format!("etc/trivet/vrrp.d/{name}.toml");
        let text = format!("interface = \"eth0\"\nvirtual_router_id = {vrid}\naddresses = [{addresses}]\n");
        pair.trivet.machine.write(&path, &text);
    };
    router("other", 2, "\"10.0.10.60/24\", \"10.0.10.61/24\"");
    router("gone", 3, "\"10.0.10.62/24\"");
    pair.trivet.machine.sh("systemctl reload vrrpd");
    pair.expect_addresses(&["10.0.10.50", "10.0.10.51", "10.0.10.60", "10.0.10.61", "10.0.10.62"]);

    // Another priority, an address less and one more, a router less and one more.
    pair.edit("priority = 150", "priority = 160");
    router("other", 2, "\"10.0.10.61/24\", \"10.0.10.63/24\"");
    router("new", 4, "\"10.0.10.64/24\"");
    pair.trivet.machine.sh("rm /etc/trivet/vrrp.d/gone.toml");
    let since = now();
    pair.trivet.machine.sh("systemctl restart vrrpd");
    pair.capture.first("the new priority", since, |seen| {
        matches!(seen, Seen::Advert { from: OURS, vrid: 1, priority: 160, .. })
    });
    pair.expect_addresses(&["10.0.10.50", "10.0.10.51", "10.0.10.61", "10.0.10.63"]);
    pair.trivet.wait_for_property(&Property::router("new", "State"), "s \"Backup\"");
    pair.expect_adverts(9);
    pair.assert_address_stayed(since);
    for router in ["gateway", "other"] {
        pair.expect_in_journal(&format!("{router}: Initialize -> Active: goes on as Active"));
    }
}

/// What its addresses live on and by stays with them: the macvlan, which is never down, and the rules.
#[test]
fn a_restart_and_a_crash_of_a_router_with_a_virtual_mac_and_without_accept_mode_are_no_failover() {
    let pair = PairBesideKeepalived::new(SECOND);
    pair.edit("priority = 150", "priority = 150\\nvmac = true\\naccept = false");
    pair.trivet.machine.sh("systemctl reload vrrpd");
    pair.expect_ours();
    let link = || pair.trivet.machine.sh("ip -d link show vrrp.1; nft list tables");
    let before = wait("its link is up", PATIENCE, || Some(link()).filter(|text| text.contains("state UP")));
    assert!(before.contains("trivet"), "no table: {before}");
    pair.expect_adverts(2);
    let watch = pair.trivet.machine.root().join("root/links");
    pair.trivet.machine.sh("setsid ip monitor link >/root/links 2>&1 & sleep 0.2");
    let since = now();
    pair.trivet.machine.sh("systemctl restart vrrpd");
    pair.expect_adverts(3);
    pair.crash("KILL");
    pair.expect_adverts(3);
    pair.assert_no_failover(since);
    assert_eq!(link(), before);
    let changes = std::fs::read_to_string(watch).expect("what ip monitor saw");
    assert!(!changes.contains("vrrp.1"), "the link was touched:\n{changes}");
}

#[test]
fn a_crash_is_no_failover_and_a_crash_loop_is() {
    let pair = PairBesideKeepalived::new(SECOND);
    for signal in ["KILL", "ABRT", "KILL"] {
        let since = now();
        pair.crash(signal);
        pair.expect_adverts(4);
        let silence = pair.assert_no_failover(since);
        eprintln!("SIG{signal}: no failover, {silence:?} without an advertisement");
    }
    let since = now();
    let crashed = pair.crash("KILL");
    let takeover = pair.expect_takeover(since);
    let released = pair.expect_released(since);
    assert!(
        released < takeover,
        "two held the address: released {:?} after the takeover",
        released - takeover
    );
    assert!(pair.adverts(OURS, crashed).iter().all(|(at, _)| *at > takeover), "it went on a fourth time");
    pair.expect_in_journal("it has crashed 3 times within a minute");
}

#[test]
fn a_router_is_not_active_again_if_a_backup_can_have_taken_over_meanwhile() {
    let pair = PairBesideKeepalived::new(SECOND);
    // Back after two seconds and a half: the last advertisement may be three and a half seconds ago.
    pair.drop_in("[Service]\\nRestartSec=2500ms\\n");
    let since = now();
    let crashed = pair.crash("KILL");
    let released = pair.expect_released(since);
    let takeover = pair.expect_takeover(since);
    assert!(released - since < 4 * SECOND, "released after {:?}", released - since);
    assert!(pair.adverts(OURS, crashed).iter().all(|(at, _)| *at > takeover), "it spoke before it listened");
    pair.expect_in_journal("0 of its 1 Active routers may go on");
}

/// What the new process is to do on its way up, and how long the address may stay then.
#[test]
fn a_vrrpd_that_does_not_come_back_leaves_nothing_behind() {
    let pair = PairBesideKeepalived::new(SECOND);
    let restart = "systemctl restart vrrpd";
    let kill = "kill -KILL $(systemctl show --value -p MainPID vrrpd)";
    // As an administrator may have it.
    let limit = "mkdir -p /run/systemd/system/vrrpd.service.d && printf '[Unit]\\nStartLimitIntervalSec=1h\\nStartLimitBurst=1\\n' >/run/systemd/system/vrrpd.service.d/life.conf && systemctl daemon-reload && systemctl restart vrrpd";
    let mistake = "sed -i 's/priority = 150/priority = 1500/' /etc/trivet/vrrp.d/gateway.toml";
    let away = "mv /usr/sbin/vrrpd /usr/sbin/vrrpd.away";
    let all_away = "mv /usr/sbin/vrrpd /usr/sbin/vrrpd.away; mv /usr/libexec/trivet/vrrpd /usr/libexec/trivet/vrrpd.away";
    for (what, how, end, limit) in [
        ("a mistake in the configuration, restarted", mistake, restart, SOON),
        ("a mistake in the configuration, crashed", mistake, kill, SOON),
        ("the program is missing, restarted", away, restart, SOON),
        ("the program is missing, crashed", away, kill, SOON),
        ("every program is missing, restarted", all_away, restart, 5 * SECOND),
        ("the start limit is reached", limit, kill, 4 * SECOND),
    ] {
        pair.trivet.machine.sh(how);
        let since = now();
        // Its failure is the point.
        let _ = pair.trivet.machine.try_sh(end);
        let released = pair.expect_released(since) - since;
        assert!(released < limit, "{what}: the address stayed for {released:?}");
        pair.expect_takeover(since);
        eprintln!("{what}: released after {released:?}");
        pair.trivet.machine.sh(
            "for file in /usr/sbin/vrrpd /usr/libexec/trivet/vrrpd; do [ ! -e $file.away ] || mv $file.away $file; done
             rm -f /run/systemd/system/vrrpd.service.d/life.conf; systemctl daemon-reload
             sed -i 's/priority = 1500/priority = 150/' /etc/trivet/vrrp.d/gateway.toml
             systemctl reset-failed vrrpd; systemctl start vrrpd",
        );
        pair.expect_ours();
    }
}

#[test]
fn a_hanging_vrrpd_is_killed_before_the_peer_takes_over_and_begins_as_a_backup() {
    let pair = PairBesideKeepalived::new(SECOND);
    pair.edit("priority = 150", "priority = 150\\npreempt = false");
    pair.trivet.machine.sh("systemctl reload vrrpd");
    let since = now();
    pair.signal("STOP");
    let released = pair.expect_released(since);
    let takeover = pair.expect_takeover(since);
    eprintln!("released after {:?}, taken over after {:?}", released - since, takeover - since);
    assert!(released - since < 5 * SECOND, "the address stayed for {:?}", released - since);
    pair.expect_in_journal("Watchdog timeout");
    pair.trivet.wait_for_property(&state(), "s \"Backup\"");
    pair.expect_holders([false, true]);
    assert!(pair.adverts(OURS, released).is_empty(), "it spoke");
}

// RFC 9568: +2.5
#[test]
fn a_paused_machine_steps_down_before_it_speaks() {
    let pair = PairBesideKeepalived::new(SECOND);
    pair.edit("priority = 150", "priority = 150\\npreempt = false");
    // The machine's systemd would be paused as well.
    pair.drop_in("[Service]\\nWatchdogSec=0\\n");
    pair.trivet.machine.sh("systemctl restart vrrpd");
    pair.expect_adverts(2);
    let since = now();
    pair.signal("STOP");
    pair.expect_takeover(since);
    let woken = now();
    pair.signal("CONT");
    pair.expect_holders([false, true]);
    pair.trivet.wait_for_property(&state(), "s \"Backup\"");
    pair.expect_in_journal("could not run for");
    assert!(pair.adverts(OURS, woken).is_empty(), "it spoke: {:?}", pair.adverts(OURS, woken));
}

// RFC 9568: +6.4.3-shutdown
#[test]
fn a_stop_and_a_shutdown_hand_over_in_milliseconds() {
    let pair = PairBesideKeepalived::new(SECOND);
    for how in ["systemctl stop vrrpd", "systemctl poweroff"] {
        let since = now();
        pair.trivet.machine.sh(how);
        let gave_up = pair
            .capture
            .first("priority 0", since, |seen| matches!(seen, Seen::Advert { from: OURS, priority: 0, .. }));
        let released = pair.expect_released(since);
        let takeover = pair.expect_takeover(gave_up);
        eprintln!(
            "{how}: priority 0 after {:?}, the address gone {:?} and the takeover {:?} later",
            gave_up - since,
            released.saturating_duration_since(gave_up),
            takeover - gave_up
        );
        assert!(released.saturating_duration_since(gave_up) < SECOND, "the address stayed");
        // Skew_Time of its priority, 0.45 s.
        assert!(takeover - gave_up < SECOND, "keepalived was not told");
        if how == "systemctl stop vrrpd" {
            assert!(gave_up - since < SOON, "asking systemd took too long");
            pair.trivet.machine.sh("systemctl start vrrpd");
            pair.expect_ours();
        }
    }
    let after =
        std::fs::read_to_string(pair.trivet.machine.root().join("usr/lib/systemd/system/vrrpd.service"));
    assert!(
        after.expect("the unit is there").contains("\nAfter=network.target"),
        "stopped before the network"
    );
}

#[test]
fn bus_journal_and_systemd_may_come_and_go() {
    judge(Duration::from_millis(200), come_and_go);
}

fn come_and_go() {
    let interval = Duration::from_millis(200);
    let pair = PairBesideKeepalived::new(interval);
    let since = now();
    for (begin, end) in [
        ("systemctl restart dbus", "true"),
        ("systemctl stop dbus.socket dbus.service", "systemctl start dbus.socket dbus.service"),
        ("systemctl daemon-reexec", "true"),
        ("systemctl daemon-reload", "true"),
        ("systemctl kill -s STOP systemd-journald", "systemctl kill -s CONT systemd-journald"),
        (
            "systemctl stop systemd-journald.socket systemd-journald-dev-log.socket systemd-journald",
            "systemctl start systemd-journald.socket systemd-journald-dev-log.socket systemd-journald",
        ),
    ] {
        let this = now();
        pair.trivet.machine.sh(begin);
        pair.expect_adverts(10);
        pair.trivet.machine.sh(end);
        pair.expect_adverts(5);
        let silence = pair.assert_no_failover(this);
        eprintln!("{begin}: {silence:?} without an advertisement, of {interval:?}");
        // The other waits for three and more.
        assert!(silence < 2 * interval, "{begin}: late: {silence:?} without an advertisement");
        pair.trivet.wait_for_property(&state(), "s \"Active\"");
    }
    pair.assert_no_failover(since);

    // Nobody can be asked what this SIGTERM is for, or nobody answers: it is a stop.
    let gone = ("systemctl stop dbus.socket dbus.service", "systemctl start dbus.socket dbus.service");
    let frozen = ("systemctl kill -s STOP dbus.service", "systemctl kill -s CONT dbus.service");
    for (begin, end) in [gone, frozen] {
        pair.trivet.machine.sh(begin);
        let stopped = now();
        pair.trivet.machine.sh("systemctl stop vrrpd");
        let gave_up = pair.capture.first("priority 0", stopped, |seen| {
            matches!(seen, Seen::Advert { from: OURS, priority: 0, .. })
        });
        eprintln!("{begin}: priority 0 after {:?}", gave_up - stopped);
        assert!(gave_up - stopped < 2 * SECOND, "{begin}: {:?}", gave_up - stopped);
        pair.expect_holders([false, true]);
        pair.trivet.machine.sh(end);
        pair.trivet.machine.sh("systemctl start vrrpd");
        pair.expect_ours();
    }
}

/// 100 routers, one of which is changed.
#[test]
fn a_reload_that_changes_one_of_a_hundred_routers_does_not_touch_the_others() {
    judge(Duration::from_millis(200), reload_one_of_a_hundred);
}

fn reload_one_of_a_hundred() {
    let pair = PairBesideKeepalived::new(SECOND);
    pair.trivet.machine.sh(
        "cd /etc/trivet/vrrp.d && for id in $(seq 2 100); do
             sed \"s/router_id = 1/router_id = $id/; s/10.0.10.50/10.0.20.$id/\" gateway.toml >r$id.toml; done; systemctl reload vrrpd",
    );
    wait("all are Active", PATIENCE, || {
        let status = pair.trivet.unit("vrrpd", "StatusText");
        (status == "100 routers: 100 active").then_some(())
    });
    pair.expect_adverts(300);
    let snapshot = || {
        let each = |id: u32| {
            let of =
                |name| pair.trivet.property(&Property::router(&format!("r{id}"), name)).unwrap_or_default();
            (of("StateSince"), of("Reason"))
        };
        (2..=100).map(each).collect::<Vec<_>>()
    };
    let before = snapshot();
    let sent = |id: u32| {
        let counters =
            pair.trivet.property(&Property::router(&format!("r{id}"), "Counters")).unwrap_or_default();
        let rest = counters.split("\"AdvertisementsSent\" ").nth(1).expect("such a counter");
        rest.split_whitespace().next().and_then(|number| number.parse::<u64>().ok()).expect("a number")
    };
    let counted: Vec<_> = [2, 50, 99].map(sent).into();
    let since = now();
    pair.trivet.machine.sh(
        "sed -i 's/priority = 150/priority = 151/' /etc/trivet/vrrp.d/r100.toml && systemctl reload vrrpd",
    );
    pair.expect_adverts(300);
    assert_eq!(snapshot(), before, "state and reason");
    for (id, before) in [2, 50, 99].into_iter().zip(counted) {
        assert!(sent(id) > before, "r{id}: its counters began anew");
    }
    let mut last = std::collections::BTreeMap::new();
    let mut changed = 0;
    for (at, seen) in pair.capture.since(since) {
        let Seen::Advert { from: OURS, vrid, priority, .. } = seen else { continue };
        assert!(priority == 150 || vrid == 100 && priority == 151, "{vrid} sent priority {priority}");
        changed += u32::from(priority == 151);
        if let Some(former) = last.insert(vrid, at)
            && vrid != 100
        {
            let apart = at - former;
            // One that begins anew speaks at once.
            let pace = SECOND * 6 / 10..SECOND * 16 / 10;
            assert!(pace.contains(&apart), "virtual router {vrid}: two advertisements {apart:?} apart");
        }
    }
    assert_eq!(last.len(), 100);
    assert!(changed >= 2, "the changed router");
}
