//! The whole state of checkd without its sockets: which checks there are, who watches which targets, what is known
//! about each, and what is to be done next. One probe per (check, target), whoever asks.
//!
//! Pure: the clock is an argument, what is to be done comes back as [`Action`]s.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::check::Check;
use crate::probe::Outcome;
use crate::schedule::{Schedule, TargetId};
use crate::target::{Change, Judgement, NOT_PROBED_YET, State, WallClock};
use crate::watchers::{Key, Watchers};

/// The configured checks by name.
pub type Checks = BTreeMap<String, Arc<Check>>;

/// What the daemon has to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Open a connection and feed what happens on it to a new probe.
    Start { id: TargetId, check: Arc<Check>, address: SocketAddr },
    /// The running probe's time is over since `late`: end it, and report the outcome.
    TimeOut { id: TargetId, late: Duration },
    /// End the running probe; nobody wants its outcome.
    Cancel(TargetId),
    /// As `Cancel`, and whoever asked for a probe of this target gets none.
    Gone(TargetId),
}

/// What is known about one target, as the bus tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub check: String,
    pub address: String,
    pub state: State,
    pub reason: String,
    pub since: WallClock,
    /// What the check gives the server while it is up.
    pub weight: Option<u16>,
}

/// A [`Row`] with what only the check's own object tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Detail {
    pub row: Row,
    pub last_duration: Option<Duration>,
    /// When the next probe starts; `None` while one runs.
    pub next: Option<Instant>,
}

/// A result that was taken in, for the log and for those who asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    pub row: Row,
    /// The state before it.
    pub before: State,
    pub took: Duration,
    /// Whether somebody watches the target, and did not just ask for one probe of it.
    pub is_watched: bool,
}

#[derive(Debug)]
struct Target {
    key: Key,
    judgement: Judgement,
    phase: Phase,
    /// How many sets it is in.
    watches: u32,
    /// Somebody asked for a probe now and waits for the outcome.
    asked: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// There is no such check.
    Unconfigured,
    Waiting {
        at: Instant,
        first: bool,
    },
    Probing {
        started: Instant,
        deadline: Instant,
        first: bool,
    },
}

impl Phase {
    fn deadline(self) -> Option<Instant> {
        match self {
            Self::Unconfigured => None,
            Self::Waiting { at, .. } => Some(at),
            Self::Probing { deadline, .. } => Some(deadline),
        }
    }
}

#[derive(Debug)]
pub struct Registry {
    checks: Arc<Checks>,
    targets: HashMap<TargetId, Target>,
    ids: HashMap<Key, TargetId>,
    watchers: Watchers,
    schedule: Schedule,
    next_id: u64,
    generation: u64,
    /// Targets whose state or reason reads differently since the last publication.
    changed: BTreeSet<TargetId>,
}

impl Registry {
    /// `seed` spreads the first probes: see [`Schedule::new`].
    pub fn new(checks: Checks, seed: u64) -> Self {
        Self {
            checks: Arc::new(checks),
            targets: HashMap::new(),
            ids: HashMap::new(),
            watchers: Watchers::default(),
            schedule: Schedule::new(seed),
            next_id: 0,
            generation: 0,
            changed: BTreeSet::new(),
        }
    }

    /// The same `Arc` until a reload changes something.
    pub fn checks(&self) -> &Arc<Checks> {
        &self.checks
    }

    pub fn watcher_count(&self) -> usize {
        self.watchers.count()
    }

    /// How many targets are unknown, up and down.
    pub fn counts(&self) -> [usize; 3] {
        let mut counts = [0; 3];
        for target in self.targets.values().filter(|target| target.watches > 0) {
            counts[match target.judgement.state() {
                State::Unknown => 0,
                State::Up => 1,
                State::Down => 2,
            }] += 1;
        }
        counts
    }

    /// All targets of one check, in the order of their addresses.
    pub fn details(&self, check: &str) -> Vec<Detail> {
        let targets = self.targets.values().filter(|target| &*target.key.0 == check && target.watches > 0);
        let mut targets: Vec<&Target> = targets.collect();
        targets.sort_by_key(|target| target.key.1);
        targets.into_iter().map(Target::detail).collect()
    }

