//! What is written down, and what happens when it cannot be read or written.

use super::super::scene::{Scene, backend_with_port, key, service, settings, table, web};
use super::super::*;
use super::orders::{both_up, connect};
use crate::health::Verdict::Up;
use crate::orders::{Command, Order};

const FULL: &str = "cannot write /var/lib/trivet/ipvsd/orders: No space left on device";
const SICK: &str = "cannot read /var/lib/trivet/ipvsd/orders: Input/output error";

fn disabled(server: u8) -> Orders {
    let order = Order {
        command: Command::Disable,
        author: "root".into(),
        reason: String::new(),
        since: 1,
        beneath: None,
        front: Some(key(50)),
    };
    Orders::from([((Arc::from("web"), backend_with_port(server)), order)])
}

fn with_orders(settings: Settings, orders: Orders) -> Scene {
    Scene::with_all(settings, Table::new(), BTreeSet::new(), orders)
}

#[test]
fn an_order_that_cannot_be_written_down_is_refused_with_the_reason_and_nothing_has_changed() {
    let mut scene = both_up();
    scene.order(102, Verb::SetWeight(7));
    let before = (scene.table.clone(), scene.director.orders.clone());
    scene.unwritable = Some(FULL);
    for verb in [
        Verb::Disable,
        Verb::Drain { within: Duration::from_secs(60) },
        Verb::SetWeight(3),
        Verb::Drain { within: Duration::ZERO },
    ] {
        let refusal = scene.try_order("web", "192.168.100.101:80", verb).unwrap_err();
        assert_eq!(refusal, format!("not done: {FULL}"));
    }
    for verb in [Verb::Clear, Verb::SetWeight(8)] {
        scene.try_order("web", "192.168.100.102:80", verb).unwrap_err();
    }
    scene.pass(Duration::from_secs(30));
    assert_eq!((scene.table.clone(), scene.director.orders.clone()), before);
    assert_eq!(scene.said(FULL), 1, "and is told once");
    assert!(scene.director.file_faults()[0].starts_with(FULL));
    scene.unwritable = None;
    scene.order(101, Verb::Disable);
    assert_eq!(scene.weights(50), [(102, 7)]);
    assert!(scene.director.file_faults().is_empty(), "all of it is written");
    assert_eq!(scene.director.take_refusal(), Ok(()), "an answer is given once");
}

#[test]
fn what_the_file_says_after_a_refused_order_is_made_certain() {
    let mut scene = both_up();
    scene.unwritable = Some(FULL);
    scene.try_order("web", "192.168.100.101:80", Verb::Disable).unwrap_err();
    // The name was in its place, and only the disk did not say so.
    scene.orders = disabled(101);
    scene.unwritable = None;
    scene.pass(Duration::from_secs(6));
    assert_eq!(scene.orders, Orders::new());
    assert!(scene.director.file_faults().is_empty());
    let writes = scene.writes;
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.writes, writes, "and then no more");
}

#[test]
fn a_drain_that_ended_and_cannot_be_written_down_is_written_later_and_a_fault_until_then() {
    let mut scene = both_up();
    connect(&mut scene, 101, 3);
    scene.order(101, Verb::Drain { within: Duration::from_secs(600) });
    connect(&mut scene, 101, 0);
    scene.unwritable = Some(FULL);
    let writes = scene.writes;
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.weights(50), [(102, 1)], "it is out of use all the same");
    assert!(matches!(scene.ordered(101).unwrap().command, Command::Drain { .. }), "as far as the file knows");
    assert!(scene.director.file_faults()[0].starts_with(FULL));
    let tries = scene.writes - writes;
    assert!((10..=14).contains(&tries), "{tries} tries in a minute");
    scene.unwritable = None;
    scene.pass(Duration::from_secs(6));
    assert_eq!(scene.ordered(101).unwrap().command, Command::Disable);
    assert!(scene.director.file_faults().is_empty());
    assert_eq!(scene.said("what operators ordered is written down again"), 1);
}

