//! How long after the end of theory a server's death is told: on the bus by checkd, to IPVS by keepalived.

use std::collections::BTreeMap;
use std::time::Duration;

use trivet_tests::clock::{PATIENCE, pace, wait};
use trivet_tests::figures::{Figures, microseconds};

use crate::Choice;
use crate::lan::Lan;
use crate::plan::{Group, Kind, Plan};
use crate::refusals::Refusals;
use crate::say;
use crate::servers::{Manner, Servers};
use crate::subject::{Running, Subject};
use crate::watcher::State;

const SERVERS: u32 = 500;
const PORT: u16 = 80;
const ROUNDS: usize = 3;
const INTERVAL: Duration = Duration::from_secs(1);
const RETRY: Duration = Duration::from_millis(500);

pub(crate) fn run(choice: &Choice) {
    println!("\n### From a server's death until it is told\n");
    println!(
        "{SERVERS} TCP servers, every {} ms, a failure is confirmed after {} ms; all die at one moment, {ROUNDS} times. \
         Told: HealthChanged has come over the bus to a client (checkd); the call that takes it out of IPVS begins \
         (keepalived, without a bus and a client). After the refusal: from the moment at which the servers' machine has \
         refused the probe that settles it. After theory: later than an interval and a confirmation after the last good \
         probe, which is the longest that either may take; checkd confirms up to a quarter sooner, so that servers that \
         fail together are not asked again together, and may be before it.\n",
        INTERVAL.as_millis(),
        RETRY.as_millis()
    );
    println!(
        "| program | from death p50 | max | after the refusal p50, µs | p99, µs | max, µs | after theory p99, µs | max, µs | deaths |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for subject in choice.subjects.iter().copied() {
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
    let refusals = Refusals::watch(&lan);
    let (mut from_death, mut after_refusal, mut after_theory) = (Vec::new(), Vec::new(), Vec::new());
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
        let refused = refusals.take();
        let theory = i64::try_from((INTERVAL + RETRY).as_nanos()).expect("a short time");
        for (server, at) in told {
            let last = last[usize::try_from(server).expect("32 bits fit")];
            from_death.push(at - died);
            after_theory.push(at - last - theory);
            let settled = refused.get(&server).and_then(|all| all.iter().rfind(|refused| **refused < at));
            after_refusal.push(at - settled.expect("nobody is told dead before his refusal"));
        }
        servers = start();
    }
    let [from_death, refusal, theory] =
        [from_death, after_refusal, after_theory].map(|times| Figures::new(times.into_iter()));
    println!(
        "| {} | {} ms | {} ms | {} | {} | {} | {} | {} | {} |",
        subject.name(),
        from_death.median() / 1_000_000,
        from_death.max() / 1_000_000,
        microseconds(refusal.median()),
        microseconds(refusal.at(0.99)),
        microseconds(refusal.max()),
        microseconds(theory.at(0.99)),
        microseconds(theory.max()),
        theory.count()
    );
}
