//! checkd on the bus: `org.trivet.Check1`. Thin: answers from the last snapshot, hands commands to the loop, and
//! passes its news on.
//!
//! `/org/trivet/Check1` is the manager, `/org/trivet/Check1/check/NAME` a check. Thousands of targets are rows of a
//! check's `Targets`, and their changes go out together, in a moment; that a server is down goes out at once (`pace.rs`).

mod check;
mod manager;
mod news;

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use daemon::bus::{
    Objects, Publisher, Reply, Session, Turnstile, announce_changes, path_element, pause, properties,
};
use daemon::queue::{Receiver, Sender, queue};
use daemon::systemd::follow;
use futures_util::StreamExt;
use futures_util::future::{Either, select, try_join5};
use zbus::fdo::DBusProxy;
use zbus::names::BusName;
use zbus::object_server::Interface;
use zbus::{Connection, fdo};

use self::check::Check;
use self::manager::Manager;
use self::news::News;
use crate::registry::{Checks, Detail, Judged, Key, Row, Standing};
use crate::units;

const PATH: &str = "/org/trivet/Check1";
const CHECKS: &str = "/org/trivet/Check1/check";
/// Commands that may wait for the loop.
const COMMANDS: usize = 256;
/// `Targets` is announced as changed at most this often, for each check.
const TARGETS_PERIOD: Duration = Duration::from_secs(1);

