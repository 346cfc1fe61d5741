//! What operators order.

use super::super::scene::{Scene, backend_with_port, key, server_address, service, settings, web};
use super::super::*;
use crate::health::Verdict::{Down, Up};
use crate::orders::Command;
use crate::service::Backend;
use crate::table::Connections;

pub(super) fn both_up() -> Scene {
    let mut scene = Scene::new(web()).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene
}

pub(super) fn connect(scene: &mut Scene, server: u8, active: u32) {
    let counts = Connections { active, ..Connections::default() };
    scene.connections.insert((key(50), server_address(server)), counts);
}

#[test]
fn a_weight_that_is_ordered_outlives_reload_and_restart_until_it_is_cleared() {
    let mut scene = both_up();
    scene.order(101, Verb::SetWeight(7));
    assert_eq!(scene.weights(50), [(101, 7), (102, 1)]);
    assert_eq!(scene.said("web: server 192.168.100.101:80: weight 7 by alice (uid 1000): its disk"), 1);
    scene.event(Event::Reloaded(web()));
    assert_eq!(scene.weights(50), [(101, 7), (102, 1)]);
    let mut scene = scene.restarted(web());
    assert_eq!(scene.weights(50), [(101, 7), (102, 1)]);
    assert_eq!(scene.applied, []);
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.order(101, Verb::Enable);
    assert_eq!(scene.weights(50), [(101, 7), (102, 1)], "that is about Drain and Disable");
    scene.order(101, Verb::Clear);
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    assert_eq!(scene.ordered(101), None);
}

#[test]
fn a_disabled_server_is_out_at_once_whatever_its_check_says_and_comes_back_when_enabled() {
    let mut scene = both_up();
    scene.order(101, Verb::Disable);
    assert_eq!(scene.weights(50), [(102, 1)]);
    scene.answer(&[(101, Down)]);
    scene.answer(&[(101, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(102, 1)]);
    scene.order(101, Verb::Enable);
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
}

#[test]
fn a_drained_server_gets_no_new_connections_and_goes_when_it_has_none_left() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.pass(Duration::from_secs(1));
    scene.order(101, Verb::Drain { within: Duration::from_secs(600) });
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_secs(30));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    connect(&mut scene, 101, 0);
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert_eq!(scene.said("web: server 192.168.100.101:80 is drained, out of use"), 1);
    let order = scene.ordered(101).unwrap();
    assert_eq!((order.command, order.reason.as_str()), (Command::Disable, "its disk"));
}

#[test]
fn a_drain_ends_at_its_deadline_and_says_what_was_left() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    scene.pass(Duration::from_millis(59_900));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_millis(200));
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert_eq!(scene.said("its time to drain is over, out of use; 3 connections were left"), 1);
}

#[test]
fn what_was_read_before_a_drain_says_nothing_about_what_is_left_after_it() {
    let mut scene = both_up();
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)], "the reading of a second ago knows of none");
    connect(&mut scene, 101, 1);
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
}

#[test]
fn a_drains_deadline_is_kept_over_a_restart() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    scene.pass(Duration::from_secs(30));
    let mut scene = scene.restarted(web());
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!(scene.applied, []);
    scene.pass(Duration::from_secs(29));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn an_order_for_what_there_is_not_changes_nothing_and_says_what_there_is() {
    let mut scene = both_up();
    let mut order = |service: &str, server: &str| {
        let request = Request {
            service: service.into(),
            server: server.into(),
            verb: Verb::Disable,
            author: "root".into(),
            reason: String::new(),
        };
        scene.director.order(scene.at(), &request).map(drop)
    };
    assert_eq!(order("mail", "192.168.100.101:80").unwrap_err(), "there is no service 'mail'");
    let error = order("web", "192.168.100.109:80").unwrap_err();
    assert!(error.contains("its servers are 192.168.100.101:80, 192.168.100.102:80"), "{error}");
    assert!(order("web", "web1").unwrap_err().contains("'web1' is not an address"));
    assert!(order("web", "192.168.100.101").is_ok(), "its port is clear");
}

