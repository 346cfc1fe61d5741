//! From one vrrpd to the next without a failover: what a crash, a restart or an upgrade leaves, and who goes on with it.
//!
//! A daemon that is to be replaced sends a last advertisement, gives its addresses a short lifetime and ends; the next
//! one goes on as Active, if it comes in time. After a crash `vrrpd --release` stands in for the one that could not.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::error::Error;
use daemon::event_loop::Interest;
use daemon::queue::Receiver;
use daemon::units::format_duration;

use super::index::{RouterId, Routers};
use super::instance::Instance;
use super::journal::Entry;
use super::{Daemon, Wake};
use crate::job::{self, Meaning};
use crate::lease::{self, Fate};
use crate::past::{CRASHES, Held, Past, boot_id, hand_over_interval};
use crate::record::Record;
use crate::router::{Event, StateName};
use crate::types::VirtualAddress;

/// How long a stop waits for systemd to say whether it is a restart. It takes milliseconds; the routers go on.
const ASK: Duration = Duration::from_millis(300);

/// Whether the daemon is to end.
#[derive(Debug)]
pub(super) enum End {
    NotYet,
    /// systemd has been asked what for.
    Asked {
        answer: Receiver<Meaning>,
        until: Instant,
    },
    Decided(Meaning),
}

impl End {
    /// When it is stopped without an answer.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self {
            Self::Asked { until, .. } => Some(*until),
            Self::NotYet | Self::Decided(_) => None,
        }
    }
}

/// What this run and the former one have to do with each other.
#[derive(Debug)]
pub(super) struct Succession {
    record: Record,
    boot: String,
    /// When routers of ours went on after a crash, CLOCK_BOOTTIME.
    resumed: Vec<Duration>,
    /// Routers that may begin as Active, as the former run left them; each is asked for once.
    heirs: BTreeMap<String, Held>,
    /// When the former run was last alive.
    alive: Duration,
}

impl Succession {
    /// Look at what a former run left, and keep the addresses of those that may go on. `now` is CLOCK_BOOTTIME.
    pub(super) fn begin(root: &Path, now: Duration) -> Self {
        let mut this = Self {
            record: Record::new(root),
            boot: boot_id(),
            resumed: Vec::new(),
            heirs: BTreeMap::new(),
            alive: Duration::ZERO,
        };
        match Past::read(root) {
            Ok(Some(past)) => this.inherit(&past, now),
            Ok(None) => {}
            Err(error) => log::warn!("cannot use the state that a former vrrpd left: {error}, ignoring it"),
        }
        if !this.heirs.is_empty() {
            this.renew();
        }
        this
    }

    fn inherit(&mut self, past: &Past, now: Duration) {
        self.alive = past.alive;
        self.resumed = past.crashes(now).collect();
        let resumable = past.resumable(&self.boot, now);
        self.heirs = resumable.iter().map(|(held, _)| (held.name.clone(), (*held).clone())).collect();
        let active = past.routers.iter().filter(|router| router.active).count();
        if active == 0 || past.boot != self.boot {
            return;
        }
        let (level, how) = if past.handed_over {
            (log::Level::Info, "handed over")
        } else {
            (log::Level::Warn, "did not end in order, and was last alive")
        };
        let ago = format_duration(now.saturating_sub(past.alive));
        let heirs = self.heirs.len();
        log::log!(level, "a former vrrpd {how} {ago} ago; {heirs} of its {active} Active routers may go on");
        if heirs == 0 && self.resumed.len() >= CRASHES {
            log::error!("it has crashed {CRASHES} times within a minute: routers begin as Backups");
        }
        if !past.handed_over && heirs > 0 {
            self.resumed.push(now);
        }
    }

    /// The addresses of those that go on stay; what else is there is not ours to hold any more.
    fn renew(&self) {
        let kept: BTreeSet<_> = self.heirs.values().flat_map(|held| &held.addresses).collect();
        let fate = |address: &VirtualAddress| if kept.contains(address) { Fate::Stay } else { Fate::Remove };
        match lease::settle(fate) {
            Ok(done) => {
                for (address, _) in done.iter().filter(|(_, fate)| *fate == Fate::Remove) {
                    log::warn!("removed {address}, which a former vrrpd left behind");
                }
            }
            Err(error) => log::error!("cannot keep the addresses of a former vrrpd: {error}"),
        }
    }

    /// For how long nobody has heard of a router that may go on as Active, and since when it has been (microseconds of
    /// CLOCK_REALTIME). Answered once for each.
    fn inheritance(&mut self, now: Duration, name: &str, instance: &Instance) -> Option<(Duration, u64)> {
        if instance.router.state() != StateName::Initialize {
            return None;
        }
        let held = self.heirs.remove(name)?;
        let silence = now.saturating_sub(self.alive);
        (held.is(name, &instance.config) && silence < held.safe).then_some((silence, held.since))
    }

    /// Whether the router is going to be asked for by [`Succession::inheritance`], and may go on.
    pub(super) fn is_heir(&self, now: Duration, name: &str, instance: &Instance) -> bool {
        instance.router.state() == StateName::Initialize
            && self.heirs.get(name).is_some_and(|held| {
                held.is(name, &instance.config) && now.saturating_sub(self.alive) < held.safe
            })
    }

