//! checkd ends, by itself or by force, and another one knows what it knew.

mod support;

use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use support::servers::{GOOD, Server};
use support::watcher::Watcher;
use support::{World, now, until};

/// Looked at often enough to be known soon, and not so often that the next probe comes before we have looked.
const SLOW: &str = "type = \"http\"\ninterval = \"1h\"\nretry_interval = \"100ms\"\nfall = 2\n";
const RESTARTED: &str = "not probed since checkd's restart; before: ";

fn results(world: &World) -> PathBuf {
    world.root.path().join("run/trivet-checkd/results")
}

/// Wait until this is in the file.
fn wait_for_results(world: &World, text: &str) {
    until(&format!("{text:?} in the results"), || {
        std::fs::read_to_string(results(world)).ok()?.contains(text).then_some(())
    });
}

#[test]
fn after_a_restart_every_state_is_there_at_once_with_its_time_and_its_reason() {
    let world = World::new();
    world.check("web", SLOW);
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let (good, bad) = (Server::answering(GOOD), Server::answering(""));
    let targets = [("web", good.address.as_str()), ("web", bad.address.as_str())];
    let watcher = Watcher::new(&world);
    watcher.watch(&targets);
    let up = watcher.wait_for("web", &good.address, "up");
    let down =
        until("the bad one is down", || watcher.watch(&targets).1.into_iter().find(|row| row.2 == "down"));
    drop(watcher);
    assert!(checkd.stop().success());
    let checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let (_, answers) = watcher.watch(&targets);
    assert_eq!((answers[0].2.as_str(), answers[0].4), ("up", up.4));
    assert_eq!(answers[0].3, format!("{RESTARTED}status 200"));
    assert_eq!((answers[1].2.as_str(), answers[1].4), ("down", down.4));
    assert_eq!(answers[1].3, format!("{RESTARTED}{}", down.3));
    checkd.wait_for_log("an earlier run left 2 results, 2 of them");
    assert_eq!((good.accepted(), bad.accepted()), (1, 1), "nothing was probed again");
}

#[test]
fn a_server_that_died_while_checkd_was_away_is_down_after_fall_failures_and_not_after_one() {
    let world = World::new();
    world.check("web", SLOW);
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let server = Server::answering(GOOD);
    let address = server.address.clone();
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &address)]);
    watcher.wait_for("web", &address, "up");
    drop(watcher);
    assert!(checkd.stop().success());
    server.stop();
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    assert_eq!(watcher.watch(&[("web", &address)]).1[0].2, "up");
    let (state, reason, _) = watcher.probe("web", &address).unwrap();
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("up", "connection refused (failure 1 of 2); before: status 200")
    );
    let down = watcher.wait_for("web", &address, "down");
    assert_eq!(down.3, "connection refused");
}

#[test]
fn what_was_known_survives_a_crash() {
    let world = World::new();
    world.check("web", SLOW);
    let _bus = world.start_bus();
    let server = Server::answering(GOOD);
    let up = {
        let checkd = world.start_checkd();
        let watcher = Watcher::new(&world);
        watcher.watch(&[("web", &server.address)]);
        let up = watcher.wait_for("web", &server.address, "up");
        wait_for_results(&world, &format!("up {} {} ", server.address, up.4));
        checkd.signal(Signal::SIGKILL);
        up
    };
    // It crashes again, before any watcher is back.
    {
        let checkd = world.start_checkd();
        checkd.wait_for_log("an earlier run left 1 results, 1 of them");
        let watcher = Watcher::new(&world);
        let other = Server::answering(GOOD);
        watcher.watch(&[("web", &other.address)]);
        watcher.wait_for("web", &other.address, "up");
        wait_for_results(&world, &other.address);
        checkd.signal(Signal::SIGKILL);
    }
    let _checkd = world.start_checkd();
    let (_, answers) = Watcher::new(&world).watch(&[("web", &server.address)]);
    assert_eq!((answers[0].2.as_str(), answers[0].4), ("up", up.4));
}

