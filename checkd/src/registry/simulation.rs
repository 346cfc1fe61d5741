//! A seeded walk through everything that can happen to a registry, restarts included, beside a second opinion on what
//! follows from it: sets, counts and deadlines agree, states change by the rules only, no target is probed twice at a
//! time or too often.

use std::collections::HashSet;
use std::num::NonZeroU32;

use super::tests::{WALL, checks, fail, http, pass, start, tcp};
use super::*;
use crate::target::{Damping, Thresholds};

const SECOND: Duration = Duration::from_secs(1);

/// A small seeded generator: the same walk on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// What the second opinion knows of a target.
#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    against: u32,
    provisional: bool,
    judged: Instant,
}

struct Walk {
    random: Random,
    now: Instant,
    variants: Vec<Checks>,
    registry: Registry,
    probing: HashSet<TargetId>,
    known: HashMap<Key, Known>,
    /// Of an earlier run.
    remembered: HashMap<Key, Known>,
    /// When the last probe of a target began, and may follow upon this one at any time.
    begun: HashMap<TargetId, Instant>,
    hurried: HashSet<TargetId>,
    /// What a watcher wants, on its way in.
    watch: Option<Watch>,
    answers: usize,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let count = |count| NonZeroU32::new(count).unwrap();
        let quick = Check { thresholds: Thresholds { rise: count(1), fall: count(1) }, ..tcp() };
        let slow = Check {
            thresholds: Thresholds { rise: count(3), fall: count(2) },
            interval: 2 * SECOND,
            down_interval: Some(20 * SECOND),
            ..tcp()
        };
        let damping = Damping { changes: count(2), within: 600 * SECOND, hold: 30 * SECOND };
        let damped = Check { damping: Some(damping), ..quick.clone() };
        let variants = vec![
            checks(&[("a", tcp()), ("b", damped.clone())]),
            checks(&[("a", slow), ("b", damped)]),
            checks(&[("a", quick)]),
            checks(&[("b", http("/x"))]),
        ];
        let now = start();
        let registry = Registry::new(variants[0].clone(), seed, now);
        Self {
            random: Random(seed),
            now,
            variants,
            registry,
            probing: HashSet::new(),
            known: HashMap::new(),
            remembered: HashMap::new(),
            begun: HashMap::new(),
            hurried: HashSet::new(),
            watch: None,
            answers: 0,
        }
    }

    fn step(&mut self) {
        self.now += SECOND / 10 * u32::try_from(self.random.below(30)).unwrap();
        if self.random.below(60) == 0 {
            self.now += 20 * SECOND;
        }
        let watcher = format!(":1.{}", self.random.below(3));
        let actions = match self.random.below(48) {
            0..3 => {
                self.finish_watch();
                let mut wanted = Wanted::default();
                self.rows().iter().for_each(|(check, address)| wanted.add(check, address));
                self.watch = Some(Watch::new(watcher, wanted.take_keys()));
                Vec::new()
            }
            // One after the other, as they come from the bus.
            3 => {
                self.finish_watch();
                self.registry.on_watcher_gone(self.now, &watcher);
                Vec::new()
            }
            40..48 => {
                self.go_on_with_the_watch();
                Vec::new()
            }
            4 => self.reload(),
            5..7 => {
                let address = format!("10.0.0.{}:80", self.random.below(9));
                if let Ok(id) = self.registry.on_probe_wanted(self.now, "a", &address) {
                    self.hurried.insert(id);
                }
                Vec::new()
            }
            7 => {
                self.finish_watch();
                self.registry.on_new_bus(self.now);
                Vec::new()
            }
            8 => {
                self.restart();
                Vec::new()
            }
            9..24 => {
                let count = self.random.below(6);
                (0..count).for_each(|_| self.end_any());
                let _ = self.registry.take_changes(usize::MAX);
                Vec::new()
            }
            _ => self.registry.on_time(self.now, 1 + self.random.below(4)),
        };
        for action in actions {
            self.perform(action);
        }
    }

    /// A portion of one or two targets. An answer says what is so when it comes.
    fn go_on_with_the_watch(&mut self) {
        let Some(watch) = &mut self.watch else { return };
        let room = 1 + self.random.below(2);
        let Some((generation, standings)) = self.registry.on_watch(self.now, watch, room) else { return };
        assert_eq!(generation, self.registry.generation);
        let caller = self.watch.take().unwrap().caller().to_owned();
        let set = self.registry.watchers.set(&caller);
        assert_eq!(set.len(), standings.len());
        for (id, standing) in set.iter().zip(&standings) {
            assert_eq!(self.registry.targets.get(*id).unwrap().standing(), *standing);
        }
        self.answers += 1;
    }

    fn finish_watch(&mut self) {
        while self.watch.is_some() {
            self.go_on_with_the_watch();
        }
    }

    fn end_any(&mut self) {
        let outcome = [pass(), pass(), fail(), Outcome::Local("no".into())][self.random.below(4)].clone();
        let mut running: Vec<_> = self.probing.iter().copied().collect();
        running.sort_unstable();
        if !running.is_empty() {
            let id = running[self.random.below(running.len())];
            self.end(id, &outcome);
        }
    }

    fn rows(&mut self) -> Vec<(String, String)> {
        let count = self.random.below(8);
        let row = |_| {
            let check = ["a", "b"][self.random.below(2)];
            (check.to_owned(), format!("10.0.0.{}:80", self.random.below(6)))
        };
        (0..count).map(row).collect()
    }

    fn perform(&mut self, action: Action) {
        match action {
            Action::Start { id, check, .. } => {
                assert!(self.probing.insert(id), "two probes of one target");
                let least = (check.retry_interval * 3 / 4).min(check.interval / 2);
                let before = self.begun.insert(id, self.now);
                let is_hurried = self.hurried.remove(&id);
                if let Some(before) = before.filter(|_| !is_hurried) {
                    assert!(self.now - before >= least, "{:?} after the last probe", self.now - before);
                }
            }
            Action::TimeOut { id, .. } => self.end(id, &fail()),
            Action::Cancel(id) => assert!(self.probing.remove(&id)),
            Action::Gone(id) => drop(self.probing.remove(&id)),
        }
    }

    fn end(&mut self, id: TargetId, outcome: &Outcome) {
        assert!(self.probing.remove(&id));
        let target = self.registry.targets.get(id).unwrap();
        let (key, place) = (target.key.clone(), target.counted_as());
        let check = Arc::clone(&self.registry.checks[&*key.0]);
        let was_held = target.judgement.is_held();
        self.registry.on_outcome(self.now, WALL, id, outcome.clone()).unwrap();
        let fresh = Known { state: State::Unknown, against: 0, provisional: true, judged: self.now };
        let mut known = self.known.get(&key).copied().unwrap_or(fresh);
        let (says, needed) = match outcome {
            Outcome::Pass(_) | Outcome::PassWithWeight(..) => (State::Up, check.thresholds.rise.get()),
            Outcome::Fail(_) => (State::Down, check.thresholds.fall.get()),
            Outcome::Local(_) => return,
        };
        known.judged = self.now;
        known.against = if says == known.state { 0 } else { known.against + 1 };
        let changes = says != known.state && (known.provisional || known.against >= needed);
        let is_held = self.registry.targets.get(id).is_some_and(|target| target.judgement.is_held());
        assert!(
            !is_held || (check.damping.is_some() && known.state == State::Down),
            "a down is never held back"
        );
        if changes && !is_held {
            (known.state, known.against, known.provisional) = (says, 0, false);
        } else if says == known.state {
            known.provisional = false;
        }
        assert!(!was_held || is_held || says == State::Up, "a failure ends no hold");
        if place.is_some() {
            self.known.insert(key, known);
        }
    }

    fn reload(&mut self) -> Vec<Action> {
        let before = Arc::clone(self.registry.checks());
        let after = self.variants[self.random.below(self.variants.len())].clone();
        let actions = self.registry.on_reload(self.now, WALL, after.clone());
        let asks_the_same = |name: &str| match (before.get(name), after.get(name)) {
            (Some(before), Some(after)) => before.asks_the_same(after),
            (None | Some(_), _) => false,
        };
        for list in [&mut self.known, &mut self.remembered] {
            list.retain(|key, _| after.contains_key(&*key.0));
            for (_, known) in list.iter_mut().filter(|(key, _)| !asks_the_same(&key.0)) {
                (known.provisional, known.against) = (true, 0);
            }
        }
        // Another interval, or another question, may begin at any time.
        if before.as_ref() != &after {
            self.hurried.extend(self.registry.targets.iter().map(|(id, _)| id));
        }
        actions
    }

    /// The process ends, by itself or not, and another one finds what it wrote.
    fn restart(&mut self) {
        let fingerprint = |key: &Key| self.registry.checks[&*key.0].fingerprint();
        let record = |key: &Key, memory| Record { key: key.clone(), fingerprint: fingerprint(key), memory };
        let (mut records, mut next) = (Vec::new(), Some(Cursor::default()));
        while let Some(cursor) = next {
            let (some, rest) = self.registry.records(cursor, 2);
            records.extend(some.map(|(key, memory)| record(key, memory)));
            next = rest;
        }
        let mut last: Option<Key> = None;
        loop {
            let some: Vec<_> = self.registry.unclaimed(last.as_ref(), 2).collect();
            let Some((key, _)) = some.last() else { break };
            last = Some((*key).clone());
            records.extend(some.into_iter().map(|(key, memory)| record(key, memory.clone())));
        }
        self.watch = None;
        self.now += SECOND * u32::try_from([0, 5, 60, 900][self.random.below(4)]).unwrap();
        let after = self.variants[self.random.below(self.variants.len())].clone();
        let asks_the_same = |key: &Key| {
            let before = &self.registry.checks[&*key.0];
            after.get(&*key.0).is_some_and(|after| before.asks_the_same(after))
        };
        for (key, known) in self.known.drain() {
            self.remembered.insert(key, known);
        }
        self.remembered.retain(|key, known| known.state != State::Unknown && after.contains_key(&*key.0));
        for (key, known) in &mut self.remembered {
            known.against = 0;
            known.provisional |= !asks_the_same(key);
        }
        self.registry = Registry::new(after, self.random.0, self.now);
        self.registry.remember(self.now, records);
        self.probing.clear();
        self.begun.clear();
        self.hurried.clear();
    }

    /// What must hold between any two events.
    fn check(&mut self) {
        let registry = &self.registry;
        assert_eq!(registry.ids.len(), registry.targets.len());
        let mut watches: HashMap<TargetId, u32> = HashMap::new();
        let held = self.watch.iter().flat_map(Watch::held);
        let leaving = registry.releasing.sets.iter().flatten();
        for id in registry.watchers.all().chain(held).chain(leaving) {
            *watches.entry(*id).or_default() += 1;
        }
        let (mut counts, mut waiting) = ([0; 3], 0);
        for (id, target) in registry.targets.iter() {
            assert_eq!(registry.ids[&target.key], id);
            assert_eq!(target.watches, watches.get(&id).copied().unwrap_or(0));
            assert!(target.watches > 0 || target.asked, "nobody wants {target:?}");
            assert_eq!(target.is_probing(), self.probing.contains(&id));
            let configured = registry.checks.contains_key(&*target.key.0);
            let is_coming = self.watch.as_ref().is_some_and(|watch| watch.held().contains(&id));
            assert!(configured || target.phase == Phase::Unconfigured);
            assert!(!configured || target.phase != Phase::Unconfigured || is_coming);
            if target.watches > 0 {
                counts[[State::Unknown, State::Up, State::Down]
                    .iter()
                    .position(|state| *state == target.judgement.state())
                    .unwrap()] += 1;
            }
            waiting += usize::from(target.phase.deadline().is_some());
        }
        assert_eq!(registry.counts(), counts);
        assert_eq!(registry.schedule.len(), waiting, "one deadline for each target that has one");
        assert!(self.probing.iter().all(|id| registry.targets.get(*id).is_some()));
        self.compare();
    }

    /// Both opinions on every state.
    fn compare(&mut self) {
        let is_there = |key: &Key| self.registry.ids.contains_key(key);
        self.known.retain(|key, _| is_there(key));
        for (_, target) in self.registry.targets.iter() {
            let check = self.registry.checks.get(&*target.key.0);
            // Who only probes it leaves it for a watcher.
            let remembered = match target.watches {
                0 => self.remembered.get(&target.key).copied(),
                _ => self.remembered.remove(&target.key),
            };
            if let Some(known) = remembered {
                let limit = check.map_or(OLD, |check| OLD.max(check.interval_in(known.state) * INTERVALS));
                if self.now - known.judged <= limit {
                    self.known.entry(target.key.clone()).or_insert(known);
                }
            }
            let state = self.known.get(&target.key).map_or(State::Unknown, |known| known.state);
            assert_eq!(target.judgement.state(), state, "{target:?}");
        }
    }
}

#[test]
fn after_any_sequence_of_events_all_agree_and_states_changed_by_the_rules_only() {
    let (mut ups, mut downs, mut held, mut answers) = (0, 0, 0, 0);
    for seed in 0..40 {
        let mut walk = Walk::new(seed);
        for _ in 0..1_500 {
            walk.step();
            walk.check();
            let [_, up, down] = walk.registry.counts();
            (ups, downs) = (ups + up, downs + down);
            held += walk.registry.targets.iter().filter(|(_, target)| target.judgement.is_held()).count();
        }
        answers += walk.answers;
    }
    assert!(answers > 1_000, "the walk watches nothing: {answers}");
    assert!(ups > 1_000 && downs > 1_000 && held > 100, "the walk goes nowhere: {ups}, {downs}, {held}");
}
