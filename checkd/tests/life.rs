//! The daemon among others: watchers that come and go, a bus that comes and goes, reloads, the command line.

mod support;

use std::fs;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use daemon::testing::TempRoot;
use nix::sys::signal::Signal;
use support::servers::{self, GOOD, Server};
use support::watcher::Watcher;
use support::{PATIENCE, World, now, until};

const QUICK: &str = "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"5s\"\n";

#[test]
fn a_watcher_that_leaves_the_bus_is_forgotten_and_one_that_comes_back_is_answered_at_once() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let server = Server::answering(GOOD);
    let observer = Watcher::new(&world);
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &server.address)]);
    let up = watcher.wait_for("web", &server.address, "up");
    let watchers = || observer.watchers();
    until("one watcher", || (watchers() == 1).then_some(()));
    drop(watcher);
    until("the watcher is forgotten", || (watchers() == 0).then_some(()));
    let watcher = Watcher::new(&world);
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    assert_eq!((&answers[0].2, answers[0].4), (&up.2, up.4), "known, and since when");
    until("one watcher again", || (watchers() == 1).then_some(()));
}

#[test]
fn a_watcher_that_takes_a_target_out_of_its_set_ends_its_probes() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let (left, kept) = (Server::answering(GOOD), Server::answering(GOOD));
    let watcher = Watcher::new(&world);
    watcher.watch(&[("web", &left.address), ("web", &kept.address)]);
    until("some probes of both", || (left.accepted() > 2 && kept.accepted() > 2).then_some(()));
    let (_, answers) = watcher.watch(&[("web", &kept.address)]);
    assert_eq!((answers.len(), answers[0].2.as_str()), (1, "up"));
    // A probe may have been on its way.
    let at_most = left.accepted() + 1;
    let more = kept.accepted() + 10;
    until("ten more probes of the other", || (kept.accepted() > more).then_some(()));
    assert!(
        left.accepted() <= at_most,
        "{} probes of a server that nobody watches",
        left.accepted() - at_most
    );
}

#[test]
fn without_a_bus_checkd_goes_on_probing_and_comes_back_with_what_it_knows() {
    let world = World::new();
    world.check("web", QUICK);
    let mut checkd = world.start_checkd();
    checkd.wait_for_log("org.trivet.Check1 is not on the bus");
    let bus = world.start_bus();
    let watcher = Watcher::new(&world);
    let server = Server::answering(GOOD);
    watcher.watch(&[("web", &server.address)]);
    let up = watcher.wait_for("web", &server.address, "up");
    drop(bus);
    let before = server.accepted();
    until("probes without a bus", || (server.accepted() > before + 5).then_some(()));
    let _bus = world.start_bus();
    let watcher = Watcher::new(&world);
    // A name on the old bus may be somebody else's on the new one.
    until("the watchers of the old bus are void", || (watcher.watchers() == 0).then_some(()));
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    assert_eq!((answers[0].2.as_str(), answers[0].4), ("up", up.4));
    server.stop();
    watcher.wait_for("web", &answers[0].1, "down");
    assert!(checkd.stop().success());
}

#[test]
fn a_reload_touches_what_changed_and_nothing_else() {
    let world = World::new();
    world.check("still", "type = \"http\"\ninterval = \"1d\"\n");
    world.check("web", "type = \"http\"\ninterval = \"1d\"\n");
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let (still, web) = (Server::answering(GOOD), Server::answering(GOOD));
    watcher.watch(&[("still", &still.address), ("web", &web.address), ("new", &web.address)]);
    let still_up = watcher.wait_for("still", &still.address, "up");
    until("web is probed", || (web.accepted() == 1).then_some(()));
    world.check("web", "type = \"http\"\ninterval = \"1d\"\nstatus = [404]\n");
    world.check("new", "type = \"tcp\"\n");
    checkd.reload();
    let down = watcher.wait_for("web", &web.address, "down");
    assert_eq!(down.3, "status 200, expected 404", "the changed check's first result decides");
    let (_, answers) = watcher.watch(&[("still", &still.address), ("new", &web.address)]);
    assert_eq!(answers[0], still_up);
    assert_eq!(still.accepted(), 1, "an unchanged check was probed again");
    if answers[1].2 != "up" {
        watcher.wait_for("new", &web.address, "up");
    }
    until("the new check's object", || watcher.probe("new", &web.address).ok());
    world.root.write("etc/trivet/check.d/new.toml", "");
    checkd.reload();
    until("the end of the removed check's object", || watcher.probe("new", &web.address).err());
}

