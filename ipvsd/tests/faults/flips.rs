//! Health that flips all the time.

use std::net::IpAddr;
use std::time::Duration;

use daemon::event_loop::Clock;
use daemon::testing::TempRoot;

use crate::common::table::{kernel, wait_for_listing};
use crate::common::{Bus, FakeCheckd, Ipvsd, all_the_while, pause, wait_for};

const SERVERS: u8 = 20;
/// Twenty servers fifty times a second.
const BEAT: Duration = Duration::from_millis(20);
const STORM: Duration = Duration::from_secs(5);
/// So many flips at the least.
const LEAST: u64 = 1000;

/// Of a process: processor time in hundredths of a second, and its memory in KiB.
fn spent(ipvsd: &Ipvsd) -> (u64, u64) {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", ipvsd.pid())).unwrap();
    let stat = read("stat");
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split_whitespace().collect();
    let time = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    let status = read("status");
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    (time, memory.trim().trim_end_matches(" kB").parse().unwrap())
}

fn line(number: u8) -> String {
    format!("-> 192.168.100.{number}:80 Masq 1 0 0")
}

#[test]
fn health_that_flips_a_thousand_times_a_second_costs_what_it_must_and_the_last_word_counts() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (TempRoot::new(), Bus::new());
    let servers: String = (101..=100 + SERVERS)
        .map(|number| format!("[[server]]\naddress = \"192.168.100.{number}:80\"\n"))
        .collect();
    let text = format!("address = \"10.0.10.50:80\"\nscheduler = \"rr\"\ncheck = \"tcp\"\n{servers}");
    root.write("etc/trivet/ipvs.d/web.toml", &text);
    let hosts: Vec<IpAddr> =
        (101..=100 + SERVERS).map(|number| IpAddr::from([192, 168, 100, number])).collect();
    let all = |state: &'static str| hosts.iter().map(|host| (*host, state)).collect::<Vec<_>>();
    let checkd = FakeCheckd::new(&bus);
    checkd.say_of_hosts(&all("up"));
    let ipvsd = Ipvsd::start(&root, &bus);
    let lines: Vec<String> = (101..=100 + SERVERS).map(line).collect();
    let full: Vec<&str> =
        ["TCP 10.0.10.50:80 rr"].into_iter().chain(lines.iter().map(|line| &**line)).collect();
    wait_for_listing("all servers", &full);
    let plan = || bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
    wait_for("the bus", || plan().ok());

    let (clock, before, logged) = (Clock::new().unwrap(), spent(&ipvsd), ipvsd.log().len());
    let (began, mut beats, mut peak) = (clock.now(), 0_u64, 0);
    let mut longest = Duration::ZERO;
    while clock.now() - began < STORM || beats * u64::from(SERVERS) <= LEAST {
        checkd.say_of_hosts(&all(if beats % 2 == 0 { "down" } else { "up" }));
        beats += 1;
        pause(BEAT);
        if beats % 32 == 0 {
            let asked = clock.now();
            // Refused while too many wait to be answered.
            wait_for("the bus's answer meanwhile", || plan().ok());
            longest = longest.max(clock.now() - asked);
            peak = peak.max(spent(&ipvsd).1);
        }
    }
    let odd = |host: &&IpAddr| matches!(host, IpAddr::V4(ip) if ip.octets()[3] % 2 == 1);
    checkd.say_of_hosts(&all("down"));
    checkd.say_of_hosts(&hosts.iter().filter(odd).map(|host| (*host, "up")).collect::<Vec<_>>());
    checkd.wait_until_sent();
    let ended = clock.now();
    let expected: Vec<&str> = full
        .iter()
        .enumerate()
        .filter(|(index, _)| index % 2 == 1 || *index == 0)
        .map(|(_, line)| *line)
        .collect();
    wait_for_listing("the last word", &expected);
    let lag = clock.now() - ended;
    let after = spent(&ipvsd);
    let (flips, log) = (beats * u64::from(SERVERS), ipvsd.log());
    let said = log[logged..].lines().count();
    println!(
        "{flips} flips in {:?}: {} ms of processor time, {} KiB more ({} at most), {said} lines of log, the bus answered \
         within {longest:?}, the last word was in the table after {lag:?}",
        ended - began,
        (after.0 - before.0) * 10,
        after.1.saturating_sub(before.1),
        peak.saturating_sub(before.1),
    );
    assert!(lag < Duration::from_secs(10), "it works off a backlog for {lag:?}");
    assert!(peak.max(after.1) < before.1 + 16 * 1024, "{} KiB became {peak}", before.1);
    assert!(longest < Duration::from_secs(20), "the bus answered after {longest:?}");
    assert!(said < 1000, "a flood of {said} lines");
    // And then it rests.
    let calm = spent(&ipvsd).0;
    all_the_while(Duration::from_secs(2), || {});
    assert!(spent(&ipvsd).0 - calm < 100, "it goes on working after the storm");
    wait_for_listing("the same", &expected);
}
