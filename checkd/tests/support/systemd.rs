//! A systemd that says what the test wants.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

use daemon::bus::path_element;
use zbus::{Connection, OwnedVariant, Variant, connection, interface};

use super::{World, until};

pub const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const UNIT: &str = "org.freedesktop.systemd1.Unit";

/// ActiveState, SubState, LoadState and Result.
pub type State = [&'static str; 4];

#[derive(Clone, Default)]
struct Model {
    states: Arc<Mutex<HashMap<String, State>>>,
    subscribers: Arc<Mutex<HashSet<String>>>,
}

struct Manager(Model);

#[interface(name = "org.freedesktop.systemd1.Manager")]
impl Manager {
    #[allow(clippy::needless_pass_by_value, reason = "zbus hands it over")]
    fn subscribe(&self, #[zbus(header)] header: zbus::message::Header<'_>) {
        let sender = header.sender().map(ToString::to_string).unwrap_or_default();
        self.0.subscribers.lock().unwrap().insert(sender);
    }
}

/// What systemd has of one unit.
struct Unit {
    model: Model,
    unit: String,
}

#[interface(name = "org.freedesktop.systemd1.Unit")]
impl Unit {
    #[zbus(property)]
    fn active_state(&self) -> &str {
        self.model.state(&self.unit)[0]
    }

    #[zbus(property)]
    fn sub_state(&self) -> &str {
        self.model.state(&self.unit)[1]
    }

    #[zbus(property)]
    fn load_state(&self) -> &str {
        self.model.state(&self.unit)[2]
    }
}

/// What it has of a service beyond that.
struct Service {
    model: Model,
    unit: String,
}

#[interface(name = "org.freedesktop.systemd1.Service")]
impl Service {
    #[zbus(property)]
    fn result(&self) -> &str {
        self.model.state(&self.unit)[3]
    }
}

impl Model {
    fn state(&self, unit: &str) -> State {
        let states = self.states.lock().unwrap();
        states.get(unit).copied().unwrap_or(["inactive", "dead", "not-found", "success"])
    }
}

fn pair((name, text): (&str, &str)) -> (String, OwnedVariant) {
    (name.to_owned(), OwnedVariant::try_from(Variant::from(text.to_owned())).unwrap())
}

pub struct Systemd {
    pub connection: Connection,
    model: Model,
}

impl Systemd {
    pub fn start(world: &World, units: &[(&str, State)]) -> Self {
        let model = Model::default();
        let known = units.iter().map(|(unit, state)| ((*unit).to_owned(), *state));
        model.states.lock().unwrap().extend(known);
        let connection = zbus::block_on(async {
            let mut builder = connection::Builder::address(world.bus_address().as_str())
                .serve_at(PATH, Manager(model.clone()))
                .name(NAME);
            for unit in units.iter().map(|(unit, _)| *unit).chain(["nothing.service"]) {
                let (model, unit) = (model.clone(), unit.to_owned());
                let service = Service { model: model.clone(), unit: unit.clone() };
                builder = builder.serve_at(path(&unit), service).serve_at(path(&unit), Unit { model, unit });
            }
            builder.build().await.unwrap()
        });
        Self { connection, model }
    }

    /// The answers to questions are others from now on, without a word.
    pub fn set(&self, unit: &str, state: State) {
        self.model.states.lock().unwrap().insert(unit.to_owned(), state);
    }

    /// As systemd announces it: only to those who have subscribed, and without LoadState and Result.
    pub fn announce(&self, unit: &str, state: State) {
        self.set(unit, state);
        until("checkd has subscribed", || (!self.model.subscribers.lock().unwrap().is_empty()).then_some(()));
        say(&self.connection, None, unit, state);
    }
}

/// To everybody, or to one.
pub fn say(connection: &Connection, to: Option<&str>, unit: &str, state: State) {
    let changed: HashMap<String, OwnedVariant> =
        [("ActiveState", state[0]), ("SubState", state[1])].map(pair).into();
    let none: &[&str] = &[];
    let body = (UNIT, changed, none);
    let standard = "org.freedesktop.DBus.Properties";
    zbus::block_on(connection.emit_signal(to, path(unit), standard, "PropertiesChanged", &body)).unwrap();
}

fn path(unit: &str) -> String {
    format!("{PATH}/unit/{}", path_element(unit))
}

pub const RUNNING: State = ["active", "running", "loaded", "success"];
pub const STOPPING: State = ["deactivating", "stop-sigterm", "loaded", "success"];
pub const FAILED: State = ["failed", "failed", "loaded", "exit-code"];
