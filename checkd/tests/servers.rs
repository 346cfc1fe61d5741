//! The whole daemon against real sockets: servers that answer, and servers that misbehave in every way we know.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use support::servers::{self, GOOD, Server};
use support::watcher::{Row, Watcher};
use support::{World, now, until};

const QUICK: &str = "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"5s\"\nretry_interval = \"100ms\"\n";

#[test]
fn a_server_is_up_then_down_then_up_again_and_every_change_is_told_with_its_reason() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::answering(GOOD);
    let address = server.address.clone();

    let (generation, answers) = watcher.watch(&[("web", &address), ("nope", "192.0.2.1:80")]);
    let unknown = |check: &str, address: &str, reason: &str| -> Row {
        (check.into(), address.into(), "unknown".into(), reason.into(), 0, -1)
    };
    let nope = unknown("nope", "192.0.2.1:80", "no check 'nope' is configured");
    assert_eq!((generation, answers), (0, vec![unknown("web", &address, "not probed yet"), nope]));

    let up = watcher.wait_for("web", &address, "up");
    assert_eq!(up.3, "status 200");
    server.stop();
    let down = watcher.wait_for("web", &address, "down");
    assert_eq!(down.3, "connection refused");
    assert!(down.4 >= up.4, "since {} after {}", down.4, up.4);
    let _server = Server::start_at(address.parse().unwrap(), |stream| servers::answer_once(stream, GOOD));
    let again = watcher.wait_for("web", &address, "up");
    assert!(again.4 >= down.4);
    let (_, answers) = watcher.watch(&[("web", &address)]);
    assert_eq!(answers, [again], "the answer of a new Watch is what the last signal said");
}

#[test]
fn one_failure_alone_does_not_take_a_server_down() {
    use std::sync::atomic::{AtomicU32, Ordering};
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let count = AtomicU32::new(0);
    // Every third answer is a failure: never two in a row.
    let server = Server::start(move |stream| {
        let bad = count.fetch_add(1, Ordering::SeqCst) % 3 == 2;
        servers::answer_once(stream, if bad { "HTTP/1.1 500 Oops\r\n\r\n" } else { GOOD });
    });
    watcher.watch(&[("web", &server.address)]);
    let mut warnings = 0;
    while warnings < 3 {
        let (_, rows) = watcher.next();
        for (_, _, state, reason, _, _) in rows {
            assert_eq!(state, "up", "{reason}");
            if reason == "status 500, expected 200-299 (failure 1 of 2); before: status 200" {
                warnings += 1;
            }
        }
    }
}

#[test]
fn every_misbehaving_server_is_down_with_its_reason_and_a_merely_odd_one_is_up() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"10min\"\ntimeout = \"2s\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let full = servers::full();
    let refused = servers::refusing();
    let list = [
        (servers::silent(), "down", "no answer within 2s: connected, request sent, nothing received"),
        (servers::dripping(), "down", "no answer within 2s: connected, request sent, "),
        (
            servers::endless("HTTP/1.1 200 OK\r\n", "X: y\r\n"),
            "down",
            "more than 16 KiB of headers, and no end",
        ),
        (servers::endless("HTTP/1.1 ", "2"), "down", "more than 16 KiB of a status line, and no end"),
        (servers::endless("", "\0\u{1b}[31m"), "down", "not HTTP/1: starts with '\\x00\\x1b[31m"),
        (Server::answering("SSH-2.0-OpenSSH\r\n"), "down", "not HTTP/1: starts with 'SSH-2.0-OpenSSH"),
        (
            Server::answering("HTTP/1.1 200"),
            "down",
            "the server closed the connection: request sent, 12 bytes",
        ),
        (Server::answering(""), "down", "the server closed the connection without an answer"),
        (servers::resetting(""), "down", "connection reset: request sent, nothing received"),
        (Server::answering("HTTP/1.1 403 No\r\n\r\n"), "down", "status 403, expected 200-299"),
        (
            Server::answering("HTTP/1.1 302 Away\r\nLocation: /\r\n\r\n"),
            "down",
            "status 302 to '/', expected 200-299",
        ),
        (servers::endless("HTTP/1.1 200 OK\r\n\r\n", "body"), "up", "status 200"),
        (Server::answering("HTTP/1.1 100 Go on\r\n\r\nHTTP/1.0 204 Nothing\nX : y\n\n"), "up", "status 204"),
    ];
    let mut expected: BTreeMap<&str, (&str, &str)> =
        list.iter().map(|(server, state, reason)| (&*server.address, (*state, *reason))).collect();
    expected.insert(&full.address, ("down", "no answer within 2s: not connected"));
    expected.insert(&refused, ("down", "connection refused"));
    let targets: Vec<(&str, &str)> = expected.keys().map(|address| ("web", *address)).collect();
    let states = watcher.first_states(&targets);
    for (address, (state, reason)) in expected {
        let (told_state, told_reason) = &states[address];
        assert_eq!(told_state, state, "{told_reason}, where {reason} was expected");
        assert!(told_reason.starts_with(reason), "'{told_reason}', where '{reason}' was expected");
    }
}

