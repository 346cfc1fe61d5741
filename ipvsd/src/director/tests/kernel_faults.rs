//! Answers of the kernel that no test can make a real one give, and hands that are faster than ours.

use super::super::scene::{Scene, backend_with_port, key, server_address, service, settings, web};
use super::*;
use crate::health::Verdict::{Down, Unknown, Up};
use crate::service::VirtualService;

type Answer = fn(&Change) -> Option<Errno>;

fn refuse<const ERRNO: i32>(_: &Change) -> Option<Errno> {
    Some(Errno::from_raw(ERRNO))
}

/// What a kernel may answer to anything.
const ANSWERS: [(Errno, Answer); 8] = [
    (Errno::ENOMEM, refuse::<{ Errno::ENOMEM as i32 }>),
    (Errno::EBUSY, refuse::<{ Errno::EBUSY as i32 }>),
    (Errno::EEXIST, refuse::<{ Errno::EEXIST as i32 }>),
    (Errno::ESRCH, refuse::<{ Errno::ESRCH as i32 }>),
    (Errno::ENOENT, refuse::<{ Errno::ENOENT as i32 }>),
    (Errno::EINVAL, refuse::<{ Errno::EINVAL as i32 }>),
    (Errno::EPERM, refuse::<{ Errno::EPERM as i32 }>),
    (Errno::EOPNOTSUPP, refuse::<{ Errno::EOPNOTSUPP as i32 }>),
];

/// Services "web", "mail" and "old".
fn before() -> Scene {
    let old = service(52, &[101]);
    let mut scene = Scene::new(settings(&[
        ("web", service(50, &[101, 102, 103])),
        ("mail", service(51, &[101])),
        ("old", old),
    ]))
    .started();
    scene.answer(&[(101, Up), (102, Up), (103, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1), (103, 1)]);
    scene.applied.clear();
    scene.log.clear();
    scene
}

/// Every kind of change is wanted: a service new, changed and gone; a server new, changed and gone.
fn afterwards() -> Settings {
    let mut web = service(50, &[101, 102, 103, 104]);
    web.scheduler = "wlc".into();
    web.servers.get_mut(&backend_with_port(102)).unwrap().weight = 7;
    web.servers.get_mut(&backend_with_port(104)).unwrap().check = None;
    settings(&[("web", web), ("mail", service(51, &[101])), ("new", service(53, &[101]))])
}

fn change_everything(scene: &mut Scene) {
    scene.event(Event::Reloaded(afterwards()));
    scene.answer(&[(103, Down)]);
    scene.turn();
}

fn assert_everything_is_changed(scene: &Scene, what: &str) {
    assert_eq!(scene.weights(50), [(101, 1), (102, 7), (104, 1)], "{what}");
    assert_eq!(scene.table[&key(50)].service.scheduler, "wlc", "{what}");
    assert_eq!((scene.weights(51), scene.weights(53)), (vec![(101, 1)], vec![(101, 1)]), "{what}");
    assert_eq!(scene.table.len(), 3, "{what}");
    assert_eq!(scene.director.plan(), Ok(Vec::new()), "{what}");
    assert!(scene.director.refusals.is_empty(), "{what}: {:?}", scene.director.refusals);
    assert_eq!(scene.remembered, scene.table.keys().copied().collect(), "{what}");
}

#[test]
fn whatever_the_kernel_answers_to_everything_for_a_while_it_is_said_tried_with_measure_and_done_in_the_end() {
    for (errno, answer) in ANSWERS {
        let mut scene = before();
        scene.refuse = answer;
        change_everything(&mut scene);
        scene.pass(Duration::from_secs(60));
        assert_eq!(scene.applied, [], "{errno}");
        let said = scene.said("; trying again");
        assert!((1..=8).contains(&said), "{errno}: {said} lines in a minute: {:#?}", scene.log);
        // Seven changes, once a second, and once more where that only shows that the table was another one.
        assert!(scene.refused <= 7 * 62 * 2, "{errno}: tried {} times in a minute", scene.refused);
        assert!(!scene.director.plan().unwrap().is_empty(), "{errno}");
        assert!(!scene.director.refusals.is_empty(), "{errno}: no object says why");
        scene.refuse = |_| None;
        scene.pass(REFUSAL_RETRY + Duration::from_secs(2));
        assert_everything_is_changed(&scene, errno.desc());
    }
}

#[test]
fn one_change_that_the_kernel_refuses_holds_up_no_other() {
    let kinds: [Answer; 6] = [
        |change| matches!(change, Change::NewService { .. }).then_some(Errno::ENOMEM),
        |change| matches!(change, Change::SetService { .. }).then_some(Errno::EBUSY),
        |change| matches!(change, Change::DelService { .. }).then_some(Errno::EBUSY),
        |change| matches!(change, Change::NewServer { .. }).then_some(Errno::ENOMEM),
        |change| matches!(change, Change::SetServer { .. }).then_some(Errno::ENOMEM),
        |change| matches!(change, Change::DelServer { .. }).then_some(Errno::EBUSY),
    ];
    for (number, kind) in kinds.into_iter().enumerate() {
        let mut scene = before();
        scene.refuse = kind;
        change_everything(&mut scene);
        scene.pass(Duration::from_secs(3));
        let done: BTreeSet<usize> = scene.applied.iter().map(kind_of).collect();
        // A service that cannot be made gets no servers either, but those of others do.
        let others: BTreeSet<usize> = (0..6).filter(|other| *other != number).collect();
        assert_eq!(done, others, "kind {number}: {:#?}", scene.applied);
        scene.refuse = |_| None;
        scene.pass(REFUSAL_RETRY + Duration::from_secs(2));
        assert_everything_is_changed(&scene, &format!("kind {number}"));
    }
}

