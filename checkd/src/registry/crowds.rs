//! Ten thousand targets: whatever brings them together, they are never probed all at once, and what does not concern
//! them does not touch them.

use super::tests::{WALL, checks, fail, http, pass, start, tcp};
use super::*;
use crate::target::State;
use crate::transport::connect::Connect;

const SECOND: Duration = Duration::from_secs(1);
const MANY: usize = 10_000;

/// A registry with `MANY` targets of the check "web", each of which has been up for three rounds.
fn settled(check: Check) -> (Registry, Instant) {
    let start = start();
    let mut registry = Registry::new(checks(&[("web", check)]), 7, start);
    let address = |number: usize| format!("10.{}.{}.1:80", number / 256, number % 256);
    let rows: Vec<_> = (0..MANY).map(|number| ("web".to_owned(), address(number))).collect();
    let (_, answers, _) = registry.watch_at_once(start, ":1.1", &rows);
    assert_eq!(answers.len(), MANY);
    let now = run(&mut registry, start, start + SECOND * 18, &pass(), |_| {});
    assert_eq!(registry.counts(), [0, MANY, 0]);
    let _ = registry.take_changes(usize::MAX);
    (registry, now)
}

/// Let time pass until `end`; every probe ends at once with `outcome`. `each` is told when each begins.
fn run(
    registry: &mut Registry,
    mut now: Instant,
    end: Instant,
    outcome: &Outcome,
    mut each: impl FnMut(Instant),
) -> Instant {
    while let Some(next) = registry.deadline().filter(|next| *next <= end) {
        now = next.max(now);
        for action in registry.on_time(now, 256) {
            let Action::Start { id, .. } = action else { panic!("{action:?}") };
            each(now);
            registry.on_outcome(now, WALL, id, outcome.clone()).unwrap();
        }
    }
    end
}

/// How many probes begin in the busiest time of this length from now until `end`, and how many in all.
fn busiest(
    registry: &mut Registry,
    now: Instant,
    end: Instant,
    slot: Duration,
    outcome: &Outcome,
) -> (usize, usize) {
    let mut slots: HashMap<u128, usize> = HashMap::new();
    run(registry, now, end, outcome, |at| {
        *slots.entry((at - now).as_nanos() / slot.as_nanos()).or_default() += 1;
    });
    (slots.values().copied().max().unwrap_or(0), slots.values().sum())
}

#[test]
fn in_the_third_round_probes_are_spread_over_the_whole_interval() {
    let (mut registry, now) = settled(tcp());
    let (most, all) = busiest(&mut registry, now, now + SECOND * 6, SECOND / 10, &pass());
    // 167 on average.
    assert!(all == MANY && most < 230, "{most} in a tenth of a second, {all} in all");
}

#[test]
fn servers_that_fail_together_are_asked_again_apart() {
    let (mut registry, now) = settled(tcp());
    // All of them are asked at once, and fail.
    let ids: Vec<_> = registry.targets.iter().map(|(id, target)| (id, spell(target.key.1))).collect();
    for (_, address) in &ids {
        registry.on_probe_wanted(now, "web", address).unwrap();
    }
    let actions = registry.on_time(now, MANY);
    assert_eq!(actions.len(), MANY);
    for (id, _) in &ids {
        registry.on_outcome(now, WALL, *id, fail()).unwrap();
    }
    // The last of them wait a moment for each other.
    let (most, all) = busiest(&mut registry, now, now + SECOND + SECOND / 500, SECOND / 1000, &fail());
    assert!(all >= MANY && most < 100, "{most} in a millisecond, {all} in all");
    assert_eq!(registry.counts(), [0, 0, MANY]);
    let later = now + SECOND * 13;
    let now = run(&mut registry, now, later, &fail(), |_| {});
    let (most, _) = busiest(&mut registry, now, now + SECOND * 6, SECOND / 10, &fail());
    assert!(most < 230, "{most} in a tenth of a second: they stay together");
}

