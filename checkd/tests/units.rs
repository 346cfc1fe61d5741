//! Checks of units, with a systemd that says what the test wants, on a private bus.

#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

mod support;

use support::systemd::{FAILED, NAME, RUNNING, STOPPING, State, Systemd, say};
use support::watcher::Watcher;
use support::{World, until};
use zbus::connection;

/// So long that only an announcement can be why something is known.
fn unit_check(world: &World, name: &str, unit: &str) {
    let times = "interval = \"1d\"\nretry_interval = \"1h\"\ntimeout = \"5min\"\n";
    world.check(name, &format!("type = \"unit\"\nunit = \"{unit}\"\n{times}"));
}

#[test]
fn the_state_follows_systemd_at_once_whatever_the_interval() {
    let world = World::new();
    unit_check(&world, "nginx", "nginx");
    unit_check(&world, "nothing", "nothing.service");
    let _bus = world.start_bus();
    let systemd = Systemd::start(&world, &[("nginx.service", RUNNING)]);
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let targets = [("nginx", ""), ("nothing", ""), ("nginx", "192.0.2.1:80")];
    watcher.watch(&targets);
    let reason = |check: &str, address: &str, state: &str, reason: &str| {
        until(reason, || {
            let (_, rows) = watcher.watch(&targets);
            let row = rows.iter().find(|row| row.0 == check && row.1 == address)?;
            (row.2 == state && row.3 == reason).then_some(())
        });
    };
    reason("nginx", "", "up", "active (running)");
    reason("nginx", "192.0.2.1:80", "up", "active (running)");
    reason("nothing", "", "down", "systemd does not find such a unit");
    for (state, word, words) in [
        (STOPPING, "down", "deactivating (stop-sigterm)"),
        (FAILED, "down", "failed (exit-code)"),
        (["activating", "auto-restart", "loaded", "exit-code"], "down", "activating (auto-restart)"),
        (["reloading", "reload", "loaded", "success"], "up", "reloading (reload)"),
        (["inactive", "dead", "loaded", "success"], "down", "inactive (dead)"),
        (RUNNING, "up", "active (running)"),
    ] {
        systemd.announce("nginx.service", state);
        reason("nginx", "", word, words);
        reason("nginx", "192.0.2.1:80", word, words);
    }
}

#[test]
fn without_systemd_nothing_is_known_and_with_it_everything_and_its_loss_is_no_fault_of_a_unit() {
    let world = World::new();
    unit_check(&world, "nginx", "nginx");
    let _bus = world.start_bus();
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("nginx", "")]);
    let unknown = watcher.wait_for("nginx", "", "unknown");
    assert!(unknown.3.starts_with("could not probe: systemd is not on the bus"), "{}", unknown.3);
    let systemd = Systemd::start(&world, &[("nginx.service", RUNNING)]);
    let up = watcher.wait_for("nginx", "", "up");
    assert_eq!(up.3, "active (running)");
    zbus::block_on(systemd.connection.close()).unwrap();
    until("the loss of systemd is told, and changes nothing", || {
        let (_, rows) = watcher.watch(&[("nginx", "")]);
        assert_eq!(rows[0].2, "up");
        rows[0].3.starts_with("could not probe: systemd is not on the bus").then_some(())
    });
    let systemd = Systemd::start(&world, &[("nginx.service", FAILED)]);
    let down = watcher.wait_for("nginx", "", "down");
    assert_eq!(down.3, "failed (exit-code)");
    drop(systemd);
}

#[test]
fn a_reload_that_adds_a_check_of_another_unit_has_systemd_asked_about_it() {
    let world = World::new();
    let _bus = world.start_bus();
    let systemd = Systemd::start(&world, &[("nginx.service", RUNNING), ("bind.service", RUNNING)]);
    let checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("nginx", ""), ("bind", "")]);
    unit_check(&world, "nginx", "nginx");
    checkd.reload();
    watcher.wait_for("nginx", "", "up");
    unit_check(&world, "bind", "bind");
    checkd.reload();
    watcher.wait_for("bind", "", "up");
    systemd.announce("bind.service", STOPPING);
    watcher.wait_for("bind", "", "down");
    systemd.announce("nginx.service", STOPPING);
    watcher.wait_for("nginx", "", "down");
}

