//! The director's dealings with health: what follows from checkd's answers, and from their absence.

use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::units::format_duration;
use log::Level;

use super::services::{Run, target};
use super::{Actions, Director, Kernel, Moment};
use crate::health::{Answer, Source, Verdict};
use crate::posture::{Admission, Health, Posture, Stand};
use crate::service::{Backend, Initially, VirtualService};
use crate::table::{ServiceKey, Table};

/// More servers than this that change in one answer are reported as one number.
const VERDICT_REPORTS: usize = 50;
/// What the kernel looks through, at some 20 to 100 ns each, in longer than a lull: deleted servers, for each that is added.
const MANY_STEPS: u64 = 50_000_000;
/// When so long nobody has come, that was the last one.
const LULL: Duration = Duration::from_millis(500);
/// Nobody waits longer for others.
const LONGEST_WAIT: Duration = Duration::from_secs(3);

impl Director {
    pub(super) fn answered(&mut self, at: Moment, answers: &[Answer], actions: &mut Actions) {
        if self.health.hear_source() {
            actions.log(Level::Info, "checkd answers".into());
            self.touched.extend(self.runs.keys().cloned());
        }
        let mut changed: Vec<(&Answer, Verdict)> = Vec::new();
        for answer in answers {
            let mut names = self.seats.get(&answer.target).map(|(name, _)| Arc::clone(name)).peekable();
            if names.peek().is_none() {
                continue;
            }
            if let Some(former) = self.health.take(answer) {
                changed.push((answer, former));
                let names: Vec<_> = names.collect();
                self.dirty.extend(names.iter().cloned());
                self.touched.extend(names);
            } else {
                self.touched.extend(names);
            }
        }
        if changed.iter().any(|(answer, _)| answer.verdict == Verdict::Down) {
            self.reconcile(at, actions);
        } else if !changed.is_empty() {
            self.wait_for_more(at.now, changed.len());
        }
        self.log_verdicts(at.now, &changed, actions);
    }

    /// Servers that came up wait for the end of the loop's turn, so that many of them are one batch. Where that saves the
    /// kernel much (see [`crate::reconcile::order`]) they wait for those that come after them, too.
    fn wait_for_more(&mut self, now: Instant, number: usize) {
        let since = *self.ups_since.get_or_insert(now);
        let steps = u64::try_from(number).unwrap_or(u64::MAX).saturating_mul(self.losses.deleted(now));
        let wait = if steps < MANY_STEPS { Duration::ZERO } else { LULL };
        let due = (now + wait).min(since + LONGEST_WAIT);
        self.flush_at = Some(self.flush_at.map_or(due, |former| former.max(due)));
    }

    fn log_verdicts(&mut self, now: Instant, changed: &[(&Answer, Verdict)], actions: &mut Actions) {
        let count = |wanted| changed.iter().filter(|(answer, _)| answer.verdict == wanted).count();
        if changed.len() > VERDICT_REPORTS && count(Verdict::Down) > 0 {
            let text =
                format!("{} servers are down, {} are up again", count(Verdict::Down), count(Verdict::Up));
            actions.log(Level::Warn, text);
            return;
        }
        let told = &changed[..changed.len().min(VERDICT_REPORTS)];
        let room = self.chatter.admit(now, told.len());
        if room.was_withheld > 0 {
            actions.log(Level::Warn, format!("{} more changes of health were not told", room.was_withheld));
        }
        for (answer, former) in &told[..room.lines] {
            self.log_verdict(answer, *former, actions);
        }
        if room.begins_to_withhold {
            actions.log(
                Level::Warn,
                "health flips: more changes of it than can be read are only counted".into(),
            );
        }
    }

    /// One line says everything about a transition. That a server is up at first is nothing to report.
    fn log_verdict(&self, answer: &Answer, former: Verdict, actions: &mut Actions) {
        let check = &answer.target.check;
        for (name, backend) in self.seats.get(&answer.target) {
            let Some(run) = self.runs.get(name) else { continue };
            let total = run.service.servers.len();
            let level = match (former, answer.verdict) {
                (_, Verdict::Down) => Level::Warn,
                (Verdict::Down, Verdict::Up) => Level::Info,
                (Verdict::Unknown | Verdict::Up, Verdict::Up) | (_, Verdict::Unknown) => Level::Debug,
            };
            let word = answer.verdict.word();
            let reason =
                if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
            // Ups are counted at the end of the turn.
            let text = if answer.verdict == Verdict::Down {
                let usable = run.posture.usable;
                format!("{name}: server {backend} is {word} ({check}{reason}), {usable} of {total} in use")
            } else {
                format!("{name}: server {backend} is {word} ({check}{reason})")
            };
            actions.log(level, text);
        }
    }

