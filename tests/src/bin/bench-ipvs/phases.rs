//! What happens to each of them, in this order, and what of it is told: a line for each figure.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use trivet_tests::clock::{now, pace};
use trivet_tests::cost::{memory, processor_time};

use crate::bare::Bare;
use crate::clock::monotonic;
use crate::look::Look;
use crate::plan::{Plan, Up, telling, weights};
use crate::programs::{LIMIT, Running, Stage, Subject};
use crate::spent::{peak, settle};
use crate::traffic::{Counts, Traffic, system_calls};

const DIRECTORY: &str = "/root/bench";
const LOG: &str = "/root/bench/strace";
const SOON: Duration = Duration::from_millis(5);
/// The age of a file that was not just written.
const OLD: Duration = Duration::from_secs(2);
/// How long nothing happens.
pub(crate) const REST: Duration = Duration::from_secs(30);
/// Not while something else is measured.
const SELDOM: &str = "resync_interval = \"1h\"\n";

pub(crate) const COLD: &str = "cold start: from exec to the whole table";
pub(crate) const NOTHING: &str = "reload that changes nothing";
pub(crate) const WEIGHT: &str = "reload with one changed weight";
pub(crate) const ONE_FAILS: &str = "one server of each service fails";
pub(crate) const ONE_RETURNS: &str = "they return";
pub(crate) const ALL_FAIL: &str = "all servers fail";
pub(crate) const ALL_RETURN: &str = "all return";
pub(crate) const RESTING: &str = "30 s in which nothing happens";
pub(crate) const CLEARED: &str = "from the end of ipvsadm -C to the whole table";
pub(crate) const STOP: &str = "stop";
pub(crate) const PHASES: [&str; 10] =
    [COLD, NOTHING, WEIGHT, ONE_FAILS, ONE_RETURNS, ALL_FAIL, ALL_RETURN, RESTING, CLEARED, STOP];

pub(crate) fn run(subject: Subject, counted: bool) {
    let mut bench = Bench::new(subject, counted);
    match subject {
        Subject::Keepalived | Subject::Ipvsd => bench.daemon(),
        Subject::Ipvsadm => bench.ipvsadm(),
        Subject::Bare => bench.bare(),
    }
}

#[derive(Debug)]
struct Bench {
    subject: Subject,
    look: Look,
    traffic: Option<Traffic>,
    plan: Plan,
}

/// What was spent up to a moment.
#[derive(Clone, Copy, Debug)]
struct Mark {
    processor: u64,
    counts: Counts,
    calls: u64,
}

impl Bench {
    fn new(subject: Subject, counted: bool) -> Self {
        std::fs::create_dir_all(DIRECTORY).expect("making a directory");
        let look = Look::new();
        let traffic = counted.then(|| Traffic::start(look.family()));
        Self { subject, look, traffic, plan: Plan::START }
    }

    fn tell(&self, phase: &str, what: &str, figure: u64) {
        println!("figure\t{}\t{phase}\t{what}\t{figure}", self.subject.name());
    }

    /// Times are told only where nobody counts.
    fn tell_time(&self, phase: &str, began: i64, ended: i64) {
        if self.traffic.is_none() {
            self.tell(phase, "time", u64::try_from(ended - began).expect("not before it began"));
        }
    }

    fn mark(&self, pids: &[Pid]) -> Mark {
        let counts = self.traffic.as_ref().map(Traffic::counts).unwrap_or_default();
        let calls = if self.traffic.is_some() { system_calls(Path::new(LOG)) } else { 0 };
        Mark { processor: processor_time(pids), counts, calls }
    }

    fn tell_spent(&self, phase: &str, before: Mark, pids: &[Pid]) {
        let after = self.mark(pids);
        if self.traffic.is_none() {
            self.tell(phase, "processor", after.processor.saturating_sub(before.processor));
            return;
        }
        let counts = after.counts.since(before.counts);
        self.tell(phase, "commands", counts.commands);
        self.tell(phase, "questions", counts.questions);
        self.tell(phase, "answers", counts.answers);
        self.tell(phase, "datagrams", counts.datagrams);
        self.tell(phase, "calls", after.calls - before.calls);
    }

    /// When the kernel's table was as planned, as the services tell of which one is the last to be so. Then the whole is
    /// read: if it was another one, the time is that of the whole, and that is said.
    fn wait(&mut self, is_weight: bool, mut running: Option<&mut Running>) -> i64 {
        let table = self.plan.table();
        let mut telling = telling(is_weight);
        let end = now() + LIMIT;
        loop {
            telling.retain(|key| self.look.servers(key) != weights(&table[key]));
            if telling.is_empty() {
                break;
            }
            if let Some(running) = &mut running {
                running.check();
            }
            assert!(
                now() < end,
                "waited {LIMIT:?} in vain for {:?}:\n{}",
                self.plan,
                log(running.as_deref())
            );
            pace(SOON);
        }
        let mut done = monotonic();
        loop {
            let differences = self.look.differences(&table);
            if differences == 0 {
                return done;
            }
            assert!(
                now() < end,
                "{differences} services are not as planned ({:?}):\n{}",
                self.plan,
                log(running.as_deref())
            );
            println!("note: {differences} services were not as planned when the last one was");
            done = monotonic();
        }
    }