#[test]
fn a_server_that_comes_back_gets_its_weight_step_by_step() {
    let mut slow = service(50, &[101, 102]);
    slow.slow_start = Duration::from_secs(10);
    slow.servers.values_mut().for_each(|server| server.weight = 100);
    let mut scene = Scene::new(settings(&[("web", slow)])).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 100), (102, 100)], "the first time is no return");
    scene.answer(&[(101, Down)]);
    scene.pass(Duration::from_secs(5));
    scene.answer(&[(101, Up)]);
    scene.turn();
    let mut weights = Vec::new();
    for _ in 0..12 {
        weights.push(scene.weights(50)[0].1);
        scene.pass(Duration::from_secs(1));
    }
    assert!(weights.windows(2).all(|pair| pair[0] <= pair[1]), "{weights:?}");
    assert!(weights[0] <= 10 && weights[5] < 60 && weights[9] < 100, "{weights:?}");
    assert_eq!(weights[10], 100, "{weights:?}");
    assert_eq!(scene.weights(50), [(101, 100), (102, 100)]);
    let changes = scene.applied.len();
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.applied.len(), changes, "and then no more");
}

#[test]
fn a_server_that_starts_slowly_and_fails_begins_anew() {
    let mut slow = service(50, &[101, 102]);
    slow.slow_start = Duration::from_secs(10);
    slow.servers.get_mut(&backend_with_port(101)).unwrap().weight = 100;
    let mut scene = Scene::new(settings(&[("web", slow)])).started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    for _ in 0..3 {
        scene.answer(&[(101, Down)]);
        assert_eq!(scene.weights(50), [(102, 1)]);
        scene.answer(&[(101, Up)]);
        scene.turn();
        assert!(scene.weights(50)[0].1 <= 10);
        scene.pass(Duration::from_secs(9));
        assert!(scene.weights(50)[0].1 > 50);
    }
}

#[test]
fn a_reading_that_failed_says_nothing_about_what_is_left_to_drain() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::from_secs(600) });
    scene.pass(Duration::from_secs(2));
    scene.fault = Some(Fault("out of memory".into()));
    scene.pass(Duration::from_secs(2));
    scene.answer(&[(102, Down)]);
    scene.fault = None;
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.weights(50), [(101, 0)], "its three connections are there");
}

