//! Following units: all questions one after the other, and what systemd announces meanwhile.

use std::collections::{HashMap, VecDeque};
use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use zbus::{Connection, Message, MessageStream};

use super::{MANAGER, NAME, PATH, Properties, UnitState, has_failed, nothing, state, subscribe};
use crate::bus::path_element;
use crate::client::{
    Changes, Retry, Seen, ended, is_absent, is_called, is_from, listen, new_owner, owners, signals,
};

/// Where its units are.
const UNITS: &str = "/org/freedesktop/systemd1/unit";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const ABSENT: &str = "systemd is not on the bus";

/// Tell the state of each unit of what is `wanted`, first as it is and then whenever it changes, until the connection
/// ends. `changes` wakes when something else may be wanted; a new `Arc` has all of its units told anew. What is told is
/// true when it is told; it may be told twice.
pub async fn follow<S>(
    connection: &Connection,
    mut changes: Changes,
    wanted: impl Fn() -> Arc<S>,
    units_of: impl Fn(&S) -> Vec<Arc<str>>,
    tell: impl Fn(&Arc<str>, UnitState),
) -> zbus::Result<()> {
    let mut units = Units::new(connection, tell).await?;
    let mut seen = Seen::default();
    loop {
        let wanted = wanted();
        if seen.is_other(&wanted) {
            units.want(units_of(&wanted)).await?;
        }
        units.ask();
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(units.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            units.handle(heard);
        }
    }
}

#[derive(Debug)]
enum Heard {
    /// Systemd came, went, or re-executed itself.
    Owner(Message),
    /// It has read its configuration anew, or is about to.
    Reloading(Message),
    Unit(Message),
    Answer(Answer),
    Retry,
}

/// To what was asked last.
#[derive(Debug)]
enum Answer {
    /// It announces changes; under this unique name.
    Subscribed(zbus::Result<String>),
    /// Of the unit with this object path.
    Unit(String, zbus::Result<Properties>),
}

struct Units<T: Fn(&Arc<str>, UnitState)> {
    connection: Connection,
    owners: MessageStream,
    reloading: MessageStream,
    /// One rule for all units, while any is wanted: a bus allows some hundred rules to a connection (512 for
    /// dbus-daemon's system bus), and checks may be about thousands of units.
    changed: Option<MessageStream>,
    tell: T,
    /// By object path.
    wanted: HashMap<String, Unit>,
    /// The paths of those that are to be asked for, each once.
    due: VecDeque<String>,
    /// The question that is under way. Signals are heard meanwhile: those that nobody takes would keep its answer from
    /// being read.
    asking: Option<Pin<Box<dyn Future<Output = Answer> + Send>>>,
    /// Systemd's unique name, if it announces changes to us.
    owner: Option<String>,
    absent: bool,
    retry: Retry,
}

struct Unit {
    name: Arc<str>,
    state: Asked,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Yes,
    /// It is among those that are due.
    Due,
    /// To be asked for when it is time to try again.
    InVain,
}

