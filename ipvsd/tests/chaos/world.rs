//! ipvsd, its neighbours, and what happens to them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use daemon::event_loop::Clock;
use daemon::testing::TempRoot;
use nix::sys::signal::Signal;

use crate::common::{Bus, FakeCheckd, Ipvsd, all_the_while, run, wait_for};
use crate::oracle::{Order, Truth, read};
use crate::random::Random;
use crate::site::{Front, SERVICES, Service, hosts, random_services};

/// How long the table must be right without a break before we say that it is, and then stay so: several readings.
const QUIET: Duration = Duration::from_secs(1);
const SETTINGS: &str = "resync_interval = \"300ms\"\n";

/// What an order may be refused with: the object, the service or the server is not there.
const NOT_THERE: [&str; 3] = ["UnknownObject", "there is no service", "has no server"];

pub(crate) struct World {
    seed: u64,
    random: Random,
    root: TempRoot,
    bus: Bus,
    checkd: FakeCheckd,
    is_checkd_there: bool,
    ipvsd: Option<Ipvsd>,
    truth: Truth,
    /// Somebody who types while other things happen.
    typist: Option<JoinHandle<()>>,
    clock: Clock,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        println!("seed {seed}: TRIVET_SEED={seed} plays it again");
        let (root, bus) = (TempRoot::new(), Bus::new());
        root.write("etc/trivet/ipvsd.toml", SETTINGS);
        let checkd = FakeCheckd::new(&bus);
        let truth =
            Truth { is_up: hosts().into_iter().map(|host| (host, true)).collect(), ..Truth::default() };
        let answers: Vec<(IpAddr, &str)> = truth.is_up.keys().map(|host| (*host, "up")).collect();
        checkd.say_of_hosts(&answers);
        let mut world = Self {
            seed,
            random: Random::new(seed),
            root,
            bus,
            checkd,
            is_checkd_there: true,
            ipvsd: None,
            truth,
            typist: None,
            clock: Clock::new().unwrap(),
        };
        world.configure();
        world.start();
        world
    }

    fn note(&self, what: &str) {
        println!("{what}");
    }

    fn ipvsd(&self) -> &Ipvsd {
        self.ipvsd.as_ref().expect("it runs between two steps")
    }

    fn start(&mut self) {
        let ipvsd = Ipvsd::start(&self.root, &self.bus);
        ipvsd.wait_until_ready();
        self.ipvsd = Some(ipvsd);
    }

    /// Some things happen, none of which waits for the one before it to have its effect.
    pub(crate) fn unrest(&mut self) {
        for _ in 0..=self.random.below(6) {
            match self.random.below(12) {
                0 | 1 => self.reload(),
                2 => self.bad_reload(),
                3 | 4 => self.health(),
                5 | 6 => self.order(),
                7 => self.foreign_hands(),
                8 | 9 => self.strange_hands(),
                10 => self.crash_or_stop(),
                _ => self.lose_checkd(),
            }
        }
    }

    /// Another configuration is written.
    fn configure(&mut self) {
        let services = random_services(&mut self.random);
        for number in 0..SERVICES {
            let _ = std::fs::remove_file(self.root.path().join(format!("etc/trivet/ipvs.d/s{number}.toml")));
        }
        for service in &services {
            self.root.write(&format!("etc/trivet/ipvs.d/{}.toml", service.name), &service.toml());
        }
        self.truth.services = services;
    }

    fn reload(&mut self) {
        self.end_typist();
        self.configure();
        let names: Vec<&str> = self.truth.services.iter().map(|service| &*service.name).collect();
        self.note(&format!("reload: {names:?}"));
        self.ipvsd().signal(Signal::SIGHUP);
    }

    /// A configuration with a mistake changes nothing, whatever else is in it.
    fn bad_reload(&mut self) {
        self.end_typist();
        if !self.is_checkd_there {
            // It comes back, with what it learnt meanwhile.
            self.lose_checkd();
        }
        self.settle("before a bad reload");
        let server = "[[server]]\naddress = \"192.168.100.101:80\"\n";
        let mistakes = [
            format!("address = \"10.0.10.70:80\"\nshceduler = \"rr\"\n{server}"),
            format!("address = \"10.0.10.70:80\"\n{server}{server}"),
            format!("address = \"10.0.10.70:80\"\nquorum = 9\n{server}"),
            format!("mark = 70\nforward = \"route\"\n{server}"),
            "address = \"10.0.10.70:80".to_owned(),
        ];
        let mistake = &mistakes[usize::try_from(self.random.below(5)).unwrap()];
        self.note(&format!("a bad reload: {mistake:?}"));
        let path = "etc/trivet/ipvs.d/s9.toml";
        self.root.write(path, mistake);
        // What is good in it does not count either.
        let kept =
            self.truth.services.first().map(|service| format!("etc/trivet/ipvs.d/{}.toml", service.name));
        let text = kept.as_ref().map(|path| std::fs::read_to_string(self.root.path().join(path)).unwrap());
        if let Some(path) = &kept {
            std::fs::remove_file(self.root.path().join(path)).unwrap();
        }
        let said = || self.ipvsd().log().matches("not reloaded").count();
        let before = said();
        self.ipvsd().signal(Signal::SIGHUP);
        wait_for("the refusal of a bad configuration", || (said() > before).then_some(()));
        std::fs::remove_file(self.root.path().join(path)).unwrap();
        if let (Some(path), Some(text)) = (kept, text) {
            self.root.write(&path, &text);
        }
    }

    fn health(&mut self) {
        let mut answers = BTreeMap::new();
        for _ in 0..=self.random.below(8) {
            let hosts: Vec<IpAddr> = self.truth.is_up.keys().copied().collect();
            let host = self.random.one_of(&hosts);
            let is_up = !self.random.once_in(2);
            self.truth.is_up.insert(host, is_up);
            answers.insert(host, if is_up { "up" } else { "down" });
        }
        self.note(&format!("health: {answers:?}"));
        if self.is_checkd_there {
            self.checkd.say_of_hosts(&answers.into_iter().collect::<Vec<_>>());
        } else {
            self.checkd.learn_of_hosts(&answers.into_iter().collect::<Vec<_>>());
        }
    }

    fn order(&mut self) {
        let Some(service) = self.some_service() else { return };
        let server = self.some_server(&service);
        let seat = (service.name.clone(), server.clone());
        let weight = self.random.below(9);
        let verbs: &[&str] = match self.truth.orders.get(&seat) {
            None => &["SetWeight", "Drain", "Disable"],
            Some(Order::Weight(_)) => &["SetWeight", "ClearOverride"],
            Some(Order::Out) => &["Drain", "Disable", "Enable", "ClearOverride"],
        };
        let verb = self.random.one_of(verbs);
        let (name, bus) = (&service.name, &self.bus);
        let is_done = wait_for(&format!("an answer to {verb} {name} {server}"), || {
            let done = match verb {
                "SetWeight" => bus.verb(name, verb, &(&*server, u16::try_from(weight).unwrap(), "chaos")),
                "Drain" => bus.verb(name, verb, &(&*server, 60_u32, "chaos")),
                "Disable" => bus.verb(name, verb, &(&*server, "chaos")),
                _ => bus.verb(name, verb, &(&*server,)),
            };
            match done {
                Ok(()) => Some(true),
                Err(error) if NOT_THERE.iter().any(|part| error.to_string().contains(part)) => Some(false),
                Err(error) if error.to_string().contains("InvalidArgs") => panic!("{error}"),
                // The bus or the daemon is not there yet, or too busy: again.
                Err(_) => None,
            }
        });
        self.note(&format!(
            "order: {verb} {weight} {name} {server}: {}",
            if is_done { "done" } else { "not there" }
        ));
        if is_done {
            match verb {
                "SetWeight" => drop(self.truth.orders.insert(seat, Order::Weight(weight))),
                "Drain" | "Disable" => drop(self.truth.orders.insert(seat, Order::Out)),
                _ => drop(self.truth.orders.remove(&seat)),
            }
        }
    }

    fn some_service(&mut self) -> Option<Service> {
        let count = u32::try_from(self.truth.services.len()).unwrap();
        let index = usize::try_from(self.random.below(count.max(1))).unwrap();
        self.truth.services.get(index).cloned()
    }

    fn some_server(&mut self, service: &Service) -> String {
        let names: Vec<String> = service.servers.iter().map(crate::site::Server::name).collect();
        let names: Vec<&str> = names.iter().map(|name| &**name).collect();
        self.random.one_of(&names).to_owned()
    }

    /// Others make and remove services of their own.
    fn foreign_hands(&mut self) {
        self.end_typist();
        let number = self.random.below(3);
        let (title, option) = [
            ("TCP 10.0.10.99:80 lc", "-t 10.0.10.99:80"),
            ("FWM 99 lc", "-f 99"),
            ("UDP [2001:db8::99]:53 lc", "-u [2001:db8::99]:53"),
        ][usize::try_from(number).unwrap()];
        self.note(&format!("foreign: {title}"));
        if self.truth.foreign.remove(title).is_some() {
            return type_in(&format!("-D {option}"));
        }
        let (server, listed) = [
            ("192.168.100.101:80", "192.168.100.101:80"),
            ("192.168.100.101", "192.168.100.101:0"),
            ("[2001:db8:1::101]:53", "[2001:db8:1::101]:53"),
        ][usize::try_from(number).unwrap()];
        type_in(&format!("-A {option} -s lc"));
        type_in(&format!("-a {option} -r {server} -g -w 7"));
        let servers = BTreeMap::from([(listed.to_owned(), ("Route".to_owned(), 7, 0, 0))]);
        self.truth.foreign.insert(title.into(), servers);
    }

    /// Others change what is ours; sometimes for as long as other things happen.
    fn strange_hands(&mut self) {
        self.end_typist();
        let mut commands = Vec::new();
        for _ in 0..=self.random.below(8) {
            let Some(service) = self.some_service() else { return };
            let front =
                service.fronts[usize::try_from(self.random.below(2)).unwrap() % service.fronts.len()].clone();
            let server = self.some_server(&service);
            let command = self.strange_command(&front, &server);
            if command == "-C" {
                self.truth.foreign.clear();
            }
            commands.push(command);
        }
        let is_beside = self.random.once_in(2);
        self.note(&format!("hands{}: {commands:?}", if is_beside { " beside" } else { "" }));
        // A thread has the network of the one that made it.
        let typist = std::thread::spawn(move || commands.iter().for_each(|command| type_in(command)));
        self.typist = Some(typist);
        if !is_beside {
            self.end_typist();
        }
    }

    fn strange_command(&mut self, front: &Front, server: &str) -> String {
        let option = &front.option;
        let stranger = if option.contains("2001") || option.contains("-6") {
            "2001:db8:1::177"
        } else {
            "192.168.100.177"
        };
        match self.random.below(8) {
            0 => "-C".into(),
            1 => format!("-D {option}"),
            2 => format!("-E {option} -s lc -p 77"),
            3 => format!("-E {option} -s rr"),
            4 => format!("-d {option} -r {server}"),
            5 => format!("-e {option} -r {server} -i -w 9 -x 50 -y 5"),
            6 => format!("-e {option} -r {server} -g -w 0"),
            _ if front.port == 0 => format!("-a {option} -r {stranger} -m -w 3"),
            _ if stranger.contains(':') => format!("-a {option} -r [{stranger}]:{} -m -w 3", front.port),
            _ => format!("-a {option} -r {stranger}:{} -m -w 3", front.port),
        }
    }

    fn end_typist(&mut self) {
        if let Some(typist) = self.typist.take() {
            typist.join().unwrap();
        }
    }

    fn crash_or_stop(&mut self) {
        let ipvsd = self.ipvsd.take().unwrap();
        if self.random.once_in(2) {
            self.note("crash");
            ipvsd.signal(Signal::SIGKILL);
            drop(ipvsd);
        } else {
            self.note("stop");
            assert!(ipvsd.stop().success());
        }
        match self.random.below(3) {
            0 => self.strange_hands(),
            1 => {
                self.end_typist();
                self.configure();
                self.note("another configuration meanwhile");
            }
            _ => {}
        }
        self.start();
    }

    fn lose_checkd(&mut self) {
        self.note(if self.is_checkd_there { "checkd gone" } else { "checkd back" });
        if self.is_checkd_there {
            self.checkd.stop();
        } else {
            self.checkd.start(&self.bus);
        }
        self.is_checkd_there = !self.is_checkd_there;
    }

    /// Nothing happens any more; the table becomes what it should be, and stays so.
    pub(crate) fn calm(&mut self) {
        self.end_typist();
        if !self.is_checkd_there {
            self.lose_checkd();
        }
        self.settle("calm");
        // What is still to be said, of a checkd that has just come back, say, is said soon.
        let is_quiet = (0..5).any(|_| {
            let log = self.ipvsd().log();
            all_the_while(QUIET, || {
                if let Some(table) = read() {
                    let wrong = self.truth.objections(&table);
                    assert!(wrong.is_empty(), "seed {}: it flaps: {wrong:#?}", self.seed);
                }
            });
            self.ipvsd().log() == log
        });
        assert!(is_quiet, "seed {}: something is said although nothing happens", self.seed);
        wait_for("an empty plan", || {
            let plan = self.bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
            plan.is_ok_and(|plan| plan.is_empty()).then_some(())
        });
        for service in &self.truth.services {
            let state = self.bus.of_service(&service.name, "State");
            assert!(!state.contains("failed") && !state.contains("error"), "seed {}: {state}", self.seed);
        }
    }

    /// Wait until the table is right for a while.
    fn settle(&self, what: &str) {
        let began = self.clock.now();
        let mut right_since = None;
        let mut wrong = vec!["not read".to_owned()];
        let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            wait_for(what, || {
                let now = self.clock.now();
                wrong = self.truth.objections(&read()?);
                if wrong.is_empty() {
                    let since = *right_since.get_or_insert(now);
                    return (self.clock.now() - since >= QUIET).then_some(since);
                }
                right_since = None;
                None
            })
        }));
        match settled {
            Ok(since) => {
                self.note(&format!("{what}: right after {:?}", since.saturating_duration_since(began)));
            }
            Err(_) => panic!("seed {}: {what}: {wrong:#?}", self.seed),
        }
    }
}

/// `ipvsadm`, whether it can be done or not.
fn type_in(command: &str) {
    run("ipvsadm", &command.split_whitespace().collect::<Vec<_>>());
}
