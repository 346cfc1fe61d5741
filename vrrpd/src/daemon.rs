//! The loop: the only place that sees both events and system calls. It decides nothing; `router.rs` and `table.rs` do.
//!
//! A turn: sockets, netlink and bus; then timers, since what has arrived is to be read before a timer is believed;
//! then addresses; then the log, the bus and, last, the watchdog. Nothing before the log waits for anybody.

mod announcing;
mod groups;
mod guard;
mod handover;
mod hearing;
mod holding;
mod index;
mod instance;
mod journal;
mod links;
mod maintenance;
pub(crate) mod message_id;
mod reception;
mod reload;
mod sending;
mod showing;
mod stop;
mod timers;
mod tracking;
mod vmacs;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::bus;
use daemon::event_loop::{EventLoop, Interest};
use daemon::notify::Notify;
use daemon::queue::{Receiver, queue};
use daemon::signals::{Signal, Signals};

use crate::bus::{BusService, Command};
use crate::config::Configuration;
use crate::group::Position;
use crate::interfaces::{Changes, Interfaces};
use crate::job::Meaning;
use crate::lateness::Lateness;
use crate::lock::Lock;
use crate::monitor::{self, Monitor, Rest};
use crate::receive::Discard;
use crate::router::reason::Fault;
use crate::router::{Action, Event};
use crate::socket::Buffer;
use crate::status::Snapshot;
use crate::types::Family;
use announcing::Announcing;
use daemon::error::Error;
use groups::Groups;
use guard::Guard;
use handover::{End, Succession};
use holding::Holding;
use index::{RouterId, Routers};
use instance::Instance;
use journal::Journal;
use links::{Links, Use};
use maintenance::Maintenance;
use sending::send;
use showing::{Seen, Showing};
use tracking::{Scope, Tracks};
use vmacs::Vmacs;

/// Commands that may wait for the loop.
const COMMANDS: usize = 64;
/// After events could not be read or a socket could not be opened: no event need follow.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A socket whose interface vanished below it is opened anew after this, if no event makes it so before.
const REOPEN: Duration = Duration::from_millis(50);

/// What wakes the loop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wake {
    /// Advertisements of this family on the interface with this index. They come first: one that has arrived beats everything.
    Vrrp(u32, Family),
    Monitor,
    /// What came of requests about addresses, routes and rules.
    Kernel,
    /// Events about routes and rules.
    Routing,
    /// The thread that makes virtual MAC interfaces has answered.
    Links,
    /// The thread that runs nft has answered.
    Nft,
    /// Somebody changes nftables.
    Rules,
    Commands,
    /// News of what is tracked.
    Tracks,
    Signals,
    /// systemd says what it sent SIGTERM for.
    Meaning,
}

#[derive(Debug)]
pub struct Daemon {
    root: PathBuf,
    events: EventLoop<Wake>,
    signals: Signals,
    commands: Receiver<Command>,
    monitor: Monitor,
    /// Reading events, or opening a socket, failed, and is tried again then.
    look_again: Option<Instant>,
    interfaces: Interfaces,
    links: Links,
    holding: Holding,
    vmacs: Vmacs,
    guard: Guard,
    announcing: Announcing,
    routers: Routers,
    groups: Groups,
    /// Routers whose deadline has come; empty between turns.
    due: Vec<RouterId>,
    discarded: [u64; Discard::COUNT],
    lateness: Lateness,
    buffer: Buffer,
    journal: Journal,
    showing: Showing,
    notify: Notify,
    succession: Succession,
    tracks: Tracks,
    maintenance: Maintenance,
    end: End,
    /// Until the end.
    _lock: Lock,
}

