//! The configured services at work: what is known of each, and what the kernel should hold for it now.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Actions, Director, Kernel, Moment, Seats};
use crate::health::{Known, Target, Verdict};
use crate::posture::{Admission, Health, Posture, Share, Standing};
use crate::service::{Backend, RealServer, Settings, VirtualService};
use crate::table::{Entry, ServiceKey};

/// In so many steps a server that starts slowly gets its weight; each costs the kernel a command.
const STEPS: u32 = 20;
/// Not more often than this.
const SHORTEST_STEP: Duration = Duration::from_secs(1);

/// A configured service at work.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) service: Arc<VirtualService>,
    pub(crate) posture: Posture,
    /// It was thought about with the kernel's table at hand.
    is_settled: bool,
    /// Servers for as long as their check has not answered.
    pub(super) admissions: BTreeMap<Backend, Admission>,
    /// Servers that were taken out for a reason, and have not come back.
    out: BTreeSet<Backend>,
    /// Servers that start slowly; since when.
    ramps: BTreeMap<Backend, Instant>,
    /// Without any usable server, but with unknown ones; since when.
    pub(super) waiting: Option<Instant>,
    /// Its entry in [`Director::timers`].
    timer: Option<Instant>,
}

impl Run {
    fn new(service: Arc<VirtualService>) -> Self {
        Self {
            service,
            posture: Posture::default(),
            is_settled: false,
            admissions: BTreeMap::new(),
            out: BTreeSet::new(),
            ramps: BTreeMap::new(),
            waiting: None,
            timer: None,
        }
    }

    /// A reload: servers that stay keep what is known of them. One whose check is another one now is unknown again,
    /// and stays as it is found.
    fn reconfigure(&mut self, service: Arc<VirtualService>) {
        let former = std::mem::replace(&mut self.service, service);
        let check = |service: &VirtualService, backend: &Backend| {
            service.servers.get(backend).map(|server| (server.check.clone(), server.target))
        };
        self.admissions.retain(|backend, _| check(&former, backend) == check(&self.service, backend));
        let stays = |backend: &Backend| self.service.servers.contains_key(backend);
        self.out.retain(stays);
        self.ramps.retain(|backend, _| stays(backend));
    }

    pub(crate) fn ramp(&self, now: Instant, backend: &Backend) -> Share {
        let Some(since) = self.ramps.get(backend) else { return Share::WHOLE };
        let step = step(self.service.slow_start);
        let steps = self.service.slow_start.as_nanos().div_ceil(step.as_nanos().max(1)).max(1);
        let done = now.saturating_duration_since(*since).as_nanos() / step.as_nanos().max(1);
        let share = done.saturating_add(1) * 1000 / (steps + 1);
        u16::try_from(share).map_or(Share::WHOLE, |share| Share(share.min(1000)))
    }

    /// A server that was found with a part of its weight was starting slowly when we went: it goes on from there.
    fn resume(&mut self, now: Instant, backend: &Backend, full: u32) {
        let Some(admission) = self.admissions.get_mut(backend) else { return };
        let Admission::AsFound(found) = *admission else { return };
        *admission = Admission::Admitted;
        let found = u32::from(found);
        if found == 0 || found >= full {
            return;
        }
        if let Some(since) = now.checked_sub(self.service.slow_start * found / full) {
            self.ramps.insert(*backend, since);
        }
    }

    /// When the share of a server that starts slowly is another one.
    fn next_step(&self, now: Instant) -> Option<Instant> {
        let step = step(self.service.slow_start);
        let next = |since: &Instant| {
            let done = now.saturating_duration_since(*since).as_nanos() / step.as_nanos().max(1);
            *since + step.saturating_mul(u32::try_from(done + 1).unwrap_or(u32::MAX))
        };
        self.ramps.values().map(next).min()
    }
}

fn step(slow_start: Duration) -> Duration {
    (slow_start / STEPS).max(SHORTEST_STEP)
}