fn kind_of(change: &Change) -> usize {
    match change {
        Change::NewService { .. } => 0,
        Change::SetService { .. } => 1,
        Change::DelService { .. } => 2,
        Change::NewServer { .. } => 3,
        Change::SetServer { .. } => 4,
        Change::DelServer { .. } => 5,
    }
}

#[test]
fn a_batch_that_breaks_off_anywhere_is_finished_after_the_next_reading() {
    for after in 0..6 {
        let mut scene = before();
        scene.broken = Some((1, after));
        change_everything(&mut scene);
        scene.pass(Duration::from_secs(3));
        assert_everything_is_changed(&scene, &format!("broken off after {after}"));
        assert_eq!(scene.said("no buffer space; trying again"), 0, "once is no fault: {:#?}", scene.log);
        assert_eq!(scene.said("changed by others"), 0, "it was us: {:#?}", scene.log);
    }
}

#[test]
fn a_kernel_that_can_be_read_but_not_changed_is_said_once_and_used_as_soon_as_it_can() {
    let mut scene = before();
    scene.broken = Some((usize::MAX, 0));
    change_everything(&mut scene);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.said("no buffer space; trying again"), 1, "{:#?}", scene.log);
    assert_eq!(scene.said("can be used again"), 0);
    scene.broken = None;
    scene.pass(Duration::from_secs(2));
    assert_everything_is_changed(&scene, "afterwards");
    assert_eq!(scene.said("can be used again"), 1, "{:#?}", scene.log);
}

fn clear_if(is_time: bool, table: &mut Table) {
    if is_time {
        table.clear();
    }
}

#[test]
fn a_table_that_is_cleared_before_any_change_of_a_batch_is_put_right_within_a_second() {
    let meddlers: [fn(usize, &mut Table); 4] = [
        |number, table| clear_if(number == 0, table),
        |number, table| clear_if(number == 1, table),
        |number, table| clear_if(number == 3, table),
        // Each time a service of ours goes, and a server.
        |number, table| {
            if number % 2 == 0 {
                table.remove(&key(50));
            } else if let Some(entry) = table.get_mut(&key(51)) {
                Arc::make_mut(entry).servers.remove(&server_address(101));
            }
        },
    ];
    for (number, meddler) in meddlers.into_iter().enumerate() {
        let mut scene = before();
        (scene.meddle, scene.tried) = (meddler, 0);
        scene.event(Event::Reloaded(afterwards()));
        scene.meddle = |_, _| {};
        scene.answer(&[(103, Down)]);
        scene.turn();
        scene.pass(Duration::from_secs(1));
        assert_everything_is_changed(&scene, &format!("meddler {number}"));
        // Who is faster a second time as well is heard of.
        assert!(number == 3 || scene.said("the kernel refused") == 0, "{:#?}", scene.log);
        scene.applied.clear();
        scene.pass(Duration::from_secs(10));
        assert_eq!(scene.applied, [], "meddler {number}: it flaps");
    }
}

#[test]
fn readings_that_fail_every_other_time_lose_nothing() {
    let mut scene = Scene::new(web()).started();
    for round in 0..60 {
        scene.fault = (round % 2 == 0).then(|| Fault("cannot read the IPVS table: no buffer space".into()));
        scene.pass(Duration::from_secs(1));
        let verdicts = [(101, if round % 4 < 2 { Up } else { Down }), (102, Up)];
        scene.answer(&verdicts);
        scene.turn();
        if round % 8 == 5 {
            scene.table.clear();
        }
    }
    scene.fault = None;
    scene.pass(Duration::from_secs(3));
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(scene.director.plan(), Ok(Vec::new()));
}

#[test]
fn health_that_flips_a_thousand_times_costs_no_more_commands_than_flips_and_the_last_word_counts() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    for (on_failure, number) in [(OnFailure::Remove, 1000), (OnFailure::Inhibit, 1001)] {
        let mut changed: VirtualService = service(50, &[101, 102]);
        changed.servers.values_mut().for_each(|server| server.on_failure = on_failure);
        scene.event(Event::Reloaded(settings(&[("web", changed)])));
        scene.applied.clear();
        for flip in 0..number {
            scene.answer(&[(101, if flip % 2 == 0 { Down } else { Up })]);
            scene.pass(Duration::from_millis(1));
        }
        let said = scene.said("server 192.168.100.101:80 is");
        assert!(said <= 600, "{said} lines");
        scene.log.clear();
        assert!(scene.applied.len() <= number, "{} commands for {number} flips", scene.applied.len());
        let expected = if number % 2 == 0 { vec![(101, 1), (102, 1)] } else { vec![(101, 0), (102, 1)] };
        assert_eq!(scene.weights(50), expected);
        scene.applied.clear();
        scene.pass(Duration::from_secs(10));
        assert_eq!(scene.applied, []);
    }
}

#[test]
fn checkd_that_comes_and_goes_for_an_hour_changes_nothing() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Down)]);
    scene.turn();
    scene.applied.clear();
    for _ in 0..360 {
        scene.event(Event::SourceLost("checkd has left the bus".into()));
        scene.pass(Duration::from_secs(7));
        scene.answer(&[(101, Unknown), (102, Unknown)]);
        scene.pass(Duration::from_secs(2));
        scene.answer(&[(101, Up), (102, Down)]);
        scene.pass(Duration::from_secs(1));
    }
    assert_eq!(scene.applied, []);
    assert_eq!(scene.weights(50), [(101, 1)]);
}