#[test]
fn a_thousand_units_are_followed_within_what_a_bus_allows_to_one_connection() {
    let world = World::new();
    let names: Vec<String> = (0..1000).map(|number| format!("unit{number}")).collect();
    let units: Vec<String> = names.iter().map(|name| format!("{name}.service")).collect();
    for (name, unit) in names.iter().zip(&units) {
        unit_check(&world, name, unit);
    }
    let _bus = world.start_bus();
    let states: Vec<(&str, State)> = units.iter().map(|unit| (unit.as_str(), RUNNING)).collect();
    let systemd = Systemd::start(&world, &states);
    let checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let targets: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
    let all = |state: &str, reason: &str| {
        until(&format!("all are {state}"), || {
            let (_, rows) = watcher.watch(&targets);
            rows.iter().all(|row| row.2 == state && row.3 == reason).then_some(())
        });
    };
    all("up", "active (running)");
    // More than any queue holds, while each of them makes for another question.
    for _ in 0..4 {
        units.iter().for_each(|unit| systemd.announce(unit, FAILED));
    }
    all("down", "failed (exit-code)");
    // A reload that takes a unit out and adds one, which is asked for before the others are again.
    std::fs::remove_file(world.root.path().join("etc/trivet/check.d/unit7.toml")).unwrap();
    unit_check(&world, "late", "nothing.service");
    checkd.reload();
    watcher.watch(&[("late", ""), ("unit8", "")]);
    watcher.wait_for("late", "", "down");
    systemd.announce("unit8.service", RUNNING);
    watcher.wait_for("unit8", "", "up");
    assert!(!checkd.log().contains("is not on the bus"), "{}", checkd.log());
}

#[test]
fn what_others_say_in_systemd_s_place_is_not_believed() {
    let world = World::new();
    unit_check(&world, "nginx", "nginx");
    let _bus = world.start_bus();
    let systemd = Systemd::start(&world, &[("nginx.service", RUNNING)]);
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("nginx", "")]);
    let since = watcher.wait_for("nginx", "", "up").4;
    let (stranger, checkd) = zbus::block_on(async {
        let stranger = connection::Builder::address(world.bus_address().as_str()).build().await.unwrap();
        let bus = zbus::fdo::DBusProxy::new(&stranger).await.unwrap();
        let checkd = bus.get_name_owner("org.trivet.Check1".try_into().unwrap()).await.unwrap();
        (stranger, checkd.to_string())
    });
    say(&stranger, Some(&checkd), "nginx.service", STOPPING);
    let gone = (NAME, systemd.connection.unique_name().unwrap().as_str(), "");
    let bus = "org.freedesktop.DBus";
    let lie =
        stranger.emit_signal(Some(checkd.as_str()), "/org/freedesktop/DBus", bus, "NameOwnerChanged", &gone);
    zbus::block_on(lie).unwrap();
    // They are there when this is answered.
    let peer = Some("org.freedesktop.DBus.Peer");
    zbus::block_on(stranger.call_method(Some(checkd.as_str()), "/", peer, "Ping", &())).unwrap();
    // What comes after them has come, and they have not changed anything.
    systemd.announce("nginx.service", ["reloading", "reload", "loaded", "success"]);
    until("the reload is told", || {
        let (_, rows) = watcher.watch(&[("nginx", "")]);
        assert!(rows[0].2 == "up" && rows[0].4 == since && !rows[0].3.contains("systemd"), "{rows:?}");
        (rows[0].3 == "reloading (reload)").then_some(())
    });
}

#[test]
fn what_becomes_of_a_unit_while_no_check_is_about_it_is_asked_and_not_remembered() {
    let world = World::new();
    unit_check(&world, "nginx", "nginx");
    let _bus = world.start_bus();
    let systemd = Systemd::start(&world, &[("nginx.service", RUNNING)]);
    let checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("nginx", "")]);
    watcher.wait_for("nginx", "", "up");
    std::fs::remove_file(world.root.path().join("etc/trivet/check.d/nginx.toml")).unwrap();
    checkd.reload();
    watcher.wait_for("nginx", "", "unknown");
    systemd.set("nginx.service", FAILED);
    unit_check(&world, "nginx", "nginx");
    checkd.reload();
    loop {
        let (_, rows) = watcher.next();
        assert!(rows.iter().all(|row| row.2 != "up"), "{rows:?}");
        if rows.iter().any(|row| row.2 == "down") {
            return;
        }
    }
}
