//! Every kind of check against servers that go wrong in every way at everything that they have to say, and against
//! commands that do: five hundred probes of them at once, beside one good server.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod commands;
mod datagrams;
mod kinds;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use checkd::exec::TERM_GRACE;
use kinds::{KINDS, Kind};
use rustls::ServerConfig;
use support::authority::{Authority, Leaf};
use support::commands::Listener;
use support::datagrams::Server as DatagramServer;
use support::script::{self, MISDEEDS, Misdeed};
use support::servers::{self, GOOD, Server};
use support::watcher::Watcher;
use support::{Checkd, World, now, until};

/// Probes at once.
const PROBES: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(5);
/// What a probe may take longer than its time limit. checkd judges no probe that it ends later than this.
const GRACE: Duration = Duration::from_secs(1);
/// A reason fits on a terminal.
const LONGEST_REASON: usize = 300;
/// What checkd may need at most, KiB.
const MEMORY: u64 = 64 * 1024;
/// Where commands are run for; no two checks of them have the same name.
const NOBODY: &str = "192.0.2.1:80";

/// A server or a command that goes wrong, and what an operator is to read about it.
struct Case {
    /// The check's name, without the number of its copy.
    check: &'static str,
    address: String,
    /// What goes wrong.
    what: String,
    state: &'static str,
    /// The reason names one of them; at its end if that is marked with a '$'.
    places: Vec<&'static str>,
    most: Duration,
}

impl Case {
    fn is_named_in(&self, reason: &str) -> bool {
        self.places.iter().any(|place| match place.strip_suffix('$') {
            Some(end) => reason.ends_with(end),
            None => reason.contains(place),
        })
    }
}

/// What the reason may name. With a reset goes also what was said before it and had not been read yet, and be it the
/// connection itself. Of garbage it says that it is some.
fn places(kind: &Kind, saying: usize, misdeed: Misdeed) -> Vec<&'static str> {
    let (from, also) = match misdeed {
        Misdeed::Reset if kind.speaks_first() => (0, Some("connection reset")),
        Misdeed::Reset => (0, None),
        Misdeed::Garbage => (saying, Some("")),
        Misdeed::Silent | Misdeed::Drip | Misdeed::HalfClose => (saying, None),
    };
    kind.phases[from..=saying].iter().copied().chain(also).collect()
}

fn cases(config: &Arc<ServerConfig>) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        assert_eq!(kind.phases.len(), script::sayings(kind.script), "{}: a phase for each saying", kind.name);
        for (saying, phase) in kind.phases.iter().enumerate() {
            for misdeed in MISDEEDS {
                let (script, config) = (kind.script, Arc::clone(config));
                let server = Server::start(move |stream| {
                    script::serve(stream, script, &config, Some((saying, misdeed)));
                });
                let (address, what) = (server.address, format!("{misdeed:?} at '{phase}'"));
                let places = places(kind, saying, misdeed);
                let most = TIMEOUT + GRACE;
                cases.push(Case { check: kind.name, address, what, state: "down", places, most });
            }
        }
    }
    cases.extend(datagrams::ROWS.iter().map(|row| Case {
        check: row.check,
        address: datagrams::start(&row.peer),
        what: row.what.to_owned(),
        state: "down",
        places: vec![row.reason],
        most: TIMEOUT + GRACE,
    }));
    cases.extend(commands::ROWS.iter().map(|row| Case {
        check: row.name,
        address: NOBODY.to_owned(),
        what: format!("{:?}", row.command),
        state: row.state,
        places: vec![row.reason],
        most: TIMEOUT + GRACE + TERM_GRACE,
    }));
    cases
}

/// Certificates for the good name.
fn identity(world: &World) -> (Authority, Arc<ServerConfig>) {
    let authority = Authority::new(&world.root);
    let leaf = authority.issue(&Leaf::for_name("www.example.com"));
    (authority, script::config(&leaf))
}

