//! Two machines with a foot in each of two segments, and a sync group: what is Active on one side is Active on the other.

use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, now, wait};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::trivet::Trivet;

/// Longer than that a machine may not stand still, or it is a reason to move: two of the intervals.
const BEARABLE: Duration = Duration::from_millis(200);
const MEMBERS: [&str; 2] = ["inside", "outside"];
const ADDRESSES: [&str; 2] = ["10.1.0.50", "10.2.0.50"];

struct Site {
    trivets: [Trivet; 2],
    hosts: [Host; 2],
    lab: Lab,
}

impl Site {
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("inside");
        lab.segment("outside");
        let hosts = [0, 1].map(|index: usize| {
            let own = |net: u8| format!("10.{net}.0.{}/24", index + 1);
            let name = ["a", "b"][index];
            lab.host(name, &[("eth0", "inside", &own(1)), ("eth1", "outside", &own(2))])
        });
        let trivets = [0, 1].map(|index: usize| {
            let file = |member: usize| {
                format!(
                    "interface = 'eth{member}'\nvirtual_router_id = {}\npriority = {}\nadvert_interval = '100ms'\n\
                     addresses = ['{}/24']\nsync_group = 'firewall'\n",
                    member + 1,
                    110 - index * 10,
                    ADDRESSES[member]
                )
            };
            let files = [("vrrp.d/inside.toml", &*file(0)), ("vrrp.d/outside.toml", &*file(1))];
            let mut trivet = Trivet::with_files(&hosts[index], &files);
            trivet.start_bus(&hosts[index]);
            trivet.run(&hosts[index], "vrrpd");
            trivet
        });
        let site = Self { trivets, hosts, lab };
        site.expect([["Active", "Active"], ["Backup", "Backup"]]);
        site
    }

    fn state(&self, machine: usize, member: usize) -> String {
        let property = Property::router(MEMBERS[member], "State");
        self.trivets[machine].property(&property).unwrap_or_default()
    }

    fn expect(&self, states: [[&str; 2]; 2]) {
        for (machine, states) in states.iter().enumerate() {
            for (member, state) in states.iter().enumerate() {
                let property = Property::router(MEMBERS[member], "State");
                self.trivets[machine].wait_for_property(&property, &format!("s \"{state}\""));
                let has = *state == "Active";
                wait("the addresses are as the states are", PATIENCE, || {
                    (self.has(machine, member) == has).then_some(())
                });
            }
        }
    }

    fn has(&self, machine: usize, member: usize) -> bool {
        self.hosts[machine].sh(&format!("ip -o addr show dev eth{member}")).contains(ADDRESSES[member])
    }

    fn reason(&self, machine: usize, member: usize, text: &str) {
        self.trivets[machine].wait_for_text(&Property::router(MEMBERS[member], "Reason"), text);
    }

    /// Both machines stay what they are for ten intervals and more, as their counters of transitions tell.
    fn expect_no_change(&self) {
        let became = || {
            let counters = [0, 1].map(|machine: usize| {
                MEMBERS.map(|member| self.trivets[machine].counter(member, "BecameActive"))
            });
            (counters, [0, 1].map(|machine| [0, 1].map(|member| self.state(machine, member))))
        };
        let before = became();
        let sent = || self.trivets[0].counter(MEMBERS[0], "AdvertisementsSent");
        let enough = sent() + 15;
        wait("so many intervals to pass", PATIENCE, || (sent() >= enough).then_some(()));
        assert_eq!(became(), before);
    }
}

#[test]
fn a_cable_that_is_pulled_on_one_side_moves_both_sides_and_both_come_back() {
    let site = Site::new();
    site.hosts[0].carrier("eth1", false);
    site.expect([["Fault", "Fault"], ["Active", "Active"]]);
    site.reason(0, 0, "outside of the same sync group cannot take part: interface eth1 has no carrier");
    site.reason(0, 1, "interface eth1 has no carrier");
    site.hosts[0].carrier("eth1", true);
    site.expect([["Active", "Active"], ["Backup", "Backup"]]);
}

#[test]
fn a_partition_of_one_side_moves_nobody() {
    judge(BEARABLE, part_one_side);
}

fn part_one_side() {
    let site = Site::new();
    // At the switch, not at the machine: no carrier is lost.
    site.lab.switch().sh("ip link set b-eth1 nomaster");
    site.reason(1, 1, "would be Active (no advertisement from 10.2.0.1");
    site.expect_no_change();
    site.expect([["Active", "Active"], ["Backup", "Backup"]]);
    site.lab.switch().sh("ip link set b-eth1 master outside");
    wait("it follows again", PATIENCE, || {
        let reason = site.trivets[1].property(&Property::router(MEMBERS[1], "Reason")).unwrap_or_default();
        (!reason.contains("would be Active")).then_some(())
    });
    site.expect_no_change();
}

#[test]
fn a_stop_and_a_kill_hand_over_both_sides() {
    let mut site = Site::new();
    let stopped = now();
    site.trivets[0].stop("vrrpd");
    for member in MEMBERS {
        site.trivets[1].wait_for_property(&Property::router(member, "State"), "s \"Active\"");
    }
    // Skew_Time is 61 ms; Active_Down_Interval would be 361 ms after the last advertisement.
    let took = now() - stopped;
    assert!(took < PATIENCE / 10, "both sides moved after {took:?}");
    let (trivet, host) = (&mut site.trivets[0], &site.hosts[0]);
    trivet.run(host, "vrrpd");
    site.expect([["Active", "Active"], ["Backup", "Backup"]]);
    site.trivets[0].kill("vrrpd");
    for member in MEMBERS {
        site.trivets[1].wait_for_property(&Property::router(member, "State"), "s \"Active\"");
    }
}

#[test]
fn a_member_that_must_yield_takes_the_other_with_it_and_a_reload_ends_the_group() {
    judge(BEARABLE, yield_together);
}

fn yield_together() {
    let site = Site::new();
    // Only one side is better on the other machine: that is no reason to move.
    site.trivets[1].edit("vrrp.d/outside.toml", "priority = 100", "priority = 120");
    site.trivets[1].reload("vrrpd");
    site.reason(1, 1, "would be Active (preempted 10.2.0.1, which has priority 110)");
    site.expect_no_change();
    // Now both are.
    site.trivets[1].edit("vrrp.d/inside.toml", "priority = 100", "priority = 120");
    site.trivets[1].reload("vrrpd");
    site.expect([["Backup", "Backup"], ["Active", "Active"]]);
    // Without the group each goes its own way.
    for trivet in &site.trivets {
        for file in ["vrrp.d/inside.toml", "vrrp.d/outside.toml"] {
            trivet.edit(file, "sync_group = 'firewall'", "");
        }
        trivet.reload("vrrpd");
    }
    site.trivets[1].edit("vrrp.d/inside.toml", "priority = 120", "priority = 100");
    site.trivets[1].reload("vrrpd");
    site.expect([["Active", "Backup"], ["Backup", "Active"]]);
}
