//! The client of systemd: in which state the units are that are tracked.
//!
//! systemd announces changes only to those who have subscribed, and forgets that with its own re-execution. After that,
//! and after a reload of its configuration (a unit may be there now that was not), all units are read anew.

use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use daemon::bus::{Model, path_element, pause};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::SelectAll;
use zbus::{Connection, Message, MessageStream, OwnedVariant};

use super::client::{Changes, RETRY, Seen, ended, is_absent, is_called, listen, new_owner, owners, signals};
use crate::status::Snapshot;
use crate::track::news::News;
use crate::track::units::told;
use crate::track::{Told, What};

pub(super) const NAME: &str = "org.freedesktop.systemd1";
pub(super) const PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const ABSENT: &str = "systemd is not on the bus";

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    mut changes: Changes,
    news: News,
) -> zbus::Result<()> {
    let mut units = Units::subscribe(connection, news).await?;
    let mut seen = Seen::default();
    loop {
        let tracked = Arc::clone(&model.latest().tracked);
        units.want(tracked.iter()).await?;
        if seen.is_other(&tracked) {
            units.ask_all();
        }
        units.ask().await;
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(units.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            units.handle(&heard);
        }
    }
}

/// Have systemd announce changes to this connection.
pub(super) async fn subscribe(connection: &Connection) -> zbus::Result<()> {
    let again = ["org.freedesktop.systemd1.AlreadySubscribed"];
    match connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await {
        Err(error) if !is_called(&error, &again) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

#[derive(Debug)]
enum Heard {
    /// Systemd came, went, or re-executed itself.
    Owner(Message),
    /// It has read its configuration anew, or is about to.
    Reloading(Message),
    Unit(Message),
    Retry,
}

struct Units {
    connection: Connection,
    owners: MessageStream,
    reloading: MessageStream,
    /// One for each unit.
    changed: SelectAll<MessageStream>,
    news: News,
    /// By object path.
    wanted: HashMap<String, Unit>,
    subscribed: bool,
    absent: bool,
    try_again: bool,
}

struct Unit {
    name: Arc<str>,
    /// Whether it is to be asked for.
    due: bool,
}

impl Units {
    async fn subscribe(connection: &Connection, news: News) -> zbus::Result<Self> {
        let reloading = signals().sender(NAME).path(PATH).interface(MANAGER).member("Reloading").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            reloading: listen(connection, reloading).await?,
            changed: SelectAll::new(),
            news,
            wanted: HashMap::new(),
            subscribed: false,
            absent: false,
            try_again: false,
        })
    }

    /// Listen to exactly these units.
    async fn want(&mut self, tracked: impl Iterator<Item = &What>) -> zbus::Result<()> {
        let mut wanted = HashMap::new();
        for what in tracked {
            let What::Unit(name) = what else { continue };
            let path = format!("{PATH}/unit/{}", path_element(name));
            wanted.insert(path, Arc::clone(name));
        }
        if wanted.len() == self.wanted.len() && wanted.keys().all(|path| self.wanted.contains_key(path)) {
            return Ok(());
        }
        // The old streams first: what they still hold is asked for again.
        self.changed = SelectAll::new();
        for path in wanted.keys() {
            let rule = signals().sender(NAME).path(path.as_str()).interface(PROPERTIES);
            let rule = rule.member("PropertiesChanged").add_arg(UNIT).build()?;
            self.changed.push(listen(&self.connection, rule).await?);
        }
        self.wanted = wanted.into_iter().map(|(path, name)| (path, Unit { name, due: true })).collect();
        Ok(())
    }

    fn ask_all(&mut self) {
        for unit in self.wanted.values_mut() {
            unit.due = true;
        }
    }

    /// Ask for all that are due.
    async fn ask(&mut self) {
        if self.try_again || self.wanted.is_empty() {
            return;
        }
        if !self.subscribed && !self.absent {
            match subscribe(&self.connection).await {
                Ok(()) => self.subscribed = true,
                Err(error) if is_absent(&error) => self.absent = true,
                Err(error) => {
                    self.try_again = true;
                    return self.lose(&format!("systemd does not answer: {error}"));
                }
            }
        }
        let due: Vec<(String, Arc<str>)> = self
            .wanted
            .iter_mut()
            .filter_map(|(path, unit)| {
                let due = std::mem::take(&mut unit.due);
                due.then(|| (path.clone(), Arc::clone(&unit.name)))
            })
            .collect();
        for (path, name) in due {
            let told = if self.absent { nothing(ABSENT) } else { self.get(&path).await };
            self.news.tell(&What::Unit(name), told);
        }
    }

    /// systemd loads the unit for this question, and has an answer for one that does not exist.
    async fn get(&mut self, path: &str) -> Told {
        let call = self.connection.call_method(Some(NAME), path, Some(PROPERTIES), "GetAll", &(UNIT,));
        match call.await {
            Ok(answer) => {
                let all = answer.body().deserialize::<HashMap<String, OwnedVariant>>().unwrap_or_default();
                state(&all).unwrap_or_else(|| nothing("systemd's answer cannot be read"))
            }
            Err(error) if is_absent(&error) => {
                self.absent = true;
                nothing(ABSENT)
            }
            Err(error) => {
                self.try_again = true;
                self.ask_all();
                nothing(&format!("systemd does not answer: {error}"))
            }
        }
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    async fn next(&mut self) -> zbus::Result<Heard> {
        let try_again = self.try_again;
        let retry = async move { if try_again { pause(RETRY).await } else { pending().await } };
        // An empty set of streams has ended.
        let none = self.changed.is_empty();
        let changed = &mut self.changed;
        let unit = pin!(async move { if none { pending().await } else { changed.next().await } });
        let messages = select(self.owners.next(), select(self.reloading.next(), unit));
        match select(messages, pin!(retry)).await {
            Either::Left((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Left((Either::Right((Either::Left((message, _)), _)), _)) => {
                Ok(Heard::Reloading(message.ok_or_else(ended)??))
            }
            Either::Left((Either::Right((Either::Right((message, _)), _)), _)) => {
                Ok(Heard::Unit(message.ok_or_else(ended)??))
            }
            Either::Right(((), _)) => Ok(Heard::Retry),
        }
    }

    fn handle(&mut self, heard: &Heard) {
        match heard {
            Heard::Retry => {
                self.try_again = false;
                self.ask_all();
            }
            Heard::Owner(message) => {
                self.absent = new_owner(message).is_none();
                self.subscribed = false;
                self.try_again = false;
                self.ask_all();
            }
            // true: it has begun.
            Heard::Reloading(message) => {
                if !message.body().deserialize::<bool>().unwrap_or(false) {
                    self.ask_all();
                }
            }
            Heard::Unit(message) => self.changed(message),
        }
    }

    /// What the signal says is what was so when it was sent, in the order in which it happened.
    fn changed(&mut self, message: &Message) {
        let header = message.header();
        let Some(unit) = header.path().and_then(|path| self.wanted.get_mut(path.as_str())) else { return };
        type Body = (String, HashMap<String, OwnedVariant>, Vec<String>);
        let said = message.body().deserialize::<Body>().ok().and_then(|(_, changed, _)| state(&changed));
        match said {
            Some(told) => self.news.tell(&What::Unit(Arc::clone(&unit.name)), told),
            None => unit.due = true,
        }
    }

    fn lose(&self, reason: &str) {
        for unit in self.wanted.values() {
            self.news.tell(&What::Unit(Arc::clone(&unit.name)), nothing(reason));
        }
    }
}

impl Drop for Units {
    /// With the connection goes the only way to hear systemd.
    fn drop(&mut self) {
        self.lose("the connection to the bus has ended");
    }
}

fn nothing(reason: &str) -> Told {
    Told::Nothing { reason: reason.to_owned() }
}

/// `None`: what it takes is not among them. A signal has no LoadState; who announces a state is loaded.
fn state(properties: &HashMap<String, OwnedVariant>) -> Option<Told> {
    let text = |name: &str| properties.get(name).and_then(|value| String::try_from(value.clone()).ok());
    let since = properties.get("StateChangeTimestamp").and_then(|value| u64::try_from(value).ok());
    let (active, sub) = (text("ActiveState")?, text("SubState")?);
    Some(told(&active, &sub, &text("LoadState").unwrap_or_default(), since.unwrap_or(0)))
}
