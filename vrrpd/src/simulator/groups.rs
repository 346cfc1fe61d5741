//! Sync groups: two or three machines, each with a router on two or three segments that are Active together. That no
//! group is ever split after a turn is checked with every event (`Lan::move_groups`).

use std::time::Duration;

use super::PROMPT;
use super::checks::nothing_changes;
use super::lan::Lan;
use super::plan::{bound, heal};
use super::runner::{Run, try_seeds};
use crate::router::StateName;
use crate::router::settings::{Garp, Settings};
use crate::types::{Centiseconds, Priority};

/// How the priorities of a machine's members are to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Priorities {
    Same,
    Any,
}

fn lan(seed: u64, traced: bool, most: u64, priorities: Priorities) -> Lan {
    let mut lan = Lan::new(seed, traced);
    let (machines, segments) = (2 + lan.below(most - 1), 2 + lan.below(2));
    let interval = Centiseconds([1, 10, 100][usize::try_from(lan.below(3)).unwrap()]);
    for _ in 0..machines {
        let priority = |lan: &mut Lan| Priority(50 + u8::try_from(lan.below(150)).unwrap());
        let (common, preempt) = (priority(&mut lan), lan.chance(60));
        let member = |priority| Settings {
            priority,
            preempt,
            advert_interval: interval,
            garp: Garp { repeat: 2, ..Garp::default() },
            sync_group: Some("g".into()),
            ..Settings::default()
        };
        let settings = (0..segments).map(|_| match priorities {
            Priorities::Same => member(common),
            Priorities::Any => member(priority(&mut lan)),
        });
        let settings = settings.collect();
        lan.add(settings);
    }
    lan.delay = interval.duration() / PROMPT;
    lan.start_all();
    lan
}

fn of(
    most: u64,
    priorities: Priorities,
    property: impl Fn(&mut Lan) -> Result<(), String>,
) -> impl Fn(u64, bool) -> Run {
    move |seed, traced| {
        let mut lan = lan(seed, traced, most, priorities);
        let result = property(&mut lan).and_then(|()| lan.check());
        Run { lan, result }
    }
}

/// The one machine that is Active on all segments.
fn active_machine(lan: &Lan) -> Result<usize, String> {
    lan.check()?;
    let is_active = |index: &usize| lan.stations[*index].router.is_active();
    let of_machine = |machine: usize| lan.members(machine).iter().filter(|index| is_active(index)).count();
    let running = |machine: &usize| lan.machines[*machine].running;
    let machines = (0..lan.machines.len()).filter(running);
    let active: Vec<(usize, usize)> =
        machines.map(|machine| (machine, of_machine(machine))).filter(|(_, count)| *count > 0).collect();
    match active[..] {
        [(machine, count)] if count == lan.members(machine).len() => Ok(machine),
        _ => Err(format!("active members, by machine: {active:?}")),
    }
}

fn settle(lan: &mut Lan) -> Result<usize, String> {
    let time = 3 * bound(lan, Duration::ZERO);
    lan.run(time);
    active_machine(lan)
}

fn a_while(lan: &Lan) -> Duration {
    2 * bound(lan, Duration::ZERO)
}

/// Let time pass until one machine is Active on all segments; how long it took.
fn until_active(lan: &mut Lan, limit: Duration) -> Result<usize, String> {
    let (from, step) = (lan.now, lan.delay / 4);
    loop {
        match active_machine(lan) {
            Ok(machine) => return Ok(machine),
            Err(error) if lan.now - from > limit => return Err(format!("{error} after {limit:?}")),
            Err(_) => lan.run(step),
        }
    }
}

/// The longest of a time of a machine's members.
fn longest(lan: &Lan, machine: usize, time: impl Fn(&Settings, Centiseconds) -> Duration) -> Duration {
    let settings = lan.members(machine).into_iter().map(|index| lan.stations[index].router.settings());
    settings.map(|settings| time(settings, settings.advert_interval)).max().unwrap()
}

