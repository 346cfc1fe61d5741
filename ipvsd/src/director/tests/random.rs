//! Random configurations, health, orders, strange hands, faults and restarts; after each calm the kernel's table is
//! what it should be, and nothing of others was touched.

use std::net::SocketAddr;

use super::super::scene::{Scene, backend, backend_with_port, key, server_address, service, settings, table};
use super::super::*;
use crate::health::Verdict::{self, Down, Unknown, Up};
use crate::orders::Command;
use crate::routers::Role;
use crate::service::{AllDown, OnFailure, Quorum, SorryServer, VirtualService};
use crate::table::{Entry, Forward, Server};

/// xorshift64*: seeded, so that a failure can be repeated.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u8) -> u8 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        u8::try_from(number % u64::from(limit)).unwrap()
    }

    fn once_in(&mut self, times: u8) -> bool {
        self.below(times) == 0
    }
}

const SERVICES: u8 = 4;
const SERVERS: u8 = 5;
const FOREIGN: u8 = 99;

fn random_service(random: &mut Random, number: u8) -> VirtualService {
    let servers: Vec<u8> = (101..101 + SERVERS).filter(|_| !random.once_in(3)).collect();
    let mut service = service(50 + number, &servers);
    if random.once_in(2) {
        service.fronts.push(key(60 + number));
    }
    for server in service.servers.values_mut() {
        server.weight = random.below(4).into();
        server.on_failure = if random.once_in(2) { OnFailure::Inhibit } else { OnFailure::Remove };
        if random.once_in(5) {
            server.check = None;
        }
    }
    if random.once_in(3) {
        service.quorum = Quorum { weight: 2, hysteresis: 1 };
    }
    match random.below(3) {
        0 => service.sorry = Some(SorryServer { backend: backend(200), forward: Forward::Nat }),
        1 => service.all_down = AllDown::Keep,
        _ => {}
    }
    if random.once_in(3) {
        service.slow_start = Duration::from_secs(5);
    }
    if random.once_in(4) {
        service.while_active = Some("gateway".into());
    }
    service
}

fn random_settings(random: &mut Random) -> Settings {
    let mut services: Vec<(String, VirtualService)> = Vec::new();
    for number in 0..SERVICES {
        if !random.once_in(4) {
            services.push((format!("web-{number}"), random_service(random, number)));
        }
    }
    let services: Vec<(&str, VirtualService)> =
        services.iter().map(|(name, service)| (name.as_str(), service.clone())).collect();
    settings(&services)
}

/// What the test knows, and knows by itself.
struct Truth {
    health: BTreeMap<u8, Verdict>,
    is_active: bool,
}

impl Truth {
    fn roles(&self) -> Event {
        let role = if self.is_active { Role::Active } else { Role::Inactive };
        Event::Routers(BTreeMap::from([(Arc::from("gateway"), role)]))
    }
}

fn answer_all(scene: &mut Scene, truth: &Truth) {
    let rows: Vec<(u8, Verdict)> = truth.health.iter().map(|(server, verdict)| (*server, *verdict)).collect();
    scene.answer(&rows);
    scene.turn();
}

fn order(random: &mut Random, scene: &mut Scene) {
    let verb = match random.below(5) {
        0 => Verb::SetWeight(random.below(9).into()),
        1 => Verb::Drain { within: Duration::from_secs(random.below(9).into()) },
        2 => Verb::Disable,
        3 => Verb::Enable,
        _ => Verb::Clear,
    };
    let request = Request {
        service: format!("web-{}", random.below(SERVICES)),
        server: server_address(101 + random.below(SERVERS)).to_string(),
        verb,
        author: "root".into(),
        reason: String::new(),
    };
    if let Ok(actions) = scene.director.order(scene.at(), &request) {
        scene.perform(actions);
    }
}

