//! Ten thousand HTTP probes a second: 10,000 servers, each every second, by a checker that has one processor.

use std::time::Duration;

use trivet_tests::clock::{pace, wait};

use crate::Choice;
use crate::lan::Lan;
use crate::plan::{Group, Kind, Plan};
use crate::say;
use crate::servers::{Manner, Servers};
use crate::spent::{Mark, add_memory};
use crate::subject::{Running, Subject};
use crate::table::{Table, Unit};

const SERVERS: u32 = 10_000;
const SERVICES: u32 = 100;
const PORT: u16 = 80;
const LIMIT: Duration = Duration::from_secs(120);
const WATCH: Duration = Duration::from_secs(20);

pub(crate) fn run(choice: &Choice) {
    println!("\n### {SERVERS} HTTP servers, each every second, on one processor\n");
    let mut table = Table::default();
    for subject in choice.subjects.iter().copied() {
        let number = subject.column();
        say(&format!("http: {}", subject.name()));
        once(number, subject, &mut table);
    }
    table.print();
}

fn once(number: usize, subject: Subject, table: &mut Table) {
    let lan = Lan::new();
    let count = usize::try_from(SERVERS).expect("32 bits fit");
    let servers = Servers::start(&lan.servers, PORT, count, Manner::Web, false);
    let second = Duration::from_secs(1);
    let plan = Plan::spread(SERVERS, SERVICES, |range| Group::new(Kind::Http, range, PORT).every(second));
    let running = Running::start(subject, &lan, &plan);
    wait("every server is known", LIMIT, || {
        running.check();
        (servers.known() >= u64::from(SERVERS)).then_some(())
    });
    pace(second * 5);
    let answered = servers.answered();
    let before = Mark::now(&running, &servers);
    pace(WATCH);
    let spent = before.until(Mark::now(&running, &servers));
    let answered = i64::try_from(servers.answered() - answered).expect("63 bits fit");
    table.add(number, "probes answered a second", Unit::Number, answered * 1_000_000_000 / spent.lasted);
    table.add(number, "processor, percent", Unit::Number, spent.share());
    table.add(number, "processor time for each probe", Unit::Microseconds, spent.per_probe());
    add_memory(table, number, &running, ["memory, RSS", "memory, PSS"]);
    table.add(number, "connections in TIME_WAIT on the checker's side", Unit::Number, lan.time_wait());
    if let Some(watcher) = running.watcher() {
        assert_eq!(watcher.up(), count, "every server answers");
    }
}