    pub(super) fn source_lost(&mut self, reason: &str, actions: &mut Actions) {
        if self.health.lose_source(reason) {
            actions.log(Level::Warn, format!("{reason}; servers stay as they are until it answers again"));
            self.touched.extend(self.runs.keys().cloned());
        }
    }

    /// Unknown is not down: whoever is in use when we first look stays so, and nobody else starts.
    pub(super) fn admit_as_found(&self, run: &mut Run, is_first: bool) {
        let Kernel::Read(dump) = &self.kernel else { return };
        let Run { service, admissions, .. } = run;
        // A server that is missing where its service is there was out of use when we went.
        let was_there = is_first && service.fronts.iter().any(|front| dump.table.contains_key(front));
        for (backend, server) in &service.servers {
            if target(server).is_some() && !admissions.contains_key(backend) {
                let found = as_found(&dump.table, &service.fronts, backend);
                let admission = match (found, server.initially) {
                    (Admission::Withheld, Initially::Admitted) if !was_there => Admission::Admitted,
                    (found, Initially::Admitted | Initially::Withheld) => found,
                };
                admissions.insert(*backend, admission);
            }
        }
    }

    /// What a service was, as it is found: whether its servers answered, or the sorry server.
    pub(super) fn found_posture(&self, service: &VirtualService) -> Posture {
        let Some(table) = self.table() else { return Posture::default() };
        let is_in_use =
            |backend: &Backend| matches!(as_found(table, &service.fronts, backend), Admission::AsFound(_));
        let is_sorry = service.sorry.is_some_and(|sorry| is_in_use(&sorry.backend));
        let has_quorum = !is_sorry && service.servers.keys().any(is_in_use);
        let stand = if is_sorry { Stand::Sorry } else { Stand::Servers };
        Posture { has_quorum, stand, ..Posture::default() }
    }

    /// Admit the unknown servers of a service that has waited long enough.
    pub(super) fn end_grace(&self, now: Instant, name: &Arc<str>, run: &mut Run, actions: &mut Actions) {
        let grace = self.settings.grace;
        if run.waiting.is_none_or(|since| now < since + grace) {
            return;
        }
        let service = Arc::clone(&run.service);
        let is_withheld = |run: &Run, backend: &Backend| {
            let health = service.servers.get(backend).map(|server| self.health_of(run, backend, server));
            matches!(health, Some(Health::Unknown(Admission::Withheld | Admission::Idle)))
        };
        let withheld: Vec<Backend> =
            service.servers.keys().filter(|backend| is_withheld(run, backend)).copied().collect();
        run.admissions.extend(withheld.iter().map(|backend| (*backend, Admission::Admitted)));
        let (count, grace, why) = (withheld.len(), format_duration(grace), self.why_unknown());
        let text = format!(
            "{name}: no health answer for {grace} ({why}), using {count} unknown server(s) rather than none"
        );
        actions.log(Level::Warn, text);
        run.waiting = None;
    }

    fn why_unknown(&self) -> String {
        match self.health.source() {
            Source::NeverHeard(_) => "checkd was never heard".into(),
            Source::Heard => "checkd does not know them".into(),
            Source::Lost(reason) => reason.clone(),
        }
    }

    /// Say when another one answers a service's clients.
    pub(super) fn tell_posture(
        &self,
        name: &str,
        service: &VirtualService,
        before: Posture,
        after: Posture,
        actions: &mut Actions,
    ) {
        if before.stand == after.stand || !matches!(self.kernel, Kernel::Read(_)) {
            return;
        }
        let needed = service.quorum.weight;
        let weight = after.weight;
        match after.stand {
            Stand::Servers => {
                actions
                    .log(Level::Info, format!("{name}: its servers answer again, with a weight of {weight}"));
            }
            Stand::Sorry => {
                let sorry = service.sorry.map(|sorry| sorry.backend.to_string()).unwrap_or_default();
                let text = format!(
                    "{name}: servers with a weight of {weight} are usable, {needed} are needed: the sorry server {sorry} answers"
                );
                actions.log(Level::Warn, text);
            }
            Stand::All => {
                let text =
                    format!("{name}: all servers are down; all are used all the same (all_down = \"keep\")");
                actions.log(Level::Warn, text);
            }
        }
    }
}

/// What a server is in the kernel's table, at any of the service's addresses.
fn as_found(table: &Table, fronts: &[ServiceKey], backend: &Backend) -> Admission {
    let servers = fronts.iter().filter_map(|front| table.get(front)?.servers.get(&backend.behind(front)));
    match servers.map(|server| server.weight).max() {
        None => Admission::Withheld,
        Some(0) => Admission::Idle,
        Some(weight) => Admission::AsFound(u16::try_from(weight).unwrap_or(u16::MAX)),
    }
}