#[test]
fn a_machine_that_was_suspended_probes_what_is_overdue_apart_and_nothing_twice() {
    let (mut registry, now) = settled(tcp());
    let now = now + SECOND * 300;
    let (most, all) = busiest(&mut registry, now, now + SECOND * 3 / 2, SECOND / 100, &pass());
    // Over a second: 100 on average.
    assert!(all == MANY && most < 160, "{most} in 10 ms, {all} in all");
    let now = run(&mut registry, now, now + SECOND * 13, &pass(), |_| {});
    let (most, _) = busiest(&mut registry, now, now + SECOND * 6, SECOND / 10, &pass());
    assert!(most < 230, "{most} in a tenth of a second: they stay together");
}

#[test]
fn an_outage_of_this_machine_is_not_made_worse_and_leaves_nobody_together() {
    let (mut registry, now) = settled(tcp());
    let local = Outcome::Local("no local address or port left for another connection".into());
    let (_, all) = busiest(&mut registry, now, now + SECOND * 60, SECOND, &local);
    // Ten rounds, and the quick tries at the beginning of it.
    assert!(all < MANY * 14, "{all} tries in a minute");
    assert_eq!(registry.counts(), [0, MANY, 0]);
    let now = now + SECOND * 60;
    let (most, all) = busiest(&mut registry, now, now + SECOND * 6, SECOND / 10, &pass());
    assert!(most < 300 && all < MANY * 3 / 2, "{most} in a tenth of a second, {all} in all");
}

#[test]
fn a_loop_that_is_always_too_late_starves_nobody() {
    let (mut registry, mut now) = settled(tcp());
    let mut seen = std::collections::HashSet::new();
    for _ in 0..200 {
        now += SECOND * 2;
        for action in registry.on_time(now, 256) {
            let Action::Start { id, .. } = action else { panic!("{action:?}") };
            seen.insert(id);
            registry.on_outcome(now, WALL, id, pass()).unwrap();
        }
    }
    assert_eq!(seen.len(), MANY);
}

#[test]
fn a_reload_that_does_not_touch_the_check_starts_no_probe_and_moves_no_deadline() {
    let (mut registry, now) = settled(tcp());
    let all = |registry: &Registry| registry.details("web", Cursor::default(), MANY).0;
    let before = all(&registry);
    let actions = registry.on_reload(now, WALL, checks(&[("web", tcp()), ("other", http("/"))]));
    assert_eq!((actions, registry.take_changes(usize::MAX)), (vec![], None));
    assert!(before == all(&registry), "something about ten thousand targets changed");
    let (most, all) = busiest(&mut registry, now, now + SECOND * 6, SECOND / 10, &pass());
    assert!(all == MANY && most < 230, "{most} in a tenth of a second, {all} in all");
}

#[test]
fn a_changed_check_is_tried_within_a_second_but_not_at_once() {
    let (mut registry, now) = settled(tcp());
    let elsewhere = Connect { port: Some(8080), ..Connect::default() };
    for check in [http("/"), Check { connect: elsewhere, ..tcp() }] {
        assert_eq!(registry.on_reload(now, WALL, checks(&[("web", check)])), []);
        let (_, rows) = registry.take_changes(usize::MAX).unwrap();
        assert!(rows.len() == MANY && rows.iter().all(|row| row.state == State::Up));
        let (most, all) = busiest(&mut registry, now, now + SECOND, SECOND / 100, &pass());
        assert!(all == MANY && most < 160, "{most} in 10 ms, {all} in all");
        assert!(registry.take_changes(usize::MAX).is_some());
    }
}

#[test]
fn a_check_with_other_times_only_keeps_all_it_knows_and_finds_new_places() {
    let (mut registry, now) = settled(tcp());
    let often = Check { interval: SECOND, ..tcp() };
    assert_eq!(registry.on_reload(now, WALL, checks(&[("web", often)])), []);
    assert_eq!(registry.take_changes(usize::MAX), None, "nothing is in doubt");
    let (most, all) = busiest(&mut registry, now, now + SECOND, SECOND / 100, &pass());
    assert!(all == MANY && most < 160, "{most} in 10 ms, {all} in all");
    let seldom = Check { interval: SECOND * 3600, ..tcp() };
    let _ = registry.on_reload(now + SECOND, WALL, checks(&[("web", seldom)]));
    let (_, all) = busiest(&mut registry, now + SECOND, now + SECOND * 61, SECOND, &pass());
    assert!((80..260).contains(&all), "{all} in a minute of an hour, not about 167");
}

