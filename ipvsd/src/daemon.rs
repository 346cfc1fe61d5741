//! The loop: the only place that sees both events and system calls. It decides nothing; `director.rs` does.
//!
//! ipvsd that stops, or crashes, leaves the kernel's table as it is: it goes on forwarding, and the next start
//! takes it over and corrects only what differs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use daemon::bus::{self, Publisher, Reply};
use daemon::diagnostic::{Report, Severity};
use daemon::event_loop::{EventLoop, Interest};
use daemon::notify::Notify;
use daemon::queue::{Receiver, queue};
use daemon::signals::{Signal, Signals};

use crate::bus::{BusService, Snapshot};
use crate::config;
use crate::director::{Action, Director, Event};
use crate::health::{Answer, Target};
use crate::kernel::Kernel;
use crate::owned::OwnedFile;
use crate::service::Settings;
use crate::status::Status;
use daemon::error::Error;

/// Commands that may wait for the loop.
const COMMANDS: usize = 64;

/// What the bus thread hands to the loop.
#[derive(Debug)]
pub enum Command {
    /// What would be changed in the kernel; or why that cannot be said. Anyone may ask: it costs no system call.
    Plan(Reply<Result<Vec<String>, String>>),
    /// Read the kernel and repair it now; answered when it is done.
    Resync(Reply<Result<(), String>>),
    Answered(Vec<Answer>),
    SourceLost(String),
}

/// What wakes the loop.
#[derive(Clone, Copy, Debug)]
enum Wake {
    Signals,
    Commands,
}

#[derive(Debug)]
pub struct Daemon {
    root: PathBuf,
    events: EventLoop<Wake>,
    signals: Signals,
    commands: Receiver<Command>,
    director: Director,
    kernel: Kernel,
    owned: OwnedFile,
    publisher: Publisher<Snapshot>,
    published: Snapshot,
    targets: Arc<Vec<Target>>,
    notify: Notify,
}

impl Daemon {
    /// Open everything and start the bus thread. To be called before any other thread is started.
    ///
    /// # Errors
    /// The machine lacks something that is not IPVS: without that ipvsd runs, waits, and says so.
    pub fn new(root: PathBuf, settings: Settings) -> Result<Self, Error> {
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
        let owned = OwnedFile::new(&root);
        let ours = owned.read().unwrap_or_else(|error| {
            let path = owned.path().display();
            log::warn!("cannot read {path}: {error}; services without a file stay in the kernel");
            Default::default()
        });
        let published = Snapshot::default();
        let publisher = bus::start(BusService::new(sender), published.clone())
            .map_err(Error::when("start the bus thread"))?;
        let director = Director::new(settings, ours);
        let targets = Arc::default();
        Ok(Self {
            root,
            events,
            signals,
            commands,
            director,
            kernel,
            owned,
            publisher,
            published,
            targets,
            notify,
        })
    }

    /// Run until a signal says stop.
    ///
    /// # Errors
    /// The event loop itself failed.
    pub fn run(&mut self) -> Result<(), Error> {
        self.dispatch(self.events.clock().now(), Event::Started);
        self.publish();
        self.notify.ready();
        log::info!("running: {}", self.published.status.summary());
        let mut ready = Vec::new();
        loop {
            let deadline = [self.director.deadline(), self.notify.deadline()].into_iter().flatten().min();
            let now = self.events.wait(deadline, &mut ready).map_err(Error::when("wait for events"))?;
            for (wake, _) in ready.drain(..) {
                match wake {
                    Wake::Commands => self.obey(now),
                    Wake::Signals => {
                        while let Some(signal) = self.signals.next() {
                            match signal {
                                Signal::Reload => self.reload(now),
                                Signal::Stop => {
                                    self.stop();
                                    return Ok(());
                                }
                            }
                        }
                    }
                }
            }
            // Servers that came up in this turn are due now, in one batch.
            if self.director.deadline().is_some_and(|deadline| deadline <= now) {
                self.dispatch(now, Event::Woken);
            }
            self.publish();
            self.notify.kick(now);
        }
    }

    /// Let the director decide, and do what it says, with all that follows from it.
    fn dispatch(&mut self, now: Instant, event: Event) {
        for action in self.director.on_event(now, event) {
            match action {
                Action::Watch(targets) => self.targets = Arc::new(targets),
                Action::Log(level, text) => log::log!(level, "{text}"),
                Action::Remember(owned) => {
                    if let Err(error) = self.owned.write(&owned) {
                        let path = self.owned.path().display();
                        log::warn!(
                            "cannot write {path}: {error}; a service whose file is removed while ipvsd is down will stay in the kernel"
                        );
                    }
                }
                Action::Dump => {
                    let before = self.events.clock().now();
                    let result = self.kernel.dump();
                    let now = self.events.clock().now();
                    self.dispatch(now, Event::Dumped { result, took: now.saturating_duration_since(before) });
                }
                Action::Apply(changes) => {
                    let result = self.kernel.apply(&changes);
                    self.dispatch(now, Event::Applied { changes, result });
                }
            }
        }
    }

    fn obey(&mut self, now: Instant) {
        let commands: Vec<Command> = self.commands.drain().collect();
        for command in commands {
            // A caller that does not wait for its answer any more is no concern of ours.
            match command {
                Command::Answered(answers) => self.dispatch(now, Event::Answered(answers)),
                Command::SourceLost(reason) => self.dispatch(now, Event::SourceLost(reason)),
                Command::Plan(reply) => {
                    let _ = reply.send(self.director.plan());
                }
                Command::Resync(reply) => {
                    self.dispatch(now, Event::Resync);
                    let fault = Status::of(&self.director).kernel_fault;
                    let _ = reply.send(if fault.is_empty() { Ok(()) } else { Err(fault) });
                }
            }
        }
    }

    /// All or nothing: a configuration with a mistake changes nothing.
    fn reload(&mut self, now: Instant) {
        self.notify.reloading();
        let (settings, report) = config::load(&self.root);
        log_report(&report);
        if report.has_errors() {
            log::error!("not reloaded: the configuration has errors; the former one stays in force");
        } else {
            daemon::log::set_level(settings.log_level);
            self.dispatch(now, Event::Reloaded(settings));
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
        let snapshot = Snapshot {
            status: Status::of(&self.director),
            kernel_version: self.kernel.version().unwrap_or_default(),
            targets: Arc::clone(&self.targets),
        };
        if snapshot != self.published {
            self.notify.status(&snapshot.status.summary());
            self.published = snapshot.clone();
            self.publisher.publish(snapshot);
        }
    }
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