    /// A router has entered a state.
    pub(super) fn entered(&mut self, name: &str, instance: &Instance) {
        self.record.state(name, instance.router.is_active(), instance.since_usec);
    }

    /// `now` is CLOCK_BOOTTIME.
    pub(super) fn end_turn(&mut self, now: Duration) {
        complain(self.record.end_turn(now));
    }

    /// The routers are others, or otherwise configured.
    pub(super) fn rewrite(&mut self, now: Duration, routers: &Routers) {
        let held = routers.iter().map(|(name, instance)| {
            Held::new(name, &instance.config, instance.router.is_active(), instance.since_usec)
        });
        let past = self.past(now, held.collect(), false);
        complain(self.record.rewrite(&past));
    }

    /// There is nothing to go on with.
    pub(super) fn renounce(&mut self) {
        self.record.remove();
    }

    fn past(&self, alive: Duration, routers: Vec<Held>, handed_over: bool) -> Past {
        Past { boot: self.boot.clone(), alive, handed_over, resumed: self.resumed.clone(), routers }
    }
}

fn complain(result: io::Result<()>) {
    if let Err(error) = result {
        log::warn!("cannot record what a restart is to go on with: {error}; a restart will be a failover");
    }
}

impl Daemon {
    /// What its addresses need is there already, since they are: it does not wait for it to be made.
    pub(super) fn goes_on(&mut self, now: Instant, id: RouterId) -> bool {
        let boottime = self.events.clock().boottime(now);
        let Some((name, instance)) = self.routers.get_mut(id) else { return false };
        self.succession.is_heir(boottime, name, instance)
    }

    /// A router can take part, or cannot. Its first word may be that it goes on where a former run left it.
    pub(super) fn ready_or_not(&mut self, now: Instant, id: RouterId, event: Event) {
        let boottime = self.events.clock().boottime(now);
        let Some((name, instance)) = self.routers.get_mut(id) else { return };
        let inherited = self.succession.inheritance(boottime, name, instance);
        let (Some((silence, since)), &Event::Ready { source }) = (inherited, &event) else {
            return self.dispatch(now, id, event);
        };
        self.dispatch(now, id, Event::Resume { source, silence });
        if let Some((name, instance)) = self.routers.get_mut(id) {
            instance.since_usec = since;
            self.succession.entered(name, instance);
        }
    }

    /// SIGTERM. The second one is not discussed.
    pub(super) fn told_to_stop(&mut self, now: Instant) {
        let supervised = std::env::var_os("NOTIFY_SOCKET").is_some();
        let asked = matches!(self.end, End::Asked { .. });
        self.end = End::Decided(Meaning::Stop);
        if !supervised || asked {
            return;
        }
        let watched = job::ask().and_then(|answer| {
            self.events.register_forever(&answer, Interest::Read, Wake::Meaning)?;
            Ok(answer)
        });
        match watched {
            Ok(answer) => self.end = End::Asked { answer, until: now + ASK },
            Err(error) => log::warn!("cannot ask systemd whether this is a restart: {error}, stopping"),
        }
    }

    /// Whether it is time to end, and what for.
    pub(super) fn end(&mut self, now: Instant) -> Option<Meaning> {
        if let End::Asked { answer, until } = &self.end {
            let meaning = answer.drain().next();
            // No answer is taken for a stop: then another router is Active in any case.
            if let Some(meaning) = meaning.or((*until <= now).then_some(Meaning::Stop)) {
                self.end = End::Decided(meaning);
            }
        }
        match self.end {
            End::Decided(meaning) => Some(meaning),
            End::NotYet | End::Asked { .. } => None,
        }
    }

    /// Make room for the next vrrpd: the Backups are told to wait for it, addresses stay until it is there.
    pub(super) fn hand_over(&mut self, now: Instant) -> Result<(), Error> {
        let held = self.routers.iter().map(|(name, instance)| {
            let held = Held::new(name, &instance.config, instance.router.is_active(), instance.since_usec);
            if held.active { held.handed_over(&instance.config.settings) } else { held }
        });
        let past = self.succession.past(self.events.clock().boottime(now), held.collect(), true);
        if let Err(error) = self.succession.record.rewrite(&past) {
            log::warn!("cannot hand over to the next vrrpd: {error}, stopping");
            return self.stop(now);
        }
        self.notify.stopping();
        for id in self.routers.ids() {
            if let Some((name, instance)) = self.routers.get_mut(id)
                && instance.router.is_active()
            {
                let interval = hand_over_interval(&instance.config.settings);
                Arc::make_mut(&mut instance.config).settings.advert_interval = interval;
                let priority = instance.router.priority();
                super::send(now, name, instance, &mut self.links, &mut self.journal, priority);
            }
        }
        let leases = past.leases(&self.succession.boot, past.alive);
        let fate = |address: &VirtualAddress| leases.get(address).copied().unwrap_or(Fate::Remove);
        if let Err(error) = lease::settle(fate) {
            self.journal.push(Entry::error(format!("cannot limit how long addresses stay: {error}")));
        }
        self.journal.write();
        let active = past.routers.iter().filter(|router| router.active).count();
        log::info!("making room for the next vrrpd, which is to go on with {active} Active routers");
        log::logger().flush();
        Ok(())
    }
}