/// What another process finds, an hour later on the wall's clock.
fn restarted(registry: &Registry, now: Instant, check: Check) -> Registry {
    let fingerprint = registry.checks()["web"].fingerprint();
    let (records, _) = registry.records(Cursor::default(), MANY);
    let records: Vec<_> =
        records.map(|(key, memory)| Record { key: key.clone(), fingerprint, memory }).collect();
    let mut later = Registry::new(checks(&[("web", check)]), 8, now);
    later.remember(now, records);
    later
}

fn watch_all(registry: &mut Registry, now: Instant) -> Vec<Row> {
    let address = |number: usize| format!("10.{}.{}.1:80", number / 256, number % 256);
    let rows: Vec<_> = (0..MANY).map(|number| ("web".to_owned(), address(number))).collect();
    registry.watch_at_once(now, ":1.1", &rows).1
}

#[test]
fn a_restart_has_every_state_at_once_and_spreads_the_probes_over_the_interval() {
    let (registry, now) = settled(tcp());
    let now = now + SECOND * 2;
    let mut later = restarted(&registry, now, tcp());
    let answers = watch_all(&mut later, now);
    assert!(answers.iter().all(|row| row.state == State::Up && row.since == WALL));
    assert_eq!(answers[0].reason, "not probed since checkd's restart; before: connected");
    assert_eq!((later.counts(), later.unclaimed(None, usize::MAX).count()), ([0, MANY, 0], 0));
    // One failure each takes nobody down.
    let (most, all) = busiest(&mut later, now, now + SECOND / 2, SECOND / 10, &fail());
    assert!(most < 230 && all > 500, "{most} in a tenth of a second, {all} in all");
    assert_eq!(later.counts(), [0, MANY, 0]);
}

#[test]
fn a_restart_with_another_check_keeps_the_states_and_probes_at_once_and_the_first_result_decides() {
    let (registry, now) = settled(tcp());
    let mut later = restarted(&registry, now, http("/"));
    let answers = watch_all(&mut later, now);
    assert!(answers.iter().all(|row| row.state == State::Up && row.reason.contains("the check was changed")));
    let (most, all) = busiest(&mut later, now, now + SECOND, SECOND / 100, &fail());
    assert!(all == MANY && most < 160, "{most} in 10 ms, {all} in all");
    assert_eq!(later.counts(), [0, 0, MANY]);
}

#[test]
fn what_is_too_old_or_was_judged_in_the_future_is_unknown() {
    let (registry, now) = settled(tcp());
    for (then, expected) in
        [(now + OLD + SECOND * 7, 0), (now - SECOND * 100, 0), (now + OLD - SECOND * 7, MANY)]
    {
        let mut later = restarted(&registry, then, tcp());
        assert_eq!(later.unclaimed(None, usize::MAX).count(), expected);
        watch_all(&mut later, then);
        assert_eq!(later.counts(), [MANY - expected, expected, 0]);
    }
    // A check that looks once an hour has no older results to offer than its interval.
    let mut later = restarted(&registry, now + SECOND * 3000, Check { interval: SECOND * 3600, ..tcp() });
    watch_all(&mut later, now + SECOND * 3000);
    assert_eq!(later.counts(), [0, MANY, 0]);
}

#[test]
fn what_nobody_asks_for_is_forgotten_and_kept_for_another_restart_until_then() {
    let (registry, now) = settled(tcp());
    let mut later = restarted(&registry, now, tcp());
    assert_eq!(later.unclaimed(None, usize::MAX).count(), MANY);
    assert_eq!(later.on_reload(now, WALL, checks(&[])), []);
    assert_eq!(later.unclaimed(None, usize::MAX).count(), 0, "there is no such check any more");
    let mut later = restarted(&registry, now, tcp());
    let until = later.deadline().unwrap();
    assert_eq!(later.on_time(until, 1), []);
    assert_eq!((later.unclaimed(None, usize::MAX).count(), later.deadline()), (0, None));
}