impl Daemon {
    /// Open everything and start the threads. To be called before any other thread is started.
    ///
    /// # Errors
    /// The machine lacks something that no router can be without.
    pub fn new(root: PathBuf, configuration: Configuration) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::when("receive signals"))?;
        daemon::log::start("vrrpd", configuration.settings.log_level)
            .map_err(Error::when("start the log"))?;
        let lock = Lock::take().map_err(Error::when("be the only vrrpd here"))?;
        let notify = Notify::start().map_err(Error::when("talk to systemd"))?;
        let events = EventLoop::new().map_err(Error::when("make the event loop"))?;
        let (sender, commands) = queue(COMMANDS).map_err(Error::when("make the command queue"))?;
        let monitor = Monitor::open().map_err(Error::when("listen to link and address events"))?;
        let succession = Succession::begin(&root, events.clock().boottime(events.clock().now()));
        let interfaces = monitor::dump().map_err(Error::when("list network interfaces"))?;
        let holding = Holding::start().map_err(Error::when("start the thread for addresses"))?;
        let vmacs = Vmacs::start().map_err(Error::when("start the thread for virtual MAC interfaces"))?;
        let guard = Guard::start().map_err(Error::when("start the thread for nftables"))?;
        let (tracks, news) = Tracks::new().map_err(Error::when("make the queue of news"))?;
        let maintenance = Maintenance::read(&root);
        let (service, farewell) = BusService::new(sender, news);
        let publisher =
            bus::start(service, Snapshot::default()).map_err(Error::when("start the bus thread"))?;
        let mut daemon = Self {
            root,
            events,
            signals,
            commands,
            monitor,
            look_again: None,
            interfaces,
            links: Links::default(),
            holding,
            vmacs,
            guard,
            announcing: Announcing::default(),
            routers: Routers::default(),
            groups: Groups::default(),
            due: Vec::new(),
            discarded: Default::default(),
            lateness: Lateness::default(),
            buffer: Buffer::default(),
            journal: Journal::default(),
            showing: Showing::new(publisher, farewell),
            notify,
            succession,
            tracks,
            maintenance,
            end: End::NotYet,
            _lock: lock,
        };
        daemon.register().map_err(Error::when("register with the event loop"))?;
        daemon.holding.begin(&daemon.interfaces, &configuration);
        let now = daemon.events.clock().now();
        daemon.apply(now, configuration);
        Ok(daemon)
    }

    fn register(&mut self) -> io::Result<()> {
        let events = &mut self.events;
        events.register_forever(&self.signals, Interest::Read, Wake::Signals)?;
        events.register_forever(&self.commands, Interest::Read, Wake::Commands)?;
        self.tracks.register(events)?;
        events.register_forever(&self.monitor, Interest::Read, Wake::Monitor)?;
        self.holding.register(events)?;
        events.register_forever(&self.vmacs.worker.answers, Interest::Read, Wake::Links)?;
        events.register_forever(&self.guard.worker.answers, Interest::Read, Wake::Nft)
    }

    /// Run until a signal says stop.
    ///
    /// # Errors
    /// The event loop itself failed.
    pub fn run(&mut self) -> Result<(), Error> {
        let now = self.events.clock().now();
        self.end_turn(now);
        self.notify.ready();
        let summary = self.snapshot().summary();
        log::info!("running: {summary}");
        let mut ready = Vec::new();
        loop {
            let deadline = self.deadline();
            let now = self.events.wait(deadline, &mut ready).map_err(Error::when("wait for events"))?;
            ready.sort_unstable_by_key(|(wake, _)| *wake);
            for (wake, _) in ready.drain(..) {
                self.read(now, wake);
                if wake == Wake::Signals {
                    self.heed_signals(now);
                }
            }
            self.fire_timers(now);
            self.end_turn(now);
            match self.end(now) {
                None => {}
                Some(Meaning::Stop) => return self.stop(now),
                Some(Meaning::Restart) => return self.hand_over(now),
            }
        }
    }

    fn heed_signals(&mut self, now: Instant) {
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Reload => self.reload(now),
                Signal::Stop => self.told_to_stop(now),
            }
        }
    }

    /// Read what has arrived, but for signals: whether they are heeded is not the same at all times.
    fn read(&mut self, now: Instant, wake: Wake) {
        match wake {
            Wake::Vrrp(index, family) => self.receive(now, index, family),
            Wake::Monitor => {
                self.read_monitor(now);
            }
            Wake::Kernel => self.read_reports(now),
            Wake::Routing => self.read_routing(now),
            Wake::Links => self.read_link_answers(now),
            Wake::Nft => self.read_rule_answers(now),
            Wake::Rules => self.read_rule_events(),
            Wake::Commands => self.obey(now),
            Wake::Tracks => self.read_tracks(now),
            // Looked for at the end of each turn.
            Wake::Signals | Wake::Meaning => {}
        }
    }

    fn deadline(&mut self) -> Option<Instant> {
        [
            self.routers.deadline(),
            self.announcing.deadline(),
            self.holding.deadline(),
            self.vmacs.table.deadline(),
            self.guard.keeper.deadline(),
            self.look_again,
            self.showing.deadline(),
            self.notify.deadline(),
            self.end.deadline(),
            self.tracks.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn fire_timers(&mut self, now: Instant) {
        if self.look_again.is_some_and(|at| at <= now) {
            self.look_again = None;
            self.read_monitor(now);
            self.interfaces_changed(now);
        }
        self.fire_grace(now);
        // All that are due now, and each of them once: a router that has more to do is due again in the next turn.
        let mut due = std::mem::take(&mut self.due);
        let earliest = self.routers.take_due(now, &mut due);
        for id in due.drain(..) {
            self.dispatch(now, id, Event::Timer);
        }
        self.due = due;
        if let Some(earliest) = earliest {
            self.lateness.record(self.events.clock().now().saturating_duration_since(earliest));
        }
    }

    /// Addresses first: they are what clients wait for.
    fn end_turn(&mut self, now: Instant) {
        self.move_together(now);
        self.settle(now);
        self.announce(now);
        if self.links.has_broken() {
            let at = now + REOPEN;
            self.look_again = Some(self.look_again.map_or(at, |again| again.min(at)));
        }
        self.succession.end_turn(self.events.clock().boottime(now));
        self.journal.write();
        self.publish(now);
        self.notify.kick(now);
    }

    fn read_monitor(&mut self, now: Instant) -> Rest {
        let mut changes = Changes::default();
        let rest = self.monitor.read(&mut self.interfaces, &mut changes).unwrap_or_else(|error| {
            self.look_again = Some(now + LOOK_AGAIN);
            log::error!("cannot read link and address events: {error}, trying again");
            Rest::None
        });
        if !changes.is_empty() {
            self.holding.interfaces_changed(&changes, &self.interfaces);
            self.vmacs.table.interfaces_changed();
        }
        if changes.usable {
            self.interfaces_changed(now);
        }
        rest
    }

    /// Open and close sockets, and tell every router whether it can take part.
    fn interfaces_changed(&mut self, now: Instant) {
        let mut needed: BTreeMap<Arc<str>, Use> = BTreeMap::new();
        for instance in self.routers.values() {
            let config = &instance.config;
            let own = needed.entry(Arc::clone(&config.interface)).or_default();
            own.advertisements(config.family, config.transport.uses_group());
            if config.vmac.is_some() {
                own.advertisements_in_frames();
            }
            for wire in config.settings.held().map(|address| config.wire(&address.interface)) {
                needed.entry(Arc::clone(wire)).or_default().announcements();
            }
        }
        let moved = self.links.update(&mut self.events, &self.interfaces, &needed);
        self.links.virtual_macs(self.routers.values().map(|instance| &*instance.config));
        self.want_links();
        self.renew_rules();
        if self.links.has_errors() {
            self.look_again.get_or_insert(now + LOOK_AGAIN);
        }
        self.reconsider(now, Scope::All);
        self.announce_moved(now, &moved);
    }

    /// From which address a router sends, or why it cannot take part. Like keepalived, a router is as good as the
    /// worst of its interfaces, those of its addresses among them: an Active router that cannot be reached is none.
    fn usable(&self, instance: &Instance) -> Result<std::net::IpAddr, Fault> {
        let config = &instance.config;
        let source = self.interfaces.source(config)?;
        let wires = config.settings.held().map(|address| config.wire(&address.interface));
        for name in std::iter::once(&config.interface).chain(wires) {
            self.interfaces.usable(name)?;
            if let Some(error) = self.links.error(name) {
                return Err(Fault::Socket(Arc::clone(name), error.clone()));
            }
        }
        self.is_guarded(instance)?;
        Ok(source)
    }

    /// Give a router an event, and do what it says, in its order.
    fn dispatch(&mut self, now: Instant, id: RouterId, event: Event) {
        let Some((name, instance)) = self.routers.get_mut(id) else { return };
        self.showing.counted(now);
        let before = Seen::before(&event, &instance.router);
        let position = Position::of(&instance.router);
        for action in instance.router.on_event(now, event) {
            match action {
                Action::SendAdvertisement(priority) => {
                    send(now, name, instance, &mut self.links, &mut self.journal, priority);
                }
                Action::InstallAddresses => {
                    self.vmacs.roles_changed = true;
                    self.holding.want_all(&instance.config, &self.guard.keeper);
                }
                Action::RemoveAddresses => {
                    self.vmacs.roles_changed = true;
                    self.holding.unwant_all(&instance.config);
                }
                Action::Announce => self.announcing.push(now, name),
                Action::Transition { from } => {
                    instance.entered(self.events.clock().realtime_usec(instance.router.since()));
                    self.succession.entered(name, instance);
                    self.journal.transition(name, from, instance);
                    self.showing.transitions.push(name, from, &instance.router);
                }
                Action::Report(report) => self.journal.report(now, name, instance, &report),
            }
        }
        if let Some(group) = &instance.config.settings.sync_group
            && Position::of(&instance.router) != position
        {
            self.groups.moved(group);
        }
        if before.differs(&instance.router) {
            instance.changed();
            self.showing.changed(now);
        }
        self.routers.rearm(id);
    }

    fn obey(&mut self, now: Instant) {
        let commands: Vec<Command> = self.commands.drain().collect();
        for command in commands {
            match command {
                Command::Announce(name, reply) => {
                    let router = self.routers.find(&name);
                    let answer = match router.map(|(id, instance)| (id, instance.router.is_active())) {
                        Some((id, true)) => {
                            self.dispatch(now, id, Event::Announce);
                            Ok(())
                        }
                        Some((_, false)) => {
                            Err(format!("router '{name}' is not Active: it has nothing to announce"))
                        }
                        None => Err(format!("there is no router '{name}' any more")),
                    };
                    // A caller that does not wait any more is no concern of ours.
                    let _ = reply.send(answer);
                }
                Command::SetMaintenance { router, on, reason, by, reply } => {
                    let answer = self.set_maintenance(now, &router, on, &reason, &by);
                    // Who has the answer and reads the state is to find what he ordered.
                    self.showing.changed_by_order(now);
                    self.publish(now);
                    let _ = reply.send(answer);
                }
            }
        }
    }
}