    /// When [`Registry::on_time`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        [self.schedule.deadline(), self.watchers.deadline()].into_iter().flatten().min()
    }

    /// `caller` wants exactly these (check, address) pairs watched. The answer has a row for each of them, and
    /// holds for everything up to the returned generation.
    #[must_use]
    pub fn on_watch(
        &mut self,
        now: Instant,
        caller: &str,
        wanted: &[(String, String)],
    ) -> (u64, Vec<Row>, Vec<Action>) {
        let keys =
            wanted.iter().map(|(check, address)| Some((Arc::from(&**check), parse_address(address).ok()?)));
        let keys: HashSet<Key> = keys.flatten().collect();
        let fresh: Vec<TargetId> = keys.iter().filter_map(|key| self.claim(key)).collect();
        for id in &fresh {
            self.start_first_round(now, *id, fresh.len());
        }
        let former = self.watchers.replace(caller, keys);
        let actions = self.release(&former);
        let answers = wanted.iter().map(|(check, address)| self.answer(check, address)).collect();
        (self.generation, answers, actions)
    }

    /// A name left the bus. Whether it was a watcher's.
    pub fn on_watcher_gone(&mut self, now: Instant, watcher: &str) -> bool {
        self.watchers.on_gone(now, watcher)
    }

    /// There is a new connection to the bus: see [`Watchers::on_new_bus`].
    pub fn on_new_bus(&mut self, now: Instant) {
        self.watchers.on_new_bus(now);
    }

    /// Somebody wants a probe now, and its outcome. One that is running will do.
    ///
    /// # Errors
    /// Why there cannot be one.
    pub fn on_probe_wanted(&mut self, now: Instant, check: &str, address: &str) -> Result<TargetId, String> {
        let key = (Arc::from(check), parse_address(address)?);
        if let Some(obstacle) = self.obstacle(&key) {
            return Err(obstacle);
        }
        let id = self.ids.get(&key).copied().unwrap_or_else(|| self.insert(&key));
        let target = self.targets.get_mut(&id).expect("every id in `ids` is a target's");
        target.asked = true;
        match target.phase {
            Phase::Unconfigured => self.set_phase(id, Phase::Waiting { at: now, first: true }),
            Phase::Waiting { first, .. } => self.set_phase(id, Phase::Waiting { at: now, first }),
            Phase::Probing { .. } => {}
        }
        Ok(id)
    }

    /// Do what is due, at most `limit` probes of it; what remains is still due.
    #[must_use]
    pub fn on_time(&mut self, now: Instant, limit: usize) -> Vec<Action> {
        let mut actions = Vec::new();
        for keys in self.watchers.take_expired(now) {
            actions.extend(self.release(&keys));
        }
        for _ in 0..limit {
            let Some(id) = self.schedule.pop(now) else { break };
            actions.extend(self.on_due(now, id));
        }
        actions
    }

    fn on_due(&mut self, now: Instant, id: TargetId) -> Option<Action> {
        let target = self.targets.get_mut(&id)?;
        match target.phase {
            Phase::Unconfigured => None,
            Phase::Waiting { first, .. } => {
                let check = Arc::clone(self.checks.get(&*target.key.0)?);
                let address = target.key.1;
                let deadline = now + check.timeout;
                target.phase = Phase::Probing { started: now, deadline, first };
                self.schedule.add(deadline, id);
                Some(Action::Start { id, check, address })
            }
            // Stays in this phase, without a deadline, until the outcome comes in.
            Phase::Probing { deadline, .. } => Some(Action::TimeOut { id, late: now - deadline }),
        }
    }

    /// A probe ended. `None` if nobody knows of it any more.
    pub fn on_outcome(
        &mut self,
        now: Instant,
        wall: WallClock,
        id: TargetId,
        outcome: Outcome,
    ) -> Option<Judged> {
        let target = self.targets.get_mut(&id)?;
        let Phase::Probing { started, first, .. } = target.phase else { return None };
        let check = Arc::clone(self.checks.get(&*target.key.0)?);
        let before = target.judgement.state();
        let took = now - started;
        let is_local = matches!(outcome, Outcome::Local(_));
        let change = target.judgement.on_outcome(check.thresholds, outcome, took, wall);
        let soon = is_local || target.judgement.is_changing();
        let mut next = started + check.interval;
        if first {
            next = started + self.schedule.second_delay(&target.key, check.interval);
        }
        if soon {
            next = next.min(now + check.retry_interval);
        }
        target.asked = false;
        let is_watched = target.watches > 0;
        let judged = Judged { row: target.row(), before, took, is_watched };
        self.set_phase(id, Phase::Waiting { at: next.max(now), first: false });
        if change != Change::Nothing {
            self.changed.insert(id);
        }
        if !is_watched {
            self.remove(id);
        }
        Some(judged)
    }

    /// The configuration was read again. Checks that are the same keep everything; targets of a changed one keep
    /// their state until the new check's first result.
    #[must_use]
    pub fn on_reload(&mut self, now: Instant, wall: WallClock, checks: Checks) -> Vec<Action> {
        let all_names = self.checks.keys().chain(checks.keys());
        let differs = |name: &&String| self.checks.get(*name) != checks.get(*name);
        let names: HashSet<String> = all_names.filter(differs).cloned().collect();
        if names.is_empty() {
            return Vec::new();
        }
        self.checks = Arc::new(checks);
        let concerned = self.targets.iter().filter(|(_, target)| names.contains(&*target.key.0));
        let concerned: BTreeSet<TargetId> = concerned.map(|(id, _)| *id).collect();
        let together = concerned.len();
        concerned.into_iter().filter_map(|id| self.on_check_differs(now, wall, id, together)).collect()
    }

    fn on_check_differs(
        &mut self,
        now: Instant,
        wall: WallClock,
        id: TargetId,
        together: usize,
    ) -> Option<Action> {
        let obstacle = self.obstacle(&self.targets.get(&id)?.key);
        let target = self.targets.get_mut(&id)?;
        let is_probing = matches!(target.phase, Phase::Probing { .. });
        self.changed.insert(id);
        if let Some(obstacle) = obstacle {
            target.judgement.forget(obstacle, wall);
            let was_asked = std::mem::take(&mut target.asked);
            let is_wanted = target.watches > 0;
            self.set_phase(id, Phase::Unconfigured);
            if !is_wanted {
                self.remove(id);
            }
            return (is_probing || was_asked).then_some(Action::Gone(id));
        }
        let _ = target.judgement.on_check_changed();
        self.start_first_round(now, id, together);
        is_probing.then_some(Action::Cancel(id))
    }

    /// What changed since the last call, with the generation that this makes.
    pub fn take_changes(&mut self) -> Option<(u64, Vec<Row>)> {
        let changed = std::mem::take(&mut self.changed);
        let targets =
            changed.iter().filter_map(|id| self.targets.get(id)).filter(|target| target.watches > 0);
        let rows: Vec<Row> = targets.map(Target::row).collect();
        if rows.is_empty() {
            return None;
        }
        self.generation += 1;
        Some((self.generation, rows))
    }

    fn answer(&self, check: &str, address: &str) -> Row {
        let unknown = |reason: String| Row {
            check: check.to_owned(),
            address: address.to_owned(),
            state: State::Unknown,
            reason,
            since: WallClock::default(),
            weight: None,
        };
        let parsed = match parse_address(address) {
            Ok(parsed) => parsed,
            Err(reason) => return unknown(reason),
        };
        let id = self.ids.get(&(Arc::from(check), parsed));
        match id.and_then(|id| self.targets.get(id)) {
            // In the caller's own spelling, so that it finds its row.
            Some(target) => Row { address: address.to_owned(), ..target.row() },
            None => unknown(no_such_check(check)),
        }
    }

    /// One more set holds the target. `Some`: it is new.
    fn claim(&mut self, key: &Key) -> Option<TargetId> {
        let known = self.ids.get(key).copied();
        let id = known.unwrap_or_else(|| self.insert(key));
        let target = self.targets.get_mut(&id).expect("every id in `ids` is a target's");
        target.watches += 1;
        if known.is_some() { None } else { Some(id) }
    }

    /// Why there cannot be a probe of this; `None`: there can.
    fn obstacle(&self, key: &Key) -> Option<String> {
        match self.checks.get(&*key.0) {
            Some(check) => misfit(check, key.1),
            None => Some(no_such_check(&key.0)),
        }
    }

    fn insert(&mut self, key: &Key) -> TargetId {
        let id = TargetId(self.next_id);
        self.next_id += 1;
        let why = self.obstacle(key).unwrap_or_else(|| NOT_PROBED_YET.to_owned());
        let target = Target {
            key: key.clone(),
            judgement: Judgement::unknown(why),
            phase: Phase::Unconfigured,
            watches: 0,
            asked: false,
        };
        self.targets.insert(id, target);
        self.ids.insert(key.clone(), id);
        id
    }

    /// Let the first probe with this check come, one of `together`.
    fn start_first_round(&mut self, now: Instant, id: TargetId, together: usize) {
        let Some(target) = self.targets.get(&id) else { return };
        if self.obstacle(&target.key).is_some() {
            return;
        }
        let Some(check) = self.checks.get(&*target.key.0) else { return };
        let at = now + self.schedule.first_delay(&target.key, together, check.interval);
        self.set_phase(id, Phase::Waiting { at, first: true });
    }

    /// One set less holds each of these targets; those that nobody wants any more go.
    fn release(&mut self, keys: &HashSet<Key>) -> Vec<Action> {
        let mut actions = Vec::new();
        for key in keys {
            let Some(id) = self.ids.get(key).copied() else { continue };
            let Some(target) = self.targets.get_mut(&id) else { continue };
            target.watches -= 1;
            if target.watches > 0 || target.asked {
                continue;
            }
            if matches!(target.phase, Phase::Probing { .. }) {
                actions.push(Action::Cancel(id));
            }
            self.remove(id);
        }
        actions
    }

    fn remove(&mut self, id: TargetId) {
        self.set_phase(id, Phase::Unconfigured);
        if let Some(target) = self.targets.remove(&id) {
            self.ids.remove(&target.key);
        }
    }

    /// The only way to another phase from outside of [`Registry::on_due`]: keeps the schedule in step.
    fn set_phase(&mut self, id: TargetId, phase: Phase) {
        let Some(target) = self.targets.get_mut(&id) else { return };
        if let Some(at) = target.phase.deadline() {
            self.schedule.remove(at, id);
        }
        if let Some(at) = phase.deadline() {
            self.schedule.add(at, id);
        }
        target.phase = phase;
    }
}

