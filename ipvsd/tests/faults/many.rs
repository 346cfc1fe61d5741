//! Large tables, cleared and removed at the worst moment.

use std::fmt::Write as _;
use std::time::Duration;

use daemon::event_loop::Clock;
use daemon::testing::TempRoot;
use nix::sys::signal::Signal;

use crate::common::table::{ipvsadm, kernel, listing};
use crate::common::{Bus, Ipvsd, pause, wait_within};
use crate::strace::{SEND, Strace, late};

/// In an emulated machine; nothing waits that long unless it has failed.
const PATIENCE: Duration = Duration::from_secs(600);

/// Services of a thousand servers each. The kernel looks for each server that is added among all of its service and all
/// that were deleted, one after the other.
fn services() -> usize {
    let number =
        std::env::var("TRIVET_SERVICES").map_or(5, |text| text.parse().expect("TRIVET_SERVICES is a number"));
    assert!((1..=20).contains(&number), "TRIVET_SERVICES is 1 to 20");
    number
}

/// Services with 1000 servers each, written with this weight.
fn write(root: &TempRoot, weight: u32) {
    for service in 0..services() {
        let mut text = format!("address = \"10.0.10.{service}:80\"\nscheduler = \"rr\"\n");
        for server in 0..1000 {
            let ip = format!("172.16.{}.{}", service * 4 + server / 250, server % 250 + 1);
            let _ = writeln!(text, "[[server]]\naddress = \"{ip}:80\"\nweight = {weight}");
        }
        root.write(&format!("etc/trivet/ipvs.d/s{service}.toml"), &text);
    }
}

/// How many services there are, and how many servers of this weight and of any.
fn count(weight: u32) -> (usize, usize, usize) {
    let (lines, weight) = (listing(), weight.to_string());
    let servers: Vec<&String> = lines.iter().filter(|line| line.starts_with("->")).collect();
    let right = servers.iter().filter(|line| line.split(' ').nth(3) == Some(&weight)).count();
    (lines.len() - servers.len(), right, servers.len())
}

/// As [`count`] finds it when everything is as it should be.
fn all() -> (usize, usize, usize) {
    (services(), services() * 1000, services() * 1000)
}

fn wait_until(what: &str, weight: u32) {
    let (clock, mut found) = (Clock::new().unwrap(), (0, 0, 0));
    let began = clock.now();
    wait_within(PATIENCE, what, || {
        found = count(weight);
        // Each look costs the machine more than the work that is waited for.
        let is_there = found == all();
        if !is_there {
            pause(Duration::from_millis(500));
        }
        is_there.then_some(())
    });
    println!("{what}: {:?}", clock.now() - began);
}

#[test]
fn thousands_of_servers_that_somebody_clears_while_ipvsd_reloads_are_put_right() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (TempRoot::new(), Bus::new());
    write(&root, 1);
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_until("all servers from nothing", 1);
    // However quick the machine is, it is seen at its work.
    let strace = Strace::new(&ipvsd, root.path(), SEND, &late(Duration::from_millis(300)));
    write(&root, 2);
    ipvsd.signal(Signal::SIGHUP);
    let (_, changed, _) = wait_within(PATIENCE, "a beginning", || Some(count(2)).filter(|found| found.1 > 0));
    println!("cleared when {changed} of {} were changed", all().1);
    assert!(changed < all().1, "all was changed at once");
    ipvsadm("-C");
    strace.end();
    wait_until("all servers, cleared while ipvsd reloads", 2);
    pause(Duration::from_secs(3));
    assert_eq!(count(2), all(), "it does not stay so");
    assert!(ipvsd.stop().success());
}

#[test]
fn a_thousand_services_whose_files_all_go_at_once_leave_the_kernel_and_foreign_ones_stay() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (TempRoot::new(), Bus::new());
    for number in 0..1000 {
        let text = format!(
            "address = \"10.1.{}.{}:80\"\nscheduler = \"rr\"\n[[server]]\naddress = \"192.168.100.101:80\"\n",
            number / 250,
            number % 250 + 1
        );
        root.write(&format!("etc/trivet/ipvs.d/s{number}.toml"), &text);
    }
    ipvsadm("-A -f 99 -s lc");
    let ipvsd = Ipvsd::start(&root, &bus);
    let wait = |what: &str, lines: usize| {
        let clock = Clock::new().unwrap();
        let began = clock.now();
        wait_within(PATIENCE, what, || (listing().len() == lines).then_some(()));
        println!("{what}: {:?}", clock.now() - began);
    };
    wait("a thousand services from nothing", 2001);
    std::fs::remove_dir_all(root.path().join("etc/trivet/ipvs.d")).unwrap();
    ipvsd.signal(Signal::SIGHUP);
    wait("a thousand services that go", 1);
    assert_eq!(listing(), ["FWM 99 lc"]);
    // And those that go while nobody looks.
    assert!(ipvsd.stop().success());
}
