//! What holds whatever happens, and what holds when the network is well.

use std::time::Duration;

use super::checks::{nothing_changes, one_active_each, until_one_active};
use super::lan::Lan;
use super::plan::{Variety, bound, heal, hostile, lan, trouble};
use super::runner::{Run, try_seeds};
use crate::router::StateName;

const ALIKE: Variety = Variety { most_machines: 4, wild: false, hostile: false };
const WILD: Variety = Variety { most_machines: 8, wild: true, hostile: false };
const HOSTILE: Variety = Variety { hostile: true, ..WILD };
/// The longest interval that the hostile machine teaches.
const LONGEST: Duration = Duration::from_secs(4);

/// Make a segment, and see whether a property holds of it.
fn of(variety: Variety, property: impl Fn(&mut Lan) -> Result<(), String>) -> impl Fn(u64, bool) -> Run {
    move |seed, traced| {
        let mut lan = lan(seed, traced, variety);
        let result = property(&mut lan).and_then(|()| lan.check());
        Run { lan, result }
    }
}

fn interval(lan: &Lan) -> Duration {
    lan.stations[0].router.settings().advert_interval.duration()
}

/// Wait until the segment is settled, and a random time more.
fn settle(lan: &mut Lan) -> Result<(), String> {
    lan.run(bound(lan, Duration::ZERO));
    let more = interval(lan) * u32::try_from(lan.below(1000)).unwrap() / 1000;
    lan.run(more);
    one_active_each(lan, 0)
}

fn settled_active(lan: &mut Lan) -> Result<usize, String> {
    settle(lan)?;
    lan.actives(0).first().copied().ok_or_else(|| "nobody is active".into())
}

// RFC 9568: +sim-one
#[test]
fn from_a_cold_start_exactly_one_router_becomes_active_and_stays() {
    let name = "properties::from_a_cold_start_exactly_one_router_becomes_active_and_stays";
    try_seeds(
        name,
        250,
        of(WILD, |lan| {
            settle(lan)?;
            let time = 10 * interval(lan);
            nothing_changes(lan, time)
        }),
    );
}

// RFC 9568: +sim-one +sim-rate +8.1.2
#[test]
fn after_any_trouble_calm_brings_exactly_one_active_router_within_the_bound() {
    let name = "properties::after_any_trouble_calm_brings_exactly_one_active_router_within_the_bound";
    try_seeds(
        name,
        250,
        of(WILD, |lan| {
            troubled(lan, WILD, 40);
            heal(lan);
            let time = bound(lan, Duration::ZERO);
            lan.run(time);
            one_active_each(lan, 0)?;
            let time = 10 * interval(lan);
            nothing_changes(lan, time)?;
            one_active_each(lan, 0)
        }),
    );
}

// RFC 9568: +sim-one +sim-rate
#[test]
fn after_a_hostile_machine_too_and_whatever_it_says_nobody_sends_much() {
    let name = "properties::after_a_hostile_machine_too_and_whatever_it_says_nobody_sends_much";
    try_seeds(
        name,
        40,
        of(HOSTILE, |lan| {
            troubled(lan, HOSTILE, 40);
            for _ in 0..20 {
                hostile(lan, 0);
            }
            heal(lan);
            let time = bound(lan, LONGEST);
            lan.run(time);
            one_active_each(lan, 0)?;
            let time = 10 * interval(lan);
            nothing_changes(lan, time)
        }),
    );
}

fn troubled(lan: &mut Lan, variety: Variety, rounds: u32) {
    for _ in 0..rounds {
        trouble(lan, variety);
        let time = interval(lan) * u32::try_from(lan.below(5000)).unwrap() / 1000;
        lan.run(time);
    }
}

// RFC 9568: +sim-stop
#[test]
fn a_graceful_stop_hands_over_within_the_best_backups_skew_time() {
    let name = "properties::a_graceful_stop_hands_over_within_the_best_backups_skew_time";
    try_seeds(
        name,
        600,
        of(ALIKE, |lan| {
            let active = settled_active(lan)?;
            lan.shut_down(active);
            let limit =
                best(lan, active, |router, interval| router.settings().skew(router.priority(), interval));
            until_one_active(lan, limit + 4 * lan.delay).map(drop)
        }),
    );
}

