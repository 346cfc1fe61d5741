//! The director's dealings with the rest of IPVS: timeouts, sysctls, synchronisation threads, and whose role they
//! follow.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use daemon::units::format_duration;
use log::Level;

use super::{Action, Actions, Director, Kernel, Moment, Setting};
use crate::routers::Role;
use crate::sync;
use crate::table::Rest;
use crate::tuning::{Sysctl, Value};

/// A vrrpd that is away for so long was stopped; one that crashed is back within seconds, as what it was, and so is one
/// whose bus was restarted.
const ABSENCE: Duration = Duration::from_secs(30);

impl Director {
    /// Bring what is configured beside the table to where it should be.
    pub(super) fn tune(&mut self, actions: &mut Actions) {
        let Kernel::Read(dump) = &self.kernel else { return };
        let missing = self.missing_settings(&dump.rest);
        // What is as it should be, by whomever, is no fault any more.
        let subjects: BTreeSet<String> = missing.iter().map(Setting::subject).collect();
        self.unset
            .retain(|what, _| subjects.contains(what) || self.settings.tuning.sysctls.contains_key(&**what));
        for setting in missing {
            actions.push(Action::Set(setting));
        }
    }

    /// All but sysctls, which are only known when they were just read.
    pub(super) fn missing_settings(&self, rest: &Rest) -> Vec<Setting> {
        let is_active = |router: &str| self.is_active(router);
        let desired = self.settings.sync.desired(is_active, &rest.daemons);
        let sync = desired.map(|desired| sync::changes(&desired, &rest.daemons)).unwrap_or_default();
        let timeouts = self.settings.tuning.timeouts.missing(rest.timeouts);
        sync.into_iter().map(Setting::Sync).chain(timeouts.map(Setting::Timeouts)).collect()
    }

    pub(super) fn sysctls_read(
        &mut self,
        found: Vec<(&'static str, Result<Value, String>)>,
        actions: &mut Actions,
    ) {
        // A kernel without IPVS has none, and that is said once, as what it is.
        let Kernel::Read(_) = self.kernel else { return };
        for (name, found) in found {
            let Some(wanted) = self.settings.tuning.sysctls.get(name).copied() else { continue };
            match found {
                Ok(found) if is_set(name, wanted, found) => self.now_set(&Setting::Sysctl(name, wanted)),
                Ok(found) => {
                    // One that could not be set is tried again without another word.
                    if !self.unset.contains_key(name) {
                        actions.log(Level::Info, format!("{name} is {found}, setting it to {wanted}"));
                    }
                    actions.push(Action::Set(Setting::Sysctl(name, wanted)));
                }
                Err(why) => self.not_set(&Setting::Sysctl(name, wanted), &why, actions),
            }
        }
    }

    pub(super) fn set(&mut self, what: &Setting, result: Result<(), String>, actions: &mut Actions) {
        match result {
            Ok(()) => {
                actions.log(Level::Info, what.to_string());
                self.now_set(what);
                if let Kernel::Read(dump) = &mut self.kernel {
                    what.apply_to(&mut dump.rest);
                }
            }
            Err(why) => self.not_set(what, &why, actions),
        }
    }

    fn now_set(&mut self, what: &Setting) {
        self.unset.remove(&what.subject());
    }

    /// Tried again at each reading, said once.
    fn not_set(&mut self, what: &Setting, why: &str, actions: &mut Actions) {
        let known = self.unset.insert(what.subject(), why.to_owned());
        if known.as_deref() != Some(why) {
            actions.log(Level::Error, format!("cannot {what}: {why}; trying again"));
        }
    }

    pub(super) fn routers(&mut self, at: Moment, routers: BTreeMap<Arc<str>, Role>, actions: &mut Actions) {
        let was_absent = self.routers.values().any(|role| *role == Role::Absent);
        let is_absent = routers.values().any(|role| *role == Role::Absent);
        let before = std::mem::replace(&mut self.routers, routers);
        match (was_absent, is_absent) {
            (false, true) => {
                self.absent_until = Some(at.now + ABSENCE);
                self.is_given_up = false;
            }
            (_, false) => {
                self.absent_until = None;
                self.is_given_up = false;
            }
            (true, true) => {}
        }
        self.follow(at, &before, actions);
    }

    /// Vrrpd has been away for too long to come back as what it was.
    pub(super) fn give_up_routers(&mut self, at: Moment, actions: &mut Actions) {
        self.absent_until = None;
        self.is_given_up = true;
        let away = format_duration(ABSENCE);
        let text =
            format!("vrrpd has not been on the bus for {away}: its virtual routers are not Active here");
        actions.log(Level::Warn, text);
        self.follow(at, &BTreeMap::new(), actions);
    }

    /// What depends on virtual routers that are something else than `before`.
    fn follow(&mut self, at: Moment, before: &BTreeMap<Arc<str>, Role>, actions: &mut Actions) {
        let differs = |router: &Arc<str>| before.get(router) != self.routers.get(router);
        let concerned =
            self.runs.iter().filter(|(_, run)| run.service.while_active.as_ref().is_some_and(differs));
        let concerned: Vec<Arc<str>> = concerned.map(|(name, _)| Arc::clone(name)).collect();
        self.dirty.extend(concerned);
        self.reconcile(at, actions);
        self.tune(actions);
    }

    /// Whether a virtual router is Active here; `None`: that cannot be said, and everything stays as it is.
    pub(super) fn is_active(&self, router: &str) -> Option<bool> {
        match self.routers.get(router)? {
            Role::Active => Some(true),
            Role::Inactive => Some(false),
            Role::Absent => self.is_given_up.then_some(false),
        }
    }
}

fn is_set(name: &str, wanted: Value, found: Value) -> bool {
    Sysctl::named(name).is_some_and(|sysctl| sysctl.takes.is(wanted, found))
}

impl Setting {
    /// What it is about, whatever is to be done about it.
    fn subject(&self) -> String {
        match self {
            Self::Sync(_) => "the sync daemon".into(),
            Self::Timeouts(_) => "timeouts".into(),
            Self::Sysctl(name, _) => (*name).to_owned(),
        }
    }

    /// What the kernel does on success, done to our picture of it.
    fn apply_to(&self, rest: &mut Rest) {
        match self {
            Self::Sync(change) => change.apply_to(&mut rest.daemons),
            Self::Timeouts(timeouts) => timeouts.apply_to(&mut rest.timeouts),
            Self::Sysctl(..) => {}
        }
    }
}

/// As an operator reads it: `set timeouts tcp 900 s`.
impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sync(change) => change.fmt(f),
            Self::Timeouts(timeouts) => write!(f, "set timeouts {timeouts}"),
            Self::Sysctl(name, value) => write!(f, "set {name} to {value}"),
        }
    }
}