#[test]
fn a_weight_does_not_bring_a_server_back_that_is_out_of_use() {
    let mut scene = both_up();
    scene.order(101, Verb::Disable);
    let request = Request {
        service: "web".into(),
        server: server_address(101).to_string(),
        verb: Verb::SetWeight(5),
        author: "root".into(),
        reason: String::new(),
    };
    let error = scene.director.order(scene.at(), &request).unwrap_err();
    let expected = "server 192.168.100.101:80 is out of use by order of alice (uid 1000): Enable it first, or ClearOverride";
    assert_eq!(error, expected);
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn enable_brings_back_the_weight_that_was_ordered_before_and_clear_ends_all() {
    for stop in [Verb::Disable, Verb::Drain { within: Duration::from_secs(60) }] {
        let mut scene = both_up();
        connect(&mut scene, 101, 1);
        scene.order(101, Verb::SetWeight(7));
        let weight = scene.ordered(101).unwrap().clone();
        scene.pass(Duration::from_secs(5));
        let as_bob = |scene: &mut Scene, verb| {
            let (author, reason) = ("bob".into(), "his turn".into());
            let server = server_address(101).to_string();
            let request = Request { service: "web".into(), server, verb, author, reason };
            let actions = scene.director.order(scene.at(), &request).unwrap();
            scene.perform(actions);
        };
        as_bob(&mut scene, stop);
        // One stop takes the place of another, and the weight stays beneath.
        as_bob(&mut scene, Verb::Drain { within: Duration::from_secs(30) });
        as_bob(&mut scene, Verb::Disable);
        as_bob(&mut scene, stop);
        assert_eq!(scene.ordered(101).unwrap().beneath.as_deref(), Some(&weight));
        let mut scene = scene.restarted(web());
        scene.answer(&[(101, Up), (102, Up)]);
        scene.turn();
        scene.pass(Duration::from_secs(70));
        assert_eq!(scene.weights(50), [(102, 1)], "drained by its deadline at the latest");
        as_bob(&mut scene, Verb::Enable);
        assert_eq!(scene.weights(50), [(101, 7), (102, 1)]);
        assert_eq!(scene.ordered(101), Some(&weight), "with its author, reason and time");
        assert_eq!(scene.said("cleared by bob; again weight 7 by alice (uid 1000): its disk"), 1);
        as_bob(&mut scene, Verb::Disable);
        as_bob(&mut scene, Verb::Clear);
        assert_eq!((scene.weights(50), scene.ordered(101)), (vec![(101, 1), (102, 1)], None));
    }
}

#[test]
fn a_server_that_drains_already_gets_the_new_deadline_from_now_on() {
    for (second, ends) in [(10, 10), (600, 600)] {
        let mut scene = both_up();
        connect(&mut scene, 101, 1);
        scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
        scene.pass(Duration::from_secs(30));
        scene.order(101, Verb::Drain { within: Duration::from_secs(second) });
        scene.pass(Duration::from_secs(ends - 1));
        assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
        scene.pass(Duration::from_secs(2));
        assert_eq!(scene.weights(50), [(102, 1)]);
    }
}

#[test]
fn a_drain_without_time_is_a_disable() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::ZERO });
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert_eq!(scene.ordered(101).unwrap().command, Command::Disable);
    assert_eq!(scene.writes, 2, "what is ours, and the order, once");
}

#[test]
fn a_server_of_weight_0_is_drained_like_any_other_and_comes_back_with_weight_0() {
    let mut scene = both_up();
    connect(&mut scene, 101, 1);
    scene.order(101, Verb::SetWeight(0));
    scene.order(101, Verb::Drain { within: Duration::from_secs(600) });
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    connect(&mut scene, 101, 0);
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
    scene.order(101, Verb::Enable);
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
}

#[test]
fn a_drain_of_a_disabled_server_lets_what_is_left_of_its_connections_end() {
    let mut scene = both_up();
    connect(&mut scene, 101, 1);
    scene.order(101, Verb::Disable);
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    connect(&mut scene, 101, 0);
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn a_weight_for_a_server_that_drains_is_refused_and_says_by_whose_order() {
    let mut scene = both_up();
    connect(&mut scene, 101, 1);
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    let refusal = scene.try_order("web", "192.168.100.101:80", Verb::SetWeight(5)).unwrap_err();
    let expected = "server 192.168.100.101:80 is draining by order of alice (uid 1000): Enable it first, or ClearOverride";
    assert_eq!(refusal, expected);
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
}

#[test]
fn an_order_is_taken_while_the_kernel_cannot_be_read_and_done_when_it_can() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.fault = Some(Fault("out of memory".into()));
    scene.pass(Duration::from_secs(5));
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    scene.order(102, Verb::SetWeight(9));
    scene.pass(Duration::from_secs(61));
    assert_eq!(
        scene.said("its time to drain is over, out of use; how many connections were left is not known"),
        1
    );
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    scene.fault = None;
    scene.pass(Duration::from_secs(5));
    assert_eq!(scene.weights(50), [(102, 9)]);
}