#[test]
fn a_killed_active_router_is_replaced_within_the_best_backups_active_down_interval() {
    let name = "properties::a_killed_active_router_is_replaced_within_the_best_backups_active_down_interval";
    try_seeds(
        name,
        600,
        of(ALIKE, |lan| {
            let active = settled_active(lan)?;
            lan.kill(active);
            let limit = best(lan, active, |router, interval| {
                router.settings().active_down_interval(router.priority(), interval)
            });
            until_one_active(lan, limit + 4 * lan.delay)?;
            let time = 10 * interval(lan);
            lan.run(time);
            one_active_each(lan, 0)
        }),
    );
}

/// The shortest of a time of the Backups, for the interval of the Active router that was.
fn best(
    lan: &Lan,
    active: usize,
    time: impl Fn(&crate::router::Router, crate::types::Centiseconds) -> Duration,
) -> Duration {
    let interval = lan.stations[active].router.settings().advert_interval;
    let backups = lan.stations.iter().filter(|station| station.router.state() == StateName::Backup);
    backups.map(|station| time(&station.router, interval)).min().unwrap()
}

// RFC 9568: +sim-loss
#[test]
fn two_advertisements_lost_in_a_row_change_nothing() {
    let name = "properties::two_advertisements_lost_in_a_row_change_nothing";
    try_seeds(
        name,
        300,
        of(ALIKE, |lan| {
            // What a Backup can spare is its Skew_Time, 1/128 of the interval at the least, or of a second in version 2:
            // an advertisement that is later than that is lost as well.
            lan.delay = interval(lan).min(Duration::from_secs(1)) / 300;
            let active = settled_active(lan)?;
            for _ in 0..20 {
                lan.drop_next = Some((active, 2));
                let time = 3 * interval(lan) + 4 * lan.delay;
                nothing_changes(lan, time)?;
            }
            Ok(())
        }),
    );
}

// RFC 9568: -sim-loss
#[test]
fn three_advertisements_lost_in_a_row_make_another_router_active() {
    let name = "properties::three_advertisements_lost_in_a_row_make_another_router_active";
    try_seeds(
        name,
        100,
        of(ALIKE, |lan| {
            let active = settled_active(lan)?;
            let before = lan.transitions();
            lan.drop_next = Some((active, 4));
            let time = 5 * interval(lan) + Duration::from_secs(1);
            lan.run(time);
            if lan.transitions() > before { Ok(()) } else { Err("nobody noticed".into()) }
        }),
    );
}

// RFC 9568: +6.4.3-converge
#[test]
fn a_healed_split_ends_within_an_interval_and_the_last_to_announce_is_the_survivor() {
    let name = "properties::a_healed_split_ends_within_an_interval_and_the_last_to_announce_is_the_survivor";
    try_seeds(
        name,
        300,
        of(ALIKE, |lan| {
            settle(lan)?;
            lan.stations[0].side = 1;
            settle(lan).err();
            if lan.actives(0).len() != 2 {
                return Err(format!("{:?} are active on two sides", lan.actives(0)));
            }
            lan.stations[0].side = 0;
            let limit = interval(lan) + 4 * lan.delay;
            until_one_active(lan, limit)?;
            let healed = lan.now;
            lan.run(bound(lan, Duration::ZERO) + Duration::from_secs(10));
            one_active_each(lan, 0)?;
            let survivor = lan.actives(0)[0];
            let announced = |index: &usize| lan.stations[*index].last_announced;
            let others = (0..lan.stations.len()).filter(|index| *index != survivor);
            let last = announced(&survivor);
            if last > others.filter_map(|index| announced(&index)).max() && last > Some(healed) {
                return Ok(());
            }
            Err("hosts may have learned the address of the one that yielded".into())
        }),
    );
}

#[test]
fn a_frozen_active_router_that_comes_back_never_shares_the_address_for_long() {
    let name = "properties::a_frozen_active_router_that_comes_back_never_shares_the_address_for_long";
    try_seeds(
        name,
        300,
        of(ALIKE, |lan| {
            let frozen = settled_active(lan)?;
            lan.freeze(frozen);
            let time = 10 * interval(lan) + Duration::from_secs(2);
            lan.run(time);
            let held = lan.chance(50);
            lan.thaw(frozen, held);
            if lan.stations[frozen].router.is_active() {
                return Err("it spoke before it listened".into());
            }
            let mut shared = Duration::ZERO;
            let (end, step) = (lan.now + bound(lan, Duration::ZERO), lan.delay / 2);
            while lan.now < end {
                lan.run(step);
                shared += if lan.actives(0).len() > 1 { step } else { Duration::ZERO };
            }
            if shared > 4 * lan.delay {
                return Err(format!("two were active for {shared:?}"));
            }
            one_active_each(lan, 0)
        }),
    );
}
