//! Has systemd's targets follow the roles: `vrrp-active@NAME.target` is up while the router NAME is Active,
//! `vrrp-fault@NAME.target` while it is in Fault.
//!
//! Level-triggered: each router has one worker (a few bytes, no thread) that compares what is wanted now with what
//! systemd was last told or asked, and gives one order at a time. However fast a state changes, the last one wins, and
//! nothing piles up. An order whose job is under way is only followed by its own reversal (systemd cancels the job) or,
//! when the job has ended, by the next. What systemd really has is read at the start, and after it was lost.

mod orders;
mod worker;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::future::pending;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::SyncSender;
use std::time::Duration;

use daemon::bus::{Model, pause};
use daemon::client::{Changes, ended, is_called, listen, new_owner, owners, signals};
use daemon::systemd::{MANAGER, NAME, PATH};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;
use zbus::{Connection, Message, MessageStream, OwnedObjectPath};

use crate::daemon::message_id;
use crate::status::{RouterStatus, Snapshot};
use crate::track::units::target_name;
pub(crate) use orders::stop_all;
use orders::{hint, list, order};
use worker::{Doing, KINDS, Kind, Worker};

/// Orders that systemd may have before it: each costs it a question to polkit.
const IN_FLIGHT: usize = 16;
/// Longer than a unit takes to start or to be given up by systemd (DefaultTimeoutStartSec=90s).
const JOB: Duration = Duration::from_secs(100);
/// After an order was refused.
const RETRY: Duration = Duration::from_secs(10);
/// Every so many refusals one is worth a line: a minute of [`RETRY`].
const SAY_EVERY: u32 = 6;
/// Ends of jobs that are remembered until the answer to the order names the job.
const ENDED: usize = 256;

/// How the loop knows, at its end, that systemd was told.
#[derive(Clone, Debug)]
pub(super) struct Goodbye {
    /// Whether there is a systemd to be told.
    pub(super) attached: Arc<AtomicBool>,
    pub(super) said: SyncSender<()>,
}

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    mut changes: Changes,
    goodbye: Goodbye,
) -> zbus::Result<()> {
    let mut targets = Targets::new(connection, goodbye).await?;
    targets.read().await;
    loop {
        targets.want(&model.latest());
        targets.order();
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(targets.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            targets.handle(heard).await;
        }
    }
}

#[derive(Debug)]
enum Heard {
    Done(Done),
    /// A job of systemd ended.
    JobRemoved(Message),
    /// systemd came, went, or re-executed itself.
    Owner(Message),
}

#[derive(Debug)]
enum Done {
    Ordered {
        instance: String,
        kind: Kind,
        on: bool,
        result: zbus::Result<String>,
    },
    /// Jobs that were under way at the last one as well have had their time.
    Sweep,
    Retry,
}

type Work = Pin<Box<dyn Future<Output = Done> + Send>>;

struct Targets {
    connection: Connection,
    owners: MessageStream,
    removed: MessageStream,
    goodbye: Goodbye,
    /// By what stands between @ and the dot.
    workers: BTreeMap<String, Worker>,
    work: FuturesUnordered<Work>,
    ordering: usize,
    ended: VecDeque<String>,
    /// Orders were refused, and wait.
    paused: bool,
    refusals: u32,
    stopping: bool,
    /// What is wanted is known. Before that, a target that is up looks like one that nobody wants.
    informed: bool,
    sweeping: bool,
    /// The routers as they were last, with their instances.
    shown: Vec<(Arc<RouterStatus>, String)>,
}

