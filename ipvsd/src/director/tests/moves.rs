//! Orders when what they are about is configured otherwise, or not at all.

use super::super::scene::{Scene, backend, backend_with_port, key, service, settings};
use super::super::*;
use crate::orders::{Command, parse_backend};
use crate::service::VirtualService;
use crate::table::Connections;

fn unchecked(front: u8, servers: &[&str]) -> VirtualService {
    let mut made = service(front, &[101]);
    let mut server = made.servers[&backend_with_port(101)].clone();
    server.check = None;
    let address = |text: &&str| parse_backend(text).unwrap();
    made.servers = servers.iter().map(|text| (address(text), server.clone())).collect();
    made
}

fn one(name: &str, front: u8, servers: &[&str]) -> Settings {
    settings(&[(name, unchecked(front, servers))])
}

fn seats(orders: &Orders) -> Vec<String> {
    orders.iter().map(|((name, backend), order)| format!("{name} {backend} {}", order.command)).collect()
}

const FIRST: &str = "192.168.100.101";
const FIRST_80: &str = "192.168.100.101:80";
const OTHER: &str = "192.168.100.102:80";

#[test]
fn an_order_goes_with_a_server_that_gets_or_loses_its_port_by_reload_or_by_restart() {
    for by_restart in [false, true] {
        let mut scene = Scene::new(one("web", 50, &[FIRST, OTHER])).started();
        scene.try_order("web", FIRST, Verb::Disable).unwrap();
        for (server, seat) in
            [(FIRST_80, "web 192.168.100.101:80 disabled"), (FIRST, "web 192.168.100.101 disabled")]
        {
            let next = one("web", 50, &[server, OTHER]);
            if by_restart {
                scene = scene.restarted(next);
            } else {
                scene.event(Event::Reloaded(next));
            }
            assert_eq!(seats(&scene.orders), [seat]);
            assert_eq!(scene.weights(50), [(102, 1)], "not for a moment");
            assert!(scene.director.unseated.is_empty());
        }
    }
}

#[test]
fn another_port_or_an_address_that_is_there_twice_is_another_server() {
    for servers in [&["192.168.100.101:8080", OTHER][..], &[FIRST, "192.168.100.101:81", OTHER]] {
        let mut scene = Scene::new(one("web", 50, &[FIRST_80, OTHER])).started();
        scene.try_order("web", FIRST_80, Verb::Disable).unwrap();
        scene.event(Event::Reloaded(one("web", 50, servers)));
        assert_eq!(seats(&scene.orders), ["web 192.168.100.101:80 disabled"]);
        assert_eq!(scene.director.unseated.len(), 1);
        assert_eq!(
            scene.said("web: server 192.168.100.101:80 is not configured and yet disabled by alice"),
            1
        );
        scene.event(Event::Reloaded(one("web", 50, &[FIRST_80, OTHER])));
        assert_eq!(scene.weights(50), [(102, 1)], "it applies again");
        assert!(scene.director.unseated.is_empty());
    }
}

#[test]
fn a_server_that_two_orders_could_be_about_or_that_has_its_own_gets_neither() {
    let mut scene = Scene::new(one("web", 50, &[FIRST_80, "192.168.100.101:81", OTHER])).started();
    scene.try_order("web", FIRST_80, Verb::Disable).unwrap();
    scene.try_order("web", "192.168.100.101:81", Verb::SetWeight(5)).unwrap();
    scene.event(Event::Reloaded(one("web", 50, &[FIRST, OTHER])));
    assert_eq!(scene.weights(50), [(101, 1), (102, 1)]);
    scene.try_order("web", FIRST, Verb::SetWeight(3)).unwrap();
    scene.event(Event::Reloaded(one("web", 50, &[FIRST])));
    let all = [
        "web 192.168.100.101 weight 3",
        "web 192.168.100.101:80 disabled",
        "web 192.168.100.101:81 weight 5",
    ];
    assert_eq!(seats(&scene.orders), all);
}