#[test]
fn a_check_that_is_another_one_after_the_restart_decides_with_its_first_result() {
    let world = World::new();
    world.check("web", SLOW);
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let server = Server::answering(GOOD);
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    watcher.wait_for("web", &server.address, "up");
    drop(watcher);
    assert!(checkd.stop().success());
    world.check("web", &format!("{SLOW}status = [404]\n"));
    let _checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    let known = &answers[0];
    assert!(known.2 == "down" || known.3.contains("the check was changed"), "{known:?}");
    if known.2 == "up" {
        assert_eq!(watcher.wait_for("web", &server.address, "down").3, "status 200, expected 404");
    }
}

#[test]
fn a_file_that_is_torn_or_foreign_costs_a_line_in_the_log_and_nothing_else() {
    let world = World::new();
    world.check("web", SLOW);
    let _bus = world.start_bus();
    let server = Server::answering(GOOD);
    for text in
        ["", "trivet-checkd results 1\ncheck 0 web\n0 up", "nonsense\n", "trivet-checkd results 7\nend 0\n"]
    {
        world.root.write("run/trivet-checkd/results", text);
        let mut checkd = world.start_checkd();
        checkd.wait_for_log("run/trivet-checkd/results");
        assert!(checkd.log().contains("; ignoring it"), "{}", checkd.log());
        let watcher = Watcher::new(&world);
        let (_, answers) = watcher.watch(&[("web", &server.address)]);
        assert_ne!(answers[0].2, "down");
        if answers[0].2 == "unknown" {
            watcher.wait_for("web", &server.address, "up");
        }
        drop(watcher);
        assert!(checkd.stop().success());
        wait_for_results(&world, "end 1\n");
    }
}

#[test]
fn a_watcher_that_stays_hears_of_no_change_when_checkd_is_restarted() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"200ms\"\n");
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let server = Server::answering(GOOD);
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    let up = watcher.wait_for("web", &server.address, "up");
    assert!(checkd.stop().success());
    let _checkd = world.start_checkd();
    until("checkd is back", || watcher.try_watch(&[("web", &server.address)]).ok());
    let accepted = server.accepted();
    until("three probes", || (server.accepted() > accepted + 3).then_some(()));
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    assert_eq!((answers[0].2.as_str(), answers[0].4), ("up", up.4));
    let told = watcher.told();
    assert!(told.iter().all(|row| row.2 == "up" && row.4 == up.4), "{told:?}");
}

#[test]
fn a_directory_that_cannot_be_written_to_is_complained_about_once() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"100ms\"\nrise = 1\nfall = 1\n");
    world.root.write("run/trivet-checkd", "this is no folder");
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let server = Server::answering(GOOD);
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    watcher.wait_for("web", &server.address, "up");
    checkd.wait_for_log("a restart of checkd will not know its results");
    let address = server.stop().to_string();
    let started = now();
    watcher.wait_for("web", &address, "down");
    until("another second is over", || (now() > started + Duration::from_secs(2)).then_some(()));
    assert!(checkd.stop().success());
    assert_eq!(checkd.log().matches("a restart of checkd will not know").count(), 1, "{}", checkd.log());
}

#[test]
fn results_that_cannot_be_written_are_complained_of_once_and_again_when_that_comes_back() {
    let world = World::new();
    world.check("web", SLOW);
    let folder = world.root.path().join("run/trivet-checkd");
    let obstruct = || world.root.write("run/trivet-checkd", "this is no folder");
    let complaints = |log: &str| log.matches("a restart of checkd will not know its results").count();
    obstruct();
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let server = Server::answering(GOOD);
    // What nobody watches is forgotten after its probe: that is something to write.
    let change = || watcher.probe("web", &server.address).unwrap().0;
    assert_eq!(change(), "up");
    checkd.wait_for_log("a restart of checkd will not know its results");
    std::fs::remove_file(&folder).unwrap();
    until("the results are written", || {
        change();
        results(&world).exists().then_some(())
    });
    std::fs::remove_dir_all(&folder).unwrap();
    obstruct();
    until("a second complaint", || {
        change();
        (complaints(&checkd.log()) == 2).then_some(())
    });
    // The last file, at the end, cannot be written either.
    assert!(checkd.stop().success());
    assert_eq!(complaints(&checkd.log()), 2, "{}", checkd.log());
}
