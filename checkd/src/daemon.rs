//! The daemon: the only file that sees both events and system calls. Each turn: sockets, signals and commands first,
//! then what is due, then what changed goes to the bus, then the watchdog.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::bus::Reply;
use daemon::event_loop::{EventLoop, Interest, Ready};
use daemon::notify::Notify;
use daemon::queue::Receiver;
use daemon::signals::{Signal, Signals};
use daemon::units::format_duration;

use crate::attempt::Attempt;
use crate::bus::{Bus, Command, Snapshot};
use crate::check::Check;
use crate::config::Configuration;
use crate::farewell::{self, FarewellId, Farewells};
use crate::intake::Intake;
use crate::journal::{self, Journal};
use crate::listing::Listings;
use crate::loader::{Loaded, Loader};
use crate::pace::Pace;
use crate::probe::{Conversation, Outcome, unit};
use crate::registry::{Action, Judged, Registry};
use crate::results::{self, Saver};
use crate::schedule::TargetId;
use crate::status::status;
use crate::target::{State, WallClock};
use crate::transport::Step;
use crate::units::{self, Units};
use daemon::error::Error;

/// Probes that one turn starts or ends, so that sockets are read in between.
const DUE_PER_TURN: usize = 32;
/// Counts are published at most once in this time.
const PUBLISH_PERIOD: Duration = Duration::from_millis(20);
/// Rows of one HealthChanged.
const NEWS: usize = 4096;
/// One read of one socket in one turn.
const BUFFER: usize = 16 * 1024;
/// A timeout that is noticed this late says more about us than about the server: the machine was suspended, or
/// starved of processor time.
const TOO_LATE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
enum Event {
    Signal,
    Command,
    /// The configuration was read again.
    Loaded,
    /// Systemd has said something of a unit.
    Units,
    /// A part of a running probe.
    Probe(TargetId, usize),
    /// A connection whose probe has ended.
    Farewell(FarewellId),
}

/// A probe under way, with the check that it began with.
#[derive(Debug)]
struct Running {
    check: Arc<Check>,
    attempt: Attempt,
    /// The time that it stands in [`Daemon::repeats`] with.
    repeat_at: Option<Instant>,
}

type Asker = Reply<Result<Judged, String>>;

#[derive(Debug)]
pub struct Daemon {
    events: EventLoop<Event>,
    signals: Signals,
    commands: Receiver<Command>,
    bus: Bus,
    notify: Notify,
    journal: Journal,
    loader: Loader,
    /// Where checkd-exec listens.
    exec: Arc<Path>,
    units: Units,
    registry: Registry,
    attempts: HashMap<TargetId, Running>,
    farewells: Farewells,
    /// The probes that have something to do before their time is over: to ask again.
    repeats: BTreeSet<(Instant, TargetId)>,
    /// Who waits for the outcome of a probe that they asked for.
    askers: HashMap<TargetId, Vec<Asker>>,
    /// Who wants to watch what.
    intake: Intake,
    /// Who waits for the rows of a check.
    listings: Listings,
    saver: Saver,
    buffer: Vec<u8>,
    /// Whether counts, watchers or checks may differ from the last snapshot.
    snapshot_is_old: bool,
    /// When the next snapshot may be published.
    publish_at: Instant,
    pace: Pace,
    /// For the journal, which comes after the bus.
    transitions: Vec<Judged>,
}

