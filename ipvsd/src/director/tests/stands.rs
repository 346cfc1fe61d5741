//! Who answers a service's clients: its servers, the sorry server, or nobody.

use super::super::scene::{Scene, backend, key, service, settings, table, web};
use super::super::*;
use crate::health::Verdict::{Down, Up};
use crate::routers::Role;
use crate::service::{AllDown, Quorum, SorryServer, VirtualService};
use crate::table::Forward;

fn with_sorry() -> VirtualService {
    let mut service = service(50, &[101, 102, 103]);
    service.quorum = Quorum { weight: 2, hysteresis: 0 };
    service.sorry = Some(SorryServer { backend: backend(200), forward: Forward::Nat });
    service
}

#[test]
fn the_sorry_server_comes_when_the_quorum_is_lost_and_goes_when_it_is_back() {
    let mut scene = Scene::new(settings(&[("web", with_sorry())])).started();
    scene.answer(&[(101, Up), (102, Up), (103, Down)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    scene.answer(&[(102, Down)]);
    assert_eq!(scene.weights(50), [(200, 1)]);
    let text =
        "web: servers with a weight of 1 are usable, 2 are needed: the sorry server 192.168.100.200 answers";
    assert_eq!(scene.said(text), 1);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.said(text), 1);
    scene.answer(&[(103, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (103, 1)]);
    assert_eq!(scene.said("web: its servers answer again"), 1);
}

#[test]
fn a_restart_in_the_middle_of_a_quorums_hysteresis_changes_nothing() {
    let mut service = service(50, &[101, 102, 103]);
    service.quorum = Quorum { weight: 2, hysteresis: 1 };
    service.sorry = Some(SorryServer { backend: backend(200), forward: Forward::Nat });
    let settings = || settings(&[("web", service.clone())]);
    let mut scene = Scene::new(settings()).started();
    let states = [
        [Up, Up, Up],
        [Up, Up, Down],
        [Up, Down, Down],
        [Down, Down, Down],
        [Up, Down, Down],
        [Up, Up, Down],
    ];
    for [first, second, third] in states {
        scene.answer(&[(101, first), (102, second), (103, third)]);
        scene.turn();
        let before = scene.weights(50);
        scene = scene.restarted(settings());
        scene.answer(&[(101, first), (102, second), (103, third)]);
        scene.turn();
        assert_eq!((scene.weights(50), &scene.applied), (before, &Vec::new()));
    }
    assert_eq!(scene.weights(50), [(200, 1)], "two are not three");
}

#[test]
fn all_down_can_mean_that_the_checks_are_wrong() {
    let mut service = service(50, &[101, 102]);
    service.all_down = AllDown::Keep;
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.weights(50), [(102, 1)]);
    scene.answer(&[(102, Down)]);
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(scene.said("all servers are down; all are used all the same"), 1);
    scene.answer(&[(102, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn servers_that_are_admitted_from_the_start_do_not_wait_for_their_check() {
    let mut service = service(50, &[101]);
    service.servers.values_mut().for_each(|server| server.initially = crate::service::Initially::Admitted);
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    assert_eq!(scene.weights(50), [(101, 1)]);
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.weights(50), []);
}

#[test]
fn a_service_behind_several_addresses_is_the_same_at_each() {
    let mut service = service(50, &[101, 102]);
    service.fronts.push(key(51));
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!((scene.weights(50), scene.weights(51)), (vec![(101, 1), (102, 1)], vec![(101, 1), (102, 1)]));
    scene.answer(&[(101, Down)]);
    assert_eq!((scene.weights(50), scene.weights(51)), (vec![(102, 1)], vec![(102, 1)]));
    scene.event(Event::Reloaded(web()));
    assert!(!scene.table.contains_key(&key(51)));
}

#[test]
fn a_service_of_a_virtual_router_is_in_the_kernel_while_that_is_active_and_stays_while_it_is_unknown() {
    let mut service = service(50, &[101]);
    service.while_active = Some("gateway".into());
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    let is = |role| Event::Routers(BTreeMap::from([(Arc::from("gateway"), role)]));
    scene.answer(&[(101, Up)]);
    scene.turn();
    assert_eq!(scene.followed, BTreeSet::from([Arc::from("gateway")]));
    assert!(!scene.table.contains_key(&key(50)), "nobody said that it is Active");
    scene.event(is(Role::Active));
    assert_eq!(scene.weights(50), [(101, 1)]);
    scene.event(Event::Routers(BTreeMap::new()));
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.weights(50), [(101, 1)], "the bus is gone, which says nothing");
    scene.event(is(Role::Inactive));
    assert!(!scene.table.contains_key(&key(50)));
    scene.event(Event::Routers(BTreeMap::new()));
    scene.pass(Duration::from_secs(60));
    assert!(!scene.table.contains_key(&key(50)));
}

#[test]
fn exclusive_removes_what_is_not_configured_and_says_so() {
    let found = table(&[(60, "lc", &[(101, 7)])]);
    let settings = Settings { exclusive: true, ..web() };
    let mut scene = Scene::with_kernel(settings, found, BTreeSet::new()).started();
    assert!(!scene.table.contains_key(&key(60)) && scene.table.contains_key(&key(50)));
    assert_eq!(scene.said("tcp 10.0.10.60:80 is not configured, removing it (exclusive = true)"), 1);
    scene.table.extend(table(&[(61, "lc", &[])]));
    scene.pass(Duration::from_secs(1));
    assert!(!scene.table.contains_key(&key(61)));
    // Also where a reload makes it so.
    scene.event(Event::Reloaded(web()));
    scene.table.extend(table(&[(62, "lc", &[])]));
    scene.pass(Duration::from_secs(2));
    assert!(scene.table.contains_key(&key(62)));
    scene.event(Event::Reloaded(Settings { exclusive: true, ..web() }));
    assert!(!scene.table.contains_key(&key(62)));
    assert_eq!(scene.said("tcp 10.0.10.62:80 is not configured, removing it (exclusive = true)"), 1);
}

#[test]
fn one_server_of_many_services_costs_one_change() {
    let services: Vec<(String, VirtualService)> =
        (1..200).map(|number| (format!("web-{number}"), service(number, &[101, number]))).collect();
    let services: Vec<(&str, VirtualService)> =
        services.iter().map(|(name, service)| (name.as_str(), service.clone())).collect();
    let mut scene = Scene::new(settings(&services)).started();
    let ups: Vec<(u8, crate::health::Verdict)> = (1..200).map(|number| (number, Up)).collect();
    scene.answer(&ups);
    scene.turn();
    scene.applied.clear();
    scene.director.take_touched();
    scene.answer(&[(150, Down)]);
    assert_eq!(scene.applied.len(), 1, "{:?}", scene.applied);
    assert_eq!(scene.director.take_touched(), BTreeSet::from([Arc::from("web-150")]));
}

#[test]
fn a_vrrpd_that_comes_back_at_once_changes_nothing_and_one_that_does_not_is_not_active() {
    let mut service = service(50, &[101]);
    service.while_active = Some("gateway".into());
    let mut scene = Scene::new(settings(&[("web", service)])).started();
    scene.answer(&[(101, Up)]);
    let is = |role| Event::Routers(BTreeMap::from([(Arc::from("gateway"), role)]));
    scene.event(is(Role::Active));
    scene.applied.clear();
    for _ in 0..3 {
        scene.event(is(Role::Absent));
        scene.pass(Duration::from_secs(20));
        scene.event(is(Role::Active));
    }
    assert_eq!(scene.applied, []);
    scene.event(is(Role::Absent));
    scene.pass(Duration::from_secs(31));
    assert!(!scene.table.contains_key(&key(50)));
    assert_eq!(scene.said("vrrpd has not been on the bus for 30s"), 1);
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.said("vrrpd has not been on the bus"), 1);
    scene.event(is(Role::Active));
    assert_eq!(scene.weights(50), [(101, 1)]);
}

#[test]
fn a_restart_changes_no_weight_and_brings_no_dead_server_back_before_its_check_has_answered() {
    let mut service = service(50, &[101, 102]);
    service.servers.values_mut().for_each(|server| server.initially = crate::service::Initially::Admitted);
    let configured = || settings(&[("web", service.clone())]);
    let mut scene = Scene::new(configured()).started();
    let weighed = Answer {
        target: scene.watched[0].clone(),
        verdict: Up,
        reason: "load 0.3".into(),
        since: 1,
        weight: Some(40),
    };
    scene.event(Event::Answered(vec![weighed]));
    scene.answer(&[(102, Down)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 40)]);
    let mut scene = scene.restarted(configured());
    scene.pass(Duration::from_secs(60));
    assert_eq!((scene.weights(50), &scene.applied), (vec![(101, 40)], &Vec::new()));
}

#[test]
fn a_server_that_starts_slowly_goes_on_from_where_it_was_after_a_restart() {
    let mut slow = service(50, &[101, 102]);
    slow.slow_start = Duration::from_secs(20);
    slow.servers.values_mut().for_each(|server| server.weight = 100);
    let settings = || settings(&[("web", slow.clone())]);
    let mut scene = Scene::new(settings()).started();
    scene.answer(&[(101, Up), (102, Down)]);
    scene.turn();
    scene.answer(&[(102, Up)]);
    scene.turn();
    scene.pass(Duration::from_secs(10));
    let before = scene.weights(50);
    assert!((40..60).contains(&before[1].1), "{before:?}");
    let mut scene = scene.restarted(settings());
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    let after = scene.weights(50);
    assert!(after[0] == (101, 100) && (40..60).contains(&after[1].1), "{after:?}");
    scene.pass(Duration::from_secs(11));
    assert_eq!(scene.weights(50), [(101, 100), (102, 100)]);
}

#[test]
fn a_service_of_a_router_that_nothing_is_known_of_is_repaired_if_it_was_there() {
    let mut bound = service(50, &[101]);
    bound.while_active = Some("gateway".into());
    let mut scene = Scene::new(settings(&[("web", bound)])).started();
    scene.event(Event::Routers(BTreeMap::from([(Arc::from("gateway"), Role::Active)])));
    scene.answer(&[(101, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1)]);
    scene.event(Event::Routers(BTreeMap::new()));
    scene.table.clear();
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(101, 1)]);
    assert_eq!(scene.said("changed by others"), 1);
}
