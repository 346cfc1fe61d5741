//! When the kernel is read and how far it is believed, in which order it takes servers back, and what all of it costs.

use super::super::scene::{Scene, key, service, settings, table, web};
use super::super::*;
use crate::health::Answer;
use crate::health::Verdict::{Down, Up};

#[test]
fn a_table_that_takes_long_to_read_is_read_less_often() {
    let mut scene = Scene::new(web()).started();
    scene.pass(Duration::from_secs(10));
    let (whole, lists, servers) = scene.readings;
    assert_eq!((whole, lists, servers), (1, 10, 10), "the list and the servers at each interval");
    scene.took = Duration::from_secs(2);
    scene.pass(Duration::from_secs(40));
    let more = (scene.readings.1 - lists, scene.readings.2 - servers);
    assert!(more.0 <= 3 && more.1 <= 3, "{more:?}");
}

#[test]
fn a_single_failure_of_the_kernel_is_not_believed_and_nothing_is_changed_until_it_answers() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.applied.clear();
    scene.fault = Some(Fault("no memory".into()));
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.director.fault(), Err("no memory".into()));
    assert!(matches!(scene.director.kernel, Kernel::Read(_)), "as far as we know it is as it was");
    scene.answer(&[(101, Down)]);
    assert_eq!(scene.applied, []);
    scene.fault = None;
    scene.pass(Duration::from_millis(200));
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert_eq!(scene.said("no memory; trying again"), 0);
    scene.fault = Some(Fault("no memory".into()));
    scene.pass(Duration::from_secs(2));
    assert!(matches!(scene.director.kernel, Kernel::Fault(_)), "the second failure is believed");
    assert_eq!(scene.said("no memory; trying again"), 1);
}

/// So many servers of one service, all of which the check calls this.
fn crowd(service: u8, verdict: crate::health::Verdict) -> Vec<Answer> {
    let target = |port| {
        let address = std::net::SocketAddr::from(([10, 0, 0, service], port));
        Target { check: "http".into(), address }
    };
    let answer = |port| Answer { target: target(port), verdict, reason: "".into(), since: 1, weight: None };
    (1..=6_000).map(answer).collect()
}

fn crowded(number: u8) -> crate::service::VirtualService {
    let mut crowded = service(number, &[1]);
    let (_, like) = crowded.servers.pop_first().unwrap();
    for answer in crowd(number, Up) {
        let address = answer.target.address;
        let backend = crate::service::Backend { ip: address.ip(), port: Some(address.port()) };
        crowded.servers.insert(backend, crate::service::RealServer { target: address, ..like.clone() });
    }
    crowded
}

#[test]
fn a_crowd_that_returns_is_waited_for_where_the_kernel_keeps_many_deleted_servers_and_nowhere_else() {
    let both = settings(&[("mail", crowded(51)), ("web", crowded(50))]);
    let mut scene = Scene::new(both).started();
    let servers = |scene: &Scene| [50, 51].map(|number| scene.table[&key(number)].servers.len());
    let turn = |scene: &mut Scene, number, verdict| {
        scene.event(Event::Answered(crowd(number, verdict)));
        scene.turn();
    };
    turn(&mut scene, 50, Up);
    turn(&mut scene, 51, Up);
    assert_eq!(servers(&scene), [6_000, 6_000], "there is nothing to look through");
    turn(&mut scene, 50, Down);
    turn(&mut scene, 51, Down);
    assert_eq!(servers(&scene), [0, 0]);
    turn(&mut scene, 50, Up);
    scene.pass(Duration::from_millis(400));
    assert_eq!(servers(&scene), [0, 0], "more may come");
    turn(&mut scene, 51, Up);
    scene.applied.clear();
    scene.pass(Duration::from_millis(600));
    assert_eq!(servers(&scene), [6_000, 6_000]);
    assert_eq!(scene.applied[0].key(), key(51), "the last one that went is the first one that returns");
    // A single one does not wait.
    scene.event(Event::Answered(crowd(50, Down)));
    scene.event(Event::Answered(crowd(50, Up)[..1].to_vec()));
    scene.turn();
    assert_eq!(servers(&scene), [1, 6_000]);
}

