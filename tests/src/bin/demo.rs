//! The newcomer's first minute: a director pair with two web servers and a client, live. tests/demo runs it where the
//! kernel has IPVS. Prints plain lines, so that it can be watched, logged and piped.

use std::time::{Duration, Instant};

use trivet_tests::bus::Property;
use trivet_tests::client::{Client, Cost, Manner, cost};
use trivet_tests::clock::{now, pace};
use trivet_tests::director::{Director, Kind};
use trivet_tests::ipvs;
use trivet_tests::nat_pair::{NatPair, SERVERS, SERVICE};

const LINE: Duration = Duration::from_secs(1);
const MAXIMUM: Duration = Duration::from_secs(40);

struct Demo {
    client: Client,
    directors: [Director; 2],
    frozen: [bool; 2],
    stopped: [bool; 2],
    costs: Vec<(&'static str, &'static str, Cost)>,
    shown: usize,
    began: Instant,
    pair: NatPair,
}

impl Demo {
    fn new() -> Self {
        ipvs::require();
        println!("Making two directors (lvs1, lvs2), two web servers and a client: six network namespaces.");
        let pair = NatPair::new();
        let directors = [0, 1].map(|number| Director::start(&pair, number, Kind::Trivet));
        let client = Client::start(&pair.client, NatPair::service(), Manner::default());
        let (frozen, stopped) = ([false; 2], [false; 2]);
        Self { client, directors, frozen, stopped, costs: Vec::new(), shown: 0, began: now(), pair }
    }

    /// Shows a line each second until `done`, and three more.
    fn watch(&mut self, text: &str, done: impl Fn(&Self) -> bool) {
        println!("\n-- {text}");
        let deadline = now() + MAXIMUM;
        let mut more = 3;
        while more > 0 && now() < deadline {
            pace(LINE);
            self.line();
            if done(self) {
                more -= 1;
            }
        }
        assert!(more == 0, "this did not happen within {MAXIMUM:?}: {text}");
    }

    fn line(&mut self) {
        let requests = self.client.requests();
        let new: String = requests[self.shown..].iter().map(|request| mark(&request.answer)).collect();
        self.shown = requests.len();
        let states = [self.state(0), self.state(1)];
        let seconds = (now() - self.began).as_secs();
        println!("{seconds:>4} s  {:<10} {:<10} {:<12} {new}", states[0], states[1], self.table());
    }

    fn state(&self, director: usize) -> String {
        match (self.frozen[director], self.stopped[director]) {
            (true, _) => return "(frozen)".into(),
            (_, true) => return "(stopped)".into(),
            (false, false) => {}
        }
        let trivet = self.directors[director].trivet();
        let state = trivet.and_then(|trivet| trivet.property(&Property::router("gateway", "State")));
        state.map_or_else(|| "…".into(), |state| state.trim_start_matches("s ").trim_matches('"').to_owned())
    }

    /// The servers in the Active director's IPVS table.
    fn table(&self) -> String {
        let active = self.pair.active().unwrap_or(0);
        let servers = ipvs::weights(&self.pair.directors[active], SERVICE);
        let names = servers.iter().map(|(address, _)| if address == SERVERS[0] { "web1" } else { "web2" });
        names.collect::<Vec<_>>().join(" ")
    }

    fn settled(&self, active: usize) -> bool {
        self.pair.active() == Some(active) && self.recent_answers(8)
    }

    fn recent_answers(&self, count: usize) -> bool {
        let requests = self.client.requests();
        let recent = requests.iter().rev().take(count);
        requests.len() >= count && recent.clone().all(|request| request.answer.is_ok())
    }

    fn servers_in_table(&self) -> usize {
        let active = self.pair.active().unwrap_or(0);
        ipvs::weights(&self.pair.directors[active], SERVICE).len()
    }

    fn count(&mut self, what: &'static str, theory: &'static str, since: Instant) {
        self.costs.push((what, theory, cost(&self.client.requests(), since)));
    }

    fn run(&mut self) {
        println!("One character is one request: 1 and 2 are the web server that answered, x is a failure.\n");
        println!("  time  lvs1       lvs2       IPVS table   the client's requests");
        self.watch("They start. The first to be ready takes both addresses; requests alternate.", |demo| {
            demo.pair.active().is_some() && demo.servers_in_table() == 2 && demo.recent_answers(8)
        });
        self.web_server();
        self.stop();
        self.freeze();
        self.table_of_costs();
    }

    fn web_server(&mut self) {
        let killed = now();
        self.pair.webs[0].kill();
        self.watch("web1 is killed. Its check fails, and it leaves the table.", |demo| {
            demo.servers_in_table() == 1 && demo.recent_answers(8)
        });
        self.count("web1 killed", "until the check (every 6 s) fails twice; every other request", killed);
        let NatPair { webs, web_hosts, .. } = &mut self.pair;
        webs[0].resume(&web_hosts[0]);
        self.watch("web1 is started again, and comes back by itself.", |demo| demo.servers_in_table() == 2);
    }

    fn stop(&mut self) {
        let active = self.pair.active().expect("one is active by now");
        let stopped = now();
        self.directors[active].stop();
        self.stopped[active] = true;
        let text = format!("vrrpd on lvs{} is stopped, as by systemctl stop.", active + 1);
        self.watch(&text, |demo| demo.settled(1 - active));
        self.count("the Active director stopped", "Skew_Time: 0.6 s", stopped);
        self.directors[active].start_again(&self.pair);
        self.stopped[active] = false;
        let text =
            format!("It is started again, and stays Backup: preempt = false. lvs{} goes on.", 2 - active);
        self.watch(&text, |demo| demo.state(active) == "Backup");
    }

    fn freeze(&mut self) {
        let active = self.pair.active().expect("one is active by now");
        let frozen = now();
        self.pair.directors[active].freeze();
        self.frozen[active] = true;
        let text = format!("lvs{} is frozen and cut off, as a suspended machine.", active + 1);
        self.watch(&text, |demo| demo.holds_other(active) && demo.recent_answers(8));
        self.count("the Active director frozen", "Active_Down_Interval: 3.6 s less up to 1 s", frozen);
        let thawed = now();
        self.pair.directors[active].plug();
        self.pair.directors[active].thaw();
        self.frozen[active] = false;
        let text = format!("lvs{} wakes, steps down before it speaks, and stays Backup.", active + 1);
        self.watch(&text, |demo| demo.settled(1 - active) && demo.state(active) == "Backup");
        self.count("it woke up", "at most until it hears one advertisement: 1 s", thawed);
    }

    /// A frozen director still has its addresses, unreachable.
    fn holds_other(&self, frozen: usize) -> bool {
        self.pair.holders().0[1 - frozen] == (true, true)
    }

    fn table_of_costs(&self) {
        println!("\nWhat it cost the client ({} requests in all):\n", self.client.requests().len());
        println!("  {:<30} {:>14} {:>16}   the theory", "event", "no answer for", "failed requests");
        for (what, theory, cost) in &self.costs {
            println!("  {what:<30} {:>11} ms {:>16}   {theory}", cost.gap.as_millis(), cost.failed);
        }
    }
}

fn mark(answer: &Result<String, String>) -> char {
    match answer {
        Ok(name) => name.chars().last().unwrap_or('?'),
        Err(_) => 'x',
    }
}

fn main() {
    Demo::new().run();
}
