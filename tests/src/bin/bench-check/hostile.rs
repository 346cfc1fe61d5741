//! Ten thousand servers in trouble beside ten healthy ones: what the trouble costs in memory, and by how much it delays
//! the healthy ones' probes.

use std::collections::BTreeMap;
use std::time::Duration;

use trivet_tests::clock::{pace, wait};
use trivet_tests::cost::memory;
use trivet_tests::figures::Figures;

use crate::Choice;
use crate::lan::Lan;
use crate::plan::{Group, Kind, Plan};
use crate::say;
use crate::servers::{Manner, Servers, Visit};
use crate::subject::{Running, Subject};

const MANY: u32 = 10_000;
const SERVICES: u32 = 100;
const HEALTHY: u32 = 10;
const PORT: u16 = 80;
const HEALTHY_PORT: u16 = 8080;
/// Of the healthy.
const INTERVAL: Duration = Duration::from_millis(100);
const LIMIT: Duration = Duration::from_secs(120);
const WATCH: Duration = Duration::from_secs(20);

/// Words for [`Trouble::ALL`].
pub(crate) const CELLS: [&str; 4] = ["none", "silent", "refusing", "dying"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    /// The healthy by themselves.
    None,
    /// HTTP servers that accept and never answer.
    Silent,
    /// Nobody listens.
    Refusing,
    /// TCP servers, each looked at every second, that all die at one moment.
    Dying,
}

impl Trouble {
    const ALL: [Self; 4] = [Self::None, Self::Silent, Self::Refusing, Self::Dying];

    fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Silent => "accept, never answer",
            Self::Refusing => "refuse",
            Self::Dying => "all fail in one second",
        }
    }

    fn plan(self) -> Plan {
        let healthy = Group::new(Kind::Http, MANY..MANY + HEALTHY, HEALTHY_PORT).every(INTERVAL);
        let kind = if self == Self::Dying { Kind::Tcp } else { Kind::Http };
        let second = Duration::from_secs(1);
        let group = |range| {
            let group = Group::new(kind, range, PORT);
            if self == Self::Dying { group.every(second) } else { group }
        };
        let many = if self == Self::None { Plan(Vec::new()) } else { Plan::spread(MANY, SERVICES, group) };
        many.with([healthy])
    }
}

pub(crate) fn run(choice: &Choice) {
    println!("\n### {MANY} servers in trouble beside {HEALTHY} healthy ones\n");
    println!(
        "Late: by how much the healthy ones' probes, every {} ms, come later than that after the one before. Reaction: \
         how long the checker takes to use a healthy one's connection and to take its answer. Memory: when the trouble \
         is at its worst, and 10 s after the servers have recovered.\n",
        INTERVAL.as_millis()
    );
    println!(
        "| trouble | program | late p50 | late p99 | reaction p50 | reaction p99 | worst memory, RSS | PSS | after it, RSS | probes of the healthy |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for (cell, trouble) in CELLS.into_iter().zip(Trouble::ALL) {
        for subject in choice.subjects.iter().copied().filter(|_| choice.has(cell)) {
            say(&format!("hostile: {}, {}", trouble.name(), subject.name()));
            once(trouble, subject);
        }
    }
}

fn once(trouble: Trouble, subject: Subject) {
    let lan = Lan::new();
    let all = usize::try_from(MANY + HEALTHY).expect("32 bits fit");
    let start = |manner| Servers::start(&lan.servers, PORT, all, manner, false);
    let many = match trouble {
        Trouble::None | Trouble::Refusing => None,
        Trouble::Silent | Trouble::Dying => Some(start(Manner::Mute)),
    };
    let healthy = Servers::start(&lan.servers, HEALTHY_PORT, all, Manner::Web, true);
    let plan = trouble.plan();
    let running = Running::start(subject, &lan, &plan);
    wait("the servers are known", LIMIT, || {
        running.check();
        let many = many.as_ref().is_none_or(|many| many.known() >= u64::from(MANY));
        let on_bus = running.watcher().is_none_or(|watcher| watcher.known() >= plan.servers());
        (many && on_bus && healthy.known() >= u64::from(HEALTHY)).then_some(())
    });
    // Trouble of all at once, or of each in its turn.
    pace(Duration::from_secs(if trouble == Trouble::Dying { 3 } else { 12 }));
    healthy.take_visits();
    let many = if trouble == Trouble::Dying {
        many.and_then(|many| {
            many.die();
            None
        })
    } else {
        many
    };
    let mut worst = memory(&running.pids());
    for _ in 0..WATCH.as_millis() / 250 {
        pace(Duration::from_millis(250));
        let now = memory(&running.pids());
        worst = if now.resident > worst.resident { now } else { worst };
    }
    let visits = healthy.take_visits();
    drop(many);
    let _recovered = start(Manner::Web);
    pace(Duration::from_secs(10));
    running.check();
    let after = memory(&running.pids()).resident;
    let (late, reaction) = (lateness(&visits), Figures::new(visits.iter().map(|visit| visit.hesitated)));
    let us = |figures: &Figures, share| format!("{} µs", figures.at(share) / 1000);
    println!(
        "| {} | {} | {} | {} | {} | {} | {} KiB | {} KiB | {after} KiB | {} |",
        trouble.name(),
        subject.name(),
        us(&late, 0.5),
        us(&late, 0.99),
        us(&reaction, 0.5),
        us(&reaction, 0.99),
        worst.resident,
        worst.proportional,
        visits.len(),
    );
}

/// From each visit of a server to its next, beyond the interval.
fn lateness(visits: &[Visit]) -> Figures {
    let mut last = BTreeMap::new();
    let mut late = Vec::new();
    let interval = i64::try_from(INTERVAL.as_nanos()).expect("a short time");
    for visit in visits {
        if let Some(before) = last.insert(visit.server, visit.accepted) {
            late.push(visit.accepted - before - interval);
        }
    }
    Figures::new(late.into_iter())
}
