use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::Receiver;

use daemon::testing::TempRoot;

use super::super::file::tests::unattended;
use super::super::{File, parse};
use super::*;
use crate::check::Check;
use crate::probe::{Kind, Outcome, ping};
use crate::registry::{Action, Record, Watch};
use crate::schedule::TargetId;
use crate::target::WallClock;

fn clock() -> Clock {
    Clock::new().unwrap()
}

/// A registry with so many targets, each judged once, and the time after that.
fn registry(targets: usize) -> (Registry, Vec<TargetId>, Instant) {
    let mut registry = Registry::new(checks(Kind::Tcp), 1, clock().now());
    let name: Arc<str> = Arc::from("a");
    let keys = (0..targets).map(|number| {
        let [.., high, low] = number.to_be_bytes();
        (Arc::clone(&name), SocketAddr::from(([10, 0, high, low], 80)))
    });
    let mut watch = Watch::new(":1.1".to_owned(), keys.collect());
    while registry.on_watch(clock().now(), &mut watch, usize::MAX).is_none() {}
    let (mut ids, mut now) = (Vec::new(), clock().now());
    while ids.len() < targets {
        now = registry.deadline().unwrap().max(now);
        for action in registry.on_time(now, usize::MAX) {
            let Action::Start { id, .. } = action else { panic!("{action:?}") };
            judge(&mut registry, now, id, Outcome::Pass("connected".into()));
            ids.push(id);
        }
    }
    (registry, ids, now)
}

fn judge(registry: &mut Registry, now: Instant, id: TargetId, outcome: Outcome) {
    registry.on_outcome(now, WallClock(7), id, outcome).unwrap();
}

/// Probe this target again, and judge it so; the time after that.
fn judge_again(registry: &mut Registry, id: TargetId, outcome: &Outcome) -> Instant {
    loop {
        let now = registry.deadline().unwrap();
        for action in registry.on_time(now, 1) {
            let Action::Start { id: started, .. } = action else { panic!("{action:?}") };
            let same = if started == id { outcome.clone() } else { Outcome::Pass("connected".into()) };
            judge(registry, now, started, same);
            if started == id {
                return now;
            }
        }
    }
}

/// What the messages make of the file: the last one that is whole, and whether another one was begun after it.
fn written(messages: &Receiver<Message>) -> (Option<String>, bool) {
    let (mut growing, mut whole) = (None, None);
    for message in messages.try_iter() {
        match message {
            Message::Begin => growing = Some(String::new()),
            Message::Portion(text) => growing.as_mut().expect("begun").push_str(&text),
            Message::End => whole = growing.take(),
            Message::Flush(done) => drop(done.send(())),
        }
    }
    (whole, growing.is_some())
}

fn rows(text: &str) -> usize {
    parse(text.as_bytes(), &Timeline::new(clock(), clock().now())).unwrap().len()
}

/// Until nothing is to be done at `now`.
fn save(saver: &mut Saver, now: Instant, registry: &mut Registry) {
    while saver.deadline(now, registry).is_some_and(|at| at <= now) {
        saver.advance(now, registry, clock());
    }
}

#[test]
fn a_file_is_written_at_the_first_change_then_not_sooner_than_a_second_after_it() {
    let (mut registry, ids, now) = registry(1);
    let (writer, messages) = unattended();
    let mut saver = Saver::new(writer);
    assert_eq!(saver.deadline(now, &registry), Some(now), "at once");
    save(&mut saver, now, &mut registry);
    assert_eq!(written(&messages).0.map(|text| rows(&text)), Some(1));
    assert_eq!(saver.deadline(now, &registry), None, "nothing has changed");
    // The same again: what is written grows old.
    judge_again(&mut registry, ids[0], &Outcome::Pass("connected".into()));
    assert_eq!(saver.deadline(now, &registry), Some(now + REFRESH));
    // Another weight is a change, and so is another state.
    let later = judge_again(&mut registry, ids[0], &Outcome::PassWithWeight("busy".into(), 3));
    assert_eq!(saver.deadline(now, &registry), Some(now + GAP));
    save(&mut saver, later, &mut registry);
    assert_eq!(saver.deadline(later, &registry), None);
    let last = judge_again(&mut registry, ids[0], &Outcome::Fail("refused".into()));
    assert_eq!(saver.deadline(last, &registry), Some(later + REFRESH), "one failure changes no state");
    judge_again(&mut registry, ids[0], &Outcome::Fail("refused".into()));
    judge_again(&mut registry, ids[0], &Outcome::Fail("refused".into()));
    assert_eq!(saver.deadline(last, &registry), Some(later + GAP));
}