fn strange_hands(random: &mut Random, scene: &mut Scene) {
    let key = key(50 + random.below(SERVICES));
    match random.below(5) {
        0 => scene.table.retain(|key, _| *key == self::key(FOREIGN)),
        1 => drop(scene.table.remove(&key)),
        2 => drop(scene.table.get_mut(&key).and_then(|entry| Arc::make_mut(entry).servers.pop_first())),
        3 => {
            if let Some(entry) = scene.table.get_mut(&key) {
                Arc::make_mut(entry).service.scheduler = "wlc".into();
            }
        }
        _ => {
            let stranger =
                Server { forward: Forward::Route, weight: 9, upper_threshold: 0, lower_threshold: 0 };
            if let Some(entry) = scene.table.get_mut(&key) {
                Arc::make_mut(entry).servers.insert(server_address(77), stranger);
            }
        }
    }
}

/// The servers of one service after a calm, by rules of the test's own; `None`: the service is not there.
fn expected(scene: &Scene, truth: &Truth, name: &str, service: &VirtualService) -> Option<Vec<(u8, u32)>> {
    if service.while_active.is_some() && !truth.is_active {
        return None;
    }
    let numbered = service.servers.iter().map(|(backend, server)| {
        let number = (101..101 + SERVERS).find(|number| backend_with_port(*number) == *backend).unwrap();
        (number, backend, server)
    });
    let (mut up, mut out, mut drained, mut failed) = (BTreeMap::new(), Vec::new(), Vec::new(), Vec::new());
    for (number, backend, server) in numbered {
        let command = scene.orders.get(&(Arc::from(name), *backend)).map(|order| order.command);
        let is_up = server.check.is_none() || truth.health.get(&number) == Some(&Up);
        let inhibited = server.on_failure == OnFailure::Inhibit;
        match command {
            Some(Command::Drain { .. }) if is_up => drained.push(number),
            Some(Command::Disable | Command::Drain { .. }) => out.extend(inhibited.then_some(number)),
            Some(Command::Weight(weight)) if is_up => drop(up.insert(number, (u32::from(weight), inhibited))),
            None if is_up => drop(up.insert(number, (u32::from(server.weight), inhibited))),
            Some(Command::Weight(weight)) => failed.push((number, weight, inhibited)),
            None => failed.push((number, server.weight, inhibited)),
        }
    }
    let is_served = up.values().any(|(weight, _)| *weight > 0);
    let in_table = scene.table.get(&service.fronts[0]);
    let is_sorry = service.sorry.is_some()
        && in_table.is_some_and(|entry| entry.servers.keys().any(|address| address.ip() == backend(200).ip));
    let weight: u32 = up.values().map(|(weight, _)| weight).sum();
    let quorum = service.quorum;
    if service.sorry.is_some() {
        // Within its hysteresis both are right.
        assert!(!is_sorry || weight < quorum.weight + quorum.hysteresis, "{name}: sorry with {weight}");
        assert!(is_sorry || weight > 0 && weight + quorum.hysteresis >= quorum.weight, "{name}: not sorry");
    }
    let mut servers: BTreeMap<u8, u32> = drained.into_iter().chain(out).map(|number| (number, 0)).collect();
    if is_sorry {
        servers.insert(200, 1);
        servers.extend(up.iter().filter(|(_, (_, inhibited))| *inhibited).map(|(number, _)| (*number, 0)));
    } else {
        servers.extend(up.iter().map(|(number, (weight, _))| (*number, *weight)));
    }
    let keeps_all = service.all_down == AllDown::Keep && !is_served;
    for (number, weight, inhibited) in failed {
        if keeps_all {
            servers.insert(number, weight.into());
        } else if inhibited {
            servers.insert(number, 0);
        }
    }
    Some(servers.into_iter().collect())
}