impl Director {
    /// Take over what is configured now; every service that is another one is to be thought about. What was configured
    /// before, and whether checkd is to watch other targets.
    pub(super) fn configure(&mut self, settings: Settings) -> (Settings, bool) {
        let former = std::mem::replace(&mut self.settings, settings);
        if former.services == self.settings.services {
            return (former, false);
        }
        let gone = |name: &&Arc<str>| !self.settings.services.contains_key(*name);
        for name in former.services.keys().filter(gone) {
            self.runs.remove(name);
            self.touched.insert(Arc::clone(name));
            self.dirty.insert(Arc::clone(name));
        }
        for (name, service) in &self.settings.services {
            if former.services.get(name) == Some(service) {
                continue;
            }
            match self.runs.get_mut(name) {
                Some(run) => run.reconfigure(Arc::clone(service)),
                None => drop(self.runs.insert(Arc::clone(name), Run::new(Arc::clone(service)))),
            }
            self.dirty.insert(Arc::clone(name));
        }
        self.index();
        // A renamed service has the fronts of another one: both are to be thought about, the new one last.
        let runs = &self.runs;
        self.timers.retain(|(_, name)| runs.contains_key(name));
        self.desired.retain(|key, _| self.fronts.contains_key(key));
        let new_targets = self.health.set_targets(self.seats.targets());
        (former, new_targets)
    }

    fn index(&mut self) {
        let fronts =
            self.settings.services.iter().flat_map(|(name, service)| {
                service.fronts.iter().map(move |front| (*front, Arc::clone(name)))
            });
        self.fronts = fronts.collect();
        self.seats = Seats::of(&self.settings);
        let fronts = &self.fronts;
        self.losses.retain(|key| fronts.contains_key(key));
    }

    /// Think about every service that something was learnt about, but for those whose servers must be read first. The
    /// keys of the kernel's services that this may have changed.
    pub(super) fn refresh_dirty(&mut self, at: Moment, actions: &mut Actions) -> Vec<ServiceKey> {
        let (mut keys, mut unread) = (Vec::new(), Vec::new());
        for name in std::mem::take(&mut self.dirty) {
            let Some(mut run) = self.runs.remove(&name) else { continue };
            let before = unread.len();
            unread.extend(run.service.fronts.iter().filter(|front| self.unread.contains(front)));
            if unread.len() > before {
                self.runs.insert(Arc::clone(&name), run);
                self.dirty.insert(name);
                continue;
            }
            self.refresh(at, &name, &mut run, actions);
            keys.extend(run.service.fronts.iter().copied());
            self.runs.insert(Arc::clone(&name), run);
            self.touched.insert(name);
        }
        if !unread.is_empty() {
            actions.push(Action::ReadServers { keys: unread, is_slice: false });
        }
        keys
    }

    fn refresh(&mut self, at: Moment, name: &Arc<str>, run: &mut Run, actions: &mut Actions) {
        let is_first = !run.is_settled && matches!(self.kernel, Kernel::Read(_));
        if is_first {
            run.is_settled = true;
            run.posture = self.found_posture(&run.service);
        }
        self.admit_as_found(run, is_first);
        self.end_grace(at.now, name, run, actions);
        self.end_drains(at, name, run, actions);
        self.follow_ramps(at.now, name, run);
        let service = Arc::clone(&run.service);
        let standing =
            |backend: &Backend, server: &RealServer| self.standing(at.now, name, run, backend, server);
        let posture = service.posture(standing, run.posture);
        let is_here = self.is_here(&service);
        let entries: Vec<_> = service
            .fronts
            .iter()
            .map(|front| (*front, is_here.then(|| service.desired(front, posture.stand, standing))))
            .collect();
        for (front, entry) in entries {
            match entry {
                Some(entry) => self.desire(front, entry),
                None => drop(self.desired.remove(&front)),
            }
        }
        self.tell_posture(name, &service, run.posture, posture, actions);
        run.posture = posture;
        let waits = posture.waiting > 0 && posture.usable == 0 && matches!(self.kernel, Kernel::Read(_));
        run.waiting = waits.then(|| run.waiting.unwrap_or(at.now));
        self.set_timer(at, name, run);
    }

