//! The client of ipvsd: whether the virtual services that are tracked have a quorum.
//!
//! Signals only say where to look again; what is believed is what a later question is answered.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;

use daemon::bus::{Model, path_element};
use daemon::client::{Changes, Retry, Seen, ended, is_absent, is_called, listen, new_owner, owners, signals};
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use zbus::{Connection, Message, MessageStream, OwnedVariant};

use crate::status::Snapshot;
use crate::track::news::News;
use crate::track::{Told, What};

const NAME: &str = "org.trivet.Ipvs1";
const PATH: &str = "/org/trivet/Ipvs1";
const SERVICES: &str = "/org/trivet/Ipvs1/service";
const INTERFACE: &str = "org.trivet.Ipvs1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// There is no such object, or it has no such interface.
const NO_OBJECT: [&str; 2] =
    ["org.freedesktop.DBus.Error.UnknownObject", "org.freedesktop.DBus.Error.UnknownInterface"];

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    mut changes: Changes,
    news: News,
) -> zbus::Result<()> {
    let mut services = Services::subscribe(connection, news).await?;
    let mut seen = Seen::default();
    loop {
        let tracked = Arc::clone(&model.latest().tracked);
        services.want(tracked.iter());
        if seen.is_other(&tracked) {
            services.ask_all();
        }
        services.ask().await;
        // What is not ready first is dropped, and loses nothing by it.
        let heard = match select(changes.next(), pin!(services.next())).await {
            Either::Left((Some(()), _)) => None,
            Either::Left((None, _)) => return Ok(()),
            Either::Right((heard, _)) => Some(heard?),
        };
        if let Some(heard) = heard {
            services.handle(&heard);
        }
    }
}

#[derive(Debug)]
enum Heard {
    /// Ipvsd came, went, or was replaced.
    Owner(Message),
    /// Something of the object with this path changed.
    Changed(String),
    /// An object came or went.
    Objects,
    Retry,
}

struct Services {
    connection: Connection,
    owners: MessageStream,
    changed: MessageStream,
    objects: MessageStream,
    news: News,
    /// By object path: the name, and whether it is to be asked for.
    wanted: BTreeMap<String, (Arc<str>, bool)>,
    absent: bool,
    retry: Retry,
}

impl Services {
    /// Listen first and ask later, so that nothing is missed between the two.
    async fn subscribe(connection: &Connection, news: News) -> zbus::Result<Self> {
        let changed = signals()
            .sender(NAME)
            .path_namespace(SERVICES)
            .interface(PROPERTIES)
            .member("PropertiesChanged")
            .add_arg(INTERFACE)
            .build()?;
        let objects =
            signals().sender(NAME).path(PATH).interface("org.freedesktop.DBus.ObjectManager").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            changed: listen(connection, changed).await?,
            objects: listen(connection, objects).await?,
            news,
            wanted: BTreeMap::new(),
            absent: false,
            retry: Retry::default(),
        })
    }

    fn want<'a>(&mut self, tracked: impl Iterator<Item = &'a What>) {
        let mut former = std::mem::take(&mut self.wanted);
        for what in tracked {
            let What::Service(name) = what else { continue };
            let path = format!("{SERVICES}/{}", path_element(name));
            let wanted = former.remove(&path).unwrap_or_else(|| (Arc::clone(name), true));
            self.wanted.insert(path, wanted);
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
            let told =
                if self.absent { nothing("ipvsd is not on the bus") } else { self.get(&path, &name).await };
            self.news.tell(&What::Service(name), told);
        }
    }

    async fn get(&mut self, path: &str, name: &str) -> Told {
        let call = self.connection.call_method(Some(NAME), path, Some(PROPERTIES), "GetAll", &(INTERFACE,));
        let answer = match call.await {
            Ok(answer) => answer,
            Err(error) if is_absent(&error) => {
                self.absent = true;
                return nothing("ipvsd is not on the bus");
            }
            Err(error) if is_called(&error, &NO_OBJECT) => {
                return nothing(&format!("ipvsd has no service '{name}'"));
            }
            Err(error) => {
                self.retry.begin();
                return nothing(&format!("ipvsd does not answer: {error}"));
            }
        };
        let properties = answer.body().deserialize::<HashMap<String, OwnedVariant>>().unwrap_or_default();
        let reason = text(&properties, "Reason");
        match properties.get("HasQuorum").map(bool::try_from) {
            Some(Ok(true)) => Told::Up { reason, since: 0 },
            Some(Ok(false)) => Told::Down { reason, since: 0 },
            Some(Err(_)) | None => nothing("ipvsd does not say whether it has a quorum"),
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

impl Drop for Services {
    /// With the connection goes the only way to hear ipvsd.
    fn drop(&mut self) {
        for (name, _) in self.wanted.values() {
            let told = nothing("the connection to the bus has ended");
            self.news.tell(&What::Service(Arc::clone(name)), told);
        }
    }
}

fn nothing(reason: &str) -> Told {
    Told::Nothing { reason: reason.to_owned() }
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    properties.get(name).and_then(|value| String::try_from(value.clone()).ok()).unwrap_or_default()
}
