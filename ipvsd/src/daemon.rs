//! The loop: the only place that sees both events and system calls. It decides nothing; `director.rs` does.
//!
//! ipvsd that stops, or crashes, leaves the kernel's table as it is: it goes on forwarding, and the next start
//! takes it over and corrects only what differs.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use daemon::bus::{self, Publisher, Reply};
use daemon::diagnostic::{Report, Severity};
use daemon::event_loop::{EventLoop, Interest};
use daemon::notify::Notify;
use daemon::queue::{Receiver, queue};
use daemon::signals::{Signal, Signals};

use nix::errno::Errno;

use crate::bus::{BusService, Snapshot};
use crate::config::Loader;
use crate::director::{Action, Actions, Director, Event, Fault, Moment, Request, Setting};
use crate::health::Answer;
use crate::kernel::{self, Kernel};
use crate::orders::OrdersFile;
use crate::owned::OwnedFile;
use crate::routers::Roles;
use crate::service::Settings;
use crate::sysctl::Sysctls;
use crate::table::{Change, ServiceKey};
use daemon::error::Error;

/// Commands that may wait for the loop.
const COMMANDS: usize = 64;
/// Changes that the kernel is given between two signs of life.
const PORTION: usize = 2048;

/// What the bus thread hands to the loop.
#[derive(Debug)]
pub enum Command {
    /// What would be changed in the kernel; or why that cannot be said. Anyone may ask: it costs no system call.
    Plan(Reply<Result<Vec<String>, String>>),
    /// Read the kernel and repair it now; answered when it is done.
    Resync(Reply<Result<(), String>>),
    Answered(Vec<Answer>),
    SourceLost(String),
    /// What an operator wants of a server; why it cannot be.
    Order(Request, Reply<Result<(), String>>),
    /// Vrrpd has said something of a virtual router: see [`Roles`].
    Roles,
}

/// What wakes the loop.
#[derive(Clone, Copy, Debug)]
enum Wake {
    Signals,
    Commands,
}

#[derive(Debug)]
pub struct Daemon {
    loader: Loader,
    events: EventLoop<Wake>,
    signals: Signals,
    commands: Receiver<Command>,
    roles: Roles,
    director: Director,
    kernel: Kernel,
    sysctls: Sysctls,
    owned: OwnedFile,
    orders: OrdersFile,
    /// `None`: not started yet.
    publisher: Option<Publisher<Snapshot>>,
    bus: Option<BusService>,
    published: Snapshot,
    /// What is wanted of others is another set.
    wants_otherwise: bool,
    notify: Notify,
}

impl Daemon {
    /// Open everything. To be called before any other thread is started.
    ///
    /// # Errors
    /// The machine lacks something that is not IPVS: without that ipvsd runs, waits, and says so.
    pub fn new(loader: Loader, settings: Settings) -> Result<Self, Error> {
        let signals = Signals::new().map_err(Error::when("receive signals"))?;
        daemon::log::start("ipvsd", settings.log_level).map_err(Error::when("start the log"))?;
        let notify = Notify::start().map_err(Error::when("talk to systemd"))?;
        let mut events = EventLoop::new().map_err(Error::when("make the event loop"))?;
        let (sender, commands) = queue(COMMANDS).map_err(Error::when("make the command queue"))?;
        let kernel = Kernel::open().map_err(Error::when("open a netlink socket"))?;
        let register = Error::when("register with the event loop");
        events
            .register_forever(&signals, Interest::Read, Wake::Signals)
            .and_then(|()| events.register_forever(&commands, Interest::Read, Wake::Commands))
            .map_err(register)?;
        let (owned, orders) = (OwnedFile::new(loader.root()), OrdersFile::new(loader.root()));
        let director = Director::new(settings, read_owned(&owned));
        let (published, roles) = (Snapshot::default(), Roles::default());
        let bus = Some(BusService::new(sender, roles.clone()));
        Ok(Self {
            loader,
            events,
            signals,
            commands,
            roles,
            director,
            kernel,
            sysctls: Sysctls::default(),
            owned,
            orders,
            publisher: None,
            bus,
            published,
            wants_otherwise: true,
            notify,
        })
    }