impl Daemon {
    /// `signals` must have been opened before any thread was started. `seed` spreads the first probes.
    pub fn new(
        root: PathBuf,
        configuration: Configuration,
        signals: Signals,
        seed: u64,
    ) -> Result<Self, Error> {
        let mut events = EventLoop::new().map_err(Error::when("open the event loop"))?;
        let mut registry = Registry::new(configuration.checks, seed, events.clock().now());
        let file = results::File::below(&root);
        results::recall(&mut registry, &file, events.clock());
        let writer =
            results::Writer::start(file).map_err(Error::when("start the thread that saves results"))?;
        let (unit_news, units) = units::units().map_err(Error::when("open the way for what systemd says"))?;
        let (bus, commands) =
            Bus::start(snapshot_of(&registry), unit_news).map_err(Error::when("start the bus thread"))?;
        let register = Error::when("watch the signals");
        events.register_forever(&signals, Interest::Read, Event::Signal).map_err(register)?;
        let register = Error::when("watch what systemd says");
        events.register_forever(&units, Interest::Read, Event::Units).map_err(register)?;
        let register = Error::when("watch the commands");
        events.register_forever(&commands, Interest::Read, Event::Command).map_err(register)?;
        let exec = daemon::cli::below(&root, crate::exec::SOCKET).into();
        let loader = Loader::new(root).map_err(Error::when("make the queue for reloads"))?;
        let register = Error::when("watch for what a reload has read");
        events.register_forever(&loader, Interest::Read, Event::Loaded).map_err(register)?;
        let now = events.clock().now();
        let notify = Notify::start().map_err(Error::when("start the thread that talks to systemd"))?;
        Ok(Self {
            events,
            signals,
            commands,
            bus,
            notify,
            journal: Journal::default(),
            exec,
            loader,
            units,
            registry,
            attempts: HashMap::new(),
            farewells: Farewells::default(),
            repeats: BTreeSet::new(),
            askers: HashMap::new(),
            intake: Intake::default(),
            listings: Listings::default(),
            saver: Saver::new(writer),
            buffer: vec![0; BUFFER],
            snapshot_is_old: true,
            publish_at: now,
            pace: Pace::default(),
            transitions: Vec::new(),
        })
    }

    /// Run until a signal asks to stop.
    pub fn run(&mut self) -> Result<(), Error> {
        self.notify.ready();
        let mut ready = Vec::new();
        loop {
            let deadline = self.deadline();
            let waited = self.events.wait(deadline, &mut ready);
            let now = waited.map_err(Error::when("wait for events"))?;
            let mut stop = false;
            for (event, told) in ready.drain(..) {
                match event {
                    Event::Signal => stop |= self.on_signals(),
                    Event::Command => self.on_commands(now),
                    Event::Loaded => self.on_loaded(now),
                    Event::Units => self.on_unit_news(now),
                    Event::Probe(id, part) => self.look_at(id, part, Some(told)),
                    Event::Farewell(id) => {
                        let Self { farewells, events, buffer, .. } = self;
                        farewells.on_ready(events, buffer, id, Event::Farewell);
                    }
                }
            }
            let actions = self.registry.on_time(now, DUE_PER_TURN);
            self.perform(actions);
            self.repeat(now);
            self.farewells.on_time(&mut self.events, now);
            self.snapshot_is_old |= self.intake.advance(now, &mut self.registry);
            self.listings.advance(now, &self.registry, self.events.clock());
            self.saver.advance(now, &mut self.registry, self.events.clock());
            self.publish(now);
            self.write_journal(now);
            self.notify.kick(now);
            if stop {
                self.notify.stopping();
                self.saver.finish(now, &self.registry, self.events.clock());
                log::info!("stopped");
                log::logger().flush();
                return Ok(());
            }
        }
    }

    /// When there is something to do although nothing has happened.
    fn deadline(&self) -> Option<Instant> {
        // Work that is left for the next turn is due at once, after what has arrived.
        let now = self.events.clock().now();
        let has_work = !self.intake.is_empty() || !self.listings.is_empty();
        let work = [has_work.then_some(now), self.saver.deadline(now, &self.registry)];
        let others = [
            self.registry.deadline(),
            self.notify.deadline(),
            self.farewells.deadline(),
            self.journal.deadline(),
            self.snapshot_is_old.then_some(self.publish_at),
            self.has_news().then(|| self.pace.due().unwrap_or(now)),
        ];
        let repeat = self.repeats.first().map(|(at, _)| *at);
        work.into_iter().chain(others).flatten().chain(repeat).min()
    }

    /// Whether to stop.
    fn on_signals(&mut self) -> bool {
        let mut stop = false;
        while let Some(signal) = self.signals.next() {
            match signal {
                Signal::Reload => self.reload(),
                Signal::Stop => stop = true,
            }
        }
        stop
    }

    fn reload(&mut self) {
        self.notify.reloading();
        if let Err(error) = self.loader.begin() {
            self.refuse(&format!("it cannot be read: {error}"));
        }
    }

    /// All or nothing: one mistake anywhere, and everything stays as it was.
    fn on_loaded(&mut self, now: Instant) {
        let Loaded { configuration, report } = match self.loader.take() {
            Ok(Some(loaded)) => loaded,
            Ok(None) => return,
            Err(error) => return self.refuse(&format!("it cannot be read again: {error}")),
        };
        if report.has_errors() {
            return self.refuse(&format!("\n{report}"));
        }
        if !report.is_empty() {
            log::warn!("{report}");
        }
        daemon::log::set_level(configuration.settings.log_level);
        journal::tell_disabled(&configuration.disabled);
        let actions = self.registry.on_reload(now, self.wall(now), configuration.checks);
        self.perform(actions);
        self.units.forget_all_but(self.registry.checks());
        self.snapshot_is_old = true;
        log::info!("configuration reloaded: {} checks", self.registry.checks().len());
        self.notify.ready();
    }

