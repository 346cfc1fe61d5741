//! What is set for the whole of it: sysctls, timeouts, sync daemons, and that nothing else may be in the table.

use std::fmt::Write as _;
use std::fs;
use std::time::Duration;

use ipvsd::tuning::{SYSCTLS, Takes, Value};
use nix::sys::signal::Signal;

use crate::common::table::{
    ipvsadm, ipvsadm_says, kernel, listing, wait_for_listing, wait_until_ipvsadm_says,
};
use crate::common::{Bus, Ipvsd, all_the_while, run, wait_for};
use crate::{FIRST, SECOND, SERVICE, root};

fn sysctl(name: &str) -> Value {
    let file = format!("/proc/sys/net/ipv4/vs/{name}");
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file}: {error}"));
    Value::parse(&text).unwrap_or_else(|| panic!("{file}: {text}"))
}

/// Another value than this.
fn other(takes: Takes, value: Value) -> Value {
    match (takes, value) {
        (Takes::Threshold, Value::Two(first, second)) => Value::Two(first + 1, second + 1),
        (Takes::Switch, Value::One(value)) => Value::One(1 - value),
        (Takes::Defence, _) => Value::One(3),
        (Takes::PowerOfTwo(_), _) => Value::One(2),
        (Takes::Number(most) | Takes::Seconds(most), Value::One(value)) if value < most => {
            Value::One(value + 1)
        }
        (Takes::Number(_) | Takes::Seconds(_), Value::One(value)) => Value::One(value - 1),
        _ => panic!("{takes:?} reads {value}"),
    }
}

/// As ipvsd.toml has it.
fn written(takes: Takes, value: Value) -> String {
    match value {
        Value::One(number) if takes == Takes::Switch => (number == 1).to_string(),
        Value::One(number) => number.to_string(),
        Value::Two(first, second) => format!("[{first}, {second}]"),
    }
}

#[test]
fn every_sysctl_is_set_is_told_and_is_put_right() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let mut text = String::from("[sysctl]\n");
    let wanted = SYSCTLS.map(|it| {
        let found = sysctl(it.name);
        let wanted = other(it.takes, found);
        writeln!(text, "{} = {}", it.name, written(it.takes, wanted)).unwrap();
        (it.name, found, wanted)
    });
    root.write("etc/trivet/ipvsd.toml", &text);
    let ipvsd = Ipvsd::start(&root, &bus);
    let right = |what: &str| {
        wait_for(what, || wanted.iter().all(|(name, _, wanted)| sysctl(name) == *wanted).then_some(()));
    };
    right("all that is configured");
    for (name, found, wanted) in wanted {
        ipvsd.wait_for_log(&format!("{name} is {found}, setting it to {wanted}"));
        fs::write(format!("/proc/sys/net/ipv4/vs/{name}"), found.to_string()).unwrap();
    }
    right("all of it again");
    assert!(ipvsd.stop().success());
    // What is refused in a file is what the kernel refuses, and no more.
    let taken = |text: &str| fs::write("/proc/sys/net/ipv4/vs/sync_threshold", text).is_ok();
    assert_eq!(["50 50", "3 2", "50 0", "0 1"].map(taken), [false, false, true, true]);
    assert!(fs::write("/proc/sys/net/ipv4/vs/sync_retries", "4").is_err());
}

#[test]
fn a_timeout_that_is_not_named_stays_as_it_is() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    root.write("etc/trivet/ipvsd.toml", "[timeouts]\ntcp_fin = \"45s\"\n");
    ipvsadm("--set 901 121 301");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_until_ipvsadm_says("-L --timeout", &["901 45 301"]);
    ipvsd.wait_for_log("set timeouts tcp_fin 45 s");
}