    /// Run until a signal says stop.
    ///
    /// # Errors
    /// The event loop itself failed.
    pub fn run(&mut self) -> Result<(), Error> {
        // The kernel's table comes first. Then whoever finds our name on the bus finds everything there.
        self.dispatch(Event::Started);
        self.publish();
        if let Some(service) = self.bus.take() {
            let publisher = bus::start(service, self.published.clone());
            self.publisher = Some(publisher.map_err(Error::when("start the bus thread"))?);
        }
        self.notify.ready();
        log::info!("running: {}", self.published.status.summary());
        let mut ready = Vec::new();
        loop {
            let deadline = [self.director.deadline(), self.notify.deadline()].into_iter().flatten().min();
            self.events.wait(deadline, &mut ready).map_err(Error::when("wait for events"))?;
            for (wake, _) in ready.drain(..) {
                match wake {
                    Wake::Commands => self.obey(),
                    Wake::Signals => {
                        while let Some(signal) = self.signals.next() {
                            match signal {
                                Signal::Reload => self.reload(),
                                Signal::Stop => {
                                    self.stop();
                                    return Ok(());
                                }
                            }
                        }
                    }
                }
            }
            // Servers that came up in this turn are due now, in one batch, and before anybody is told of them.
            let now = self.events.clock().now();
            if self.director.deadline().is_some_and(|deadline| deadline <= now) {
                self.dispatch(Event::Woken);
            }
            self.publish();
            self.notify.kick(now);
        }
    }

    fn moment(&self) -> Moment {
        let now = self.events.clock().now();
        Moment { now, real: self.events.clock().realtime_usec(now) }
    }

    /// Let the director decide, and do what it says, with all that follows from it.
    fn dispatch(&mut self, event: Event) {
        let actions = self.director.on_event(self.moment(), event);
        self.perform(actions);
    }

    fn perform(&mut self, actions: Actions) {
        for action in actions {
            match action {
                Action::Watch(targets) => {
                    self.published.targets = Arc::new(targets);
                    self.wants_otherwise = true;
                }
                Action::Follow(routers) => {
                    self.published.followed = Arc::new(routers);
                    self.wants_otherwise = true;
                }
                Action::Log(level, text) => log::log!(level, "{text}"),
                Action::Remember(owned) => {
                    let path = self.owned.path().display();
                    let result =
                        self.owned.write(&owned).map_err(|error| format!("cannot write {path}: {error}"));
                    self.dispatch(Event::Remembered { owned, result });
                }
                Action::ReadOrders => {
                    let result = self.orders.read();
                    self.dispatch(Event::OrdersRead(result));
                }
                Action::RememberOrders(orders) => {
                    let result = self.orders.write(&orders);
                    self.dispatch(Event::OrdersWritten(result));
                }
                Action::Dump => {
                    let result = self.kernel.dump();
                    self.dispatch(Event::Dumped(result));
                }
                Action::List => {
                    let (result, took) = self.timed(Kernel::list);
                    self.dispatch(Event::Listed { result, took });
                }
                Action::ReadServers { keys, is_slice } => {
                    let (result, took) = self.timed(|kernel| kernel.servers(&keys));
                    self.dispatch(Event::ServersRead { keys, is_slice, result, took });
                }
                Action::ReadSysctls(names) => {
                    let found = names.into_iter().map(|name| (name, self.sysctls.read(name))).collect();
                    self.dispatch(Event::SysctlsRead(found));
                }
                Action::Apply(changes) => {
                    let result = self.apply(&changes);
                    self.dispatch(Event::Applied { changes, result });
                }
                Action::Set(what) => {
                    let result = match &what {
                        Setting::Sync(change) => self.kernel.set(kernel::Request::SetSync(change)),
                        Setting::Timeouts(timeouts) => {
                            self.kernel.set(kernel::Request::SetTimeouts(timeouts))
                        }
                        Setting::Sysctl(name, value) => self.sysctls.write(name, *value),
                    };
                    self.dispatch(Event::Set { what, result });
                }
            }
        }
    }