    /// What is there already is kept once.
    fn desire(&mut self, front: ServiceKey, entry: Entry) {
        let found = self.table().and_then(|table| table.get(&front)).filter(|found| ***found == entry);
        let entry = found.map_or_else(|| Arc::new(entry), Arc::clone);
        self.desired.insert(front, entry);
    }

    /// Whether a service is to be in the kernel at all, as far as vrrpd is concerned. Where that is not known it stays
    /// as it is.
    pub(crate) fn is_here(&self, service: &VirtualService) -> bool {
        let Some(router) = &service.while_active else { return true };
        // What was wanted stays so, even if somebody has removed it since.
        let is_there = |front| {
            self.desired.contains_key(front) || self.table().is_some_and(|table| table.contains_key(front))
        };
        self.is_active(router).unwrap_or_else(|| service.fronts.iter().any(is_there))
    }

    pub(crate) fn standing(
        &self,
        now: Instant,
        name: &Arc<str>,
        run: &Run,
        backend: &Backend,
        server: &RealServer,
    ) -> Standing {
        let order = self.orders.get(&(Arc::clone(name), *backend));
        Standing {
            health: self.health_of(run, backend, server),
            command: order.map(|order| order.command),
            share: run.ramp(now, backend),
        }
    }

    pub(crate) fn health_of(&self, run: &Run, backend: &Backend, server: &RealServer) -> Health {
        let Some(target) = target(server) else { return Health::Unchecked };
        let known = self.health.get(&target);
        match known.map_or(Verdict::Unknown, |known| known.verdict) {
            Verdict::Up => Health::Up(known.and_then(|known| known.weight)),
            Verdict::Down => Health::Down,
            Verdict::Unknown => {
                let admission = run.admissions.get(backend);
                Health::Unknown(admission.copied().unwrap_or(Admission::Withheld))
            }
        }
    }

    /// What checkd said of a server; `None` if nobody checks it.
    pub(crate) fn known(&self, server: &RealServer) -> Option<&Known> {
        self.health.get(&target(server)?)
    }

    /// A server that was out for a reason and is usable again starts slowly, if that is configured.
    fn follow_ramps(&mut self, now: Instant, name: &Arc<str>, run: &mut Run) {
        if run.service.slow_start.is_zero() {
            run.out.clear();
            run.ramps.clear();
            return;
        }
        let service = Arc::clone(&run.service);
        for (backend, server) in &service.servers {
            let standing = self.standing(now, name, run, backend, server);
            if let Some(full) = standing.full_weight(server) {
                if run.out.remove(backend) {
                    run.ramps.insert(*backend, now);
                } else if matches!(standing.health, Health::Up(_)) {
                    run.resume(now, backend, full);
                }
            } else {
                run.ramps.remove(backend);
                if !standing.is_waiting() {
                    run.out.insert(*backend);
                }
            }
        }
        run.ramps.retain(|_, since| now.saturating_duration_since(*since) < service.slow_start);
    }

    fn set_timer(&mut self, at: Moment, name: &Arc<str>, run: &mut Run) {
        let grace = run.waiting.map(|since| since + self.settings.grace);
        let drains = self.drain_deadlines(name, run);
        let next = grace.into_iter().chain(run.next_step(at.now)).chain(drains).min();
        if run.timer == next && next.is_none_or(|at| self.timers.contains(&(at, Arc::clone(name)))) {
            return;
        }
        if let Some(former) = run.timer.take() {
            self.timers.remove(&(former, Arc::clone(name)));
        }
        if let Some(next) = next {
            self.timers.insert((next, Arc::clone(name)));
        }
        run.timer = next;
    }
}

/// What checkd is to watch for a server.
pub(crate) fn target(server: &RealServer) -> Option<Target> {
    let check = Arc::clone(server.check.as_ref()?);
    Some(Target { check, address: server.target })
}
