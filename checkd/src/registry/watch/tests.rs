use std::time::Duration;

use super::super::tests::{WALL, checks, fail, http, pass, start, tcp};
use super::super::{Action, Checks, Cursor, Record, Wanted};
use super::*;
use crate::probe::Outcome;
use crate::target::State;

const COUNT: usize = 40;

fn keys() -> Vec<Key> {
    let mut wanted = Wanted::default();
    (0..COUNT).for_each(|number| wanted.add("tcp", &format!("10.0.0.{number}:80")));
    wanted.take_keys()
}

fn registry(checks: Checks) -> (Registry, Instant) {
    let now = start();
    (Registry::new(checks, 1, now), now)
}

/// Every probe that is due ends with `outcome`.
fn end_all(registry: &mut Registry, now: Instant, outcome: &Outcome) -> usize {
    let actions = registry.on_time(now, usize::MAX);
    for action in &actions {
        let Action::Start { id, .. } = action else { panic!("{action:?}") };
        registry.on_outcome(now, WALL, *id, outcome.clone()).unwrap();
    }
    actions.len()
}

#[test]
fn an_answer_holds_for_all_that_was_told_while_it_was_put_together() {
    let (mut registry, now) = registry(checks(&[("tcp", tcp())]));
    let mut watch = Watch::new(":1.1".into(), keys());
    while watch.answers.len() < COUNT {
        assert_eq!(registry.on_watch(now, &mut watch, 7), None);
        assert!(watch.ids.len() <= COUNT && registry.counts()[0] == watch.ids.len());
    }
    assert!(watch.answers.iter().all(|(_, standing)| standing.state == State::Unknown));
    // All is read; now everything changes, and the half of it is told.
    let later = now + Duration::from_secs(1);
    assert_eq!(end_all(&mut registry, later, &pass()), COUNT);
    assert_eq!(registry.take_changes(COUNT / 2).unwrap().0, 1);
    let mut turns = 0;
    let (generation, answers) = loop {
        turns += 1;
        if let Some(answer) = registry.on_watch(later, &mut watch, 7) {
            break answer;
        }
    };
    assert_eq!((generation, answers.len()), (1, COUNT));
    assert!(answers.iter().all(|standing| standing.state == State::Up), "{answers:?}");
    assert!(turns > 1, "as much as there is room for in each turn");
    assert_eq!(registry.take_changes(COUNT).unwrap().0, 2);
}

#[test]
fn what_changes_all_the_time_does_not_keep_an_answer_for_ever() {
    let (mut registry, mut now) = registry(checks(&[("tcp", tcp())]));
    let mut watch = Watch::new(":1.1".into(), keys());
    let mut turns = 0;
    loop {
        turns += 1;
        now += Duration::from_secs(7);
        let outcome = if turns % 2 == 0 { pass() } else { fail() };
        let _ = end_all(&mut registry, now, &outcome);
        if registry.on_watch(now, &mut watch, 1).is_some() {
            break;
        }
        assert!(turns < 1_000, "never answered");
    }
    assert!(turns > 3 * COUNT, "{turns} turns with room for one");
}

#[test]
fn a_reload_between_two_portions_leaves_no_target_without_its_probe() {
    for turns in 0..12 {
        let (mut registry, now) = registry(checks(&[("tcp", tcp())]));
        let mut watch = Watch::new(":1.1".into(), keys());
        for _ in 0..turns {
            assert_eq!(registry.on_watch(now, &mut watch, 7), None);
        }
        let _ = registry.on_reload(now, WALL, checks(&[("tcp", http("/"))]));
        while registry.on_watch(now, &mut watch, 7).is_none() {}
        let later = now + Duration::from_secs(1);
        assert_eq!(end_all(&mut registry, later, &pass()), COUNT, "reloaded after {turns} portions");
        assert_eq!(registry.counts(), [0, COUNT, 0]);
    }
}

#[test]
fn a_set_is_let_go_a_portion_a_turn() {
    let (mut registry, now) = registry(checks(&[("tcp", tcp())]));
    let row = |number| ("tcp".to_owned(), format!("10.0.0.{number}:80"));
    let rows: Vec<_> = (0..COUNT).map(row).collect();
    let _ = registry.watch_at_once(now, ":1.1", &rows);
    let later = now + Duration::from_secs(1);
    assert_eq!(registry.on_time(later, COUNT).len(), COUNT);
    let mut nothing = Watch::new(":1.1".into(), Vec::new());
    while registry.on_watch(later, &mut nothing, 7).is_none() {}
    assert_eq!((registry.deadline(), registry.counts()), (Some(later), [COUNT, 0, 0]));
    let mut left = COUNT;
    while left > 0 {
        let actions = registry.on_time(later, 7);
        assert!(actions.len() <= 7 && actions.iter().all(|action| matches!(action, Action::Cancel(_))));
        left -= actions.len();
        assert_eq!(registry.counts(), [left, 0, 0]);
    }
    let _ = registry.on_time(later, 7);
    assert_eq!(registry.deadline(), None);
}

#[test]
fn a_probe_of_what_nobody_watches_leaves_what_an_earlier_run_knew_for_a_watcher() {
    let (mut registry, now) = registry(checks(&[("tcp", tcp())]));
    let rows = [("tcp".to_owned(), "10.0.0.5:80".to_owned())];
    let _ = registry.watch_at_once(now, ":1.1", &rows);
    let now = registry.deadline().unwrap();
    end_all(&mut registry, now, &fail());
    let fingerprint = registry.checks()["tcp"].fingerprint();
    let (records, _) = registry.records(Cursor::default(), 10);
    let records: Vec<_> =
        records.map(|(key, memory)| Record { key: key.clone(), fingerprint, memory }).collect();

    let mut later = Registry::new(checks(&[("tcp", tcp())]), 2, now);
    assert_eq!(later.remember(now, records), 1);
    later.on_probe_wanted(now, "tcp", "10.0.0.5:80").unwrap();
    assert_eq!(end_all(&mut later, now, &Outcome::Local("too many open files".into())), 1);
    assert_eq!(later.unclaimed(None, 10).count(), 1);
    let (_, answers, _) = later.watch_at_once(now, ":1.1", &rows);
    assert_eq!(answers[0].state, State::Down, "{answers:?}");
    assert_eq!(later.unclaimed(None, 10).count(), 0, "now it is the target's own");
    // Also if the watcher comes while the probe runs.
    let (records, _) = later.records(Cursor::default(), 10);
    let records: Vec<_> =
        records.map(|(key, memory)| Record { key: key.clone(), fingerprint, memory }).collect();
    let mut later = Registry::new(checks(&[("tcp", tcp())]), 3, now);
    later.remember(now, records);
    later.on_probe_wanted(now, "tcp", "10.0.0.5:80").unwrap();
    let (_, answers, _) = later.watch_at_once(now, ":1.1", &rows);
    assert_eq!((answers[0].state, later.unclaimed(None, 10).count()), (State::Down, 0));
}
