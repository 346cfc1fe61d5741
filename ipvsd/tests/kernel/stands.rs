//! What a service does by the health of its servers: quorum, last stand, what is not known yet, weights that checks give,
//! and a checkd that is away. And how soon others' hands are undone.

use std::net::IpAddr;
use std::time::Duration;

use daemon::event_loop::Clock;
use nix::sys::signal::Signal;

use crate::common::table::{ipvsadm, kernel, listing, wait_for_listing};
use crate::common::{Bus, FakeCheckd, Ipvsd, all_the_while, wait_for};
use crate::{FIRST, SECOND, SERVICE, root, web};

/// Long enough for whatever should not happen.
const WHILE: Duration = Duration::from_secs(3);
/// A round of the kernel's table, which others may have changed just after the one before: its default is a second.
const SOON: Duration = Duration::from_secs(2);
/// What an emulated machine may add to it.
const SLACK: Duration = Duration::from_millis(1500);

fn say(checkd: &FakeCheckd, number: u8, state: &str) {
    checkd.say("tcp", &format!("192.168.100.{number}:80"), state);
}

fn host(number: u8) -> IpAddr {
    [192, 168, 100, number].into()
}

/// So many servers of weight 1, from .101 on.
fn rows(count: u8) -> Vec<String> {
    let servers = (101..101 + count).map(|number| format!("-> 192.168.100.{number}:80 Masq 1 0 0"));
    std::iter::once(SERVICE.to_owned()).chain(servers).collect()
}

fn wait_for_rows(what: &str, count: u8) {
    wait_for(what, || (listing() == rows(count)).then_some(()));
}

#[test]
fn a_lost_quorum_comes_back_only_above_its_hysteresis_and_a_crash_does_not_forget_on_which_side_it_was() {
    let Some(_kernel) = kernel() else { return };
    let options = "check = \"tcp\"\nquorum = 2\nhysteresis = 1";
    let more = "[[server]]\naddress = \"192.168.100.103:80\"\n[[server]]\naddress = \"192.168.100.104:80\"\n\
                [sorry_server]\naddress = \"192.168.100.200:80\"\n";
    let root = root("");
    root.write("etc/trivet/ipvs.d/web.toml", &(web(options) + more));
    let bus = Bus::new();
    let checkd = FakeCheckd::new(&bus);
    (101..=104).for_each(|number| say(&checkd, number, "up"));
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_rows("all four", 4);
    let sorry = [SERVICE, "-> 192.168.100.200:80 Masq 1 0 0"];
    for count in [3, 2, 1] {
        say(&checkd, 101 + count, "down");
        wait_for_rows("what is left, with a weight of at least quorum - hysteresis", count);
    }
    ipvsd.signal(Signal::SIGKILL);
    drop(ipvsd);
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("what checkd says", || bus.servers("web").contains("said up").then_some(()));
    all_the_while(WHILE, || assert_eq!(listing(), rows(1), "from above"));
    say(&checkd, 101, "down");
    wait_for_listing("the sorry server", &sorry);
    for number in [101, 102] {
        say(&checkd, number, "up");
        let said = format!("192.168.100.{number}:80");
        wait_for("the answer", || {
            let servers = bus.servers("web");
            let row = servers.split(&said).nth(1).unwrap_or_default();
            row.split("192.168").next().is_some_and(|row| row.contains("said up")).then_some(())
        });
        all_the_while(WHILE, || assert_eq!(listing(), sorry, "{number}: less than quorum + hysteresis"));
    }
    ipvsd.signal(Signal::SIGKILL);
    drop(ipvsd);
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("what checkd says", || bus.servers("web").contains("said up").then_some(()));
    all_the_while(WHILE, || assert_eq!(listing(), sorry, "from below"));
    say(&checkd, 103, "up");
    wait_for_rows("three of four", 3);
}

#[test]
fn the_last_stand_keep_uses_all_when_all_are_down_but_not_whom_an_operator_has_taken_out() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\"\nall_down = \"keep\""), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    [101, 102].iter().for_each(|number| say(&checkd, *number, "up"));
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("both", &[SERVICE, FIRST, SECOND]);
    say(&checkd, 101, "down");
    wait_for_listing("the other one", &[SERVICE, SECOND]);
    say(&checkd, 102, "down");
    wait_for_listing("both all the same", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log("web: all servers are down; all are used all the same (all_down = \"keep\")");
    bus.verb("web", "Disable", &("192.168.100.102:80", "its disk")).unwrap();
    wait_for_listing("who was not taken out", &[SERVICE, FIRST]);
    say(&checkd, 101, "up");
    wait_for("its health", || bus.servers("web").contains("said up").then_some(()));
    assert_eq!(listing(), [SERVICE, FIRST]);
}

