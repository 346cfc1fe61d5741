//! The client of another daemon of ours: the properties of those of its objects that we depend on, one per configured
//! name.
//!
//! Signals only say where to look again; what is believed is what a later question is answered.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use zbus::{Connection, Message, MessageStream, OwnedVariant};

use crate::bus::path_element;
use crate::client::{Changes, Retry, Seen, ended, is_absent, is_called, listen, new_owner, owners, signals};

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// There is no such object, or it has no such interface.
const NO_OBJECT: [&str; 2] =
    ["org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownInterface"];

/// Which objects of whom.
#[derive(Clone, Copy, Debug)]
pub struct Whose {
    /// In messages: `vrrpd`, and what its objects are: `virtual router`.
    pub daemon: &'static str,
    pub object: &'static str,
    /// On the bus.
    pub name: &'static str,
    /// Of its object manager.
    pub manager: &'static str,
    /// Below which the objects are, each by its configured name.
    pub base: &'static str,
    pub interface: &'static str,
}

/// An object's properties, or why they are not known.
pub type Told = Result<HashMap<String, OwnedVariant>, Untold>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untold {
    /// The daemon is not on the bus, which is there.
    Absent(String),
    Other(String),
}

impl Untold {
    /// In words.
    pub fn into_reason(self) -> String {
        match self {
            Self::Absent(reason) | Self::Other(reason) => reason,
        }
    }
}

/// Until the connection ends. `wanted`: what `names` finds the configured names in; each new one of the loop's is an
/// `Arc` of its own, and all of it is told anew. `changes`: there may be another one.
pub async fn objects<W>(
    connection: &Connection,
    whose: &'static Whose,
    mut changes: Changes,
    wanted: impl Fn() -> Arc<W>,
    names: impl Fn(&W) -> BTreeSet<Arc<str>>,
    tell: impl Fn(&Arc<str>, Told),
) -> zbus::Result<()> {
    let mut objects = Objects::subscribe(connection, whose, tell).await?;
    let mut seen = Seen::default();
    loop {
        let wanted = wanted();
        objects.want(&names(&wanted));
        if seen.is_other(&wanted) {
            objects.ask_all();
        }
        objects.ask().await;
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(objects.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            objects.handle(&heard);
        }
    }
}

#[derive(Debug)]
enum Heard {
    /// The daemon came, went, or was replaced.
    Owner(Message),
    /// Something of the object with this path changed.
    Changed(String),
    /// An object came or went.
    Objects,
    Retry,
}

struct Objects<T: Fn(&Arc<str>, Told)> {
    connection: Connection,
    whose: &'static Whose,
    owners: MessageStream,
    changed: MessageStream,
    objects: MessageStream,
    tell: T,
    /// By object path: the name, and whether it is to be asked for.
    wanted: BTreeMap<String, (Arc<str>, bool)>,
    absent: bool,
    retry: Retry,
}

impl<T: Fn(&Arc<str>, Told)> Objects<T> {
    /// Listen first and ask later, so that nothing is missed between the two.
    async fn subscribe(connection: &Connection, whose: &'static Whose, tell: T) -> zbus::Result<Self> {
        let changed = signals()
            .sender(whose.name)
            .path_namespace(whose.base)
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .add_arg(whose.interface)
            .build()?;
        let manager = "org.freedesktop.DBus.ObjectManager";
        let objects = signals().sender(whose.name).path(whose.manager).interface(manager).build()?;
        Ok(Self {
            connection: connection.clone(),
            whose,
            owners: owners(connection, whose.name).await?,
            changed: listen(connection, changed).await?,
            objects: listen(connection, objects).await?,
            tell,
            wanted: BTreeMap::new(),
            absent: false,
            retry: Retry::default(),
        })
    }

    fn want(&mut self, names: &BTreeSet<Arc<str>>) {
        let mut former = std::mem::take(&mut self.wanted);
        for name in names {
            let path = format!("{}/{}", self.whose.base, path_element(name));
            let wanted = former.remove(&path).unwrap_or_else(|| (Arc::clone(name), true));
            self.wanted.insert(path, wanted);
        }
        for (name, _) in former.into_values() {
            (self.tell)(&name, Err(Untold::Other("it is not asked for any more".to_owned())));
        }
    }

    fn ask_all(&mut self) {
        for (_, due) in self.wanted.values_mut() {
            *due = true;
        }
    }

    /// Ask for all that are due.
    async fn ask(&mut self) {
        if self.retry.has_begun() {
            return;
        }
        let due = self.wanted.iter_mut().filter(|(_, (_, due))| *due);
        let due: Vec<(String, Arc<str>)> = due
            .map(|(path, (name, due))| {
                *due = false;
                (path.clone(), Arc::clone(name))
            })
            .collect();
        for (path, name) in due {
            let told = if self.absent { Err(self.absence()) } else { self.get(&path, &name).await };
            (self.tell)(&name, told);
        }
    }

    fn absence(&self) -> Untold {
        Untold::Absent(format!("{} is not on the bus", self.whose.daemon))
    }

    async fn get(&mut self, path: &str, name: &str) -> Told {
        let Whose { daemon, object, name: bus_name, interface, .. } = self.whose;
        let arguments = (*interface,);
        let call = self.connection.call_method(Some(*bus_name), path, Some(PROPERTIES), "GetAll", &arguments);
        match call.await {
            Ok(answer) => Ok(answer.body().deserialize().unwrap_or_default()),
            Err(error) if is_absent(&error) => {
                self.absent = true;
                Err(self.absence())
            }
            Err(error) if is_called(&error, &NO_OBJECT) => {
                Err(Untold::Other(format!("{daemon} has no {object} '{name}'")))
            }
            Err(error) => {
                self.retry.begin();
                Err(Untold::Other(format!("{daemon} does not answer: {error}")))
            }
        }
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    async fn next(&mut self) -> zbus::Result<Heard> {
        let retry = pin!(self.retry.over());
        let messages = select(self.owners.next(), select(self.changed.next(), self.objects.next()));
        match select(messages, retry).await {
            Either::Left((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Left((Either::Right((Either::Left((message, _)), _)), _)) => {
                let message = message.ok_or_else(ended)??;
                let path = message.header().path().map(ToString::to_string);
                Ok(Heard::Changed(path.unwrap_or_default()))
            }
            Either::Left((Either::Right((Either::Right((message, _)), _)), _)) => {
                message.ok_or_else(ended)??;
                Ok(Heard::Objects)
            }
            Either::Right(((), _)) => Ok(Heard::Retry),
        }
    }

    fn handle(&mut self, heard: &Heard) {
        match heard {
            Heard::Retry => {}
            Heard::Owner(message) => {
                self.absent = new_owner(message).is_none();
                self.retry.end();
            }
            Heard::Changed(path) => {
                if let Some((_, due)) = self.wanted.get_mut(path) {
                    *due = true;
                }
                return;
            }
            Heard::Objects => {}
        }
        self.ask_all();
    }
}

impl<T: Fn(&Arc<str>, Told)> Drop for Objects<T> {
    /// With the connection goes the only way to hear the daemon.
    fn drop(&mut self) {
        for (name, _) in self.wanted.values() {
            (self.tell)(name, Err(Untold::Other("the connection to the bus has ended".to_owned())));
        }
    }
}