#[test]
fn a_file_that_cannot_be_read_refuses_orders_is_not_written_over_and_is_read_as_soon_as_it_can_be() {
    let mut scene = with_orders(web(), disabled(101));
    scene.unreadable = Some(SICK);
    let mut scene = scene.started();
    scene.answer(&[(101, Up), (102, Up)]);
    scene.turn();
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)], "forwarding goes on");
    for verb in [Verb::Disable, Verb::Clear, Verb::Enable] {
        let refusal = scene.try_order("web", "192.168.100.102:80", verb).unwrap_err();
        assert!(refusal.starts_with(SICK), "{refusal}");
    }
    scene.event(Event::Reloaded(web()));
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.said(SICK), 1, "told once");
    assert_eq!(scene.director.file_faults(), [format!("{SICK}; nothing can be ordered")]);
    assert_eq!(scene.orders, disabled(101));
    scene.unreadable = None;
    scene.pass(Duration::from_secs(6));
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert!(scene.director.file_faults().is_empty());
    scene.order(101, Verb::Enable);
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
}

#[test]
fn what_is_not_understood_in_the_file_is_a_fault_that_stays() {
    let strange = "/var/lib/trivet/ipvsd/orders: line 1 makes no sense; it orders nothing, and is kept";
    let mut scene = with_orders(web(), disabled(101));
    scene.strange = strange.into();
    let mut scene = scene.started();
    scene.order(102, Verb::SetWeight(2));
    scene.pass(Duration::from_secs(10));
    assert_eq!(scene.director.file_faults(), [strange]);
    assert_eq!(scene.said(strange), 1);
}

#[test]
fn a_disabled_server_does_not_come_back_for_a_moment_at_a_start() {
    let mut wide = service(50, &[101, 102]);
    wide.servers.values_mut().for_each(|server| server.check = None);
    let scene = with_orders(settings(&[("web", wide)]), disabled(101)).started();
    assert_eq!(scene.weights(50), [(102, 1)]);
    let is_101 = |change: &Change| matches!(change, Change::NewServer { address, .. } if *address == backend_with_port(101).behind(&key(50)));
    assert!(!scene.applied.iter().any(is_101), "{:?}", scene.applied);
}

#[test]
fn what_is_ours_and_cannot_be_written_down_is_tried_again_and_a_fault_until_then() {
    const FULL: &str = "cannot write /run/trivet/ipvsd/owned: No space left on device";
    let mut scene = Scene::new(web());
    scene.unwritable = Some(FULL);
    let mut scene = scene.started();
    assert!(scene.table.contains_key(&key(50)), "clients come first");
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.said(FULL), 1);
    assert!((10..=14).contains(&scene.writes), "{} tries in a minute", scene.writes);
    assert!(scene.director.file_faults()[0].contains("will stay in the kernel"));
    // Another set is tried at once.
    let both = settings(&[("web", service(50, &[101])), ("mail", service(51, &[103]))]);
    let writes = scene.writes;
    scene.event(Event::Reloaded(both.clone()));
    assert_eq!(scene.writes, writes + 1);
    scene.unwritable = None;
    scene.pass(Duration::from_secs(6));
    assert_eq!(scene.remembered, BTreeSet::from([key(50), key(51)]));
    assert!(scene.director.file_faults().is_empty());
    let writes = scene.writes;
    scene.pass(Duration::from_secs(60));
    assert_eq!(scene.writes, writes, "and then no more");
    // And it was worth it: the file is gone while ipvsd is down.
    let mut scene = scene.restarted(settings(&[("web", service(50, &[101]))]));
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.table.keys().collect::<Vec<_>>(), [&key(50)]);
}

#[test]
fn what_is_ours_as_it_is_written_down_is_no_fault_any_more() {
    let there = table(&[(50, "rr", &[])]);
    let mut scene = Scene::with_kernel(web(), there, BTreeSet::from([key(50)])).started();
    scene.unwritable = Some("cannot write it");
    let both = settings(&[("web", service(50, &[101, 102])), ("mail", service(51, &[103]))]);
    scene.event(Event::Reloaded(both));
    assert_eq!(scene.director.file_faults().len(), 1);
    scene.event(Event::Reloaded(web()));
    scene.pass(Duration::from_secs(1));
    assert_eq!(scene.director.file_faults(), <[String; 0]>::default());
}
