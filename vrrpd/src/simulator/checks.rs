//! What a property asks of the world.

use std::time::Duration;

use super::lan::Lan;
use crate::types::{Priority, Version};

/// Let `time` pass in which nothing at all may change.
pub(super) fn nothing_changes(lan: &mut Lan, time: Duration) -> Result<(), String> {
    let before = lan.transitions();
    lan.run(time);
    lan.check()?;
    match lan.transitions() - before {
        0 => Ok(()),
        changes => Err(format!("{changes} transitions in {time:?} of calm")),
    }
}

/// Each version that is spoken on the segment has exactly one Active router, and nobody waits to preempt it.
pub(super) fn one_active_each(lan: &Lan, segment: usize) -> Result<(), String> {
    lan.check()?;
    for version in [Version::V2, Version::V3] {
        let of_version = |index: &usize| {
            let station = &lan.stations[*index];
            station.segment == segment && station.router.settings().version == version
        };
        let everybody = (0..lan.stations.len()).filter(of_version);
        let running: Vec<usize> =
            everybody.filter(|index| lan.machines[lan.stations[*index].machine].running).collect();
        if running.is_empty() {
            continue;
        }
        let actives: Vec<usize> = lan.actives(segment).into_iter().filter(of_version).collect();
        let [active] = actives[..] else {
            return Err(format!("{version:?}: {actives:?} of {running:?} are active"));
        };
        let priority = lan.stations[active].router.priority();
        if let Some(better) = running.iter().find(|index| preempts(lan, **index, priority)) {
            return Err(format!("{version:?}: {better} should have preempted {active}"));
        }
    }
    Ok(())
}

fn preempts(lan: &Lan, index: usize, priority: Priority) -> bool {
    let router = &lan.stations[index].router;
    router.priority() > priority && router.settings().preempts(Duration::MAX)
}

/// Let time pass until exactly one router of a segment is Active; how long it took.
pub(super) fn until_one_active(lan: &mut Lan, limit: Duration) -> Result<Duration, String> {
    let (from, step) = (lan.now, lan.delay / 4);
    while lan.actives(0).len() != 1 {
        let took = lan.now - from;
        if took > limit {
            return Err(format!("{:?} are active after {took:?}", lan.actives(0)));
        }
        lan.run(step);
    }
    Ok(lan.now - from)
}