/// (check, address, state, reason, since, weight)
type HealthRow = (String, String, &'static str, String, u64, i32);

/// What the bus thread asks of the loop.
#[derive(Debug)]
pub enum Command {
    /// This is a new connection: names on the old one mean nothing any more.
    NewBus,
    Watch {
        caller: String,
        /// Each once.
        keys: Vec<Key>,
        reply: Reply<(u64, Vec<Standing>)>,
    },
    /// A watcher has left the bus.
    Gone {
        caller: String,
    },
    Targets {
        check: String,
        reply: Reply<Vec<TargetDetail>>,
    },
    /// There is room for more news.
    MoreNews,
    Probe {
        check: String,
        address: String,
        reply: Reply<Result<Judged, String>>,
    },
}

/// A [`Detail`] whose times are the wall clock's.
#[derive(Debug)]
pub struct TargetDetail {
    pub detail: Detail,
    /// Microseconds of CLOCK_REALTIME; 0 while a probe runs.
    pub next: u64,
}

/// What the loop publishes.
#[derive(Debug)]
pub struct Snapshot {
    pub checks: Arc<Checks>,
    /// Targets that are unknown, up, down.
    pub counts: [usize; 3],
    pub watchers: usize,
}

/// The loop's end of the bus.
#[derive(Debug)]
pub struct Bus {
    publisher: Publisher<Snapshot>,
    news: Arc<News>,
}

impl Bus {
    /// Start the bus thread; what it asks for comes out of the receiver.
    pub fn start(first: Snapshot, units: units::News) -> io::Result<(Self, Receiver<Command>)> {
        let (commands, receiver) = queue(COMMANDS)?;
        let news = Arc::new(News::default());
        let service = Service { commands, news: Arc::clone(&news), units };
        let publisher = daemon::bus::start(service, first)?;
        Ok((Self { publisher, news }, receiver))
    }

    /// Whether the last news are on their way; else [`Command::MoreNews`] says when.
    pub fn has_room_for_news(&self) -> bool {
        self.news.has_room()
    }

    /// The rows of the next HealthChanged, if there is room.
    pub fn tell(&mut self, generation: u64, rows: Vec<Row>) {
        self.news.put(generation, rows);
        self.publisher.wake();
    }

    /// Show a new snapshot.
    pub fn publish(&mut self, snapshot: Snapshot) {
        self.publisher.publish(snapshot);
    }
}

struct Service {
    commands: Sender<Command>,
    news: Arc<News>,
    /// Where what systemd says of units goes.
    units: units::News,
}

impl daemon::bus::Service for Service {
    type Snapshot = Snapshot;
    const NAME: &'static str = "org.trivet.Check1";

    async fn serve(&mut self, session: Session<Snapshot>) -> zbus::Result<()> {
        let connection = session.connection.clone();
        let watchers = Watchers::default();
        // Before anybody can call: this must be the first command of this connection.
        send(&self.commands, || Command::NewBus).await;
        let owners = DBusProxy::new(&connection).await?.receive_name_owner_changed().await?;
        // A stream that nobody reads holds up all of the connection when it is full, the answer to take_name, too: on a
        // bus on which many come and go it is read from the beginning.
        let mut forward = pin!(forward_departures(owners, &self.commands, &watchers));
        let begin = pin!(begin(&session, &self.commands, &watchers));
        let mut shown = match select(begin, forward.as_mut()).await {
            Either::Left((shown, _)) => shown?,
            Either::Right((ended, _)) => return ended,
        };
        let stale = Stale::default();
        let (mut wake, changes) = daemon::client::wake();
        let wanted = || Arc::clone(&session.model.latest().checks);
        let tell_loop = |unit: &Arc<str>, state| self.units.tell(unit, state);
        let follow = follow(&connection, changes, wanted, units::wanted, tell_loop);
        let (mut show, mut shows) = daemon::client::wake();
        let announce = async {
            let mut checks = Arc::clone(&session.model.latest().checks);
            loop {
                session.changed().await;
                // First what somebody waits for: a reload of thousands of objects takes its time.
                tell(&session, &self.news, &self.commands, &stale).await?;
                let latest = Arc::clone(&session.model.latest().checks);
                if !Arc::ptr_eq(&checks, &latest) {
                    checks = latest;
                    let _ = wake.try_send(());
                }
                let _ = show.try_send(());
            }
        };
        let show = async {
            while shows.next().await.is_some() {
                shown.update(&session).await?;
            }
            Ok(())
        };
        try_join5(announce, show, forward, stale.invalidate(&connection), follow)
            .await
            .map(|_: ((), (), (), (), ())| ())
    }
}

/// Makes the objects, and takes the name when they are there.
async fn begin(
    session: &Session<Snapshot>,
    commands: &Sender<Command>,
    watchers: &Watchers,
) -> zbus::Result<Shown> {
    let manager = Manager {
        model: session.model.clone(),
        commands: commands.clone(),
        watchers: watchers.clone(),
        turns: Turnstile::default(),
    };
    let server = session.connection.object_server();
    server.at(PATH, fdo::ObjectManager).await?;
    server.at(PATH, manager).await?;
    let shown = Shown::new(session, commands, &session.connection).await?;
    session.take_name().await?;
    Ok(shown)
}

/// The unique names that watch something: only their departures concern the loop.
#[derive(Clone, Default)]
struct Watchers(Arc<Mutex<HashSet<String>>>);

impl Watchers {
    fn add(&self, name: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned());
    }

    fn remove(&self, name: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(name)
    }
}

/// For commands that must not be lost: waits while the queue is full.
async fn send(commands: &Sender<Command>, command: impl Fn() -> Command) {
    while commands.send(command()).is_err() {
        pause(Duration::from_millis(100)).await;
    }
}

async fn forward_departures(
    mut owners: fdo::NameOwnerChangedStream,
    commands: &Sender<Command>,
    watchers: &Watchers,
) -> zbus::Result<()> {
    while let Some(signal) = owners.next().await {
        let arguments = signal.args()?;
        if let BusName::Unique(name) = arguments.name()
            && arguments.new_owner().is_none()
            && watchers.remove(name.as_str())
        {
            send(commands, || Command::Gone { caller: name.to_string() }).await;
        }
    }
    Ok(())
}

/// HealthChanged, if there are news.
async fn tell(
    session: &Session<Snapshot>,
    news: &News,
    commands: &Sender<Command>,
    stale: &Stale,
) -> zbus::Result<()> {
    let Some((generation, rows)) = news.take() else { return Ok(()) };
    let checks = Arc::clone(&session.model.latest().checks);
    stale.add(rows.iter().map(|row| &*row.check).filter(|check| checks.contains_key(*check)));
    let rows: Vec<HealthRow> = rows.into_iter().map(health_row).collect();
    let manager = session.connection.object_server().interface::<_, Manager>(PATH).await?;
    Manager::health_changed(manager.signal_emitter(), generation, rows).await?;
    // A queue that is full wakes the loop as well.
    let _ = commands.send(Command::MoreNews);
    Ok(())
}