    fn daemon(&mut self) {
        let strace = self.traffic.is_some().then(|| PathBuf::from(LOG));
        let stage = Stage::new(self.subject, Path::new(DIRECTORY), self.plan, strace.as_deref());
        if self.subject == Subject::Ipvsd {
            std::fs::write(Path::new(DIRECTORY).join("root/etc/trivet/ipvsd.toml"), SELDOM)
                .expect("writing ipvsd.toml");
        }
        // Files are older than their readers, as they are in life.
        pace(OLD);
        let before = self.mark(&[]);
        let began = monotonic();
        let mut running = stage.start();
        let ended = self.wait(false, Some(&mut running));
        self.tell_time(COLD, began, ended);
        let end = now() + LIMIT;
        while !running.is_told() {
            assert!(now() < end, "nobody asked for health:\n{}", running.end_of_log());
            pace(SOON);
        }
        settle(&running.pids());
        self.tell_spent(COLD, before, &running.pids());
        self.tell_memory("memory after the start", &running);

        self.phase(NOTHING, &mut running, |running, _| running.reload(), None);
        self.plan.weight = 2;
        running.write(self.plan);
        self.phase(WEIGHT, &mut running, |running, _| running.signal(Signal::SIGHUP), Some(true));
        for (name, up) in
            [(ONE_FAILS, Up::AllButOne), (ONE_RETURNS, Up::All), (ALL_FAIL, Up::None), (ALL_RETURN, Up::All)]
        {
            let former = std::mem::replace(&mut self.plan.up, up);
            self.phase(name, &mut running, |running, plan| running.set_health(former, plan.up), Some(false));
        }
        self.tell_memory("memory in the end", &running);
        if self.subject == Subject::Ipvsd {
            running.write_interval("");
            running.reload();
            settle(&running.pids());
        }
        self.phase(RESTING, &mut running, |_, _| pace(REST), None);
        if self.subject == Subject::Ipvsd {
            let status = Command::new("ipvsadm").arg("-C").status().expect("running ipvsadm");
            assert!(status.success(), "ipvsadm -C failed");
            self.phase(CLEARED, &mut running, |_, _| (), Some(false));
        }
        let began = monotonic();
        running.stop();
        self.tell_time(STOP, began, monotonic());
    }

    /// `table`: until the table is as planned (whether it is about the weight), else until `act` is done.
    fn phase(
        &mut self,
        name: &str,
        running: &mut Running,
        act: impl FnOnce(&mut Running, Plan),
        table: Option<bool>,
    ) {
        let before = self.mark(&running.pids());
        let began = monotonic();
        act(running, self.plan);
        let ended = match table {
            None => monotonic(),
            Some(is_weight) => self.wait(is_weight, Some(running)),
        };
        if name != RESTING {
            self.tell_time(name, began, ended);
            settle(&running.pids());
        }
        self.tell_spent(name, before, &running.pids());
        running.check();
    }

    fn tell_memory(&self, name: &str, running: &Running) {
        if self.traffic.is_some() {
            return;
        }
        let used = memory(&running.pids());
        self.tell(name, "rss", used.resident);
        self.tell(name, "pss", used.proportional);
        self.tell(name, "peak", peak(&running.pids()));
    }

    fn ipvsadm(&mut self) {
        let file = Path::new(DIRECTORY).join("rules");
        std::fs::write(&file, self.plan.ipvsadm()).expect("writing the rules");
        let before = self.mark(&[]);
        let began = monotonic();
        let rules = std::fs::File::open(&file).expect("the rules");
        let strace = ["strace", "-f", "-qq", "-e", "raw=all", "-o", LOG, "ipvsadm"];
        let words = if self.traffic.is_some() { &strace[..] } else { &strace[7..] };
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).arg("-R").stdin(Stdio::from(rules));
        assert!(command.status().expect("running ipvsadm").success(), "ipvsadm -R failed");
        let ended = self.wait(false, None);
        self.tell_time(COLD, began, ended);
        if self.traffic.is_some() {
            self.tell_spent(COLD, before, &[]);
        }
    }

    fn bare(&mut self) {
        let plan = |up, weight| Plan { up, weight };
        let mut former = None;
        for (name, next) in [
            (COLD, plan(Up::All, 1)),
            (WEIGHT, plan(Up::All, 2)),
            (ONE_FAILS, plan(Up::AllButOne, 2)),
            (ONE_RETURNS, plan(Up::All, 2)),
            (ALL_FAIL, plan(Up::None, 2)),
            (ALL_RETURN, plan(Up::All, 2)),
        ] {
            let bare = Bare::prepare(&mut self.look, former, next);
            self.plan = next;
            let began = monotonic();
            bare.send(&self.look);
            let ended = self.wait(name == WEIGHT, None);
            self.tell_time(name, began, ended);
            former = Some(next);
        }
    }
}

fn log(running: Option<&Running>) -> String {
    running.map(Running::end_of_log).unwrap_or_default()
}
