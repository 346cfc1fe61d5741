//! The world: segments, stations, time.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::arrivals::{Advert, Arrival, Arrivals};
use super::station::{Kernel, Station, TOO_MANY, address};
use crate::group::{Decision, Position, Verdict, decide, spread_faults};
use crate::router::reason::Fault;
use crate::router::settings::Settings;
use crate::router::{Action, Event};
use crate::testing::Random;
use crate::types::Priority;

/// What a frozen machine's sockets hold.
const SOCKET: usize = 64;
/// Lines of the trace that are kept.
const TRACE: usize = 400;

/// A machine, whose routers live and die together.
#[derive(Debug)]
pub(super) struct Machine {
    pub(super) running: bool,
    /// What arrived while it was frozen.
    waiting: VecDeque<(usize, Arrival)>,
    /// Its routers are one sync group.
    pub(super) group: bool,
}

#[derive(Debug)]
pub(super) struct Lan {
    pub(super) now: Instant,
    start: Instant,
    pub(super) machines: Vec<Machine>,
    pub(super) stations: Vec<Station>,
    arrivals: Arrivals,
    pub(super) random: Random,
    /// Of a thousand advertisements, so many are lost, and so many come twice.
    pub(super) loss: u64,
    pub(super) doubled: u64,
    /// Advertisements of this station that are lost, whatever `loss` says.
    pub(super) drop_next: Option<(usize, u32)>,
    /// The longest way of an advertisement, and the latest that a timer fires.
    pub(super) delay: Duration,
    /// The longest time that the kernel takes to add an address.
    pub(super) kernel: Duration,
    requests: u64,
    /// When the last advertisement from one station reached, or will reach, another: none overtakes it.
    last_arrival: HashMap<(usize, usize), Instant>,
    pub(super) steps: u64,
    violation: Option<String>,
    trace: Option<VecDeque<String>>,
}

impl Lan {
    #[expect(clippy::disallowed_methods, reason = "a simulation's clock has to start somewhere")]
    pub(super) fn new(seed: u64, traced: bool) -> Self {
        let now = Instant::now();
        Self {
            now,
            start: now,
            machines: Vec::new(),
            stations: Vec::new(),
            arrivals: Arrivals::default(),
            // Seeds that follow each other would make random numbers that do.
            random: Random::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            loss: 0,
            doubled: 0,
            drop_next: None,
            delay: Duration::from_micros(200),
            kernel: Duration::from_millis(2),
            requests: 0,
            last_arrival: HashMap::new(),
            steps: 0,
            violation: None,
            trace: traced.then(VecDeque::new),
        }
    }

    /// A machine with a router on each segment.
    pub(super) fn add(&mut self, settings: Vec<Settings>) {
        let machine = self.machines.len();
        let number = u8::try_from(machine + 1).unwrap();
        let group = settings.iter().any(|settings| settings.sync_group.is_some());
        self.machines.push(Machine { running: true, waiting: VecDeque::new(), group });
        for (segment, mut settings) in settings.into_iter().enumerate() {
            settings.addresses = vec![address(segment)];
            self.stations.push(Station::new(self.now, machine, segment, number, settings));
        }
    }

    pub(super) fn below(&mut self, limit: u64) -> u64 {
        self.random.below(limit)
    }

    pub(super) fn chance(&mut self, percent: u64) -> bool {
        self.random.below(100) < percent
    }

    fn up_to(&mut self, most: Duration) -> Duration {
        let nanos = u64::try_from(most.as_nanos()).unwrap().max(1);
        Duration::from_nanos(self.random.below(nanos))
    }

    pub(super) fn note(&mut self, text: impl FnOnce(&Self) -> String) {
        if self.trace.is_none() {
            return;
        }
        let line = format!("{:>14.6} {}", (self.now - self.start).as_secs_f64(), text(self));
        if let Some(trace) = &mut self.trace {
            if trace.len() == TRACE {
                trace.pop_front();
            }
            trace.push_back(line);
        }
    }

    /// What happened last, in order.
    pub(super) fn trace(&self) -> String {
        self.trace.iter().flatten().map(|line| format!("{line}\n")).collect()
    }

    fn violate(&mut self, what: String) {
        self.note(|_| format!("VIOLATION {what}"));
        self.violation.get_or_insert(what);
    }

    /// Whether nothing happened that must never happen.
    pub(super) fn check(&self) -> Result<(), String> {
        self.violation.clone().map_or(Ok(()), Err)
    }

    // Events

    pub(super) fn event(&mut self, index: usize, event: Event) {
        self.steps += 1;
        self.note(|lan| format!("{} hears {event:?}", lan.stations[index].source));
        let actions = self.stations[index].router.on_event(self.now, event);
        for action in actions {
            self.act(index, &action);
        }
        let late = self.up_to(self.delay);
        let station = &mut self.stations[index];
        station.wake = station.router.deadline().map(|deadline| deadline + late);
    }