impl Targets {
    async fn new(connection: &Connection, goodbye: Goodbye) -> zbus::Result<Self> {
        let removed = signals().sender(NAME).path(PATH).interface(MANAGER).member("JobRemoved").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            removed: listen(connection, removed).await?,
            goodbye,
            workers: BTreeMap::new(),
            work: FuturesUnordered::new(),
            ordering: 0,
            ended: VecDeque::new(),
            paused: false,
            refusals: 0,
            stopping: false,
            informed: false,
            sweeping: false,
            shown: Vec::new(),
        })
    }

    /// Read which targets systemd has. What was under way means nothing any more.
    async fn read(&mut self) {
        self.attach(false);
        self.work = FuturesUnordered::new();
        self.ordering = 0;
        self.paused = false;
        self.sweeping = false;
        for worker in self.workers.values_mut() {
            *worker = Worker { wanted: worker.wanted, has: [Some(false); 2], doing: Doing::Nothing };
        }
        match list(&self.connection).await {
            Ok(units) => {
                for (instance, kind) in units {
                    let worker = self.workers.entry(instance).or_insert_with(Worker::off);
                    worker.has[kind.index()] = Some(true);
                }
                self.attach(true);
            }
            // Its coming will be announced; where there is no systemd, none of this is needed.
            Err(error) => {
                log::debug!("systemd does not list its targets: {error}, they do not follow the roles");
            }
        }
    }

    fn attach(&self, attached: bool) {
        self.goodbye.attached.store(attached, Ordering::Relaxed);
    }

    fn is_attached(&self) -> bool {
        self.goodbye.attached.load(Ordering::Relaxed)
    }

    fn want(&mut self, snapshot: &Snapshot) {
        if !snapshot.is_complete {
            return;
        }
        self.informed = true;
        if snapshot.is_last && !self.stopping {
            self.stopping = true;
            self.paused = false;
        }
        let same = snapshot.routers.len() == self.shown.len()
            && snapshot.routers.iter().zip(&self.shown).all(|(now, (then, _))| now.name == then.name);
        if !same {
            self.shown = snapshot
                .routers
                .iter()
                .filter_map(|router| Some((Arc::clone(router), instance(&router.name)?)))
                .collect();
            for worker in self.workers.values_mut() {
                worker.wanted = None;
            }
        }
        for (router, (shown, instance)) in snapshot.routers.iter().zip(&mut self.shown) {
            if same && Arc::ptr_eq(router, shown) {
                continue;
            }
            *shown = Arc::clone(router);
            let worker = self.workers.entry(instance.clone()).or_insert_with(Worker::off);
            worker.wanted = Kind::of_state(router.state);
        }
        if !same {
            let names: BTreeSet<&String> = self.shown.iter().map(|(_, instance)| instance).collect();
            self.workers.retain(|name, worker| !worker.is_over() || names.contains(name));
        }
    }

    /// Give the orders that can be given.
    fn order(&mut self) {
        if !self.is_attached() || !self.informed {
            return;
        }
        let mut steps = Vec::new();
        if !self.paused {
            let room = IN_FLIGHT - self.ordering;
            let due = self.workers.iter().filter_map(|(name, worker)| Some((name.clone(), worker.step()?)));
            steps.extend(due.take(room));
        }
        for (name, (kind, on)) in steps {
            if let Some(worker) = self.workers.get_mut(&name) {
                worker.doing = Doing::Ordering;
            }
            self.ordering += 1;
            let connection = self.connection.clone();
            self.work.push(Box::pin(async move {
                let result = order(&connection, kind, &name, on).await;
                Done::Ordered { instance: name, kind, on, result }
            }));
        }
        if self.stopping && self.ordering == 0 && (self.paused || self.workers.values().all(Worker::is_said))
        {
            let _ = self.goodbye.said.try_send(());
        }
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    async fn next(&mut self) -> zbus::Result<Heard> {
        // Answers to orders first: they name the jobs whose ends are announced.
        let idle = self.work.is_empty();
        let work = &mut self.work;
        let done = pin!(async move { if idle { pending().await } else { work.next().await } });
        let messages = select(self.owners.next(), self.removed.next());
        match select(done, messages).await {
            Either::Left((done, _)) => Ok(Heard::Done(done.unwrap_or(Done::Retry))),
            Either::Right((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Right((Either::Right((message, _)), _)) => {
                Ok(Heard::JobRemoved(message.ok_or_else(ended)??))
            }
        }
    }

    async fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Owner(message) => {
                if new_owner(&message).is_some() {
                    self.read().await;
                } else {
                    self.attach(false);
                }
            }
            Heard::JobRemoved(message) => {
                type Body = (u32, OwnedObjectPath, String, String);
                let Ok((_, job, unit, result)) = message.body().deserialize::<Body>() else { return };
                if unit.starts_with("vrrp-") {
                    self.job_ended(job.as_str(), &unit, &result);
                }
            }
            Heard::Done(Done::Retry) => self.paused = false,
            Heard::Done(Done::Sweep) => self.sweep(),
            Heard::Done(Done::Ordered { instance, kind, on, result }) => {
                self.ordered(&instance, kind, on, result);
            }
        }
    }

    fn ordered(&mut self, instance: &str, kind: Kind, on: bool, result: zbus::Result<String>) {
        self.ordering -= 1;
        let Some(worker) = self.workers.get_mut(instance) else { return };
        worker.doing = Doing::Nothing;
        match result {
            Ok(job) => {
                self.refusals = 0;
                worker.has[kind.index()] = Some(on);
                if let Some(index) = self.ended.iter().position(|ended| *ended == job) {
                    self.ended.remove(index);
                    return;
                }
                worker.doing = Doing::Waiting { kind, job, swept: false };
                self.sweep_later();
            }
            // A target that is not loaded is not up.
            Err(error) if !on && is_called(&error, &["org.freedesktop.systemd1.NoSuchUnit"]) => {
                worker.has[kind.index()] = Some(false);
            }
            Err(error) => self.refused(instance, kind, on, &error),
        }
    }

    /// What systemd does not do for one router it will not do for another: all wait.
    fn refused(&mut self, instance: &str, kind: Kind, on: bool, error: &zbus::Error) {
        if self.refusals.is_multiple_of(SAY_EVERY) {
            let verb = if on { "start" } else { "stop" };
            let unit = format!("{}@{instance}.target", kind.template());
            log::warn!(
                MESSAGE_ID = message_id::TARGET_REFUSED, VIRTUAL_ROUTER = instance, TARGET = unit.as_str();
                "cannot {verb} {unit}: {error}{}; units that are bound to it do not follow the role, VRRP itself goes on, trying again",
                hint(error)
            );
        }
        self.refusals = self.refusals.wrapping_add(1);
        self.paused = true;
        self.work.push(Box::pin(async {
            pause(RETRY).await;
            Done::Retry
        }));
    }

    /// One timer for all: a job is waited for once to twice [`JOB`].
    fn sweep_later(&mut self) {
        if !std::mem::replace(&mut self.sweeping, true) {
            self.work.push(Box::pin(async {
                pause(JOB).await;
                Done::Sweep
            }));
        }
    }

    fn sweep(&mut self) {
        self.sweeping = false;
        let mut waiting = false;
        for (instance, worker) in &mut self.workers {
            let Doing::Waiting { job, swept, .. } = &mut worker.doing else { continue };
            if std::mem::replace(swept, true) {
                log::warn!(
                    "systemd is at {job} of router {instance} for {JOB:?} and more, not waiting longer"
                );
                worker.doing = Doing::Nothing;
            } else {
                waiting = true;
            }
        }
        if waiting {
            self.sweep_later();
        }
    }

    fn job_ended(&mut self, job: &str, unit: &str, result: &str) {
        let waits =
            |worker: &&mut Worker| matches!(&worker.doing, Doing::Waiting { job: ours, .. } if ours == job);
        if let Some(worker) = self.workers.values_mut().find(waits) {
            worker.doing = Doing::Nothing;
        } else {
            self.ended.push_back(job.to_owned());
            if self.ended.len() > ENDED {
                self.ended.pop_front();
            }
        }
        // "done", and "canceled" by our own next order, are as it should be.
        if ["failed", "dependency", "timeout"].contains(&result) {
            log::warn!("systemd could not start {unit} ({result}): see systemctl status {unit}");
        }
    }
}

impl Drop for Targets {
    fn drop(&mut self) {
        self.attach(false);
    }
}

/// What stands between @ and the dot; `None`: too long, which the configuration does not allow.
fn instance(router: &str) -> Option<String> {
    let name = target_name(Kind::Active.template(), router).ok()?;
    let (_, rest) = name.split_once('@')?;
    rest.strip_suffix(".target").map(ToOwned::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_what_systemd_lists() {
        assert_eq!(instance("web-1").as_deref(), Some("web-1"));
        assert_eq!(instance("a b").as_deref(), Some("a\\x20b"));
    }
}
