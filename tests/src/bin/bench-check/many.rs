//! As many servers as keepalived's own worst public case has (its issue 2318): 37,205 real servers of 2,277 virtual
//! services, each looked at by a connection every 6 s.

use std::time::Duration;

use trivet_tests::clock::{pace, wait};

use crate::Choice;
use crate::clock::monotonic;
use crate::lan::Lan;
use crate::plan::{Group, Kind, Plan};
use crate::say;
use crate::servers::{Manner, Servers};
use crate::spent::{Mark, Stretch, add_memory};
use crate::subject::{Running, Subject};
use crate::table::{Table, Unit};

const SERVERS: u32 = 37_205;
const SERVICES: u32 = 2_277;
const PORT: u16 = 80;
/// Until all are known; keepalived of Debian 12 took 132 s for a reload.
const LIMIT: Duration = Duration::from_secs(300);
const INTERVAL: Duration = Duration::from_secs(6);
/// How long the cost of probes is measured, in intervals.
const WATCH: u32 = 4;
/// After a reload, likewise.
const AFTER: u32 = 2;

pub(crate) fn run(choice: &Choice) {
    println!("\n### {SERVERS} TCP servers of {SERVICES} services, each every 6 s\n");
    let mut table = Table::default();
    for subject in choice.subjects.iter().copied() {
        let number = subject.column();
        say(&format!("tcp: {}", subject.name()));
        once(number, subject, &mut table);
    }
    table.print();
    println!(
        "\nAll known: every server was probed (checkd: and told of on the bus). Reload: from SIGHUP until it says that it \
         is done; the processor time is what it spends beyond its usual in the {} s from SIGHUP on; the longest silence \
         is the longest time without any probe in these.",
        (INTERVAL * AFTER).as_secs()
    );
}

fn once(number: usize, subject: Subject, table: &mut Table) {
    let lan = Lan::new();
    let count = usize::try_from(SERVERS).expect("32 bits fit");
    let servers = Servers::start(&lan.servers, PORT, count, Manner::Mute, false);
    let mut plan =
        Plan::spread(SERVERS, SERVICES, |range| Group::new(Kind::Tcp, range, PORT).every(INTERVAL));
    let began = monotonic();
    let running = Running::start(subject, &lan, &plan);
    wait("every server is known", LIMIT, || {
        running.check();
        let on_bus = running.watcher().is_none_or(|watcher| watcher.known() >= count);
        (on_bus && servers.known() >= u64::from(SERVERS)).then_some(())
    });
    table.add(number, "from the start until all are known", Unit::Milliseconds, monotonic() - began);
    if let Some(watcher) = running.watcher() {
        table.add(
            number,
            "HealthChanged signals until then",
            Unit::Number,
            i64::try_from(watcher.signals()).unwrap_or(0),
        );
    }
    pace(INTERVAL * 2);
    let usual = watch(&running, &servers, INTERVAL * WATCH);
    table.add(number, "probes a second", Unit::Number, usual.probes_a_second());
    table.add(number, "processor time for each probe", Unit::Microseconds, usual.per_probe());
    add_memory(table, number, &running, ["memory, RSS", "memory, PSS"]);
    for rows in [NOTHING, NOTHING, NOTHING] {
        reload(number, &running, &servers, usual, rows, table);
    }
    for round in 0..3 {
        plan.0[1_000 + round].interval += Duration::from_secs(1);
        running.write(&plan);
        reload(number, &running, &servers, usual, ONE, table);
    }
    add_memory(table, number, &running, ["memory after the reloads, RSS", "memory after the reloads, PSS"]);
}

/// The rows of one kind of reload: until done, processor time, silence.
type Rows = [&'static str; 3];

const NOTHING: Rows = [
    "reload that changes nothing: until done",
    "reload that changes nothing: processor time",
    "reload that changes nothing: longest silence of probes",
];
const ONE: Rows = [
    "reload that changes one check: until done",
    "reload that changes one check: processor time",
    "reload that changes one check: longest silence of probes",
];

fn reload(
    number: usize,
    running: &Running,
    servers: &Servers,
    usual: Stretch,
    rows: Rows,
    table: &mut Table,
) {
    servers.take_longest_silence();
    let before = Mark::now(running, servers);
    let lasted = running.reload();
    let done = Duration::from_nanos(u64::try_from(lasted).expect("not before it began"));
    pace((INTERVAL * AFTER).saturating_sub(done));
    let spent = before.until(Mark::now(running, servers));
    for (name, figure) in rows.into_iter().zip([lasted, spent.beyond(usual), servers.take_longest_silence()])
    {
        table.add(number, name, Unit::Milliseconds, figure);
    }
    running.check();
}

fn watch(running: &Running, servers: &Servers, time: Duration) -> Stretch {
    let before = Mark::now(running, servers);
    pace(time);
    before.until(Mark::now(running, servers))
}
