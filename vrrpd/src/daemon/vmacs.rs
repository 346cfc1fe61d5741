//! Virtual MAC interfaces: wanted as the routers are configured and in which state they are, made by `vmac/worker.rs`.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

use log::Level;

use super::Daemon;
use super::index::RouterId;
use super::instance::Instance;
use super::journal::Entry;
use crate::router::reason::Fault;
use crate::vmac::Vmac;
use crate::vmac::table::{Answer, LinkTable, Notice, Operation, Wanted};
use crate::vmac::worker::Worker;

#[derive(Debug)]
pub(super) struct Vmacs {
    pub(super) table: LinkTable,
    pub(super) worker: Worker,
    /// A router has become Active or ceased to be, and its link does not know yet.
    pub(super) roles_changed: bool,
}

impl Vmacs {
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { table: LinkTable::default(), worker: Worker::start()?, roles_changed: false })
    }
}

impl Daemon {
    /// A router was configured, or became Active or something else.
    pub(super) fn want_links(&mut self) {
        let wanted = self.routers.values().filter_map(|instance| {
            let Vmac { name, mac, .. } = instance.config.vmac.as_ref()?;
            let parent = Arc::clone(&instance.config.interface);
            let wanted = Wanted { parent, mac: *mac, up: instance.router.is_active() };
            Some((Arc::clone(name), wanted))
        });
        let wanted: BTreeMap<_, _> = wanted.collect();
        self.vmacs.table.want(wanted);
    }

    /// Have the kernel's links as they should be.
    pub(super) fn settle_links(&mut self, now: Instant) {
        if std::mem::take(&mut self.vmacs.roles_changed) {
            self.want_links();
        }
        if !self.vmacs.table.wants_plan(now) {
            return;
        }
        let (requests, notices) = self.vmacs.table.plan(now, &self.interfaces);
        if !requests.is_empty()
            && let Err(error) = self.vmacs.worker.request(requests)
        {
            self.journal.push(Entry::error(format!("cannot change virtual MAC interfaces: {error}")));
        }
        for notice in notices {
            self.journal.link(&notice);
        }
    }

    pub(super) fn read_link_answers(&mut self, now: Instant) {
        let answers: Vec<Answer> = self.vmacs.worker.answers.drain().collect();
        if answers.is_empty() {
            return;
        }
        // The kernel told its listeners before it answered: what it said is waiting.
        self.read_monitor(now);
        for answer in answers {
            if let (Operation::Configure { settings, .. }, Ok(())) =
                (answer.request.operation, &answer.result)
            {
                self.interfaces.configured(answer.request.index, settings);
            }
            if let Some(notice) = self.vmacs.table.answered(now, answer) {
                self.journal.link(&notice);
            }
        }
        self.interfaces_changed(now);
    }

    /// Why a router cannot take part, as far as its virtual MAC interface and its rules go.
    pub(super) fn is_guarded(&self, instance: &Instance) -> Result<(), Fault> {
        if let Some(Vmac { name, .. }) = &instance.config.vmac
            && let Some(trouble) = self.vmacs.table.trouble(name)
        {
            return Err(Fault::Vmac(Arc::clone(name), trouble.clone()));
        }
        match self.guard.keeper.trouble() {
            Some(trouble) if self.is_held(instance) => Err(Fault::Rules(trouble.to_owned())),
            Some(_) | None => Ok(()),
        }
    }

    /// What a router lacks is being made: that is no fault, and nothing to begin with.
    pub(super) fn waits(&self, id: RouterId) -> bool {
        let Some(instance) = self.routers.get(id) else { return true };
        let lacks = |vmac: &Vmac| !self.vmacs.table.is_ready(&vmac.name, &self.interfaces);
        instance.config.vmac.as_ref().is_some_and(lacks) || self.is_held(instance)
    }

    /// Its rules are not in force.
    fn is_held(&self, instance: &Instance) -> bool {
        instance.config.settings.held().any(|address| self.guard.keeper.holds(address.address))
    }
}

impl super::journal::Journal {
    fn link(&mut self, notice: &Notice) {
        let (level, text) = match notice {
            Notice::Lost(name) => (Level::Warn, format!("somebody deleted {name}, making it again")),
            Notice::Changed(name) => (Level::Warn, format!("somebody changed {name}, putting it right")),
            Notice::LeftBehind(name) => {
                (Level::Warn, format!("removing interface {name}, which a former vrrpd left behind"))
            }
            Notice::Failed(name, why) => {
                (Level::Error, format!("cannot have the virtual MAC interface {name}: {why}, retrying in 1s"))
            }
        };
        self.push(Entry::new(level, text));
    }
}