#[test]
fn thousands_of_targets_are_written_a_portion_a_turn_and_none_is_left_out() {
    let (mut registry, _, now) = registry(2 * ROOM + 1);
    let (writer, messages) = unattended();
    let mut saver = Saver::new(writer);
    let mut turns = 0;
    while saver.deadline(now, &registry).is_some_and(|at| at <= now) {
        saver.advance(now, &mut registry, clock());
        turns += 1;
    }
    assert_eq!(written(&messages).0.map(|text| rows(&text)), Some(2 * ROOM + 1));
    assert!(turns >= 5, "{turns} turns for a head, three portions and an end");
}

#[test]
fn a_writer_that_is_behind_loses_nothing_and_is_tried_again_soon() {
    let (mut registry, _, now) = registry(10 * ROOM);
    let (writer, messages) = unattended();
    let mut saver = Saver::new(writer);
    let mut now = now;
    let mut text = String::new();
    let mut waits = 0;
    while let Some(at) = saver.deadline(now, &registry) {
        if at > now {
            // Full: it takes the next one when there is room.
            assert_eq!(at, now + RETRY);
            waits += 1;
            now = at;
            for message in messages.try_iter().take(1) {
                if let Message::Portion(portion) = message {
                    text.push_str(&portion);
                }
            }
        }
        saver.advance(now, &mut registry, clock());
    }
    assert!(waits > 0, "the writer was never behind");
    for message in messages.try_iter() {
        if let Message::Portion(portion) = message {
            text.push_str(&portion);
        }
    }
    assert_eq!(rows(&text), 10 * ROOM);
}

#[test]
fn the_end_of_the_process_writes_all_of_it_wherever_it_was() {
    for turns in 0..4 {
        let root = TempRoot::new();
        let file = File::below(root.path());
        let (mut registry, _, now) = registry(2 * ROOM);
        let mut saver = Saver::new(Writer::start(file.clone()).unwrap());
        for _ in 0..turns {
            saver.advance(now, &mut registry, clock());
        }
        saver.finish(now, &registry, clock());
        let text = String::from_utf8(file.read().unwrap().expect("a file")).unwrap();
        assert_eq!(rows(&text), 2 * ROOM, "after {turns} turns");
    }
}

fn checks(kind: Kind) -> Checks {
    Checks::from([("a".to_owned(), Arc::new(Check::with_defaults(kind)))])
}

#[test]
fn what_nobody_asked_for_is_written_in_portions_and_under_the_check_as_it_is_now() {
    let root = TempRoot::new();
    let (clock, file) = (Clock::new().unwrap(), File::below(root.path()));
    let now = clock.now();
    let mut registry = Registry::new(checks(Kind::Tcp), 1, now);
    let record = |number: usize| {
        let address = format!("10.0.{}.{}:80", number / 256, number % 256).parse().unwrap();
        let fingerprint = registry.checks()["a"].fingerprint();
        let (reason, since) = (number.to_string(), WallClock(1));
        let memory =
            Memory { is_up: true, since, reason, judged: now, weight: None, provisional: false, held: None };
        Record { key: ("a".into(), address), fingerprint, memory }
    };
    let records: Vec<_> = (0..3 * ROOM + 7).map(record).collect();
    assert_eq!(registry.remember(now, records.clone()), records.len());
    let mut saver = Saver::new(Writer::start(file.clone()).unwrap());
    let read = || parse(&file.read().unwrap().unwrap(), &Timeline::new(clock, now)).unwrap();
    saver.finish(now, &registry, clock);
    let found = read();
    assert_eq!(found.len(), records.len());
    let reasons: std::collections::BTreeSet<_> = found.iter().map(|record| &record.memory.reason).collect();
    assert_eq!(reasons.len(), records.len());
    assert!(found.iter().all(|record| record.fingerprint == records[0].fingerprint));
    // A portion a turn: those of the head, of no targets, and of these.
    let _ = registry.on_reload(now, WallClock(1), checks(Kind::Ping(ping::Settings::default())));
    let mut turns = 0;
    while saver.deadline(now, &registry).is_some_and(|at| at <= now) || turns == 0 {
        saver.advance(now, &mut registry, clock);
        turns += 1;
    }
    assert!(turns >= 6, "{turns} turns");
    assert!(saver.writer.finish(saver.pending.drain(..).collect(), LAST));
    let found = read();
    assert_eq!(found.len(), records.len());
    assert!(found.iter().all(|record| record.fingerprint != records[0].fingerprint), "another check");
    assert!(found.iter().all(|record| record.memory.provisional));
}