#[test]
fn servers_that_never_answer_do_not_delay_the_others() {
    let world = World::new();
    world.check("slow", "type = \"http\"\ninterval = \"10min\"\ntimeout = \"5s\"\n");
    world.check("web", "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"5s\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let silent: Vec<Server> = (0..50).map(|_| servers::silent()).collect();
    let good = Server::answering(GOOD);
    let mut targets: Vec<(&str, &str)> = silent.iter().map(|server| ("slow", &*server.address)).collect();
    targets.push(("web", &good.address));
    watcher.watch(&targets);
    let first_up = watcher.wait_for("web", &good.address, "up");
    let first_down = loop {
        let (_, rows) = watcher.next();
        if let Some(row) = rows.into_iter().find(|row| row.0 == "slow") {
            break row;
        }
    };
    assert_eq!(first_down.2, "down", "{first_down:?}");
    assert!(first_up.4 < first_down.4);
    // While fifty probes waited for five seconds, the good server was looked at ten times a second.
    assert!(good.accepted() >= 10, "{} probes of the good server in five seconds", good.accepted());
}

/// Unless it is that servers die: `pace.rs`.
#[test]
fn what_happens_within_a_moment_is_told_together() {
    let world = World::new();
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::start_at(SocketAddr::from(([0, 0, 0, 0], 0)), drop);
    let port = server.address.parse::<SocketAddr>().unwrap().port();
    let address = |number: usize| format!("127.2.{}.{}:{port}", number / 250, number % 250 + 1);
    let addresses: Vec<String> = (0..1000).map(address).collect();
    let targets: Vec<(&str, &str)> = addresses.iter().map(|address| ("tcp", &**address)).collect();
    let began = now();
    watcher.watch(&targets);
    let (mut told, mut batches) = (0, 0);
    while told < targets.len() {
        told += watcher.next().1.len();
        batches += 1;
    }
    // One each 20 ms, and the first one at once.
    let most = (now() - began).as_millis() / 20 + 2;
    assert!(batches <= most, "{batches} times for {told} changes, where {most} would do");
}

#[test]
fn a_probe_that_finds_no_file_descriptor_is_not_the_servers_failure() {
    let world = World::new();
    world.check(
        "slow",
        "type = \"http\"\ninterval = \"10min\"\ntimeout = \"1min\"\nretry_interval = \"100ms\"\n",
    );
    let _bus = world.start_bus();
    let checkd = world.start_checkd_by("ulimit -n 64; exec \"$0\" \"$@\"");
    let watcher = Watcher::new(&world);
    let silent: Vec<Server> = (0..80).map(|_| servers::silent()).collect();
    let targets: Vec<(&str, &str)> = silent.iter().map(|server| ("slow", &*server.address)).collect();
    watcher.watch(&targets);
    let (_, rows) = watcher.next();
    assert!(!rows.is_empty());
    for (_, _, state, reason, _, _) in &rows {
        assert_eq!(state, "unknown", "{reason}");
        assert!(reason.starts_with("could not probe: too many open files"), "{reason}");
    }
    checkd.wait_for_log("probes could not run, their targets keep their states: too many open files");
    // It goes on: once there are descriptors again, the others are probed.
    let waiting = &rows[0].1;
    let server = silent.iter().find(|server| server.address == *waiting).unwrap();
    watcher.watch(&[("slow", waiting)]);
    until("the probe that could not run", || (server.accepted() > 0).then_some(()));
}

#[test]
fn a_probe_on_demand_tells_its_outcome_and_how_long_it_took() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"10min\"\ntimeout = \"1s\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let good = Server::answering(GOOD);
    let (state, reason, _) = watcher.probe("web", &good.address).unwrap();
    assert_eq!((state.as_str(), reason.as_str()), ("up", "status 200"));
    let silent = servers::silent();
    let (state, reason, duration) = watcher.probe("web", &silent.address).unwrap();
    assert_eq!(state, "down", "{reason}");
    assert!(reason.starts_with("no answer within 1s"), "{reason}");
    assert!(duration >= 1_000_000, "{duration} us");
    let error = watcher.probe("web", "web1:80").unwrap_err().to_string();
    assert!(error.contains("'web1:80' is not an address"), "{error}");
    // A watched target shows the result; one that was only asked for leaves nothing behind.
    watcher.watch(&[("web", &good.address)]);
    watcher.wait_for("web", &good.address, "up");
    let targets = watcher.targets("web");
    assert_eq!(targets.len(), 1);
    let text = |key: &str| targets[0][key].try_clone().unwrap().to_string();
    assert!(text("Reason").contains("status 200") && text("Address").contains(&good.address), "{targets:?}");
}

#[test]
fn a_probe_goes_where_the_check_sends_it_and_leaves_from_where_it_says() {
    let world = World::new();
    let peers = Arc::new(Mutex::new(BTreeSet::new()));
    let seen = Arc::clone(&peers);
    let server = Server::start(move |stream| {
        seen.lock().unwrap().insert(stream.peer_addr().unwrap().ip().to_string());
        servers::answer_once(stream, GOOD);
    });
    let port = server.address.rsplit(':').next().unwrap();
    let elsewhere = format!(
        "{QUICK}address = \"127.0.0.1\"\nport = {port}\nsource = \"127.0.0.9\"\ninterface = \"lo\"\n"
    );
    world.check("elsewhere", &elsewhere);
    world.check("nowhere", &format!("{QUICK}source = \"192.0.2.77\"\n"));
    world.check("gone", &format!("{QUICK}interface = \"nosuch0\"\n"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    watcher.watch(&[("elsewhere", "192.0.2.1"), ("nowhere", &server.address), ("gone", &server.address)]);
    watcher.wait_for("elsewhere", "192.0.2.1", "up");
    assert_eq!(*peers.lock().unwrap(), BTreeSet::from(["127.0.0.9".to_owned()]));
    let reason = |check: &str, reason: &str| {
        until(reason, || {
            let (_, answers) = watcher.watch(&[(check, &server.address)]);
            (answers[0].2 == "unknown" && answers[0].3.contains(reason)).then_some(())
        });
    };
    reason("nowhere", "the source address 192.0.2.77 is not on this machine");
    reason("gone", "the interface 'nosuch0' does not exist");
}