    fn refuse(&mut self, why: &str) {
        log::error!("the new configuration is refused, the former one stays in force: {why}");
        self.notify.ready();
    }

    fn on_commands(&mut self, now: Instant) {
        let commands: Vec<Command> = self.commands.drain().collect();
        for command in commands {
            self.on_command(now, command);
        }
    }

    /// A reply that nobody waits for any more is lost, and that is right.
    fn on_command(&mut self, now: Instant, command: Command) {
        match command {
            Command::NewBus => self.intake.new_bus(),
            Command::Watch { caller, keys, reply } => self.intake.watch(caller, keys, reply),
            Command::Gone { caller } => self.intake.gone(caller),
            Command::MoreNews => {}
            Command::Targets { check, reply } => self.listings.add(check, reply),
            Command::Probe { check, address, reply } => {
                match self.registry.on_probe_wanted(now, &check, &address) {
                    Ok(id) => self.askers.entry(id).or_default().push(reply),
                    Err(reason) => drop(reply.send(Err(reason))),
                }
            }
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Start { id, check, address } => self.start(id, &check, address),
                Action::TimeOut { id, late } => self.time_out(id, late),
                Action::Cancel(id) => self.close(id),
                Action::Gone(id) => {
                    self.close(id);
                    for asker in self.askers.remove(&id).unwrap_or_default() {
                        let _ = asker.send(Err("the check is not configured any more".to_owned()));
                    }
                }
            }
        }
    }

    fn on_unit_news(&mut self, now: Instant) {
        let news = self.units.take_news();
        // What was under way when a reload ended the last check of its unit.
        self.units.forget_all_but(self.registry.checks());
        for name in news {
            let Some(outcome) = self.units.get(&name).map(unit::outcome) else { continue };
            for id in self.registry.on_unit_news(now, &name) {
                self.settle(id, outcome.clone());
            }
        }
    }

    fn start(&mut self, id: TargetId, check: &Arc<Check>, address: std::net::SocketAddr) {
        if let Some(name) = check.kind.unit() {
            // Nothing was heard yet: the probe waits for it.
            let known = self.units.get(name).map(unit::outcome);
            return known.into_iter().for_each(|outcome| self.settle(id, outcome));
        }
        match Attempt::open(check, address, self.events.clock().now(), &self.exec) {
            Ok(attempt) => {
                let parts = attempt.len();
                self.attempts.insert(id, Running { check: Arc::clone(check), attempt, repeat_at: None });
                self.schedule_repeat(id);
                for part in 0..parts {
                    self.look_at(id, part, None);
                }
            }
            Err(outcome) => self.settle(id, outcome),
        }
    }

    /// A part's socket may have something for us. `told`: what the loop has told of it, if it was that.
    fn look_at(&mut self, id: TargetId, number: usize, told: Option<Ready>) {
        // An event of this turn for a probe that another event of this turn has ended.
        let Some(running) = self.attempts.get_mut(&id) else { return };
        let Some(part) = running.attempt.part(number) else { return };
        let (interest, is_at_rest) = match part.transport.advance(&mut self.buffer, told) {
            Step::Done(outcome) => return self.end_part(id, number, outcome),
            Step::GoOn(conversation) => return self.go_on(id, number, conversation),
            Step::Wait(interest) => (interest, false),
            Step::Rest(interest) => (interest, true),
        };
        if let Err(error) = part.watch(&mut self.events, interest, is_at_rest, Event::Probe(id, number)) {
            let outcome = part.transport.on_error(&error);
            self.end_part(id, number, outcome);
        }
    }

    /// A part goes on over a stream.
    fn go_on(&mut self, id: TargetId, number: usize, conversation: Box<dyn Conversation>) {
        let Some(Running { check, attempt, .. }) = self.attempts.get_mut(&id) else { return };
        match attempt.go_on(check, number, conversation) {
            Ok(former) => {
                if let Some(former) = former {
                    farewell::close(&mut self.events, former);
                }
                self.look_at(id, number, None);
            }
            Err(outcome) => self.end_part(id, number, outcome),
        }
    }

    /// Ask again where no answer has come yet.
    fn repeat(&mut self, now: Instant) {
        for _ in 0..DUE_PER_TURN {
            if self.repeats.first().is_none_or(|(at, _)| *at > now) {
                return;
            }
            let Some((_, id)) = self.repeats.pop_first() else { return };
            let Some(running) = self.attempts.get_mut(&id) else { continue };
            running.repeat_at = None;
            for (number, outcome) in running.attempt.on_time(now) {
                self.end_part(id, number, outcome);
            }
            self.schedule_repeat(id);
        }
    }

    fn schedule_repeat(&mut self, id: TargetId) {
        let Some(running) = self.attempts.get_mut(&id) else { return };
        running.repeat_at = running.attempt.deadline();
        if let Some(at) = running.repeat_at {
            self.repeats.insert((at, id));
        }
    }

    fn end_part(&mut self, id: TargetId, number: usize, outcome: Outcome) {
        let Some(Running { check, attempt, .. }) = self.attempts.get_mut(&id) else { return };
        let (part, whole) = attempt.on_part_ended(check, number, outcome);
        if let Some(part) = part {
            self.farewells.begin(&mut self.events, &mut self.buffer, part, Event::Farewell);
        }
        if let Some(outcome) = whole {
            self.settle(id, outcome);
        }
    }

    fn time_out(&mut self, id: TargetId, late: Duration) {
        let Some(Running { check, attempt, .. }) = self.attempts.get_mut(&id) else {
            // It waits for systemd to say something, and for nothing else.
            return self.settle(id, unit::unheard());
        };
        let outcome = if late > TOO_LATE {
            Outcome::Local(format!("checkd itself did not run for {}", format_duration(late)))
        } else {
            attempt.on_timeout(check, &mut self.buffer, check.timeout)
        };
        // These servers have had their time.
        for part in self.attempts.remove(&id).into_iter().flat_map(|running| running.attempt.into_parts()) {
            farewell::reset(&mut self.events, part);
        }
        self.settle(id, outcome);
    }

    fn close(&mut self, id: TargetId) {
        let Some(running) = self.attempts.remove(&id) else { return };
        if let Some(at) = running.repeat_at {
            self.repeats.remove(&(at, id));
        }
        for part in running.attempt.into_parts() {
            self.farewells.begin(&mut self.events, &mut self.buffer, part, Event::Farewell);
        }
    }

    /// A probe has ended: take its outcome in, and tell whoever asked for it.
    fn settle(&mut self, id: TargetId, outcome: Outcome) {
        self.close(id);
        let now = self.events.clock().now();
        if let Outcome::Local(reason) = &outcome {
            self.journal.on_local_failure(now, reason);
        }
        let Some(judged) = self.registry.on_outcome(now, self.wall(now), id, outcome) else { return };
        for asker in self.askers.remove(&id).unwrap_or_default() {
            let _ = asker.send(Ok(judged.clone()));
        }
        if judged.is_watched && judged.row.state != judged.before {
            self.snapshot_is_old = true;
            match judged.row.state {
                State::Down => self.pace.hurry(),
                State::Up | State::Unknown => {}
            }
            self.transitions.push(judged);
        }
    }

    fn has_news(&self) -> bool {
        self.registry.has_changes() && self.bus.has_room_for_news()
    }

    fn publish(&mut self, now: Instant) {
        if self.snapshot_is_old && self.publish_at <= now {
            self.publish_at = now + PUBLISH_PERIOD;
            self.snapshot_is_old = false;
            let snapshot = snapshot_of(&self.registry);
            self.notify.status(&status(snapshot.counts));
            self.bus.publish(snapshot);
        }
        if self.has_news() && self.pace.is_due(now) {
            self.pace.on_told(now);
            if let Some((generation, rows)) = self.registry.take_changes(NEWS) {
                self.bus.tell(generation, rows);
            }
        }
    }

    fn write_journal(&mut self, now: Instant) {
        for judged in self.transitions.drain(..) {
            self.journal.on_transition(now, &judged);
        }
        self.journal.on_time(now);
    }

    fn wall(&self, now: Instant) -> WallClock {
        WallClock(self.events.clock().realtime_usec(now))
    }
}

fn snapshot_of(registry: &Registry) -> Snapshot {
    Snapshot {
        checks: Arc::clone(registry.checks()),
        counts: registry.counts(),
        watchers: registry.watcher_count(),
    }
}
