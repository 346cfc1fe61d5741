mod files;
mod kernel_faults;
mod moves;
mod orders;
mod random;
mod reading;
mod settings;
mod stands;

use super::scene::{Scene, backend_with_port, key, server_address, service, settings, table, web};
use super::table::REFUSAL_RETRY;
use super::*;
use crate::health::Answer;
use crate::health::Verdict::{Down, Unknown, Up};
use crate::service::OnFailure;

#[test]
fn a_fresh_start_makes_the_service_at_once_and_adds_servers_as_they_are_found_up() {
    let mut scene = Scene::new(web()).started();
    assert_eq!(scene.watched.len(), 2);
    assert!(scene.table.contains_key(&key(50)) && scene.weights(50).is_empty());
    scene.answer(&[(101, Up), (102, Unknown)]);
    assert!(scene.weights(50).is_empty(), "ups wait for the end of the turn");
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1)]);
    scene.answer(&[(102, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
}

#[test]
fn a_server_that_goes_down_leaves_the_table_at_once_and_comes_back_by_itself() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.weights(50), [(102, 1)], "downs do not wait");
    assert_eq!(
        scene.said("web: server 192.168.100.101:80 is down (http: connection refused), 1 of 2 in use"),
        1
    );
    scene.answer(&[(101, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(scene.said("is up"), 3);
}

#[test]
fn a_weight_that_the_check_gives_replaces_the_configured_one_for_as_long_as_it_gives_it() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    let answer = |verdict, weight| Answer {
        target: Target { check: "http".into(), address: server_address(101) },
        verdict,
        reason: "load 0.3".into(),
        since: 1,
        weight,
    };
    scene.event(Event::Answered(vec![answer(Up, Some(30))]));
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 30), (102, 1)]);
    scene.event(Event::Answered(vec![answer(Up, Some(0))]));
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)], "weight 0 drains it");
    scene.answer(&[(102, Down)]);
    assert_eq!(
        scene.said("is down (http: connection refused), 0 of 2 in use"),
        1,
        "it takes nobody's place: {:?}",
        scene.log
    );
    scene.answer(&[(102, Up)]);
    scene.turn();
    scene.event(Event::Answered(vec![answer(Up, None)]));
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
}

#[test]
fn an_inhibited_server_stays_with_weight_0() {
    let mut service = service(50, &[101, 102]);
    service.servers.values_mut().for_each(|server| server.on_failure = OnFailure::Inhibit);
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
}

#[test]
fn what_is_in_the_kernel_already_is_taken_over_without_a_single_change() {
    let found = table(&[(50, "rr", &[(101, 1), (102, 1)])]);
    let mut scene = Scene::with_kernel(web(), found, BTreeSet::new()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.applied, []);
    assert_eq!(scene.said("taken over"), 1);
    assert!(scene.remembered.contains(&key(50)));
}

#[test]
fn found_servers_keep_their_state_until_their_check_answers() {
    let found = table(&[(50, "rr", &[(101, 1), (102, 0), (103, 1)])]);
    let settings = settings(&[("web", service(50, &[101, 102, 104]))]);
    let mut scene = Scene::with_kernel(settings, found, BTreeSet::new()).started();
    assert_eq!(scene.weights(50), [(101, 1), (102, 0)], "103 is configured no more, 104 was not there");
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.weights(50), [(101, 1), (102, 0)], "one server is in use, so the others wait");
    scene.answer(&[(101, Down), (102, Up), (104, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(102, 1), (104, 1)]);
}

#[test]
fn checkd_gone_leaves_everything_as_it_is() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Down)]);
    scene.turn();
    scene.applied.clear();
    scene.event(Event::SourceLost("checkd has left the bus".into()));
    scene.pass(Duration::from_secs(3600));
    assert_eq!(scene.applied, []);
    assert_eq!(scene.weights(50), [(101, 1)]);
    let known = scene.director.known(&service(50, &[102]).servers[&backend_with_port(102)]);
    assert!(known.unwrap().stale);
    // It is back, knows nothing yet, then finds everything as it was.
    scene.answer(&[(101, Unknown), (102, Unknown)]);
    scene.pass(Duration::from_secs(60));
    scene.answer(&[(101, Up), (102, Down)]);
    scene.turn();
    assert_eq!(scene.applied, []);
}