#[test]
fn a_reload_of_a_broken_configuration_changes_nothing_and_says_why() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"1d\"\n");
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::answering(GOOD);
    watcher.watch(&[("web", &server.address)]);
    let up = watcher.wait_for("web", &server.address, "up");
    world.check("web", "type = \"http\"\nstatus = [404]\n");
    world.check("broken", "type = \"http\"\ndelay_loop = 6\n");
    checkd.reload();
    checkd.wait_for_log("the new configuration is refused, the former one stays in force");
    checkd.wait_for_log("unknown key 'delay_loop'");
    let (_, answers) = watcher.watch(&[("web", &server.address)]);
    assert_eq!((answers[0].clone(), server.accepted()), (up, 1));
}

#[test]
fn a_check_that_needs_no_file_can_be_disabled_and_that_is_said() {
    let world = World::new();
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::answering("");
    watcher.watch(&[("tcp", &server.address)]);
    watcher.wait_for("tcp", &server.address, "up");
    let file = world.root.path().join("etc/trivet/check.d/tcp.toml");
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    symlink("/dev/null", file).unwrap();
    checkd.reload();
    checkd.wait_for_log("the check 'tcp' is disabled: check.d/tcp.toml is a link to /dev/null");
    let unknown = watcher.wait_for("tcp", &server.address, "unknown");
    assert_eq!(unknown.3, "no check 'tcp' is configured");
}

#[test]
fn the_command_line_checks_a_configuration_and_says_what_is_wrong() {
    let root = TempRoot::new();
    let check = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_checkd"));
        let output = command.arg("--check").arg("--root").arg(root.path()).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    assert_eq!(check(), (Some(0), "configuration OK\n".to_owned(), String::new()));
    root.write("etc/trivet/check.d/web.toml", "type = \"http\"\nconnect_timeout = 3\npath = \"x\"\n");
    let (code, stdout, stderr) = check();
    assert_eq!((code, stdout.as_str()), (Some(78), ""));
    assert!(stderr.contains("web.toml:2:1: error: unknown key 'connect_timeout'"), "{stderr}");
    assert!(stderr.contains("web.toml:3:8: error: 'path'") && stderr.contains("2 errors"), "{stderr}");
    let run = Command::new(env!("CARGO_BIN_EXE_checkd")).arg("--root").arg(root.path()).output().unwrap();
    assert_eq!(run.status.code(), Some(78), "a daemon with a broken configuration does not start");
}

#[test]
fn a_stop_ends_checkd_at_once_whatever_probes_are_under_way() {
    let world = World::new();
    world.check("slow", "type = \"http\"\ntimeout = \"5min\"\n");
    let _bus = world.start_bus();
    let mut checkd = world.start_checkd();
    let watcher = Watcher::new(&world);
    let silent = servers::silent();
    watcher.watch(&[("slow", &silent.address)]);
    until("a probe is under way", || (silent.accepted() > 0).then_some(()));
    assert!(checkd.stop().success());
}

#[test]
fn what_reads_differently_about_targets_is_announced_and_more_targets_than_there_may_be_are_refused() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::answering(GOOD);
    let announced = watcher.invalidations("web");
    watcher.watch(&[("web", &server.address)]);
    let names = announced.recv_timeout(PATIENCE).expect("PropertiesChanged of the check");
    assert_eq!(names, ["Targets"]);
    let many = vec![("web", server.address.as_str()); 100_001];
    let error = watcher.try_watch(&many).unwrap_err().to_string();
    assert!(error.contains("no more than 100000 targets can be watched"), "{error}");
    assert_eq!(watcher.watch(&many[1..]).1.len(), 100_000);
}

#[test]
fn whoever_waits_for_a_probe_whose_check_is_taken_out_is_told() {
    let world = World::new();
    let file = "etc/trivet/check.d/slow.toml";
    world.root.write(file, "type = \"http\"\ntimeout = \"5min\"\n");
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let silent = servers::silent();
    let error = thread::scope(|scope| {
        let asking = scope.spawn(|| Watcher::new(&world).probe("slow", &silent.address).unwrap_err());
        until("the probe is under way", || (silent.accepted() > 0).then_some(()));
        fs::remove_file(world.root.path().join(file)).unwrap();
        checkd.reload();
        asking.join().unwrap()
    });
    assert!(error.to_string().contains("the check is not configured any more"), "{error}");
}