    fn act(&mut self, index: usize, action: &Action) {
        self.note(|lan| format!("{}   {action:?}", lan.stations[index].source));
        match action {
            Action::SendAdvertisement(priority) => self.send(index, *priority),
            Action::InstallAddresses => self.install(index),
            Action::RemoveAddresses => self.stations[index].kernel = Kernel::Without,
            Action::Announce => self.announce(index),
            Action::Transition { .. } => {
                let station = &mut self.stations[index];
                station.transitions += 1;
                let text = format!(
                    "{} is {:?}: {}",
                    station.source,
                    station.router.state(),
                    station.router.reason()
                );
                self.note(|_| text);
            }
            Action::Report(_) => {}
        }
    }

    fn install(&mut self, index: usize) {
        if self.stations[index].kernel != Kernel::Without {
            return;
        }
        self.requests += 1;
        self.stations[index].kernel = Kernel::Asked(self.requests);
        let at = self.now + self.up_to(self.kernel);
        self.arrivals.push(at, index, Arrival::Installed(self.requests));
    }

    /// Nothing is announced that is not installed.
    fn announce(&mut self, index: usize) {
        let now = self.now;
        let mut frames = 0;
        while self.stations[index].router.next_announcement(now).is_some() {
            frames += 1;
            let station = &mut self.stations[index];
            station.last_announced = Some(now);
            if station.kernel != Kernel::Has {
                let text = format!("{} announced an address that it does not have", station.source);
                self.violate(text);
            }
            if frames > 1_000 {
                self.violate("an endless burst of announcements".into());
                return;
            }
        }
    }

    fn send(&mut self, from: usize, priority: Priority) {
        let station = &mut self.stations[from];
        let settings = station.router.settings();
        let (source, interval, version) = (station.source, settings.advert_interval, settings.version);
        let advert = Advert { from: source, priority, interval, version };
        if let Err(time) = station.sends(self.now) {
            self.violate(format!("{source} sent {TOO_MANY} advertisements in {time:?}"));
        }
        if let Some((station, count)) = &mut self.drop_next
            && *station == from
            && *count > 0
        {
            *count -= 1;
            return;
        }
        if self.stations[from].link {
            let (segment, side) = (self.stations[from].segment, self.stations[from].side);
            self.transmit(segment, Some(side), from, advert);
        }
    }

    /// To everybody on the segment, or on one side of it.
    pub(super) fn transmit(&mut self, segment: usize, side: Option<u8>, from: usize, advert: Advert) {
        for to in 0..self.stations.len() {
            let station = &self.stations[to];
            let hears = station.segment == segment && side.is_none_or(|side| side == station.side);
            if to == from || !hears || !station.link {
                continue;
            }
            let copies = 1 + u32::from(self.random.below(1000) < self.doubled);
            for _ in 0..copies {
                if self.random.below(1000) >= self.loss {
                    let at = self.now + self.up_to(self.delay);
                    let last = self.last_arrival.entry((from, to)).or_insert(at);
                    *last = at.max(*last);
                    self.arrivals.push(*last, to, Arrival::Advert(advert));
                }
            }
        }
    }

    // Time