#[test]
fn servers_return_in_the_opposite_order_to_that_in_which_their_services_lost_them() {
    let both = settings(&[("mail", service(51, &[102])), ("web", service(50, &[101]))]);
    let mut scene = Scene::new(both).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    for (first, last) in [(101, 102), (102, 101)] {
        scene.answer(&[(first, Down)]);
        scene.answer(&[(last, Down)]);
        scene.applied.clear();
        scene.answer(&[(101, Up), (102, Up)]);
        scene.turn();
        let added: Vec<_> = scene.applied.iter().map(Change::key).collect();
        let wanted = if last == 101 { [key(50), key(51)] } else { [key(51), key(50)] };
        assert_eq!(added, wanted, "the last one that went is the first one that returns");
    }
}

#[test]
fn a_service_that_others_had_before_it_was_ours_is_taken_over_with_its_servers_at_a_reload() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    // Made by others while we look on.
    scene.table.extend(table(&[(51, "rr", &[(101, 1), (102, 0)])]));
    scene.pass(Duration::from_secs(2));
    scene.applied.clear();
    let mut mail = service(51, &[101, 102]);
    mail.servers.values_mut().for_each(|server| server.check = Some("tcp".into()));
    scene.event(Event::Reloaded(settings(&[("web", service(50, &[101, 102])), ("mail", mail)])));
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.applied, [], "their check has not answered: they stay as they were found");
    assert_eq!(scene.weights(51), [(101, 1), (102, 0)]);
    assert_eq!(scene.said("changed by others"), 0);
}

#[test]
fn a_reload_that_changes_nothing_reads_no_server_and_sends_nothing() {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.applied.clear();
    let before = scene.readings;
    scene.event(Event::Reloaded(scene.director.settings.clone()));
    assert_eq!(
        (scene.readings, &scene.applied[..]),
        (before, &[][..]),
        "the kernel is looked at soon, but later"
    );
    scene.turn();
    assert_eq!(scene.readings.1, before.1 + 1);
}

/// Prints figures: `cargo test --release -p ipvsd --lib -- --ignored --nocapture what_the_director_costs`.
#[test]
#[ignore = "a measurement"]
fn what_the_director_costs() {
    let like = service(1, &[1]).servers.pop_first().unwrap().1;
    let address = |first: u8, number: u32| {
        let [_, a, b, c] = number.to_be_bytes();
        std::net::SocketAddr::from(([first, a, b, c], 80))
    };
    let one = |number: u32| {
        let mut one = service(1, &[]);
        let address_of = address(10, number);
        one.fronts = vec![ServiceKey::Address { protocol: crate::table::Protocol::Tcp, address: address_of }];
        for server in number * 16..(number + 1) * 16 {
            let target = address(11, server);
            let backend = crate::service::Backend { ip: target.ip(), port: Some(80) };
            one.servers.insert(backend, crate::service::RealServer { target, ..like.clone() });
        }
        (Arc::from(format!("service-{number:04}").as_str()), Arc::new(one))
    };
    let configured = Settings { services: (0..2_277).map(one).collect(), ..Settings::default() };
    let mut scene = Scene::new(configured.clone());
    let clock = ::daemon::event_loop::Clock::new().unwrap();
    let mut status = crate::status::Status::default();
    let mut timed = |what: &str, scene: &mut Scene, act: &mut dyn FnMut(&mut Scene)| {
        let began = clock.now();
        act(scene);
        let acted = clock.now();
        status.update(&mut scene.director, scene.now);
        println!("{what}: {:?}, shown {:?}", acted - began, clock.now() - acted);
        scene.applied.clear();
    };
    let all = |verdict| {
        let target = |server| Target { check: "http".into(), address: address(11, server) };
        let answer =
            |server| Answer { target: target(server), verdict, reason: "".into(), since: 1, weight: None };
        (0..2_277 * 16).map(answer).collect::<Vec<_>>()
    };
    timed("start", &mut scene, &mut |scene| scene.event(Event::Started));
    timed("all up", &mut scene, &mut |scene| {
        scene.event(Event::Answered(all(Up)));
        scene.turn();
    });
    timed("the same again", &mut scene, &mut |scene| scene.event(Event::Answered(all(Up))));
    timed("reload of nothing", &mut scene, &mut |scene| {
        scene.event(Event::Reloaded(configured.clone()));
    });
    timed("a round", &mut scene, &mut |scene| scene.pass(Duration::from_secs(2)));
    timed("all down", &mut scene, &mut |scene| scene.event(Event::Answered(all(Down))));
    timed("all up", &mut scene, &mut |scene| {
        scene.event(Event::Answered(all(Up)));
        scene.pass(Duration::from_millis(600));
    });
    timed("cleared", &mut scene, &mut |scene| {
        scene.table.clear();
        scene.pass(Duration::from_secs(1));
    });
}
