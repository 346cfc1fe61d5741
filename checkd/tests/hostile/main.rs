//! Every kind of check against servers that go wrong in every way at everything that they have to say: five hundred
//! probes of them at once, beside one good server.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]
#![allow(unreachable_pub, reason = "modules of a test program")]

mod kinds;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kinds::{KINDS, Kind};
use rustls::ServerConfig;
use support::authority::{Authority, Leaf};
use support::script::{self, MISDEEDS, Misdeed};
use support::servers::{self, GOOD, Server};
use support::watcher::Watcher;
use support::{Checkd, World, now, until};

/// Probes at once.
const PROBES: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(2);
/// What a probe may take longer than its time limit. checkd judges no probe that it ends later than this.
const GRACE: Duration = Duration::from_secs(1);
/// A reason fits on a terminal.
const LONGEST_REASON: usize = 300;
/// What checkd may need at most, KiB.
const MEMORY: u64 = 64 * 1024;

/// A server that goes wrong, and what an operator is to read about it.
struct Case {
    server: Server,
    kind: &'static Kind,
    /// What goes wrong, by its number.
    saying: usize,
    misdeed: Misdeed,
}

impl Case {
    /// What the reason may name. With a reset goes also what was said before it and had not been read yet, and be it the
    /// connection itself. Of garbage it says that it is some.
    fn places(&self) -> impl Iterator<Item = &'static str> {
        let (from, also) = match self.misdeed {
            Misdeed::Reset if self.kind.speaks_first() => (0, Some("connection reset")),
            Misdeed::Reset => (0, None),
            Misdeed::Garbage => (self.saying, Some("")),
            Misdeed::Silent | Misdeed::Drip | Misdeed::HalfClose => (self.saying, None),
        };
        self.kind.phases[from..=self.saying].iter().copied().chain(also)
    }
}

fn cases(config: &Arc<ServerConfig>) -> Vec<Case> {
    let mut cases = Vec::new();
    for kind in KINDS {
        assert_eq!(kind.phases.len(), script::sayings(kind.script), "{}: a phase for each saying", kind.name);
        for saying in 0..kind.phases.len() {
            for misdeed in MISDEEDS {
                let (script, config) = (kind.script, Arc::clone(config));
                let server = Server::start(move |stream| {
                    script::serve(stream, script, &config, Some((saying, misdeed)));
                });
                cases.push(Case { server, kind, saying, misdeed });
            }
        }
    }
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

/// Writes the checks of each kind, as often as it takes to have so many probes of the cases.
fn checks(world: &World, cases: usize, authority: &Authority) -> usize {
    let copies = PROBES.div_ceil(cases);
    let times = format!("interval = \"10min\"\ntimeout = \"{}s\"\n", TIMEOUT.as_secs());
    for (kind, copy) in KINDS.iter().flat_map(|kind| (0..copies).map(move |copy| (kind, copy))) {
        world.check(&format!("{}{copy}", kind.name), &text(kind, &times, authority));
    }
    copies
}

/// What checkd says about all of these: (check, address) to (state, reason), and when it had said it.
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
            } else if state != "unknown" {
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
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let good = Server::answering(GOOD);
    let descriptors = idle_descriptors(&watcher, &checkd, &good);
    let targets: Vec<(String, &str)> = (0..copies)
        .flat_map(|copy| {
            cases.iter().map(move |case| (format!("{}{copy}", case.kind.name), &*case.server.address))
        })
        .collect();
    let began = now();
    let verdicts = verdicts(&watcher, &targets, &good);
    judge(&cases, &verdicts);
    expect_in_time(&watcher, copies);
    expect_many(&good, began);
    let most = checkd.memory_at_most();
    assert!(most < MEMORY, "{most} KiB for {} probes of hostile servers", targets.len());
    watcher.watch(&[]);
    until("the descriptors of all probes are closed", || {
        world.let_systemd_hear();
        (checkd.descriptors() <= descriptors).then_some(())
    });
    println!("{} probes of {} hostile servers: at most {most} KiB", targets.len(), cases.len());
}

/// How many files checkd has open when it has done everything once and does nothing.
fn idle_descriptors(watcher: &Watcher, checkd: &Checkd, good: &Server) -> usize {
    watcher.watch(&[("good", &good.address)]);
    watcher.wait_for("good", &good.address, "up");
    watcher.targets("good");
    watcher.watch(&[]);
    checkd.descriptors()
}

/// Every one is down, and its reason is readable and says where it went wrong.
fn judge(cases: &[Case], verdicts: &BTreeMap<(String, String), (String, String)>) {
    let mut wrong = Vec::new();
    for ((check, address), (state, reason)) in verdicts {
        let case = cases.iter().find(|case| case.server.address == *address).unwrap();
        let names_it = case.places().any(|place| reason.contains(place));
        let readable = reason.chars().count() <= LONGEST_REASON && !reason.contains(char::is_control);
        if state != "down" || reason.is_empty() || !readable || !names_it {
            let (place, misdeed) = (case.kind.phases[case.saying], case.misdeed);
            wrong.push(format!("{check}, {misdeed:?} at '{place}': {state}, {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn expect_in_time(watcher: &Watcher, copies: usize) {
    for (kind, copy) in KINDS.iter().flat_map(|kind| (0..copies).map(move |copy| (kind, copy))) {
        for target in watcher.targets(&format!("{}{copy}", kind.name)) {
            let took: u64 = target["LastDuration"].try_clone().unwrap().try_into().unwrap();
            let took = Duration::from_micros(took);
            assert!(took <= TIMEOUT + GRACE, "{}: a probe took {took:?}: {target:?}", kind.name);
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
    for kind in KINDS {
        world.check(kind.name, &text(kind, "", &authority));
    }
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for kind in KINDS {
        let config = Arc::clone(&config);
        let server = Server::start(move |stream| script::serve(stream, kind.script, &config, None));
        let (state, reason, _) = watcher.probe(kind.name, &server.address).unwrap();
        assert_eq!(state, "up", "{}: {reason}", kind.name);
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