fn check(seed: u64, step: usize, scene: &Scene, truth: &Truth) {
    let settings = scene.director.settings.clone();
    let mut fronts = BTreeSet::from([key(FOREIGN)]);
    for (name, service) in &settings.services {
        let wanted = expected(scene, truth, name, service);
        for front in &service.fronts {
            let entry: Option<&Entry> = scene.table.get(front).map(|entry| &**entry);
            let number = |address: &SocketAddr| match address.ip() {
                std::net::IpAddr::V4(ip) => ip.octets()[3],
                std::net::IpAddr::V6(_) => panic!("the test uses IPv4"),
            };
            let found = entry.map(|entry| {
                entry.servers.iter().map(|(address, server)| (number(address), server.weight)).collect()
            });
            assert_eq!(found, wanted, "seed {seed}, step {step}: {name} at {front}");
            assert!(entry.is_none_or(|entry| entry.service.scheduler == "rr"), "seed {seed}: {name}");
            if wanted.is_some() {
                fronts.insert(*front);
            }
        }
    }
    assert_eq!(scene.table.keys().copied().collect::<BTreeSet<_>>(), fronts, "seed {seed}, step {step}");
    assert_eq!(scene.director.plan(), Ok(Vec::new()), "seed {seed}, step {step}");
}

/// The kernel fails, refuses everything new, or no file can be written.
fn moment_of_trouble(random: &mut Random, scene: &mut Scene) {
    match random.below(3) {
        0 => scene.fault = Some(Fault("out of memory".into())),
        1 => scene.refuse = |change| matches!(change, Change::NewServer { .. }).then_some(Errno::ENOMEM),
        _ => {
            scene.unwritable = Some("No space left on device");
            order(random, scene);
            scene.event(Event::Reloaded(random_settings(random)));
        }
    }
    scene.pass(Duration::from_secs(random.below(4).into()));
    scene.fault = None;
    scene.refuse = |_| None;
    scene.unwritable = None;
}

fn play(seed: u64) -> usize {
    let mut random = Random(seed);
    let foreign = table(&[(FOREIGN, "lc", &[(101, 7)])]);
    let configured = random_settings(&mut random);
    let mut scene = Scene::with_kernel(configured, foreign.clone(), BTreeSet::new()).started();
    let mut truth = Truth { health: BTreeMap::new(), is_active: false };
    let mut checks = 0;
    for step in 0..60 {
        match random.below(9) {
            0 => scene.event(Event::Reloaded(random_settings(&mut random))),
            1 => {
                let configured = scene.director.settings.clone();
                scene = scene.restarted(configured);
            }
            2 | 3 => {
                let verdict = [Up, Up, Down, Unknown][usize::from(random.below(4))];
                let server = 101 + random.below(SERVERS);
                if verdict != Unknown {
                    truth.health.insert(server, verdict);
                }
                scene.answer(&[(server, verdict)]);
            }
            4 => order(&mut random, &mut scene),
            5 => strange_hands(&mut random, &mut scene),
            6 => scene.event(Event::SourceLost("checkd has left the bus".into())),
            7 => {
                truth.is_active = random.once_in(2);
                scene.event(truth.roles());
            }
            _ => moment_of_trouble(&mut random, &mut scene),
        }
        scene.turn();
        if random.once_in(4) {
            // Calm: everybody has said what is true, and time has passed.
            for server in 101..101 + SERVERS {
                truth.health.entry(server).or_insert(Up);
            }
            answer_all(&mut scene, &truth);
            scene.event(truth.roles());
            scene.pass(Duration::from_secs(30));
            check(seed, step, &scene, &truth);
            checks += 1;
        }
        assert_eq!(scene.table.get(&key(FOREIGN)), foreign.get(&key(FOREIGN)), "seed {seed}, step {step}");
    }
    checks
}

#[test]
fn after_each_calm_the_table_is_what_it_should_be() {
    let seeds: u64 = std::env::var("TRIVET_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(300);
    let checks: usize = (1..=seeds).map(play).sum();
    assert!(checks > usize::try_from(seeds).unwrap() * 5, "looked at only {checks} times");
}