#[test]
fn a_drain_on_a_service_that_stands_by_waits_for_its_deadline_since_connections_come_with_a_failover() {
    let mut bound = service(50, &[101, 102]);
    bound.while_active = Some("gateway".into());
    let mut scene = Scene::new(settings(&[("web", bound)])).started();
    let router = |active| {
        let role = if active { Role::Active } else { Role::Inactive };
        Event::Routers(BTreeMap::from([(Arc::from("gateway"), role)]))
    };
    scene.event(router(false));
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    scene.order(102, Verb::SetWeight(4));
    scene.pass(Duration::from_secs(30));
    assert!(scene.table.is_empty());
    assert!(matches!(scene.ordered(101).unwrap().command, Command::Drain { .. }));
    connect(&mut scene, 101, 2);
    scene.event(router(true));
    assert_eq!(scene.weights(50), [(101, 0), (102, 4)]);
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.weights(50), [(101, 0), (102, 4)]);
    scene.pass(Duration::from_secs(20));
    assert_eq!(scene.weights(50), [(102, 4)]);
}

#[test]
fn there_are_no_orders_about_a_sorry_server() {
    let mut sorry = service(50, &[101]);
    let server = crate::service::SorryServer {
        backend: Backend { port: Some(80), ..backend_with_port(109) },
        forward: crate::table::Forward::Nat,
    };
    sorry.sorry = Some(server);
    let mut scene = Scene::new(settings(&[("web", sorry)])).started();
    for server in ["192.168.100.109:80", "192.168.100.109"] {
        for verb in [Verb::Disable, Verb::SetWeight(5), Verb::Clear] {
            let refusal = scene.try_order("web", server, verb).unwrap_err();
            let expected = format!("'{server}' is the sorry server of 'web': there are no orders about it");
            assert_eq!(refusal, expected);
        }
    }
    assert!(
        scene.try_order("web", "192.168.100.109:81", Verb::Disable).unwrap_err().contains("its servers are")
    );
}

#[test]
fn a_step_of_the_clock_neither_ends_a_drain_nor_makes_it_last() {
    const YEARS: i64 = 50 * 365 * 86_400_000_000;
    for step in [YEARS, -YEARS, 3_600_000_000, -3_600_000_000] {
        let mut scene = both_up();
        connect(&mut scene, 101, 3);
        scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
        scene.pass(Duration::from_secs(30));
        scene.step = step;
        scene.answer(&[(102, Down)]);
        scene.answer(&[(102, Up)]);
        scene.turn();
        scene.pass(Duration::from_secs(29));
        assert_eq!(scene.weights(50), [(101, 0), (102, 1)], "{step}");
        scene.pass(Duration::from_secs(2));
        assert_eq!(scene.weights(50), [(102, 1)], "{step}");
    }
}

#[test]
fn a_drain_is_found_to_be_empty_whatever_the_clock_was_set_to() {
    for step in [-3_600_000_000, 3_600_000_000] {
        let mut scene = both_up();
        connect(&mut scene, 101, 3);
        scene.order(101, Verb::Drain { within: Duration::from_secs(600) });
        scene.step = step;
        connect(&mut scene, 101, 0);
        scene.pass(Duration::from_secs(2));
        assert_eq!(scene.weights(50), [(102, 1)]);
    }
}

#[test]
fn after_a_restart_with_a_wrong_clock_a_drain_lasts_no_longer_than_it_was_ordered_for() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::from_secs(60) });
    let mut scene = scene.restarted_at(web(), -1_600_000_000_000_000);
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    scene.pass(Duration::from_secs(59));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
}

#[test]
fn a_reason_is_one_line_of_bounded_length() {
    let mut scene = both_up();
    let reason = format!("a\nb\t{}", "x".repeat(1000));
    let (service, server) = ("web".into(), "192.168.100.101:80".into());
    let request = Request { service, server, verb: Verb::Disable, author: "root".into(), reason };
    let actions = scene.director.order(scene.at(), &request).unwrap();
    scene.perform(actions);
    let kept = &scene.ordered(101).unwrap().reason;
    assert!(kept.starts_with("a b x") && kept.len() == 256, "{kept}");
}