/// The text of a kind's check.
fn text(kind: &Kind, times: &str, authority: &Authority) -> String {
    let secured = kind.script.iter().any(|turn| matches!(turn, script::Turn::Secure));
    let trust = if secured { authority.keys() } else { String::new() };
    format!("{times}{trust}{}", kind.check)
}

/// The name and the text of every check, each text after these times.
fn texts(world: &World, times: &str, authority: &Authority) -> Vec<(&'static str, String)> {
    let streams = KINDS.iter().map(|kind| (kind.name, text(kind, times, authority)));
    let datagrams = datagrams::CHECKS.map(|(name, check)| (name, format!("{times}{check}")));
    let commands =
        commands::ROWS.iter().map(|row| (row.name, format!("{times}{}", commands::text(world, row))));
    streams.chain(datagrams).chain(commands).collect()
}

/// Writes every check as often as it takes to have so many probes of the cases.
fn checks(world: &World, cases: usize, authority: &Authority) -> usize {
    let copies = PROBES.div_ceil(cases);
    let times = format!("interval = \"10min\"\ntimeout = \"{}s\"\n", TIMEOUT.as_secs());
    for (name, text) in texts(world, &times, authority) {
        for copy in 0..copies {
            world.check(&format!("{name}-{copy}"), &text);
        }
    }
    copies
}

/// What checkd says about all of these: (check, address) to (state, reason), once it has looked.
fn verdicts(
    watcher: &Watcher,
    targets: &[(String, &str)],
    good: &Server,
) -> BTreeMap<(String, String), (String, String)> {
    let mut named: Vec<(&str, &str)> = targets.iter().map(|(check, address)| (&**check, *address)).collect();
    named.push(("good", &good.address));
    watcher.watch(&named);
    let mut verdicts = BTreeMap::new();
    while verdicts.len() < targets.len() {
        for (check, address, state, reason, ..) in watcher.next().1 {
            if check == "good" {
                assert_eq!(state, "up", "the good server: {reason}");
            } else if state != "unknown" || reason.starts_with("could not probe: ") {
                verdicts.insert((check, address), (state, reason));
            }
        }
    }
    verdicts
}

#[test]
fn whatever_a_server_does_it_is_down_in_time_with_its_reason_and_no_other_suffers() {
    let world = World::new();
    let (authority, config) = identity(&world);
    let cases = cases(&config);
    let copies = checks(&world, cases.len(), &authority);
    // Hundreds of servers go down, as they should.
    world.root.write("etc/trivet/checkd.toml", "log_level = \"error\"\n");
    world.check("good", "type = \"http\"\ninterval = \"100ms\"\ntimeout = \"2s\"\nfall = 1\n");
    let (_bus, _listener, checkd) = (world.start_bus(), Listener::start(&world, &[]), world.start_checkd());
    let watcher = Watcher::new(&world);
    let good = Server::answering(GOOD);
    let descriptors = idle_descriptors(&watcher, &checkd, &good);
    let targets: Vec<(String, &str)> = (0..copies)
        .flat_map(|copy| cases.iter().map(move |case| (format!("{}-{copy}", case.check), &*case.address)))
        .collect();
    let began = now();
    let verdicts = verdicts(&watcher, &targets, &good);
    judge(&cases, &verdicts);
    expect_in_time(&watcher, &cases, copies);
    expect_many(&good, began);
    let most = checkd.memory_at_most();
    assert!(most < MEMORY, "{most} KiB for {} probes of what goes wrong", targets.len());
    watcher.watch(&[]);
    until("the descriptors of all probes are closed", || {
        world.let_systemd_hear();
        (checkd.descriptors() <= descriptors).then_some(())
    });
    println!("{} probes of {} hostile servers and commands: at most {most} KiB", targets.len(), cases.len());
}

