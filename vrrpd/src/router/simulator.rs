//! Routers on a simulated segment with a virtual clock: it jumps from one wake-up to the next, loses and delays
//! packets, and cuts and heals the segment. The same seed gives the same run.

use std::time::Duration;

use super::*;
use crate::testing::Random;
use crate::types::VirtualAddress;

const INTERVAL: Duration = Duration::from_secs(1);
/// The longest way of a packet.
const DELAY: Duration = Duration::from_millis(5);

struct Node {
    router: Router,
    /// Stopped nodes neither hear nor act.
    running: bool,
    side: u8,
    last_garp: Option<Instant>,
    installed: bool,
}

struct Packet {
    at: Instant,
    from: usize,
    to: usize,
    priority: Priority,
}

struct Segment {
    now: Instant,
    start: Instant,
    nodes: Vec<Node>,
    packets: Vec<Packet>,
    random: Random,
    loss_percent: u64,
    transitions: usize,
}

impl Segment {
    #[expect(clippy::disallowed_methods, reason = "a simulation's clock has to start somewhere")]
    fn new(seed: u64, priorities: &[(u8, bool)]) -> Self {
        let now = Instant::now();
        let nodes = priorities.iter().map(|(priority, preempt)| node(now, *priority, *preempt)).collect();
        let random = Random::new(seed);
        let mut segment =
            Self { now, start: now, nodes, packets: Vec::new(), random, loss_percent: 0, transitions: 0 };
        for index in 0..segment.nodes.len() {
            segment.event(index, Event::Ready { source: source(index) });
        }
        segment
    }

    fn event(&mut self, index: usize, event: Event) {
        let actions = self.nodes[index].router.on_event(self.now, event);
        for action in actions {
            match action {
                Action::SendAdvertisement(priority) => self.send(index, priority),
                Action::InstallAddresses => {
                    self.nodes[index].installed = true;
                    self.event(index, Event::Installed(address()));
                }
                Action::RemoveAddresses => self.nodes[index].installed = false,
                Action::Announce => {
                    while self.nodes[index].router.next_announcement(self.now).is_some() {}
                    assert!(self.nodes[index].installed, "announced what it does not have");
                    self.nodes[index].last_garp = Some(self.now);
                }
                Action::Transition { .. } => self.transitions += 1,
                Action::Report(_) => {}
            }
        }
    }

    fn send(&mut self, from: usize, priority: Priority) {
        for to in 0..self.nodes.len() {
            let reachable = self.nodes[to].side == self.nodes[from].side;
            if to == from || !reachable || self.random.below(100) < self.loss_percent {
                continue;
            }
            let delay = Duration::from_micros(self.random.below(DELAY.as_micros().try_into().unwrap()));
            self.packets.push(Packet { at: self.now + delay, from, to, priority });
        }
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_wakeup().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.deliver();
            for index in 0..self.nodes.len() {
                let node = &self.nodes[index];
                if node.running && node.router.deadline().is_some_and(|deadline| deadline <= self.now) {
                    self.event(index, Event::Timer);
                }
            }
        }
        self.now = end;
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let running = self.nodes.iter().filter(|node| node.running);
        let timers = running.filter_map(|node| node.router.deadline());
        timers.chain(self.packets.iter().map(|packet| packet.at)).min()
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.packets).into_iter().partition(|packet| packet.at <= now);
        self.packets = later;
        let due: Vec<Packet> = due;
        for Packet { from, to, priority, .. } in due {
            if self.nodes[to].running {
                let interval = Centiseconds(100);
                self.event(to, Event::Advertisement { from: source(from), priority, interval });
            }
        }
    }

    fn actives(&self) -> Vec<usize> {
        let is_active = |index: &usize| self.nodes[*index].running && self.nodes[*index].router.is_active();
        (0..self.nodes.len()).filter(is_active).collect()
    }

    /// Run until exactly one router is Active; how long it took.
    fn until_one_active(&mut self, limit: Duration) -> Duration {
        let from = self.now;
        while self.actives().len() != 1 {
            assert!(self.now - from <= limit, "{:?} are active after {limit:?}", self.actives());
            self.run(Duration::from_millis(1));
        }
        self.now - from
    }
}

fn node(now: Instant, priority: u8, preempt: bool) -> Node {
    let settings =
        Settings { priority: Priority(priority), preempt, addresses: vec![address()], ..Settings::default() };
    let router = Router::new(now, settings);
    Node { router, running: true, side: 0, last_garp: None, installed: false }
}

fn address() -> VirtualAddress {
    VirtualAddress {
        interface: "eth0".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, 100)),
        prefix_len: 24,
    }
}

fn source(index: usize) -> IpAddr {
    IpAddr::from([10, 0, 0, u8::try_from(index + 1).unwrap()])
}