impl<T: Fn(&Arc<str>, UnitState)> Units<T> {
    async fn new(connection: &Connection, tell: T) -> zbus::Result<Self> {
        let reloading = signals().sender(NAME).path(PATH).interface(MANAGER).member("Reloading").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            reloading: listen(connection, reloading).await?,
            changed: None,
            tell,
            wanted: HashMap::new(),
            due: VecDeque::new(),
            asking: None,
            owner: None,
            absent: false,
            retry: Retry::default(),
        })
    }

    /// Listen to exactly these units, and ask for all of them.
    async fn want(&mut self, names: Vec<Arc<str>>) -> zbus::Result<()> {
        if names.is_empty() {
            self.changed = None;
        } else if self.changed.is_none() {
            let rule = signals().sender(NAME).path_namespace(UNITS).interface(PROPERTIES);
            let rule = rule.member("PropertiesChanged").add_arg(UNIT).build()?;
            self.changed = Some(listen(&self.connection, rule).await?);
        }
        let unit = |name: Arc<str>| {
            (format!("{UNITS}/{}", path_element(&name)), Unit { name, state: Asked::InVain })
        };
        let former = std::mem::replace(&mut self.wanted, names.into_iter().map(unit).collect());
        self.due.clear();
        // First those of which nothing was told yet.
        for (path, unit) in self.wanted.iter_mut().filter(|(path, _)| !former.contains_key(*path)) {
            unit.ask(path, &mut self.due);
        }
        self.ask_all();
        Ok(())
    }

    fn ask_all(&mut self) {
        for (path, unit) in &mut self.wanted {
            unit.ask(path, &mut self.due);
        }
    }

    /// Ask the next question, if none is under way.
    fn ask(&mut self) {
        if self.asking.is_some() {
            return;
        }
        if self.absent {
            for path in std::mem::take(&mut self.due) {
                if let Some(unit) = self.wanted.get_mut(&path) {
                    unit.state = Asked::Yes;
                    (self.tell)(&unit.name, nothing(ABSENT));
                }
            }
            return;
        }
        let connection = self.connection.clone();
        if self.owner.is_none() {
            if !self.due.is_empty() {
                let subscribed = async move { Answer::Subscribed(subscribe_and_name(&connection).await) };
                self.asking = Some(Box::pin(subscribed));
            }
            return;
        }
        while let Some(path) = self.due.pop_front() {
            let Some(unit) = self.wanted.get_mut(&path) else { continue };
            unit.state = Asked::Yes;
            let name = Arc::clone(&unit.name);
            self.asking = Some(Box::pin(async move {
                let answer = get(&connection, &path, &name).await;
                Answer::Unit(path, answer)
            }));
            return;
        }
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    async fn next(&mut self) -> zbus::Result<Heard> {
        let changed = &mut self.changed;
        let unit = pin!(async move {
            match changed {
                Some(changed) => changed.next().await,
                None => pending().await,
            }
        });
        let asking = &mut self.asking;
        let answer = pin!(async move {
            match asking {
                Some(question) => {
                    let answer = question.await;
                    *asking = None;
                    answer
                }
                None => pending().await,
            }
        });
        let messages = select(self.owners.next(), select(self.reloading.next(), unit));
        // Signals first: what they say is older than an answer that is there as well.
        let retry = pin!(self.retry.over());
        match select(messages, select(answer, retry)).await {
            Either::Left((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Left((Either::Right((Either::Left((message, _)), _)), _)) => {
                Ok(Heard::Reloading(message.ok_or_else(ended)??))
            }
            Either::Left((Either::Right((Either::Right((message, _)), _)), _)) => {
                Ok(Heard::Unit(message.ok_or_else(ended)??))
            }
            Either::Right((Either::Left((answer, _)), _)) => Ok(Heard::Answer(answer)),
            Either::Right((Either::Right(((), _)), _)) => Ok(Heard::Retry),
        }
    }

    fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Retry => {
                for (path, unit) in &mut self.wanted {
                    if unit.state == Asked::InVain {
                        unit.ask(path, &mut self.due);
                    }
                }
            }
            Heard::Owner(message) => {
                self.absent = new_owner(&message).is_none();
                self.owner = None;
                // It was the former one that was asked.
                self.asking = None;
                self.retry.end();
                self.ask_all();
            }
            // true: it has begun.
            Heard::Reloading(message) => {
                let has_begun = message.body().deserialize::<bool>().unwrap_or(true);
                if is_from(&message, self.owner.as_deref()) && !has_begun {
                    self.ask_all();
                }
            }
            Heard::Unit(message) => {
                if is_from(&message, self.owner.as_deref()) {
                    self.changed(&message);
                }
            }
            Heard::Answer(Answer::Subscribed(Ok(owner))) => self.owner = Some(owner),
            Heard::Answer(Answer::Subscribed(Err(error))) => self.on_silence(&error),
            Heard::Answer(Answer::Unit(path, answer)) => self.on_answer(&path, answer),
        }
    }

    fn on_answer(&mut self, path: &str, answer: zbus::Result<Properties>) {
        let error = match answer {
            Ok(properties) => {
                if let Some(unit) = self.wanted.get(path) {
                    let unreadable = || nothing("systemd's answer cannot be read");
                    (self.tell)(&unit.name, state(&properties).unwrap_or_else(unreadable));
                }
                return;
            }
            Err(error) => error,
        };
        if is_absent(&error) || !is_refusal(&error) {
            return self.on_silence(&error);
        }
        // It has answered, and the others are no part of it.
        if let Some(unit) = self.wanted.get_mut(path) {
            if unit.state == Asked::Yes {
                unit.state = Asked::InVain;
            }
            (self.tell)(&unit.name, nothing(&format!("systemd does not answer: {error}")));
            self.retry.begin();
        }
    }

    /// Systemd is not there, or says nothing: that is so for every unit.
    fn on_silence(&mut self, error: &zbus::Error) {
        if is_absent(error) {
            self.absent = true;
            return self.ask_all();
        }
        self.due.clear();
        for unit in self.wanted.values_mut() {
            unit.state = Asked::InVain;
        }
        self.retry.begin();
        self.lose(&format!("systemd does not answer: {error}"));
    }

    /// What the signal says is what was so when it was sent, in the order in which it happened.
    fn changed(&mut self, message: &Message) {
        let header = message.header();
        let Some(path) = header.path() else { return };
        // Signals of all units come here.
        let Some(unit) = self.wanted.get_mut(path.as_str()) else { return };
        type Body = (String, Properties, Vec<String>);
        let said =
            message.body().deserialize::<Body>().ok().map(|(_, changed, _)| changed).unwrap_or_default();
        let state = state(&said);
        // The state at once; how it has failed is asked for.
        if has_failed(&said) || state.is_none() {
            unit.ask(path.as_str(), &mut self.due);
        }
        if let Some(state) = state {
            (self.tell)(&unit.name, state);
        }
    }

    fn lose(&self, reason: &str) {
        for unit in self.wanted.values() {
            (self.tell)(&unit.name, nothing(reason));
        }
    }
}