#[test]
fn one_machine_becomes_active_on_all_segments() {
    let name = "groups::one_machine_becomes_active_on_all_segments";
    try_seeds(
        name,
        100,
        of(3, Priorities::Same, |lan| {
            let active = settle(lan)?;
            let time = a_while(lan);
            nothing_changes(lan, time)?;
            let rank = |machine: usize| lan.stations[lan.members(machine)[0]].router.priority();
            let preempts = |machine: usize| lan.stations[lan.members(machine)[0]].router.settings().preempt;
            let better =
                (0..lan.machines.len()).find(|machine| preempts(*machine) && rank(*machine) > rank(active));
            better.map_or(Ok(()), |better| Err(format!("machine {better} should have preempted {active}")))
        }),
    );
}

#[test]
fn a_partition_of_one_segment_moves_nobody_and_neither_does_its_end() {
    let name = "groups::a_partition_of_one_segment_moves_nobody_and_neither_does_its_end";
    try_seeds(
        name,
        80,
        of(2, Priorities::Same, |lan| {
            settle(lan)?;
            let cut = lan.members(0)[usize::try_from(lan.below(2)).unwrap()];
            for side in [1, 0] {
                lan.stations[cut].side = side;
                let time = a_while(lan);
                nothing_changes(lan, time)?;
            }
            Ok(())
        }),
    );
}

#[test]
fn an_interface_that_fails_moves_the_whole_group_to_the_other_machine() {
    let name = "groups::an_interface_that_fails_moves_the_whole_group_to_the_other_machine";
    try_seeds(
        name,
        100,
        of(2, Priorities::Same, |lan| {
            let failing = settle(lan)?;
            let members = lan.members(failing);
            let broken = members[usize::try_from(lan.below(2)).unwrap()];
            lan.set_link(broken, false);
            if !members.iter().all(|index| lan.stations[*index].router.state() == StateName::Fault) {
                return Err("a fault of one is to be a fault of all".into());
            }
            let other = 1 - failing;
            let down = longest(lan, other, |settings, interval| {
                settings.active_down_interval(settings.priority, interval)
            });
            let limit = down + 4 * lan.delay;
            if until_active(lan, limit)? != other {
                return Err("not the other one".into());
            }
            let time = a_while(lan);
            nothing_changes(lan, time)?;
            lan.set_link(broken, true);
            settle(lan).map(drop)
        }),
    );
}

#[test]
fn a_graceful_stop_hands_the_whole_group_over_within_skew_time() {
    let name = "groups::a_graceful_stop_hands_the_whole_group_over_within_skew_time";
    try_seeds(
        name,
        100,
        of(2, Priorities::Same, |lan| {
            let active = settle(lan)?;
            lan.shut_down(active);
            let skew =
                longest(lan, 1 - active, |settings, interval| settings.skew(settings.priority, interval));
            let limit = skew + 4 * lan.delay;
            until_active(lan, limit).map(drop)
        }),
    );
}

#[test]
fn after_any_trouble_one_machine_is_active_on_all_segments() {
    let name = "groups::after_any_trouble_one_machine_is_active_on_all_segments";
    try_seeds(name, 100, of(3, Priorities::Same, troubled));
}

#[test]
fn members_of_different_priorities_find_a_machine_for_all_of_them_as_well() {
    let name = "groups::members_of_different_priorities_find_a_machine_for_all_of_them_as_well";
    try_seeds(name, 100, of(2, Priorities::Any, troubled));
}

fn troubled(lan: &mut Lan) -> Result<(), String> {
    for _ in 0..30 {
        let station = usize::try_from(lan.below(lan.stations.len() as u64)).unwrap();
        let machine = lan.stations[station].machine;
        let running = lan.machines[machine].running;
        match lan.below(8) {
            0 => lan.loss = lan.below(500),
            1 | 2 => lan.stations[station].side ^= 1,
            3 => {
                let link = !lan.stations[station].link;
                lan.set_link(station, link);
            }
            4 if running => lan.shut_down(machine),
            5 if running => lan.kill(machine),
            6 if running => lan.freeze(machine),
            _ if !running => lan.thaw(machine, true),
            _ => {}
        }
        let interval = lan.stations[0].router.settings().advert_interval.duration();
        let time = interval * u32::try_from(lan.below(6000)).unwrap() / 1000;
        lan.run(time);
    }
    heal(lan);
    settle(lan)?;
    let time = a_while(lan);
    nothing_changes(lan, time)
}
