//! How long after the end of theory a server's death is told: on the bus by checkd, to IPVS by keepalived.

use std::collections::BTreeMap;
use std::time::Duration;

use trivet_tests::clock::{PATIENCE, pace, wait};
use trivet_tests::figures::{Figures, microseconds};

use crate::lan::Lan;
use crate::plan::{Group, Kind, Plan};
use crate::say;
use crate::servers::{Manner, Servers};
use crate::subject::{Running, SUBJECTS, Subject};
use crate::watcher::State;

const SERVERS: u32 = 500;
const PORT: u16 = 80;
const ROUNDS: usize = 3;
const INTERVAL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);

pub(crate) fn run() {
    println!("\n### From a server's death until it is told\n");
    println!(
        "{SERVERS} TCP servers, every {} ms, a failure is confirmed after {} ms; all die at one moment, {ROUNDS} times. In \
         theory each is told of an interval and a confirmation after its last good probe. Told: HealthChanged is with a \
         client on the bus (checkd); the call that takes it out of IPVS begins (keepalived).\n",
        INTERVAL.as_millis(),
        RETRY.as_millis()
    );
    println!(
        "| program | from death p50 | from death max | after theory p50, µs | p99, µs | max, µs | deaths |"
    );
    println!("|---|---|---|---|---|---|---|");
    for subject in SUBJECTS {
        say(&format!("death: {}", subject.name()));
        once(subject);
    }
}

fn once(subject: Subject) {
    let lan = Lan::new();
    let count = usize::try_from(SERVERS).expect("32 bits fit");
    let start = || Servers::start(&lan.servers, PORT, count, Manner::Mute, false);
    let mut servers = start();
    let plan = Plan(vec![Group { retry: RETRY, ..Group::new(Kind::Tcp, 0..SERVERS, PORT).every(INTERVAL) }]);
    let running = Running::start(subject, &lan, &plan);
    let (mut from_death, mut after_theory) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        wait("every server is known to be up", PATIENCE, || {
            running.check();
            let up = running.watcher().is_none_or(|watcher| watcher.up() == count);
            (up && servers.known() >= u64::from(SERVERS)).then_some(())
        });
        pace(INTERVAL * 3);
        let _before = running.take_news();
        let (died, last) = servers.die();
        let mut told = BTreeMap::new();
        wait("every death is told", PATIENCE, || {
            let news = running.take_news().into_iter().filter(|news| news.state == State::Down);
            told.extend(news.map(|news| (news.server, news.at)));
            (told.len() == count).then_some(())
        });
        let theory = i64::try_from((INTERVAL + RETRY).as_nanos()).expect("a short time");
        for (server, at) in told {
            let last = last[usize::try_from(server).expect("32 bits fit")];
            from_death.push(at - died);
            after_theory.push(at - last - theory);
        }
        servers = start();
    }
    let (from_death, after) = (Figures::new(from_death.into_iter()), Figures::new(after_theory.into_iter()));
    println!(
        "| {} | {} ms | {} ms | {} | {} | {} | {} |",
        subject.name(),
        from_death.median() / 1_000_000,
        from_death.max() / 1_000_000,
        microseconds(after.median()),
        microseconds(after.at(0.99)),
        microseconds(after.max()),
        after.count()
    );
}