#[test]
fn with_exclusive_only_what_is_configured_is_in_the_table_and_without_it_all_stays() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    let foreign = ["-A -u 10.0.10.99:53 -s lc", "-A -f 3 -s wlc"];
    foreign.iter().for_each(|it| ipvsadm(it));
    let ipvsd = Ipvsd::start(&root, &bus);
    let both = ["UDP 10.0.10.99:53 lc", SERVICE, FIRST, SECOND, "FWM 3 wlc"];
    let sorted = || {
        let mut lines = listing();
        lines.sort_unstable();
        lines
    };
    let mut all = both;
    all.sort_unstable();
    wait_for("all of it", || (sorted() == all).then_some(()));
    all_the_while(Duration::from_secs(3), || assert_eq!(sorted(), all));
    root.write("etc/trivet/ipvsd.toml", "exclusive = true\n");
    ipvsd.signal(Signal::SIGHUP);
    wait_for_listing("ours alone", &[SERVICE, FIRST, SECOND]);
    ipvsd.wait_for_log("udp 10.0.10.99:53 is not configured, removing it (exclusive = true)");
    foreign.iter().for_each(|it| ipvsadm(it));
    wait_for_listing("ours alone again", &[SERVICE, FIRST, SECOND]);
    root.write("etc/trivet/ipvsd.toml", "exclusive = false\n");
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the reload", || (ipvsd.log().matches("reloaded").count() == 2).then_some(()));
    foreign.iter().for_each(|it| ipvsadm(it));
    all_the_while(Duration::from_secs(3), || assert_eq!(sorted(), all));
}

#[test]
fn a_sync_daemon_has_the_role_group_port_ttl_and_length_that_are_configured_and_follows_a_reload() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    run("ip", &["link", "set", "lo", "multicast", "on"]);
    let write = |ttl: u32| {
        let text = format!(
            "[sync]\ninterface = \"lo\"\nrole = \"backup\"\nid = 9\ngroup = \"ff02::81\"\nport = 9000\nttl = {ttl}\nmax_length = 1200\n"
        );
        root.write("etc/trivet/ipvsd.toml", &text);
    };
    write(3);
    let ipvsd = Ipvsd::start(&root, &bus);
    let parts = ["backup sync daemon (mcast=lo, syncid=9, maxlen=1200, group=ff02::81, port=9000, ttl=3)"];
    wait_until_ipvsadm_says("-L --daemon", &parts);
    assert!(!ipvsadm_says("-L --daemon").contains("master"), "{}", ipvsadm_says("-L --daemon"));
    // And it is not started again and again.
    let starts = || ipvsd.log().matches("start sync daemon").count();
    wait_for("it is told", || (starts() > 0).then_some(()));
    all_the_while(Duration::from_secs(3), || assert_eq!(starts(), 1, "{}", ipvsd.log()));
    write(5);
    ipvsd.signal(Signal::SIGHUP);
    wait_until_ipvsadm_says("-L --daemon", &["group=ff02::81, port=9000, ttl=5)"]);
}

#[test]
fn a_server_of_the_other_family_beside_a_foreign_sync_daemon_has_its_true_reason() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (root(""), Bus::new());
    run("ip", &["link", "set", "lo", "multicast", "on"]);
    ipvsadm("--start-daemon master --mcast-interface lo");
    let text = "address = \"10.0.10.51:80\"\nscheduler = \"rr\"\nforward = \"tunnel\"\n\
                [[server]]\naddress = \"192.168.100.103:80\"\n[[server]]\naddress = \"[2001:db8::1]:80\"\n";
    root.write("etc/trivet/ipvs.d/mixed.toml", text);
    let _ipvsd = Ipvsd::start(&root, &bus);
    let first = "-> 192.168.100.103:80 Tunnel 1 0 0";
    let there = |line: &str| listing().iter().any(|found| found == line);
    let reason = "2001:db8::1 for a service of the other family while one of its sync daemons runs";
    wait_for("the reason", || bus.of_service("mixed", "Reason").contains(reason).then_some(()));
    assert!(there(first), "{:?}", listing());
    ipvsadm("--stop-daemon master");
    wait_for("both", || (there(first) && there("-> [2001:db8::1]:80 Tunnel 1 0 0")).then_some(()));
}