    fn timed<T>(&mut self, read: impl FnOnce(&mut Kernel) -> T) -> (T, Duration) {
        let clock = self.events.clock();
        let before = clock.now();
        let read = read(&mut self.kernel);
        (read, clock.now().saturating_duration_since(before))
    }

    /// The kernel may take a minute for a large table: the watchdog hears that we are at work.
    fn apply(&mut self, changes: &[Change]) -> Result<Vec<(usize, Errno)>, Fault> {
        let mut refused = Vec::new();
        for (number, portion) in changes.chunks(PORTION).enumerate() {
            let failures = self.kernel.apply(portion)?;
            refused.extend(failures.into_iter().map(|(index, errno)| (number * PORTION + index, errno)));
            self.notify.kick(self.events.clock().now());
        }
        Ok(refused)
    }

    fn obey(&mut self) {
        let commands: Vec<Command> = self.commands.drain().collect();
        for command in commands {
            // A caller that does not wait for its answer any more is no concern of ours.
            match command {
                Command::Answered(answers) => self.dispatch(Event::Answered(answers)),
                Command::SourceLost(reason) => self.dispatch(Event::SourceLost(reason)),
                Command::Plan(reply) => {
                    let _ = reply.send(self.director.plan());
                }
                Command::Resync(reply) => {
                    self.dispatch(Event::Resync);
                    // Who has the answer and reads the state is to find what he ordered; below, too.
                    self.publish();
                    let _ = reply.send(self.director.fault());
                }
                Command::Order(request, reply) => {
                    let result = self.director.order(self.moment(), &request).and_then(|actions| {
                        self.perform(actions);
                        // It is written down by now, or refused.
                        self.director.take_refusal()
                    });
                    self.publish();
                    let _ = reply.send(result);
                }
                Command::Roles => {}
            }
        }
        // Whatever woke us: a word of vrrpd may have found no room in the queue.
        let roles = self.roles.get();
        if roles != *self.director.known_routers() {
            self.dispatch(Event::Routers(roles));
        }
    }

    /// All or nothing: a configuration with a mistake changes nothing.
    fn reload(&mut self) {
        self.notify.reloading();
        let (settings, report) = self.loader.load();
        log_report(&report);
        if report.has_errors() {
            log::error!("not reloaded: the configuration has errors; the former one stays in force");
        } else {
            daemon::log::set_level(settings.log_level);
            self.dispatch(Event::Reloaded(settings));
            log::info!("reloaded");
        }
        self.publish();
        self.notify.ready();
    }

    fn stop(&self) {
        self.notify.stopping();
        log::info!("stopping; the kernel's table stays as it is and goes on forwarding");
        log::logger().flush();
    }

    fn publish(&mut self) {
        let now = self.events.clock().now();
        let news = self.published.status.update(&mut self.director, now);
        let connections = self.director.connection_counts();
        let is_other = !Arc::ptr_eq(&connections, &self.published.connections);
        let is_recounted = is_other && !(connections.is_empty() && self.published.connections.is_empty());
        if !news && !is_recounted && !std::mem::take(&mut self.wants_otherwise) {
            return;
        }
        self.wants_otherwise = false;
        self.published.connections = connections;
        self.published.kernel_version = self.kernel.version().unwrap_or_default();
        if news {
            self.notify.status(&self.published.status.summary());
        }
        if let Some(publisher) = &mut self.publisher {
            publisher.publish(self.published.clone());
        }
    }
}

fn read_owned(file: &OwnedFile) -> BTreeSet<ServiceKey> {
    file.read().unwrap_or_else(|error| {
        let path = file.path().display();
        log::warn!("cannot read {path}: {error}; services without a file stay in the kernel");
        BTreeSet::new()
    })
}

fn log_report(report: &Report) {
    for diagnostic in report.diagnostics() {
        let level = match diagnostic.severity {
            Severity::Error => log::Level::Error,
            Severity::Warning => log::Level::Warn,
        };
        log::log!(level, "{diagnostic}");
    }
}