impl Target {
    fn row(&self) -> Row {
        Row {
            check: self.key.0.as_ref().to_owned(),
            address: spell(self.key.1),
            state: self.judgement.state(),
            reason: self.judgement.reason(),
            since: self.judgement.since(),
            weight: self.judgement.weight(),
        }
    }

    fn detail(&self) -> Detail {
        let next = match self.phase {
            Phase::Waiting { at, .. } => Some(at),
            Phase::Unconfigured | Phase::Probing { .. } => None,
        };
        Detail { row: self.row(), last_duration: self.judgement.last_duration(), next }
    }
}

fn no_such_check(name: &str) -> String {
    format!("no check '{name}' is configured")
}

/// Why a check of this kind cannot be made of `address`. Watchers may name a target before its check is configured.
fn misfit(check: &Check, address: SocketAddr) -> Option<String> {
    let kind = check.kind.as_str();
    if address == NOWHERE && !check.kind.is_local() && check.connect.address.is_none() {
        return Some(format!("a check of type \"{kind}\" needs a target's address"));
    }
    if address.port() == 0 && check.kind.needs_port() && check.connect.port.is_none() {
        let address = address.ip();
        return Some(format!("'{address}' names no port, and a check of type \"{kind}\" needs one"));
    }
    None
}

/// The target that is this machine: "" on the bus.
const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

fn parse_address(text: &str) -> Result<SocketAddr, String> {
    if text.is_empty() {
        return Ok(NOWHERE);
    }
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, 0));
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.port() == 0 => Err(format!("'{text}' has port 0, which nothing listens on")),
        Ok(address) => Ok(address),
        Err(_) => {
            Err(format!("'{text}' is not an address, such as 192.0.2.1:80, [2001:db8::1]:80 or 192.0.2.1"))
        }
    }
}

/// As [`parse_address`] reads it.
fn spell(address: SocketAddr) -> String {
    if address == NOWHERE {
        String::new()
    } else if address.port() == 0 {
        address.ip().to_string()
    } else {
        address.to_string()
    }
}

#[cfg(test)]
mod tests;
