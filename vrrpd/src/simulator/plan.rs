//! Random machines, random trouble, and how long the protocol may take after it.

use std::time::Duration;

use super::PROMPT;
use super::arrivals::Advert;
use super::lan::Lan;
use crate::router::Event;
use crate::router::settings::{Garp, Settings};
use crate::types::{Centiseconds, Priority, Version};

/// What may differ from machine to machine.
#[derive(Clone, Copy, Debug)]
pub(super) struct Variety {
    pub(super) most_machines: u64,
    /// Intervals of their own, versions of their own, delays, owners.
    pub(super) wild: bool,
    pub(super) hostile: bool,
}

const INTERVALS: [u16; 6] = [1, 2, 10, 100, 100, 400];

/// Some machines on one segment, all started.
pub(super) fn lan(seed: u64, traced: bool, variety: Variety) -> Lan {
    let mut lan = Lan::new(seed, traced);
    let count = 2 + lan.below(variety.most_machines - 1);
    let version = if lan.chance(20) { Version::V2 } else { Version::V3 };
    let common = interval(&mut lan, version);
    for _ in 0..count {
        let mut settings = calm_settings(&mut lan, version, common);
        if variety.wild {
            make_wild(&mut lan, &mut settings);
        }
        lan.add(vec![settings]);
    }
    let shortest =
        lan.stations.iter().map(|station| station.router.settings().advert_interval.duration()).min();
    lan.delay = shortest.unwrap() / PROMPT;
    lan.start_all();
    lan
}

fn interval(lan: &mut Lan, version: Version) -> Centiseconds {
    match version {
        Version::V2 => Centiseconds(100 * u16::try_from(1 + lan.below(2)).unwrap()),
        Version::V3 => Centiseconds(INTERVALS[usize::try_from(lan.below(6)).unwrap()]),
    }
}

/// Priorities at random, equal ones among them.
fn calm_settings(lan: &mut Lan, version: Version, advert_interval: Centiseconds) -> Settings {
    let priority = match lan.below(10) {
        0 => 1 + u8::try_from(lan.below(254)).unwrap(),
        1 => 254,
        _ => 98 + u8::try_from(lan.below(4)).unwrap(),
    };
    Settings {
        version,
        priority: Priority(priority),
        preempt: lan.chance(60),
        advert_interval,
        garp: Garp { repeat: 2, ..Garp::default() },
        ..Settings::default()
    }
}

fn make_wild(lan: &mut Lan, settings: &mut Settings) {
    if lan.chance(10) {
        settings.priority = Priority::OWNER;
    }
    if lan.chance(15) {
        settings.version = Version::V3;
        settings.advert_interval = interval(lan, Version::V3);
    }
    if lan.chance(20) {
        settings.down_timer_adverts = u8::try_from(2 + lan.below(4)).unwrap();
    }
    let intervals = |count: u64| u32::try_from(count).unwrap() * settings.advert_interval.duration();
    if lan.chance(20) {
        settings.preempt_delay = intervals(lan.below(20));
    }
    if lan.chance(10) {
        settings.startup_delay = intervals(lan.below(20));
    }
}

/// The protocol's bound: so long after the last trouble, each version has exactly one Active router, and nothing changes
/// any more. With A the longest Active_Down_Interval, of the longest interval that anybody may have learned:
///
/// * whoever waits to take part has done so after the longest `startup_delay`;
/// * whoever was kept from running listens once more, one interval and Skew_Time: less than A;
/// * if nobody is Active then, one is after A, and another interval at most if it was Active just before;
/// * if several are, they hear each other within an interval, and all but the first of them yield;
/// * if that one is lesser than a Backup which preempts, that Backup follows it for the longest `preempt_delay`, and
///   then discards its advertisements: after A more it is Active. It cannot happen again: only a greater one preempts.
pub(super) fn bound(lan: &Lan, longest_learned: Duration) -> Duration {
    let settings = || lan.stations.iter().map(|station| station.router.settings());
    let longest = settings().map(|settings| settings.advert_interval.duration()).max().unwrap();
    let interval = longest.max(longest_learned);
    let adverts = settings().map(|settings| u32::from(settings.down_timer_adverts)).max().unwrap();
    // Skew_Time is less than an interval; in version 2, less than a second.
    let down = adverts * interval + interval.max(Duration::from_secs(1));
    let startup = settings().map(|settings| settings.startup_delay).max().unwrap();
    let preempt = settings().map(|settings| settings.preempt_delay).max().unwrap();
    startup + 3 * down + 2 * interval + preempt + 20 * lan.delay
}

/// One thing goes wrong, or one is right again.
pub(super) fn trouble(lan: &mut Lan, variety: Variety) {
    let machine = usize::try_from(lan.below(lan.machines.len() as u64)).unwrap();
    let station = usize::try_from(lan.below(lan.stations.len() as u64)).unwrap();
    let kinds = if variety.hostile { 14 } else { 12 };
    match lan.below(kinds) {
        0 => lan.loss = lan.below(700),
        1 => lan.doubled = lan.below(500),
        2 | 3 => lan.stations[station].side ^= 1,
        4 => lan.freeze(machine),
        5 => {
            let held = lan.chance(50);
            lan.thaw(machine, held);
        }
        6 if lan.machines[machine].running => lan.shut_down(machine),
        7 if lan.machines[machine].running => lan.kill(machine),
        8 if !lan.machines[machine].running => lan.boot(machine),
        9 => {
            let link = !lan.stations[station].link;
            lan.set_link(station, link);
        }
        10 => lan.lose_address(station),
        11 => {
            let priority = Priority(1 + u8::try_from(lan.below(254)).unwrap());
            let machine = lan.stations[station].machine;
            if lan.machines[machine].running {
                lan.event(station, Event::Priority(priority));
            }
        }
        12 | 13 => hostile(lan, station),
        _ => {}
    }
}

/// A burst of advertisements from nowhere that pass every check: any priority, 0 and 255 often, any interval.
pub(super) fn hostile(lan: &mut Lan, like: usize) {
    let version = lan.stations[like].router.settings().version;
    let interval = lan.stations[like].router.settings().advert_interval;
    let segment = lan.stations[like].segment;
    for _ in 0..lan.below(30) {
        let number = u8::try_from(lan.below(256)).unwrap();
        let priority = match lan.below(4) {
            0 => Priority::RELEASE,
            1 => Priority::OWNER,
            _ => Priority(u8::try_from(lan.below(256)).unwrap()),
        };
        let interval = match version {
            Version::V2 => interval,
            Version::V3 => Centiseconds([1, 1, 2, 100, 400][usize::try_from(lan.below(5)).unwrap()]),
        };
        let advert = Advert { from: [10, 0, 0, number].into(), priority, interval, version };
        lan.transmit(segment, None, usize::MAX, advert);
        let pause = Duration::from_micros(lan.below(3_000));
        lan.run(pause);
    }
}

/// All is well from now on.
pub(super) fn heal(lan: &mut Lan) {
    (lan.loss, lan.doubled) = (0, 0);
    for station in &mut lan.stations {
        station.side = 0;
    }
    for machine in 0..lan.machines.len() {
        // Frozen, or gone: it may have been either.
        if lan.chance(50) {
            lan.thaw(machine, true);
        } else if !lan.machines[machine].running {
            lan.boot(machine);
        }
        for index in lan.members(machine) {
            lan.stations[index].link = true;
        }
        lan.judge(machine);
    }
}