/// How many files checkd has open when it has done everything once and does nothing.
fn idle_descriptors(watcher: &Watcher, checkd: &Checkd, good: &Server) -> usize {
    watcher.watch(&[("good", &good.address)]);
    watcher.wait_for("good", &good.address, "up");
    watcher.targets("good");
    watcher.watch(&[]);
    checkd.descriptors()
}

/// The case that a check of this name and this address is of.
fn case_of<'a>(cases: &'a [Case], check: &str, address: &str) -> &'a Case {
    let (check, _copy) = check.rsplit_once('-').unwrap();
    cases.iter().find(|case| case.check == check && case.address == address).unwrap()
}

/// Every one is in its state, and its reason is readable and says where it went wrong.
fn judge(cases: &[Case], verdicts: &BTreeMap<(String, String), (String, String)>) {
    let mut wrong = Vec::new();
    for ((check, address), (state, reason)) in verdicts {
        let case = case_of(cases, check, address);
        let readable = reason.chars().count() <= LONGEST_REASON && !reason.contains(char::is_control);
        if state != case.state || reason.is_empty() || !readable || !case.is_named_in(reason) {
            wrong.push(format!("{check}, {}: {state}, {reason}, where {:?}", case.what, case.places));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn expect_in_time(watcher: &Watcher, cases: &[Case], copies: usize) {
    let mut checks: Vec<&str> = cases.iter().map(|case| case.check).collect();
    checks.dedup();
    for (check, copy) in checks.iter().flat_map(|check| (0..copies).map(move |copy| (check, copy))) {
        let check = format!("{check}-{copy}");
        for target in watcher.targets(&check) {
            // Nothing was judged where nothing could be run.
            let Some(took) = target.get("LastDuration") else { continue };
            let took: u64 = took.try_clone().unwrap().try_into().unwrap();
            let address: String = target["Address"].try_clone().unwrap().try_into().unwrap();
            let (took, case) = (Duration::from_micros(took), case_of(cases, &check, &address));
            assert!(took <= case.most, "{check}, {}: a probe took {took:?}: {target:?}", case.what);
        }
    }
}

/// The good server was probed ten times a second; half of that will do on a busy machine.
fn expect_many(good: &Server, began: Instant) {
    let expected = (now() - began).as_millis() / 200;
    let probed = good.accepted();
    assert!(u128::from(probed) >= expected, "the good server was probed {probed} times, not {expected}");
}

#[test]
fn a_server_that_does_nothing_wrong_is_up() {
    let world = World::new();
    let (authority, config) = identity(&world);
    for (name, text) in texts(&world, "", &authority) {
        world.check(name, &text);
    }
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let mut servers = Vec::new();
    for kind in KINDS {
        let config = Arc::clone(&config);
        let server = Server::start(move |stream| script::serve(stream, kind.script, &config, None));
        servers.push((kind.name, server.address));
    }
    for (name, _) in datagrams::CHECKS {
        let says = datagrams::good(name);
        let server = DatagramServer::start(move |socket, _, question, from| says(socket, question, from));
        servers.push((name, server.address));
    }
    let targets: Vec<(&str, &str)> = servers.iter().map(|(name, address)| (*name, &**address)).collect();
    let states = Watcher::new(&world).first_states(&targets);
    for (name, address) in targets {
        let (state, reason) = &states[address];
        assert_eq!(state, "up", "{name}: {reason}");
    }
}

#[test]
fn who_does_not_even_accept_is_not_connected() {
    let world = World::new();
    let (authority, _) = identity(&world);
    for kind in KINDS {
        world.check(kind.name, &text(kind, "timeout = \"500ms\"\n", &authority));
    }
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let (full, refusing) = (servers::full(), servers::refusing());
    for kind in KINDS.iter().map(|kind| kind.name).chain(["tcp"]) {
        for (address, expected) in [(&full.address, "no answer within 5"), (&refusing, "connection refused")]
        {
            let (state, reason, _) = watcher.probe(kind, address).unwrap();
            assert!(state == "down" && reason.contains(expected), "{kind}: {state}, {reason}");
        }
    }
}