/// Priorities at random, equal ones among them.
fn random_segment(seed: u64) -> Segment {
    let mut random = Random::new(seed);
    let count = 2 + random.below(2);
    let priorities: Vec<(u8, bool)> =
        (0..count).map(|_| (u8::try_from(98 + random.below(4)).unwrap(), random.below(2) == 0)).collect();
    Segment::new(seed, &priorities)
}

const SEEDS: std::ops::Range<u64> = 1..300;

#[test]
fn from_a_cold_start_exactly_one_router_becomes_active() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(5 * INTERVAL);
        assert_eq!(segment.actives().len(), 1, "seed {seed}");
        let best = segment.nodes.iter().map(|node| node.router.settings().priority).max();
        let active = segment.actives()[0];
        assert_eq!(Some(segment.nodes[active].router.settings().priority), best, "seed {seed}");
    }
}

#[test]
fn a_graceful_stop_hands_over_within_the_best_backups_skew_time() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(10 * INTERVAL);
        let active = segment.actives()[0];
        segment.event(active, Event::Shutdown);
        segment.nodes[active].running = false;
        let took = segment.until_one_active(INTERVAL);
        let backups = segment.nodes.iter().filter(|node| node.running);
        let skew = backups.map(|node| node.router.skew(Centiseconds(100))).min().unwrap();
        assert!(took <= skew + 2 * DELAY, "seed {seed}: {took:?}, skew {skew:?}");
    }
}

#[test]
fn a_killed_active_router_is_replaced_within_active_down_interval() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(10 * INTERVAL + Duration::from_millis(seed * 7));
        let active = segment.actives()[0];
        segment.nodes[active].running = false;
        let took = segment.until_one_active(4 * INTERVAL);
        assert!(took <= 3 * INTERVAL + INTERVAL * 158 / 256 + 2 * DELAY, "seed {seed}: {took:?}");
        segment.run(5 * INTERVAL);
        assert_eq!(segment.actives().len(), 1, "seed {seed}");
    }
}

#[test]
fn two_advertisements_lost_in_a_row_change_nothing() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(10 * INTERVAL);
        let before = segment.transitions;
        for _ in 0..20 {
            segment.loss_percent = 100;
            segment.run(2 * INTERVAL);
            segment.loss_percent = 0;
            segment.run(INTERVAL);
        }
        assert_eq!(segment.transitions, before, "seed {seed}");
    }
}

#[test]
fn a_healed_split_ends_within_an_interval_and_always_with_a_gratuitous_arp_of_the_survivor() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(10 * INTERVAL);
        segment.nodes[0].side = 1;
        segment.run(10 * INTERVAL + Duration::from_millis(seed * 13));
        assert_eq!(segment.actives().len(), 2, "seed {seed}: both sides have one");
        for node in &mut segment.nodes {
            node.side = 0;
        }
        segment.until_one_active(INTERVAL + 2 * DELAY);
        let healed = segment.now;
        let loser_spoke = segment.nodes.iter().filter(|node| !node.router.is_active());
        let loser_spoke = loser_spoke.filter_map(|node| node.last_garp).max();
        segment.run(10 * INTERVAL);
        let survivor = &segment.nodes[segment.actives()[0]];
        let last = survivor.last_garp.unwrap();
        assert!(last >= healed - INTERVAL && Some(last) > loser_spoke, "seed {seed}");
    }
}

#[test]
fn a_frozen_active_router_that_comes_back_never_shares_the_address_for_long() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        segment.run(10 * INTERVAL);
        let frozen = segment.actives()[0];
        segment.nodes[frozen].running = false;
        segment.run(10 * INTERVAL + Duration::from_millis(seed * 11));
        segment.nodes[frozen].running = true;
        segment.event(frozen, Event::Timer);
        assert!(!segment.nodes[frozen].router.is_active(), "seed {seed}: it spoke before it listened");
        let mut shared = Duration::ZERO;
        for _ in 0..10_000 {
            segment.run(Duration::from_millis(1));
            shared += if segment.actives().len() > 1 { Duration::from_millis(1) } else { Duration::ZERO };
        }
        assert!(shared <= 2 * DELAY, "seed {seed}: {shared:?}");
        assert_eq!(segment.actives().len(), 1, "seed {seed}");
    }
}

#[test]
fn under_random_trouble_calm_always_brings_exactly_one_active() {
    for seed in SEEDS {
        let mut segment = random_segment(seed);
        for _ in 0..30 {
            let index = usize::try_from(segment.random.below(2)).unwrap();
            match segment.random.below(4) {
                0 => segment.loss_percent = segment.random.below(60),
                1 => segment.nodes[index].side ^= 1,
                2 => segment.nodes[index].running ^= true,
                _ => {}
            }
            let time = Duration::from_millis(segment.random.below(4_000));
            segment.run(time);
        }
        segment.loss_percent = 0;
        for node in &mut segment.nodes {
            node.side = 0;
            node.running = true;
        }
        segment.run(8 * INTERVAL);
        assert_eq!(segment.actives().len(), 1, "seed {seed}, {:?}", segment.now - segment.start);
    }
}
