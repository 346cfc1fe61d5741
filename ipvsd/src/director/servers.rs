//! The director's dealings with health: what follows from checkd's answers, and from their absence.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Instant;

use daemon::units::format_duration;
use log::Level;

use super::{Actions, Director, Kernel};
use crate::health::{Answer, Source, Target, Verdict};
use crate::service::Admission;
use crate::table::{Entry, ServiceKey};

impl Director {
    pub(super) fn answered(&mut self, now: Instant, answers: &[Answer], actions: &mut Actions) {
        if self.health.hear_source() {
            actions.log(Level::Info, "checkd answers".into());
        }
        let take = |answer| Some((answer, self.health.take(answer)?));
        let changed: Vec<(&Answer, Verdict)> = answers.iter().filter_map(take).collect();
        for (answer, former) in &changed {
            self.log_verdict(answer, *former, actions);
        }
        if changed.iter().any(|(answer, _)| answer.verdict == Verdict::Down) {
            self.reconcile(now, actions);
        } else if !changed.is_empty() {
            // Servers that came up wait for the end of the loop's turn, so that many of them are one batch.
            self.flush_at = Some(now);
        }
    }

    /// One line says everything about a transition. That a server is up at first is nothing to report.
    fn log_verdict(&self, answer: &Answer, former: Verdict, actions: &mut Actions) {
        let Target { check, address } = &answer.target;
        for (name, service) in &self.settings.services {
            let Some(server) = service.servers.get(address) else { continue };
            if server.check.as_ref() != Some(check) {
                continue;
            }
            let total = service.servers.len();
            let usable = self.usable_servers(service);
            let level = match (former, answer.verdict) {
                (_, Verdict::Down) => Level::Warn,
                (Verdict::Down, Verdict::Up) => Level::Info,
                (Verdict::Unknown | Verdict::Up, Verdict::Up) | (_, Verdict::Unknown) => Level::Debug,
            };
            let word = answer.verdict.word();
            let reason =
                if answer.reason.is_empty() { String::new() } else { format!(": {}", answer.reason) };
            let text =
                format!("{name}: server {address} is {word} ({check}{reason}), {usable} of {total} in use");
            actions.log(level, text);
        }
    }

    pub(super) fn source_lost(&mut self, reason: &str, actions: &mut Actions) {
        if self.health.lose_source(reason) {
            actions.log(Level::Warn, format!("{reason}; servers stay as they are until it answers again"));
        }
    }

    /// Unknown is not down: whoever is in use when we first look stays so, and nobody else starts.
    pub(super) fn admit_as_found(&mut self) {
        let Kernel::Read(dump) = &self.kernel else { return };
        for service in self.settings.services.values() {
            let key = service.key();
            let entry = dump.table.get(&key);
            for address in service.servers.keys() {
                self.admissions.entry((key, *address)).or_insert_with(|| as_found(entry, address));
            }
        }
    }

    /// A service that has nothing but unknown servers waits for their check, though not for ever.
    pub(super) fn update_waiting(&mut self, now: Instant) {
        if !matches!(self.kernel, Kernel::Read(_)) {
            return;
        }
        let mut waiting = BTreeMap::new();
        for service in self.settings.services.values() {
            let has_unknown =
                service.servers.iter().any(|(address, server)| self.is_withheld(service, address, server));
            if has_unknown && self.usable_servers(service) == 0 {
                let since = self.waiting.get(&service.key()).copied().unwrap_or(now);
                waiting.insert(service.key(), since);
            }
        }
        self.waiting = waiting;
    }

    /// Admit the unknown servers of services that have waited long enough. True if there were any.
    pub(super) fn end_graces(&mut self, now: Instant, actions: &mut Actions) -> bool {
        let grace = self.settings.grace;
        let over: BTreeSet<ServiceKey> =
            self.waiting.iter().filter(|(_, since)| **since + grace <= now).map(|(key, _)| *key).collect();
        for (name, service) in
            self.settings.services.iter().filter(|(_, service)| over.contains(&service.key()))
        {
            let withheld: Vec<SocketAddr> = service
                .servers
                .iter()
                .filter(|(address, server)| self.is_withheld(service, address, server))
                .map(|(address, _)| *address)
                .collect();
            for address in &withheld {
                self.admissions.insert((service.key(), *address), Admission::Admitted);
            }
            let count = withheld.len();
            let grace = format_duration(grace);
            let why = self.why_unknown();
            let text = format!(
                "{name}: no health answer for {grace} ({why}), using {count} unknown server(s) rather than none"
            );
            actions.log(Level::Warn, text);
        }
        self.waiting.retain(|key, _| !over.contains(key));
        !over.is_empty()
    }

    fn why_unknown(&self) -> String {
        match self.health.source() {
            Source::NeverHeard(_) => "checkd was never heard".into(),
            Source::Heard => "checkd does not know them".into(),
            Source::Lost(reason) => reason.clone(),
        }
    }
}

fn as_found(entry: Option<&Entry>, address: &SocketAddr) -> Admission {
    match entry.and_then(|entry| entry.servers.get(address)) {
        None => Admission::Withheld,
        Some(server) if server.weight == 0 => Admission::Idle,
        Some(_) => Admission::Admitted,
    }
}