#[test]
fn an_order_goes_with_a_service_that_has_another_name_by_reload_or_by_restart() {
    for by_restart in [false, true] {
        let mut scene = Scene::new(one("web", 50, &[FIRST_80, OTHER])).started();
        scene.try_order("web", FIRST_80, Verb::Disable).unwrap();
        let renamed =
            settings(&[("mail", unchecked(51, &[FIRST_80])), ("shop", unchecked(50, &[FIRST_80, OTHER]))]);
        if by_restart {
            scene = scene.restarted(renamed);
        } else {
            scene.event(Event::Reloaded(renamed));
        }
        assert_eq!(seats(&scene.orders), ["shop 192.168.100.101:80 disabled"]);
        assert_eq!((scene.weights(50), scene.weights(51)), (vec![(102, 1)], vec![(101, 1)]));
        assert_eq!(scene.orders.values().next().unwrap().front, Some(key(50)));
    }
}

#[test]
fn a_service_that_keeps_its_name_keeps_its_orders_whatever_address_it_has() {
    let mut scene = Scene::new(one("web", 50, &[FIRST_80, OTHER])).started();
    scene.try_order("web", FIRST_80, Verb::Disable).unwrap();
    let moved = settings(&[("web", unchecked(51, &[FIRST_80, OTHER])), ("shop", unchecked(50, &[FIRST_80]))]);
    scene.event(Event::Reloaded(moved));
    assert_eq!((scene.weights(50), scene.weights(51)), (vec![(101, 1)], vec![(102, 1)]));
    // By its new address it is found again.
    scene.event(Event::Reloaded(one("web2", 51, &[FIRST_80, OTHER])));
    assert_eq!(seats(&scene.orders), ["web2 192.168.100.101:80 disabled"]);
}

#[test]
fn an_order_without_a_seat_is_kept_shown_and_can_be_cleared() {
    let mut scene = Scene::new(one("web", 50, &[FIRST_80, OTHER])).started();
    scene.try_order("web", FIRST_80, Verb::Disable).unwrap();
    scene.try_order("web", OTHER, Verb::SetWeight(5)).unwrap();
    scene.event(Event::Reloaded(settings(&[])));
    assert_eq!(
        seats(&scene.director.unseated),
        ["web 192.168.100.101:80 disabled", "web 192.168.100.102:80 weight 5"]
    );
    let mut scene = scene.restarted(one("web", 50, &[OTHER]));
    assert_eq!(seats(&scene.director.unseated), ["web 192.168.100.101:80 disabled"]);
    assert_eq!(scene.weights(50), [(102, 5)]);
    for verb in [Verb::Disable, Verb::Enable, Verb::SetWeight(1)] {
        scene.try_order("web", FIRST_80, verb).unwrap_err();
    }
    scene.try_order("web", FIRST, Verb::Clear).unwrap_err();
    scene.try_order("web", FIRST_80, Verb::Clear).unwrap();
    assert_eq!(seats(&scene.orders), ["web 192.168.100.102:80 weight 5"]);
    assert!(scene.director.unseated.is_empty());
    scene.event(Event::Reloaded(settings(&[])));
    scene.try_order("web", OTHER, Verb::Clear).unwrap();
    assert!(scene.orders.is_empty() && scene.director.unseated.is_empty());
    assert_eq!(scene.try_order("web", OTHER, Verb::Clear).unwrap_err(), "there is no service 'web'");
}

#[test]
fn a_drain_goes_on_where_its_server_goes() {
    let mut scene = Scene::new(one("web", 50, &[FIRST, OTHER])).started();
    let place = (key(50), backend(101).behind(&key(50)));
    scene.connections.insert(place, Connections { active: 1, ..Connections::default() });
    scene.try_order("web", FIRST, Verb::Drain { within: Duration::from_secs(60) }).unwrap();
    scene.pass(Duration::from_secs(30));
    scene.step = 3_600_000_000;
    scene.event(Event::Reloaded(one("shop", 50, &[FIRST_80, OTHER])));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_secs(29));
    assert_eq!(scene.weights(50), [(101, 0), (102, 1)]);
    scene.pass(Duration::from_secs(2));
    assert_eq!(scene.weights(50), [(102, 1)]);
    assert!(matches!(scene.orders.values().next().unwrap().command, Command::Disable));
}