    /// Let so much time pass.
    pub(super) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(next) = self.next_wakeup().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            while let Some((index, what)) = self.arrivals.take(self.now) {
                self.arrive(index, what);
            }
            for index in 0..self.stations.len() {
                let station = &self.stations[index];
                let due = station.wake.is_some_and(|wake| wake <= self.now);
                if due && self.machines[station.machine].running {
                    self.event(index, Event::Timer);
                }
            }
            self.move_groups();
        }
        self.now = end;
    }

    fn next_wakeup(&self) -> Option<Instant> {
        let running = self.stations.iter().filter(|station| self.machines[station.machine].running);
        running.filter_map(|station| station.wake).chain(self.arrivals.next()).min()
    }

    fn arrive(&mut self, index: usize, what: Arrival) {
        let machine = &mut self.machines[self.stations[index].machine];
        if !machine.running {
            if machine.waiting.len() < SOCKET {
                machine.waiting.push_back((index, what));
            }
            return;
        }
        match what {
            Arrival::Advert(advert) if self.stations[index].believes(&advert) => {
                let Advert { from, priority, interval, .. } = advert;
                self.event(index, Event::Advertisement { from, priority, interval });
            }
            Arrival::Advert(_) => {}
            Arrival::Installed(number) => {
                if self.stations[index].kernel == Kernel::Asked(number) {
                    self.stations[index].kernel = Kernel::Has;
                    let segment = self.stations[index].segment;
                    self.event(index, Event::Installed(address(segment)));
                }
            }
        }
    }

    /// As `daemon/groups.rs` does at the end of a turn.
    pub(super) fn move_groups(&mut self) {
        for machine in 0..self.machines.len() {
            if !self.machines[machine].group || !self.machines[machine].running {
                continue;
            }
            let members = self.members(machine);
            loop {
                let position = |index: &usize| Position::of(&self.stations[*index].router);
                let positions: Vec<Position> = members.iter().map(position).collect();
                let event = match decide(&positions) {
                    Decision::Stay => break,
                    Decision::Permit => Event::Permit,
                    Decision::Yield(_) => Event::Yield("member".into()),
                };
                for index in &members {
                    self.event(*index, event.clone());
                }
            }
            let active = members.iter().filter(|index| self.stations[**index].router.is_active()).count();
            if active != 0 && active != members.len() {
                self.violate(format!(
                    "machine {machine}: {active} of its group's {} members are active",
                    members.len()
                ));
            }
        }
    }

    pub(super) fn members(&self, machine: usize) -> Vec<usize> {
        (0..self.stations.len()).filter(|index| self.stations[*index].machine == machine).collect()
    }

    // Trouble and its end

    /// Tell a machine's routers whether their interfaces can be used.
    pub(super) fn judge(&mut self, machine: usize) {
        let members = self.members(machine);
        let verdict = |id: &usize| {
            let station = &self.stations[*id];
            let usable = if station.link { Ok(station.source) } else { Err(Fault::NoCarrier("eth0".into())) };
            let group = station.router.settings().sync_group.clone();
            Verdict { id: *id, name: id.to_string().into(), group, usable }
        };
        let mut verdicts: Vec<_> = members.iter().map(verdict).collect();
        spread_faults(&mut verdicts);
        for Verdict { id, usable, .. } in verdicts {
            let event = usable.map_or_else(Event::Fault, |source: IpAddr| Event::Ready { source });
            self.event(id, event);
        }
        self.move_groups();
    }

    pub(super) fn start_all(&mut self) {
        for machine in 0..self.machines.len() {
            self.judge(machine);
        }
    }

    pub(super) fn set_link(&mut self, index: usize, link: bool) {
        self.stations[index].link = link;
        let machine = self.stations[index].machine;
        if self.machines[machine].running {
            self.judge(machine);
        }
    }

    pub(super) fn freeze(&mut self, machine: usize) {
        self.note(|_| format!("machine {machine} is frozen"));
        self.machines[machine].running = false;
    }

    /// It goes on where it was, and reads what arrived meanwhile, if its sockets held it, before it believes a timer.
    pub(super) fn thaw(&mut self, machine: usize, sockets_held: bool) {
        if self.machines[machine].running {
            return;
        }
        self.note(|_| format!("machine {machine} goes on"));
        self.machines[machine].running = true;
        let waiting = std::mem::take(&mut self.machines[machine].waiting);
        for (index, what) in waiting {
            match what {
                Arrival::Advert(_) if !sockets_held => {}
                Arrival::Advert(_) | Arrival::Installed(_) => self.arrive(index, what),
            }
        }
        for index in self.members(machine) {
            self.event(index, Event::Timer);
        }
        self.judge(machine);
    }

    pub(super) fn shut_down(&mut self, machine: usize) {
        for index in self.members(machine) {
            self.event(index, Event::Shutdown);
        }
        self.kill(machine);
    }

    /// Gone without a word.
    pub(super) fn kill(&mut self, machine: usize) {
        self.note(|_| format!("machine {machine} is gone"));
        self.machines[machine].running = false;
        self.machines[machine].waiting.clear();
        for index in self.members(machine) {
            self.stations[index].wake = None;
            self.stations[index].reset(self.now);
        }
    }

    pub(super) fn boot(&mut self, machine: usize) {
        self.note(|_| format!("machine {machine} starts"));
        self.machines[machine].running = true;
        self.machines[machine].waiting.clear();
        for index in self.members(machine) {
            self.stations[index].reset(self.now);
        }
        self.judge(machine);
    }

    /// Somebody deletes the address; the daemon puts it back.
    pub(super) fn lose_address(&mut self, index: usize) {
        if self.stations[index].kernel == Kernel::Has && self.machines[self.stations[index].machine].running {
            let segment = self.stations[index].segment;
            self.stations[index].kernel = Kernel::Without;
            self.event(index, Event::Lost(address(segment)));
            self.install(index);
        }
    }

    // What there is to see

    /// Who is Active on a segment, of those that run.
    pub(super) fn actives(&self, segment: usize) -> Vec<usize> {
        let is_active = |index: &usize| {
            let station = &self.stations[*index];
            station.segment == segment && self.machines[station.machine].running && station.router.is_active()
        };
        (0..self.stations.len()).filter(is_active).collect()
    }

    pub(super) fn transitions(&self) -> u64 {
        self.stations.iter().map(|station| station.transitions).sum()
    }
}
