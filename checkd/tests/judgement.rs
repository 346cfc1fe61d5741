//! What a client sees of the judgement: damping, intervals, progress, weights, all in `Targets` and in the rows.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod support;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use support::servers::{self, GOOD, Server};
use support::watcher::Watcher;
use support::{World, until};
use zbus::OwnedVariant;

const BAD: &str = "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n";

/// A server that is good or bad as it is told.
fn moody() -> (Server, Arc<AtomicBool>) {
    let good = Arc::new(AtomicBool::new(true));
    let mood = Arc::clone(&good);
    let serve =
        move |stream| servers::answer_once(stream, if mood.load(Ordering::SeqCst) { GOOD } else { BAD });
    (Server::start(serve), good)
}

fn number(row: &HashMap<String, OwnedVariant>, name: &str) -> u64 {
    u64::try_from(row[name].clone()).unwrap_or_else(|_| u64::from(u32::try_from(row[name].clone()).unwrap()))
}

fn flag(row: &HashMap<String, OwnedVariant>, name: &str) -> bool {
    bool::try_from(row[name].clone()).unwrap()
}

#[test]
fn a_server_that_flaps_is_kept_down_and_says_since_when_and_until_when() {
    let world = World::new();
    world.check(
        "web",
        "type = \"http\"\ninterval = \"100ms\"\nretry_interval = \"100ms\"\nfall = 1\n\
         damping = { changes = 3, within = \"10min\", hold = \"8s\" }\n",
    );
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let (server, good) = moody();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    watcher.wait_for("web", &server.address, "up");
    for (is_good, state) in [(false, "down"), (true, "up"), (false, "down")] {
        good.store(is_good, Ordering::SeqCst);
        watcher.wait_for("web", &server.address, state);
    }
    good.store(true, Ordering::SeqCst);
    let held = until("the server is kept down", || {
        let row = watcher.targets("web").remove(0);
        (number(&row, "DampedUntil") > 0).then_some(row)
    });
    assert!(flag(&held, "Damped"));
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    let (state, reason) = (&answers[0].2, &answers[0].3);
    if state == "down" {
        assert!(
            reason.starts_with("status 200; kept down after 3 changes within 10min: passes since 20"),
            "{reason}"
        );
        assert!(
            reason.contains(" UTC, up at 20") && reason.ends_with("; before: status 500, expected 200-299"),
            "{reason}"
        );
    }
    let up = until("it is up again", || {
        let (_, rows) = watcher.watch(&[("web", &server.address)]);
        rows.into_iter().find(|row| row.2 == "up")
    });
    assert!(up.4 >= number(&held, "DampedUntil"), "up at {}, before {}", up.4, number(&held, "DampedUntil"));
    let row = watcher.targets("web").remove(0);
    assert!(!flag(&row, "Damped") && number(&row, "DampedUntil") == 0);
}

#[test]
fn a_target_tells_how_far_it_is_from_another_state_and_when_it_is_looked_at_next() {
    let world = World::new();
    let text = "type = \"http\"\ninterval = \"1h\"\ndown_interval = \"30min\"\nretry_interval = \"1h\"\nfall = 3\nrise = 2\n";
    world.check("web", text);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let (server, good) = moody();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    let up = watcher.wait_for("web", &server.address, "up");
    let see = |against: u64, needed: u64, probes: u64, changes: u64| {
        let row = watcher.targets("web").remove(0);
        let seen = ["Against", "Needed", "Probes", "Changes"].map(|name| number(&row, name));
        assert_eq!(seen, [against, needed, probes, changes]);
        assert!(!flag(&row, "Running") && number(&row, "LastDuration") > 0);
        number(&row, "Next")
    };
    let hour = 3_600_000_000;
    let next = see(0, 3, 1, 1);
    assert!(next > up.4 + hour / 3 && next <= up.4 + hour + 60_000_000, "{next} after {}", up.4);
    good.store(false, Ordering::SeqCst);
    for against in 1..3 {
        let (state, reason, _) = watcher.probe("web", &server.address).unwrap();
        assert_eq!(state, "up");
        assert!(reason.contains(&format!("failure {against} of 3")), "{reason}");
        see(against, 3, 1 + against, 1);
    }
    watcher.probe("web", &server.address).unwrap();
    let down = watcher.wait_for("web", &server.address, "down");
    let next = see(0, 2, 4, 2);
    assert!(
        next <= down.4 + hour / 2 + 60_000_000,
        "{next} after {}: not the interval of the down ones",
        down.4
    );
    good.store(true, Ordering::SeqCst);
    watcher.probe("web", &server.address).unwrap();
    see(1, 2, 5, 2);
}