#[test]
fn a_server_that_is_initially_admitted_is_used_before_its_check_has_answered() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\"\ninitially = \"admitted\""), Bus::new());
    let checkd = FakeCheckd::new(&bus);
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("both, of whom nothing is known", &[SERVICE, FIRST, SECOND]);
    wait_for("registration", || (!checkd.watched().is_empty()).then_some(()));
    say(&checkd, 101, "down");
    wait_for_listing("the other one", &[SERVICE, SECOND]);
}

#[test]
fn a_check_gives_a_server_its_weight_and_takes_it_back() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"load\""), Bus::new());
    root.write("etc/trivet/check.d/load.toml", "type = \"exec\"\ncommand = [\"/bin/load\", \"{target}\"]\n");
    let checkd = FakeCheckd::new(&bus);
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for("registration", || (!checkd.watched().is_empty()).then_some(()));
    checkd.say("load", "192.168.100.102:80", "up");
    for (given, used) in [(30, 30), (0, 0), (65_535, 65_535), (-1, 1)] {
        checkd.say_weight("load", "192.168.100.101:80", given);
        let row = format!("-> 192.168.100.101:80 Masq {used} 0 0");
        wait_for_listing("the weight", &[SERVICE, &row, SECOND]);
    }
}

#[test]
fn while_checkd_is_away_servers_stay_repairs_go_on_and_nobody_new_starts() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root("check = \"tcp\""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"1s\"\n");
    let mut checkd = FakeCheckd::new(&bus);
    say(&checkd, 101, "up");
    say(&checkd, 102, "down");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for("the answer", || bus.servers("web").contains("said down").then_some(()));
    wait_for_listing("the one that is up", &[SERVICE, FIRST]);
    checkd.stop();
    ipvsd.wait_for_log("checkd has left the bus; servers stay as they are until it answers again");
    all_the_while(WHILE, || assert_eq!(listing(), [SERVICE, FIRST]));
    ipvsadm("-C");
    wait_for_listing("the repair", &[SERVICE, FIRST]);
    let third = "[[server]]\naddress = \"192.168.100.103:80\"\n";
    root.write("etc/trivet/ipvs.d/web.toml", &(web("check = \"tcp\"") + third));
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the reload", || bus.servers("web").contains("192.168.100.103").then_some(()));
    all_the_while(WHILE, || assert_eq!(listing(), [SERVICE, FIRST], "nobody knows how the new one is"));
    // What it learnt while nobody heard it.
    checkd.learn_of_hosts(&[(host(103), "up")]);
    checkd.start(&bus);
    wait_for_listing("both that are up", &[SERVICE, FIRST, "-> 192.168.100.103:80 Masq 1 0 0"]);
}

#[test]
fn whatever_others_do_is_undone_within_a_second_or_two_and_the_bus_says_what_it_was() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    let right = [SERVICE, FIRST, SECOND];
    wait_for_listing("the service, unchecked", &right);
    ipvsd.wait_for_log("serving org.trivet.Ipvs1 on the bus");
    let (clock, mut times) = (Clock::new().unwrap(), Vec::new());
    for (hands, repair) in [
        ("-C", "add service tcp 10.0.10.50:80 (rr)"),
        ("-D -t 10.0.10.50:80", "add service tcp 10.0.10.50:80 (rr)"),
        ("-E -t 10.0.10.50:80 -s wlc", "10.0.10.50:80"),
        ("-d -t 10.0.10.50:80 -r 192.168.100.102:80", "192.168.100.102:80"),
        ("-e -t 10.0.10.50:80 -r 192.168.100.101:80 -g -w 9", "192.168.100.101:80"),
        ("-a -t 10.0.10.50:80 -r 192.168.100.66:80 -m", "192.168.100.66:80"),
    ] {
        ipvsadm(hands);
        let began = clock.now();
        wait_for_listing(hands, &right);
        times.push(clock.now() - began);
        wait_for("what was repaired", || bus.of_service("web", "LastRepair").contains(repair).then_some(()));
    }
    // One may have met a moment in which the machine stood still.
    times.sort();
    assert!(times[3] < SOON + SLACK, "they were undone after {times:?}");
    // What goes while it is being read may be put right in two steps.
    let repairs = bus.repairs("web");
    assert!(repairs.is_some_and(|repairs| (6..=12).contains(&repairs)), "{repairs:?} repairs");
}
