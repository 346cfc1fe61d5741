//! Each example of etc/trivet/check.d as an administrator would copy it, against a server that is well and one that is
//! not. An example without a row here is a failure.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod peers;
mod rows;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use peers::Place;
use rows::{ROWS, Row, UNITS};
use support::World;
use support::authority::{Authority, Leaf};
use support::commands::Listener;
use support::systemd::Systemd;
use support::watcher::Watcher;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../etc/trivet/check.d"))
}

#[test]
fn every_example_has_a_row() {
    let files =
        std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let examples: BTreeSet<_> =
        files.map(|name| name.strip_suffix(".toml.example").unwrap().to_owned()).collect();
    let rows: BTreeSet<_> = ROWS.iter().map(|row| row.example.to_owned()).collect();
    assert_eq!(rows, examples);
    assert_eq!(ROWS.len(), rows.len(), "one row each");
}

/// Writes the example as the check `name`, and over it what only this place can know: where its server listens, and
/// whose certificates are good here.
fn install(world: &World, name: &str, row: &Row, place: &Place, authority: &Authority) {
    let text = std::fs::read_to_string(folder().join(format!("{}.toml.example", row.example))).unwrap();
    world.check(name, &text);
    let mut over = format!("timeout = \"2s\"\n{}", row.keys);
    if let Some(port) = place.port.filter(|_| text.contains("\nport = ")) {
        over.push_str(&format!("port = {port}\n"));
    }
    if row.is_secured() {
        over.push_str(&authority.keys());
    }
    over.push_str(place.keys);
    world.root.write(&format!("etc/trivet/check.d/{name}.toml.d/here.toml"), &over);
}

#[test]
fn each_example_tells_a_server_that_is_well_from_one_that_is_not() {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.example != "ping").collect();
    run(&rows, "exec \"$0\" \"$@\"");
}

/// In a network of its own, where it may ping whatever this machine's settings are.
#[test]
fn the_example_of_a_ping_tells_a_machine_that_is_there_from_one_that_is_not() {
    let rows: Vec<_> = ROWS.iter().filter(|row| row.example == "ping").collect();
    let there = "ip link set lo up && echo 0 0 >/proc/sys/net/ipv4/ping_group_range && exec \"$0\" \"$@\"";
    run(&rows, &format!("exec unshare --map-root-user --net sh -c '{there}' \"$0\" \"$@\""));
}

/// Those whose programs every machine has, or the administrator writes: run by checkd-exec, each in a place of its own.
#[test]
fn the_examples_of_a_file_and_of_a_weight_do_what_they_say_when_they_are_run() {
    let world = World::new();
    for (example, place) in [("file", "/etc/trivet/maintenance"), ("misc-dynamic", "/usr/local/lib/trivet")] {
        let text = std::fs::read_to_string(folder().join(format!("{example}.toml.example"))).unwrap();
        assert!(text.contains(place), "{text}");
        world.check(example, &text.replace(place, &world.root.path().join(example).display().to_string()));
        let over = format!("etc/trivet/check.d/{example}.toml.d/here.toml");
        world.root.write(&over, "interval = \"10min\"\ntimeout = \"30s\"\n");
    }
    world.root.write("file/192.0.2.2", "");
    world.root.write("misc-dynamic/load-of", "#!/bin/sh\necho \"$1 at $2\"\nexit 42\n");
    let script = world.root.path().join("misc-dynamic/load-of");
    std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    let (_bus, _listener, _checkd) = (world.start_bus(), Listener::start(&world, &[]), world.start_checkd());
    let watcher = Watcher::new(&world);
    for (address, expected) in [("192.0.2.1:80", "up"), ("192.0.2.2:80", "down")] {
        let (state, reason, _) = watcher.probe("file", address).unwrap();
        assert_eq!(state, expected, "{address}: {reason}");
    }
    watcher.watch(&[("misc-dynamic", "192.0.2.1:80")]);
    let row = watcher.wait_for("misc-dynamic", "192.0.2.1:80", "up");
    assert_eq!((row.3.as_str(), row.5), ("exit status 42: 192.0.2.1 at 80", 40));
}

/// Each with a checkd that `script` runs.
fn run(rows: &[&Row], script: &str) {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let _commands = peers::serve_commands(&world);
    let mut probes = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let leaf = authority.issue(&Leaf::for_name(row.name()));
        for (word, peer, state) in [("well", &row.well, "up"), ("ill", &row.ill, "down")] {
            let place = peer.start(&leaf);
            let name = format!("{word}{number}");
            install(&world, &name, row, &place, &authority);
            probes.push((row.example, name, place, state));
        }
    }
    assert!(!probes.is_empty());
    let _bus = world.start_bus();
    let _systemd = Systemd::start(&world, UNITS);
    let _checkd = world.start_checkd_by(script);
    let watcher = Watcher::new(&world);
    let mut wrong = Vec::new();
    for (example, name, place, expected) in &probes {
        let (state, reason, _) = watcher.probe(name, &place.address).unwrap();
        println!("{example}: {state}: {reason}");
        if state != *expected {
            wrong.push(format!("{example} ({name}) is {state} instead of {expected}: {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
