//! The nftables rules of accept mode and of virtual MAC addresses: wanted as the routers are configured, kept by
//! `accept/keeper.rs`.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use daemon::event_loop::Interest;
use log::Level;

use super::journal::Entry;
use super::{Daemon, Wake};
use crate::accept::keeper::{Keeper, Outcome};
use crate::accept::nft::Worker;
use crate::accept::watch::Watch;
use crate::accept::{Rules, VmacRules};
use crate::config::RouterConfig;
use crate::interfaces::Interfaces;
use crate::router::Event;

#[derive(Debug)]
pub(super) struct Guard {
    pub(super) keeper: Keeper,
    pub(super) worker: Worker,
    /// `None`: the kernel has no nftables (yet).
    watch: Option<Watch>,
}

impl Guard {
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self { keeper: Keeper::default(), worker: Worker::start()?, watch: None })
    }
}

/// What these routers need.
fn rules<'a>(routers: impl Iterator<Item = &'a RouterConfig>, interfaces: &Interfaces) -> Rules {
    let (mut refused, mut vmacs) = (BTreeSet::new(), Vec::new());
    for config in routers {
        if !config.accept {
            refused.extend(config.settings.held().map(|held| (held.address, Arc::clone(&held.interface))));
        }
        let Some(vmac) = &config.vmac else { continue };
        let on_it = config.settings.held().filter(|held| held.interface == vmac.name);
        let addresses: BTreeSet<Ipv4Addr> = on_it
            .filter_map(|held| match held.address {
                IpAddr::V4(address) => Some(address),
                IpAddr::V6(_) => None,
            })
            .collect();
        let source = source(config, interfaces, &addresses);
        vmacs.push(VmacRules { name: Arc::clone(&vmac.name), addresses, source });
    }
    Rules::new(refused, vmacs)
}

/// The machine's own address on the router's interface; unspecified, as in a probe (RFC 5227, 2.1.1), if it has only
/// virtual ones there.
fn source(config: &RouterConfig, interfaces: &Interfaces, addresses: &BTreeSet<Ipv4Addr>) -> Ipv4Addr {
    match interfaces.source(config) {
        Ok(IpAddr::V4(primary)) if !addresses.contains(&primary) => primary,
        Ok(IpAddr::V4(_) | IpAddr::V6(_)) | Err(_) => Ipv4Addr::UNSPECIFIED,
    }
}

impl Daemon {
    /// Before the routers have this configuration: no address of theirs is to be there before its rule.
    pub(super) fn want_rules<'a>(&mut self, routers: impl Iterator<Item = &'a RouterConfig>) {
        self.guard.keeper.want(rules(routers, &self.interfaces));
    }

    /// The interfaces' own addresses have changed.
    pub(super) fn renew_rules(&mut self) {
        let configs = self.routers.values().map(|instance| &*instance.config);
        self.guard.keeper.want(rules(configs, &self.interfaces));
    }

    pub(super) fn settle_rules(&mut self, now: Instant) {
        let Some(job) = self.guard.keeper.next(now) else { return };
        self.watch_rules();
        if let Err(error) = self.guard.worker.request(job) {
            self.journal.push(Entry::error(format!("cannot set nftables rules: {error}")));
        }
    }

    /// Before the first rule: what happens to it afterwards is not to be missed.
    fn watch_rules(&mut self) {
        if self.guard.watch.is_some() {
            return;
        }
        let opened = Watch::open().and_then(|watch| {
            self.events.register_forever(&watch, Interest::Read, Wake::Rules)?;
            Ok(watch)
        });
        match opened {
            Ok(watch) => self.guard.watch = Some(watch),
            Err(error) => log::debug!("cannot listen to nftables events: {error}, ignoring"),
        }
    }

    pub(super) fn read_rule_events(&mut self) {
        if self.guard.watch.as_mut().is_some_and(Watch::read) {
            self.guard.keeper.touched();
        }
    }

    pub(super) fn read_rule_answers(&mut self, now: Instant) {
        let answers: Vec<_> = self.guard.worker.answers.drain().collect();
        for answer in answers {
            match self.guard.keeper.answered(now, answer) {
                Some(Ok(Outcome::Restored)) => {
                    let text = "somebody changed our nftables tables, putting them right".to_owned();
                    self.journal.push(Entry::new(Level::Warn, text));
                    self.announce_vmacs(now);
                }
                Some(Ok(Outcome::Applied | Outcome::Intact)) | None => {}
                Some(Err(why)) => {
                    let text = format!("cannot set nftables rules: {why}, retrying in 1s");
                    self.journal.push(Entry::error(text));
                }
            }
            self.interfaces_changed(now);
            self.want_held_addresses();
        }
    }

    /// Somebody may have been told the interface's own MAC address meanwhile.
    fn announce_vmacs(&mut self, now: Instant) {
        for id in self.routers.ids() {
            if self.routers.get(id).is_some_and(|instance| instance.config.vmac.is_some()) {
                self.dispatch(now, id, Event::Announce);
            }
        }
    }

    /// Addresses of Active routers that had to wait for their rules.
    fn want_held_addresses(&mut self) {
        for instance in self.routers.values().filter(|instance| instance.router.is_active()) {
            self.holding.want_all(&instance.config, &self.guard.keeper);
        }
    }
}