/// What this connection shows, to announce differences.
struct Shown {
    objects: Objects<Check>,
    checks: Arc<Checks>,
    /// Whose counts were announced.
    snapshot: Arc<Snapshot>,
    manager: std::collections::HashMap<String, zbus::OwnedVariant>,
    commands: Sender<Command>,
    readers: Arc<Turnstile>,
}

impl Shown {
    async fn new(
        session: &Session<Snapshot>,
        commands: &Sender<Command>,
        connection: &Connection,
    ) -> zbus::Result<Self> {
        let mut shown = Self {
            // Announced apart, and bounded in rate.
            objects: Objects::new(CHECKS, &["Targets"]),
            checks: Arc::clone(&session.model.latest().checks),
            snapshot: session.model.latest(),
            manager: properties::<Manager>(connection, PATH).await?,
            commands: commands.clone(),
            readers: Arc::default(),
        };
        shown.update_objects(session, &Checks::default()).await?;
        Ok(shown)
    }

    async fn update(&mut self, session: &Session<Snapshot>) -> zbus::Result<()> {
        let connection = &session.connection;
        let checks = Arc::clone(&session.model.latest().checks);
        if !Arc::ptr_eq(&checks, &self.checks) {
            let before = std::mem::replace(&mut self.checks, checks);
            self.update_objects(session, &before).await?;
        }
        let snapshot = session.model.latest();
        if Arc::ptr_eq(&snapshot, &self.snapshot) {
            return Ok(());
        }
        self.snapshot = snapshot;
        let now = properties::<Manager>(connection, PATH).await?;
        announce_changes(connection, PATH, &Manager::name(), &[], &self.manager, &now).await?;
        self.manager = now;
        Ok(())
    }

    /// Looks only at what is another check than `before`: each that is looked at costs the loop a list of its targets.
    async fn update_objects(&mut self, session: &Session<Snapshot>, before: &Checks) -> zbus::Result<()> {
        let names: Vec<&str> = self.checks.keys().map(String::as_str).collect();
        let make = |name: &str| Check {
            name: name.to_owned(),
            model: session.model.clone(),
            commands: self.commands.clone(),
            readers: Arc::clone(&self.readers),
        };
        let differs = |name: &str| self.checks.get(name) != before.get(name);
        self.objects.update_changed(&session.connection, &names, differs, make).await
    }
}

fn health_row(row: Row) -> HealthRow {
    let weight = weight(row.weight);
    (row.check, row.address, row.state.as_str(), row.reason, row.since.0, weight)
}

/// 0 to 65535; -1: the check gives none.
fn weight(weight: Option<u16>) -> i32 {
    weight.map_or(-1, i32::from)
}

/// Checks whose `Targets` read differently since that was last said.
#[derive(Default)]
struct Stale(Mutex<BTreeSet<String>>);

impl Stale {
    fn add<'a>(&self, checks: impl Iterator<Item = &'a str>) {
        let mut stale = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for check in checks {
            if !stale.contains(check) {
                stale.insert(check.to_owned());
            }
        }
    }

    /// Say so, once a period, without the rows: whoever shows them reads them again.
    async fn invalidate(&self, connection: &Connection) -> zbus::Result<()> {
        loop {
            pause(TARGETS_PERIOD).await;
            let stale = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
            for check in stale {
                let path = format!("{CHECKS}/{}", path_element(&check));
                let nothing: std::collections::HashMap<&str, zbus::Variant<'_>> = Default::default();
                let body = (Check::name().as_str().to_owned(), nothing, ["Targets"].as_slice());
                let standard = "org.freedesktop.DBus.Properties";
                connection.emit_signal(None::<&str>, path, standard, "PropertiesChanged", &body).await?;
            }
        }
    }
}
