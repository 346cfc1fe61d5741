//! The rows of RFC 9568 section 6.4: event, actions, no more actions.

mod announcing;
mod delays;
mod group;
mod life;
mod resume;
mod rows;

use std::time::Duration;

use super::settings::Garp;
use super::*;
use crate::types::VirtualAddress;

const US: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));
const GREATER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 0, 1));
const SMALLER: IpAddr = IpAddr::V4(Ipv4Addr::new(9, 255, 255, 255));
const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn address(last: u8) -> VirtualAddress {
    VirtualAddress {
        interface: "eth0".into(),
        address: IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)),
        prefix_len: 24,
    }
}

fn settings(priority: u8) -> Settings {
    Settings {
        priority: Priority(priority),
        addresses: vec![address(50)],
        garp: Garp { repeat: 2, ..Garp::default() },
        ..Settings::default()
    }
}

/// A router, its clock, and what it answered.
struct Bench {
    router: Router,
    now: Instant,
    /// Announced with the last event.
    frames: Vec<VirtualAddress>,
}

impl Bench {
    fn initialize(settings: Settings) -> Self {
        let now = start();
        Self { router: Router::new(now, settings), now, frames: Vec::new() }
    }

    fn backup(settings: Settings) -> Self {
        let mut bench = Self::initialize(settings);
        bench.event(Event::Ready { source: US });
        assert_eq!(bench.router.state(), StateName::Backup);
        bench
    }

    /// Active, its address installed, the first bursts over, and a second before its next advertisement.
    fn active(settings: Settings) -> Self {
        let mut bench = Self::initialize(settings);
        bench.event(Event::Ready { source: US });
        if !bench.router.is_active() {
            bench.fire();
        }
        for address in bench.router.settings().addresses.clone() {
            bench.event(Event::Installed(address));
        }
        let settled = bench.now + 10 * SECOND;
        while bench.now < settled {
            bench.fire();
        }
        bench
    }

    fn event(&mut self, event: Event) -> Vec<Action> {
        let actions: Vec<Action> = self.router.on_event(self.now, event).into_iter().collect();
        self.frames.clear();
        if actions.contains(&Action::Announce) {
            self.frames.extend(std::iter::from_fn(|| self.router.next_announcement(self.now)));
        }
        actions
    }

    /// What an event that does nothing else announces.
    fn announced(&mut self, event: Event) -> Vec<VirtualAddress> {
        assert_eq!(self.event(event), [Action::Announce]);
        std::mem::take(&mut self.frames)
    }

    fn hear(&mut self, from: IpAddr, priority: u8) -> Vec<Action> {
        self.hear_interval(from, priority, 100)
    }

    fn hear_interval(&mut self, from: IpAddr, priority: u8, interval: u16) -> Vec<Action> {
        let interval = Centiseconds(interval);
        self.event(Event::Advertisement { from, priority: Priority(priority), interval })
    }

    fn after(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    /// Jump to the next deadline.
    fn fire(&mut self) -> Vec<Action> {
        self.now = self.router.deadline().expect("there is a deadline").max(self.now);
        self.event(Event::Timer)
    }

    /// Time until the next deadline.
    fn wait(&self) -> Duration {
        self.router.deadline().expect("there is a deadline") - self.now
    }
}

fn send(priority: u8) -> Action {
    Action::SendAdvertisement(Priority(priority))
}

fn transition(from: StateName) -> Action {
    Action::Transition { from }
}

fn takes_over(from: StateName, priority: u8) -> Vec<Action> {
    vec![send(priority), Action::InstallAddresses, transition(from)]
}

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}