#[test]
fn without_any_health_answer_servers_are_admitted_after_the_grace_time_with_a_warning() {
    let mut scene = Scene::new(web()).started();
    scene.pass(Duration::from_millis(9_900));
    assert!(scene.weights(50).is_empty());
    scene.pass(Duration::from_millis(200));
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(
        scene.said("web: no health answer for 10s (checkd was never heard), using 2 unknown server(s)"),
        1
    );
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.weights(50), [(102, 1)], "the first answer counts");
}

#[test]
fn unknown_servers_are_admitted_only_where_there_is_no_other() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up)]);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.weights(50), [(101, 1)]);
    scene.answer(&[(101, Down)]);
    scene.pass(Duration::from_secs(9));
    assert!(scene.weights(50).is_empty());
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn a_cleared_table_is_repaired_within_the_resync_interval_and_said_so_once_a_minute() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    for _ in 0..30 {
        scene.table.clear();
        scene.pass(Duration::from_secs(1));
        assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    }
    assert_eq!(
        scene.said("web: changed by others, repairing it: add service tcp 10.0.10.50:80 (rr), and 2 more"),
        1
    );
    assert_eq!(scene.director.repairs[&key(50)].count, 30);
    scene.pass(Duration::from_secs(60));
    scene.table.clear();
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.said("changed by others"), 2);
}

#[test]
fn what_others_did_to_our_service_is_undone_and_their_own_services_are_left_alone() {
    let found = table(&[(60, "lc", &[(101, 7)])]);
    let mut scene = Scene::with_kernel(web(), found.clone(), BTreeSet::new()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    let ours = Arc::make_mut(scene.table.get_mut(&key(50)).unwrap());
    ours.service.scheduler = "wlc".into();
    ours.servers.get_mut(&server_address(101)).unwrap().weight = 9;
    let stranger = ours.servers[&server_address(102)];
    ours.servers.insert(server_address(103), stranger);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(scene.table[&key(50)].service.scheduler, "rr");
    assert_eq!(scene.table[&key(60)], found[&key(60)]);
    assert!(scene.applied.iter().all(|change| change.key() != key(60)));
}

#[test]
fn a_service_whose_file_is_removed_leaves_the_kernel_and_is_forgotten() {
    let both = settings(&[("web", service(50, &[101])), ("mail", service(51, &[102]))]);
    let mut scene = Scene::new(both).started();
    scene.event(Event::Reloaded(web()));
    assert!(!scene.table.contains_key(&key(51)) && scene.table.contains_key(&key(50)));
    assert_eq!(scene.remembered, BTreeSet::from([key(50)]));
}

#[test]
fn a_service_whose_file_was_removed_while_we_were_away_is_removed_but_nothing_foreign_is() {
    let found = table(&[(50, "rr", &[(101, 1)]), (51, "rr", &[(102, 1)]), (52, "rr", &[(103, 1)])]);
    let scene = Scene::with_kernel(web(), found, BTreeSet::from([key(50), key(51), key(99)])).started();
    assert_eq!(scene.table.keys().copied().collect::<Vec<_>>(), [key(50), key(52)]);
    assert_eq!(scene.remembered, BTreeSet::from([key(50)]));
}

#[test]
fn a_reload_touches_only_what_differs() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.applied.clear();
    let mut changed = service(50, &[101, 102]);
    changed.servers.get_mut(&backend_with_port(102)).unwrap().weight = 5;
    scene.event(Event::Reloaded(settings(&[("renamed", changed)])));
    assert!(matches!(&scene.applied[..], [Change::SetServer { .. }]), "{:?}", scene.applied);
    assert_eq!(scene.weights(50), [(101, 1), (102, 5)]);
    scene.applied.clear();
    scene.event(Event::Reloaded(scene.director.settings.clone()));
    assert_eq!(scene.applied, []);
}

#[test]
fn a_server_whose_check_is_another_one_after_a_reload_stays_as_it_is_until_that_one_answers() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Down)]);
    scene.turn();
    scene.applied.clear();
    let mut changed = service(50, &[101, 102]);
    changed.servers.values_mut().for_each(|server| server.check = Some("tcp".into()));
    scene.event(Event::Reloaded(settings(&[("web", changed)])));
    assert_eq!(scene.watched.iter().map(|target| &*target.check).collect::<Vec<_>>(), ["tcp", "tcp"]);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.applied, []);
    assert_eq!(scene.weights(50), [(101, 1)]);
}

