//! Reload as a transaction: all or nothing, and only the difference. An unchanged router is not touched.

use std::sync::Arc;
use std::time::Instant;

use daemon::diagnostic::{Report, Severity};

use super::Daemon;
use super::instance::Instance;
use super::message_id;
use crate::config::{self, Configuration, RouterConfig};
use crate::router::Event;

impl Daemon {
    pub(super) fn reload(&mut self, now: Instant) {
        self.notify.reloading();
        let mut report = Report::new();
        let configuration = config::load(&self.root, None, &mut report);
        for diagnostic in report.diagnostics() {
            let level = match diagnostic.severity {
                Severity::Error => log::Level::Error,
                Severity::Warning => log::Level::Warn,
            };
            log::log!(level, "{diagnostic}");
        }
        if report.has_errors() {
            log::error!(
                MESSAGE_ID = message_id::NOT_RELOADED;
                "not reloaded: the configuration has errors; the former one stays in force"
            );
        } else {
            daemon::log::set_level(configuration.settings.log_level);
            self.apply(now, configuration);
            log::info!(MESSAGE_ID = message_id::RELOADED; "reloaded");
        }
        self.notify.ready();
    }

    /// Make the routers those of `configuration`. Also the start: then all are new.
    pub(super) fn apply(&mut self, now: Instant, mut configuration: Configuration) {
        self.want_rules(configuration.routers.values());
        self.remove_others(now, &configuration);
        self.give_up_objects(&configuration);
        let since = self.events.clock().realtime_usec(now);
        let mut changed = Vec::new();
        for (name, instance) in self.routers.iter() {
            if let Some(new) = configuration.routers.remove(&**name)
                && new != *instance.config
            {
                changed.push((Arc::clone(name), new));
            }
        }
        for (name, config) in changed {
            let settings = config.settings.clone();
            if let Some(id) = self.routers.configure(&name, config) {
                self.dispatch(now, id, Event::Reconfigure(settings));
                if let Some(instance) = self.routers.get(id).filter(|instance| instance.router.is_active()) {
                    self.holding.want_all(&instance.config, &self.guard.keeper);
                }
            }
        }
        for (name, config) in configuration.routers {
            self.routers.insert(&name, Instance::new(now, since, config));
        }
        self.groups.rebuild(&self.routers);
        self.track();
        self.forget_maintenance();
        self.interfaces_changed(now);
        self.succession.rewrite(self.events.clock().boottime(now), &self.routers);
        self.showing.changed(now);
    }

    /// Routers that are no longer configured, or that are another router now, end with a word to the others.
    fn remove_others(&mut self, now: Instant, configuration: &Configuration) {
        let stays = |name: &str, instance: &Instance| {
            configuration.routers.get(name).is_some_and(|new| same_router(new, &instance.config))
        };
        let all = self.routers.iter().filter(|(name, instance)| !stays(name, instance));
        let names: Vec<Arc<str>> = all.map(|(name, _)| Arc::clone(name)).collect();
        for name in names {
            if let Some((id, _)) = self.routers.find(&name) {
                self.dispatch(now, id, Event::Shutdown);
            }
            self.routers.remove(&name);
        }
    }

    /// Before anything is wanted anew: an address may move from one router to another.
    fn give_up_objects(&mut self, configuration: &Configuration) {
        for (name, instance) in self.routers.iter() {
            let Some(new) = configuration.routers.get(&**name) else { continue };
            self.holding.give_up(&instance.config, new);
        }
    }
}

/// Whether a changed file still means the same router of the same group.
fn same_router(a: &RouterConfig, b: &RouterConfig) -> bool {
    (&a.interface, a.family, a.vrid, a.settings.version)
        == (&b.interface, b.family, b.vrid, b.settings.version)
}
