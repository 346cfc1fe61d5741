//! How commands end: at their time limit, with checkd-exec, with Trivet, and over an upgrade. Nothing of them is left.

use std::thread;

use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::{EXEC, SOCKET, Site, script};

const TARGET: &str = "192.0.2.1:80";
const ENDED: &str = "could not probe: checkd-exec ended while the command was running";

/// Ignores what asks it to end, and leaves its group, its session and its parent: five processes.
const STUBBORN: &str = "trap '' TERM HUP INT; setsid sh -c 'trap \"\" TERM; sleep 1000; true' &
    (setsid sh -c 'sleep 1000 & exec sleep 1000' &)
    while :; do sleep 1000; done";

fn site(limit: &str) -> Site {
    let stubborn = script(STUBBORN, &format!("timeout = \"{limit}\""));
    Site::new(&[("stubborn", stubborn), ("good", script("echo fine", ""))])
}

/// Probes with the stubborn command, does `meanwhile` when all of it runs, and returns what was answered.
#[track_caller]
fn during(site: &Site, meanwhile: impl FnOnce()) -> (bool, String) {
    thread::scope(|scope| {
        let probe = scope.spawn(|| site.try_probe("stubborn", TARGET));
        wait("all of the command runs", PATIENCE, || {
            let sleeping = site.commands().into_iter().filter(|(_, name)| name == "sleep").count();
            (sleeping == 4).then_some(())
        });
        meanwhile();
        probe.join().expect("an answer")
    })
}

#[track_caller]
fn expect_told(told: &(bool, String), state: &str, reason: &str) {
    assert!(told.0 && told.1.starts_with(&format!("sst \"{state}\" \"{reason}")), "{told:?}");
}

#[track_caller]
fn expect_fine(site: &Site) {
    site.expect("good", TARGET, "up", "exit status 0: fine");
    let main = site.unit(EXEC, "MainPID").parse().expect("it runs");
    wait_for("nothing runs but checkd-exec", &vec![(main, "checkd-exec".to_owned())], || site.processes());
}

#[test]
fn at_its_time_limit_a_command_is_gone_with_all_that_it_started_whatever_it_ignores() {
    let site = site("5s");
    let told = during(&site, || {});
    // At once: the outcome is told when it is so.
    assert_eq!(site.commands(), [], "something is left of it");
    expect_told(&told, "down", "still running after 5s, and ended");
    expect_fine(&site);
    assert_eq!(site.unit(EXEC, "NRestarts"), "0");
}

#[test]
fn a_checkd_exec_that_is_killed_takes_its_commands_with_it_says_so_and_comes_back() {
    let site = site("5min");
    let told = during(&site, || {
        site.sh(&format!("systemctl kill --kill-whom=main --signal=KILL {EXEC}"));
    });
    expect_told(&told, "unknown", ENDED);
    expect_fine(&site);
    assert_eq!(site.unit(EXEC, "NRestarts"), "1");
    assert_eq!(site.unit(SOCKET, "ActiveState"), "active");

    // Also when nobody is left who knows the commands: the unit's control group does.
    let told = during(&site, || {
        let all = site.processes().into_iter().filter(|(_, name)| name == "checkd-exec");
        let all: Vec<String> = all.map(|(pid, _)| pid.to_string()).collect();
        assert_eq!(all.len(), 2, "the listener and one run");
        site.sh(&format!("kill -KILL {}", all.join(" ")));
    });
    expect_told(&told, "unknown", ENDED);
    expect_fine(&site);
}

#[test]
fn a_killed_checkd_leaves_no_command_behind_and_neither_does_stopping_trivet() {
    let site = site("5min");
    let told = during(&site, || {
        site.sh("systemctl kill --kill-whom=main --signal=KILL checkd");
    });
    assert!(!told.0, "whoever asked hears that nobody answers: {}", told.1);
    wait_for("nothing of the command is left", &Vec::new(), || site.commands());
    site.expect_check("good");
    expect_fine(&site);

    let told = during(&site, || {
        site.sh("systemctl stop trivet.target");
    });
    assert!(!told.0, "whoever asked hears that nobody answers: {}", told.1);
    wait_for("nothing of trivet-exec runs", &String::new(), || {
        site.machine().try_sh("pgrep -u trivet-exec").1
    });
}

#[test]
fn an_upgrade_in_the_midst_of_commands_and_a_stop_and_start_of_all_leave_everything_working() {
    let site = site("5min");
    site.expect("good", TARGET, "up", "exit status 0: fine");
    let before = [EXEC, "checkd.service"].map(|unit| site.unit(unit, "MainPID"));
    let told = during(&site, || {
        site.sh("dpkg -i /root/trivet.deb");
    });
    assert!(!told.0, "whoever asked hears that nobody answers: {}", told.1);
    site.trivet.wait_until_active();
    assert_eq!(site.sh("systemctl --failed --no-legend --plain"), "", "units have failed");
    site.expect_check("good");
    expect_fine(&site);
    for (unit, before) in [EXEC, "checkd.service"].into_iter().zip(before) {
        assert_ne!(site.unit(unit, "MainPID"), before, "{unit} is the old program");
    }
    assert_eq!(site.unit(SOCKET, "SubState"), "running");

    site.sh("systemctl stop trivet.target");
    for unit in [EXEC, SOCKET, "checkd.service"] {
        site.expect_unit(unit, "ActiveState", "inactive");
    }
    wait_for("nothing of trivet-exec runs", &String::new(), || {
        site.machine().try_sh("pgrep -u trivet-exec").1
    });
    site.sh("systemctl start trivet.target");
    site.trivet.wait_until_active();
    site.expect_check("good");
    expect_fine(&site);
}