#[test]
fn a_kernel_without_ipvs_is_said_once_and_used_as_soon_as_it_has_it() {
    let mut scene = Scene::new(web());
    scene.fault = Some(Fault("the kernel has no IPVS: modprobe ip_vs".into()));
    let mut scene = scene.started();
    scene.answer(&[(101, Up)]);
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.said("the kernel has no IPVS: modprobe ip_vs; trying again"), 1);
    scene.fault = None;
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(101, 1)]);
    assert_eq!(scene.said("can be used again"), 1);
}

#[test]
fn an_unknown_scheduler_is_that_services_failure_and_not_tried_all_the_time() {
    let mut broken = service(51, &[103]);
    broken.scheduler = "fo".into();
    let mut scene = Scene::new(settings(&[("broken", broken), ("web", service(50, &[101]))]));
    scene.refuse = |change| {
        let refused = matches!(change, Change::NewService { service, .. } if service.scheduler == "fo");
        refused.then_some(Errno::ENOENT)
    };
    let mut scene = scene.started();
    scene.answer(&[(101, Up), (103, Up)]);
    scene.turn();
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.weights(50), [(101, 1)], "others are not held up");
    assert!((3..=8).contains(&scene.refused), "tried {} times in 30 s", scene.refused);
    let reason = "the kernel has no scheduler 'fo': modprobe ip_vs_fo";
    assert_eq!(scene.director.refusals[&key(51)].reason, reason);
    assert_eq!(scene.said(reason), 1);
    assert!(!scene.director.refusals.contains_key(&key(50)));
    scene.refuse = |_| None;
    scene.pass(REFUSAL_RETRY + Duration::from_secs(1));
    assert_eq!(scene.weights(51), [(103, 1)]);
    assert!(scene.director.refusals.is_empty());
}

#[test]
fn a_server_that_the_kernel_refuses_is_told_until_it_is_taken_whatever_becomes_of_the_others() {
    let mut scene = Scene::new(web());
    scene.refuse = |change| {
        let is_first = matches!(change, Change::NewServer { address, .. } if *address == server_address(101));
        is_first.then_some(Errno::EINVAL)
    };
    let mut scene = scene.started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    for verdict in [Down, Up] {
        scene.answer(&[(102, verdict)]);
        scene.turn();
        assert!(scene.director.refusals.contains_key(&key(50)));
    }
    assert_eq!(scene.said("has taken it"), 0);
    scene.refuse = |_| None;
    scene.pass(Duration::from_secs(2));
    assert!(scene.director.refusals.is_empty());
    assert_eq!(scene.said("has taken it"), 1);
}

#[test]
fn a_table_that_changes_under_our_hands_is_read_again_and_put_right_at_once() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    // Others are faster: what we are about to remove is gone, what we are about to add is there.
    let entry = Arc::make_mut(scene.table.get_mut(&key(50)).unwrap());
    let gone = entry.servers.remove(&server_address(101)).unwrap();
    entry.servers.insert(server_address(103), gone);
    let moved = settings(&[("web", service(50, &[102, 103]))]);
    scene.event(Event::Reloaded(moved));
    scene.answer(&[(103, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(102, 1), (103, 1)]);
    assert!(scene.director.refusals.is_empty(), "{:?}", scene.director.refusals);
    scene.applied.clear();
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.applied, []);
}

#[test]
fn a_change_that_the_kernel_always_refuses_does_not_make_the_director_spin() {
    let mut scene = Scene::new(web());
    scene.refuse = |change| matches!(change, Change::NewServer { .. }).then_some(Errno::EEXIST);
    let mut scene = scene.started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.said("the kernel refused to add server 192.168.100.101:80"), 1);
}

#[test]
fn the_plan_is_what_is_wanted_but_refused_and_empty_when_all_is_well() {
    let mut scene = Scene::new(web());
    assert!(scene.director.plan().is_err(), "nothing is known yet");
    scene.refuse = |change| matches!(change, Change::NewServer { .. }).then_some(Errno::EINVAL);
    let mut scene = scene.started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!(
        scene.director.plan().unwrap(),
        [
            "add server 192.168.100.101:80 (nat weight 1) to tcp 10.0.10.50:80",
            "add server 192.168.100.102:80 (nat weight 1) to tcp 10.0.10.50:80",
        ]
    );
    scene.refuse = |_| None;
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.director.plan().unwrap(), Vec::<String>::new());
}
