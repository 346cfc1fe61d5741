//! The client of checkd: registers the whole set of targets that are tracked, and hands the answers to the loop.
//!
//! `org.trivet.Check1.Manager`: `Watch` replaces our set and answers all of it, as of a generation; `HealthChanged`
//! of a later generation brings what changed since. After any doubt everything is registered again. (ipvsd's client is
//! alike, but answers a loop of another kind; what the two share is the protocol.)

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;

use daemon::bus::Model;
use daemon::client::{Changes, Retry, Seen, ended, is_absent, is_from, listen, new_owner, owners, signals};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use zbus::{Connection, Message, MessageStream};

use crate::status::Snapshot;
use crate::track::news::News;
use crate::track::{Target, Told, What};

const NAME: &str = "org.trivet.Check1";
const PATH: &str = "/org/trivet/Check1";
const INTERFACE: &str = "org.trivet.Check1.Manager";

/// check, address, state, reason, since, weight
type Row = (String, String, String, String, u64, i32);
/// A check's name, and what it is run against.
type Watched = (Arc<str>, Target);

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    mut changes: Changes,
    news: News,
) -> zbus::Result<()> {
    let mut checks = Checks::subscribe(connection, news).await?;
    let mut seen = Seen::default();
    loop {
        let tracked = Arc::clone(&model.latest().tracked);
        checks.register(targets(&tracked), seen.is_other(&tracked)).await;
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(checks.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            checks.handle(&heard);
        }
    }
}

fn targets(tracked: &BTreeSet<What>) -> BTreeSet<Watched> {
    let target = |what: &What| match what {
        What::Check(check, address) => Some((Arc::clone(check), *address)),
        What::Interface(_) | What::Unit(_) | What::Service(_) => None,
    };
    tracked.iter().filter_map(target).collect()
}

#[derive(Debug)]
enum Heard {
    /// Checkd came, went, or was replaced.
    Owner(Message),
    Health(Message),
    /// It is time to try again.
    Retry,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Unregistered,
    /// As of this generation.
    Registered(u64),
    /// Checkd is not there. Its coming will be announced.
    Absent,
    TryAgain,
}

struct Checks {
    connection: Connection,
    owners: MessageStream,
    health: MessageStream,
    news: News,
    /// What checkd watches for us, or is to.
    targets: BTreeSet<Watched>,
    state: State,
    /// The unique name of who answered.
    owner: Option<String>,
    retry: Retry,
}

impl Checks {
    /// Listen first and ask later, so that nothing is missed between the two.
    async fn subscribe(connection: &Connection, news: News) -> zbus::Result<Self> {
        let health =
            signals().sender(NAME).path(PATH).interface(INTERFACE).member("HealthChanged").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            health: listen(connection, health).await?,
            news,
            targets: BTreeSet::new(),
            state: State::Unregistered,
            owner: None,
            retry: Retry::default(),
        })
    }

    /// Have checkd watch `targets`, unless it does, or all is to be told anew.
    async fn register(&mut self, targets: BTreeSet<Watched>, anew: bool) {
        let changed = self.targets != targets || (anew && !targets.is_empty());
        // An empty set is registered only to end a watch.
        let needless = targets.is_empty() && !(changed && matches!(self.state, State::Registered(_)));
        self.targets = targets;
        match self.state {
            State::Unregistered if !needless => {}
            State::Registered(_) if changed => {}
            State::Absent if changed => return self.lose("checkd is not on the bus"),
            State::Unregistered | State::Registered(_) | State::Absent | State::TryAgain => return,
        }
        match self.watch().await {
            Ok((owner, generation, rows)) => {
                self.owner = owner;
                self.state = State::Registered(generation);
                self.deliver(rows);
            }
            Err(error) if is_absent(&error) => {
                self.state = State::Absent;
                self.lose("checkd is not on the bus");
            }
            Err(error) => {
                self.state = State::TryAgain;
                self.retry.begin();
                self.lose(&format!("checkd does not answer: {error}"));
            }
        }
    }

    async fn watch(&self) -> zbus::Result<(Option<String>, u64, Vec<Row>)> {
        let row = |(check, address): &Watched| (check.to_string(), address.to_string());
        let rows: Vec<(String, String)> = self.targets.iter().map(row).collect();
        let answer =
            self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), "Watch", &(rows,)).await?;
        let owner = answer.header().sender().map(ToString::to_string);
        let (generation, rows) = answer.body().deserialize()?;
        Ok((owner, generation, rows))
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    async fn next(&mut self) -> zbus::Result<Heard> {
        let messages = select(self.owners.next(), self.health.next());
        match select(messages, pin!(self.retry.over())).await {
            Either::Left((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Left((Either::Right((message, _)), _)) => Ok(Heard::Health(message.ok_or_else(ended)??)),
            Either::Right(((), _)) => Ok(Heard::Retry),
        }
    }

    fn handle(&mut self, heard: &Heard) {
        match heard {
            Heard::Retry => self.state = State::Unregistered,
            Heard::Owner(message) => {
                let new = new_owner(message);
                // The news of a checkd's coming may reach us after its answer.
                if new.is_some() && new == self.owner && matches!(self.state, State::Registered(_)) {
                    return;
                }
                self.retry.end();
                self.state = if new.is_some() { State::Unregistered } else { State::Absent };
                if new.is_none() {
                    self.lose("checkd has left the bus");
                }
            }
            Heard::Health(message) => {
                let State::Registered(generation) = self.state else { return };
                if !is_from(message, self.owner.as_deref()) {
                    return;
                }
                match message.body().deserialize::<(u64, Vec<Row>)>() {
                    Ok((later, rows)) if later > generation => self.deliver(rows),
                    Ok(_) => {}
                    Err(error) => log::warn!("checkd's signal cannot be read: {error}, ignoring"),
                }
            }
        }
    }

    /// Rows of others' targets are among them.
    fn deliver(&self, rows: Vec<Row>) {
        for (check, address, state, reason, since, _weight) in rows {
            let Ok(address) = address.parse() else { continue };
            let target = (Arc::from(check), address);
            if self.targets.contains(&target) {
                let told = match state.as_str() {
                    "up" => Told::Up { reason, since },
                    "down" => Told::Down { reason, since },
                    // "unknown", and what a newer checkd may say.
                    _ => Told::Nothing { reason: not_empty(reason, "checkd has no result yet") },
                };
                self.news.tell(&What::Check(target.0, target.1), told);
            }
        }
    }

    fn lose(&self, reason: &str) {
        for (check, address) in &self.targets {
            let told = Told::Nothing { reason: reason.into() };
            self.news.tell(&What::Check(Arc::clone(check), *address), told);
        }
    }
}

impl Drop for Checks {
    /// With the connection goes the only way to hear checkd.
    fn drop(&mut self) {
        self.lose("the connection to the bus has ended");
    }
}

fn not_empty(text: String, otherwise: &str) -> String {
    if text.is_empty() { otherwise.to_owned() } else { text }
}