impl Unit {
    fn ask(&mut self, path: &str, due: &mut VecDeque<String>) {
        if self.state != Asked::Due {
            self.state = Asked::Due;
            due.push_back(path.to_owned());
        }
    }
}

/// Systemd's unique name, from which it announces changes to this connection.
async fn subscribe_and_name(connection: &Connection) -> zbus::Result<String> {
    subscribe(connection).await?;
    let bus = "org.freedesktop.DBus";
    let name =
        connection.call_method(Some(bus), "/org/freedesktop/DBus", Some(bus), "GetNameOwner", &(NAME,));
    name.await?.body().deserialize()
}

/// systemd loads the unit for this question, and has an answer for one that does not exist.
async fn get(connection: &Connection, path: &str, name: &str) -> zbus::Result<Properties> {
    let answer = connection.call_method(Some(NAME), path, Some(PROPERTIES), "GetAll", &(UNIT,)).await?;
    let mut all: Properties = answer.body().deserialize().unwrap_or_default();
    if has_failed(&all) && name.ends_with(".service") {
        // How it has failed: "exit-code", "timeout". Only a better word: without it the state is told all the same.
        let arguments = (SERVICE, "Result");
        let result = connection.call_method(Some(NAME), path, Some(PROPERTIES), "Get", &arguments).await;
        let result = result.ok().and_then(|answer| answer.body().deserialize().ok());
        all.extend(result.map(|result| ("Result".to_owned(), result)));
    }
    Ok(all)
}

/// Whether this is an answer of the other side's, and not the want of one.
fn is_refusal(error: &zbus::Error) -> bool {
    let silence = ["NoReply", "Timeout", "TimedOut", "Disconnected"];
    let silence = silence.map(|word| format!("org.freedesktop.DBus.Error.{word}"));
    let answered = matches!(error, zbus::Error::MethodError(..) | zbus::Error::FDO(_));
    answered && !is_called(error, &silence.each_ref().map(String::as_str))
}

impl<T: Fn(&Arc<str>, UnitState)> Drop for Units<T> {
    /// With the connection goes the only way to hear systemd.
    fn drop(&mut self) {
        self.lose("the connection to the bus has ended");
    }
}