#[test]
fn a_probe_of_what_nobody_watches_changes_nothing_that_the_log_would_tell() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, mut checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let (alone, watched) = (Server::answering(""), Server::answering(""));
    assert_eq!(watcher.probe("web", &alone.address).unwrap().0, "down");
    watcher.watch(&[("web", &watched.address)]);
    watcher.wait_for("web", &watched.address, "down");
    assert!(checkd.stop().success());
    let log = checkd.log();
    assert!(log.contains(&watched.address) && !log.contains(&alone.address), "{log}");
}

/// It leaves no connection behind that waits, on neither side.
#[test]
fn a_server_whose_time_is_over_sees_a_reset_and_no_polite_end() {
    let world = World::new();
    world.check("web", "type = \"http\"\ntimeout = \"200ms\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let (sender, ends) = channel();
    let server = Server::start(move |mut stream| {
        servers::read_request(&mut stream);
        let _ = sender.send(stream.read(&mut [0; 16]).map_err(|error| error.kind()));
    });
    assert_eq!(Watcher::new(&world).probe("web", &server.address).unwrap().0, "down");
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), Err(ErrorKind::ConnectionReset));
}

#[test]
fn systemd_is_told_that_checkd_is_ready_what_it_knows_and_that_it_reloads() {
    let world = World::new();
    world.check("web", QUICK);
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    world.wait_for_systemd_to_hear("READY=1");
    world.wait_for_systemd_to_hear("STATUS=nobody watches any target");
    let watcher = Watcher::new(&world);
    let (up, down) = (Server::answering(GOOD), Server::answering(""));
    watcher.watch(&[("web", &up.address), ("web", &down.address)]);
    world.wait_for_systemd_to_hear("STATUS=2 targets: 1 up, 1 down");
    checkd.reload();
    world.wait_for_systemd_to_hear("RELOADING=1");
    world.wait_for_systemd_to_hear("READY=1");
}

#[test]
fn a_checkd_that_was_stopped_in_a_probe_does_not_blame_the_server() {
    let world = World::new();
    let text = "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"3s\"\nfall = 1\n";
    world.check("web", text);
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    // The second request gets no answer; it is the one under way when checkd is stopped.
    let count = AtomicU32::new(0);
    let server = Server::start(move |stream| match count.fetch_add(1, Ordering::SeqCst) {
        1 => servers::wait_for_end(stream),
        _ => servers::answer_once(stream, GOOD),
    });
    watcher.watch(&[("web", &server.address)]);
    let before = watcher.wait_for("web", &server.address, "up");
    until("the second probe", || (server.accepted() == 2).then_some(()));
    checkd.signal(Signal::SIGSTOP);
    let stopped = now();
    until("five seconds have gone by", || (now() > stopped + Duration::from_secs(5)).then_some(()));
    checkd.signal(Signal::SIGCONT);
    // The next probe succeeds at once, and may be told in the same batch as the one that could not be judged. Had the
    // server been down in between, the state would be younger.
    let after = watcher.wait_for("web", &server.address, "up");
    let own_fault = after.3.starts_with("could not probe: checkd itself did not run for");
    assert!(own_fault || after.3 == "status 200", "{}", after.3);
    assert_eq!(
        after.4, before.4,
        "the server was blamed: it is up since {} instead of {}",
        after.4, before.4
    );
}

#[test]
fn on_a_bus_on_which_many_come_and_go_it_is_there_all_the_same() {
    let world = World::new();
    for number in 0..1000 {
        world.check(&format!("check{number}"), "type = \"tcp\"\n");
    }
    let _bus = world.start_bus();
    let address = world.bus_address();
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        // Each of them is told to checkd twice, while it makes its objects.
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let connect = async { zbus::connection::Builder::address(address.as_str()).build().await };
                drop(zbus::block_on(connect).expect("a connection"));
            }
        });
        let _checkd = world.start_checkd();
        let watcher = std::panic::catch_unwind(|| Watcher::new(&world));
        over.store(true, Ordering::Relaxed);
        assert_eq!(watcher.expect("checkd is there").watchers(), 0);
    });
}
