//! The client of systemd: in which state units are, and what may be the name of one. About being a daemon: what runs
//! beside us is systemd's to know, whether a router tracks it or a check looks at it.
//!
//! systemd announces changes only to those who have subscribed, and forgets that with its own re-execution. After that,
//! and after a reload of its configuration (a unit may be there now that was not), all units are read anew.

use std::collections::HashMap;
use std::future::pending;
use std::pin::pin;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use futures_util::stream::SelectAll;
use zbus::{Connection, Message, MessageStream, OwnedVariant};

use crate::bus::{path_element, pause};
use crate::client::{Changes, RETRY, Seen, ended, is_absent, is_called, listen, new_owner, owners, signals};

pub const NAME: &str = "org.freedesktop.systemd1";
pub const PATH: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const SERVICE: &str = "org.freedesktop.systemd1.Service";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
const ABSENT: &str = "systemd is not on the bus";

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// `since`: microseconds of CLOCK_REALTIME, 0 for never.
    Up {
        reason: String,
        since: u64,
    },
    Down {
        reason: String,
        since: u64,
    },
    /// It cannot be asked, or has no answer; why.
    Nothing {
        reason: String,
    },
}

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
    let mut units = Units::subscribe(connection, tell).await?;
    let mut seen = Seen::default();
    loop {
        let wanted = wanted();
        if seen.is_other(&wanted) {
            units.want(units_of(&wanted)).await?;
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
pub async fn subscribe(connection: &Connection) -> zbus::Result<()> {
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

struct Units<T: Fn(&Arc<str>, UnitState)> {
    connection: Connection,
    owners: MessageStream,
    reloading: MessageStream,
    /// One for each unit.
    changed: SelectAll<MessageStream>,
    tell: T,
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

impl<T: Fn(&Arc<str>, UnitState)> Units<T> {
    async fn subscribe(connection: &Connection, tell: T) -> zbus::Result<Self> {
        let reloading = signals().sender(NAME).path(PATH).interface(MANAGER).member("Reloading").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: owners(connection, NAME).await?,
            reloading: listen(connection, reloading).await?,
            changed: SelectAll::new(),
            tell,
            wanted: HashMap::new(),
            subscribed: false,
            absent: false,
            try_again: false,
        })
    }

    /// Listen to exactly these units.
    async fn want(&mut self, names: Vec<Arc<str>>) -> zbus::Result<()> {
        let path = |name: &Arc<str>| format!("{PATH}/unit/{}", path_element(name));
        let wanted: HashMap<String, Arc<str>> = names.into_iter().map(|name| (path(&name), name)).collect();
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
            let state = if self.absent { nothing(ABSENT) } else { self.get(&path, &name).await };
            (self.tell)(&name, state);
        }
    }

    /// systemd loads the unit for this question, and has an answer for one that does not exist.
    async fn get(&mut self, path: &str, name: &str) -> UnitState {
        let call = self.connection.call_method(Some(NAME), path, Some(PROPERTIES), "GetAll", &(UNIT,));
        match call.await {
            Ok(answer) => {
                let mut all: Properties = answer.body().deserialize().unwrap_or_default();
                if has_failed(&all) && name.ends_with(".service") {
                    all.extend(self.result(path).await.map(|result| ("Result".to_owned(), result)));
                }
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

    /// How a service has failed: "exit-code", "timeout". Only a better word: without it the state is told all the same.
    async fn result(&self, path: &str) -> Option<OwnedVariant> {
        let arguments = (SERVICE, "Result");
        let call = self.connection.call_method(Some(NAME), path, Some(PROPERTIES), "Get", &arguments);
        call.await.ok()?.body().deserialize().ok()
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
        type Body = (String, Properties, Vec<String>);
        let said =
            message.body().deserialize::<Body>().ok().map(|(_, changed, _)| changed).unwrap_or_default();
        // The state at once; how it has failed is asked for.
        unit.due = has_failed(&said);
        match state(&said) {
            Some(state) => (self.tell)(&unit.name, state),
            None => unit.due = true,
        }
    }

    fn lose(&self, reason: &str) {
        for unit in self.wanted.values() {
            (self.tell)(&unit.name, nothing(reason));
        }
    }
}

impl<T: Fn(&Arc<str>, UnitState)> Drop for Units<T> {
    /// With the connection goes the only way to hear systemd.
    fn drop(&mut self) {
        self.lose("the connection to the bus has ended");
    }
}

type Properties = HashMap<String, OwnedVariant>;

fn nothing(reason: &str) -> UnitState {
    UnitState::Nothing { reason: reason.to_owned() }
}

fn text(properties: &Properties, name: &str) -> Option<String> {
    properties.get(name).and_then(|value| String::try_from(value.clone()).ok())
}

fn has_failed(properties: &Properties) -> bool {
    text(properties, "ActiveState").is_some_and(|state| state == "failed")
}

/// `None`: what it takes is not among them. A signal has no LoadState; who announces a state is loaded.
fn state(properties: &Properties) -> Option<UnitState> {
    let since = properties.get("StateChangeTimestamp").and_then(|value| u64::try_from(value).ok());
    let (active, mut sub) = (text(properties, "ActiveState")?, text(properties, "SubState")?);
    // "failed (failed)" says less than "failed (exit-code)".
    if let Some(result) = text(properties, "Result").filter(|_| sub == active) {
        sub = result;
    }
    Some(judge(&active, &sub, &text(properties, "LoadState").unwrap_or_default(), since.unwrap_or(0)))
}

/// ActiveState, SubState and LoadState of systemd's D-Bus interface. `since`: StateChangeTimestamp.
///
/// Reloading is up: the service serves. Activating is not up yet, and may never be: a service that crashes at every
/// start is "activating (auto-restart)" most of the time. A state that a newer systemd may have is no answer.
fn judge(active: &str, sub: &str, load: &str, since: u64) -> UnitState {
    if load == "not-found" && active == "inactive" {
        return UnitState::Down { reason: "systemd does not find such a unit".into(), since };
    }
    let reason = if sub.is_empty() { active.to_owned() } else { format!("{active} ({sub})") };
    match active {
        "active" | "reloading" | "refreshing" => UnitState::Up { reason, since },
        "inactive" | "failed" | "activating" | "deactivating" | "maintenance" => {
            UnitState::Down { reason, since }
        }
        other => {
            UnitState::Nothing { reason: format!("systemd calls it \"{other}\", which Trivet does not know") }
        }
    }
}

/// systemd's limit (UNIT_NAME_MAX) without the terminating zero.
pub const LONGEST: usize = 255;
/// Of the units that can be followed: those with a state that says something about a service being there.
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// `nginx` is `nginx.service`, as systemctl has it.
///
/// # Errors
/// What is wrong with it, as the end of a sentence such as "'unit' is …".
pub fn unit_name(name: &str) -> Result<String, String> {
    let full = if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    };
    let (prefix, _) = full.rsplit_once('.').expect("it has a suffix");
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if prefix.is_empty() || prefix.starts_with('@') || !prefix.bytes().all(valid) || full.len() > LONGEST {
        return Err(format!("not the name of a systemd unit: \"{name}\""));
    }
    if prefix.ends_with('@') {
        return Err(format!("a template, not a unit: write what stands between @ and the dot in \"{name}\""));
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_service_says_how_it_has_failed() {
        let properties = |pairs: &[(&str, &str)]| {
            let value = |text: &str| OwnedVariant::try_from(zbus::Variant::from(text.to_owned())).unwrap();
            pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect::<Properties>()
        };
        let failed = [("ActiveState", "failed"), ("SubState", "failed"), ("Result", "exit-code")];
        let reason = |pairs: &[(&str, &str)]| match state(&properties(pairs)) {
            Some(UnitState::Down { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&failed), "failed (exit-code)");
        assert_eq!(reason(&failed[..2]), "failed (failed)");
        assert!(has_failed(&properties(&failed[..2])) && !has_failed(&properties(&failed[1..])));
        assert_eq!(state(&properties(&failed[..1])), None);
    }

    #[test]
    fn a_unit_that_reloads_is_up_and_one_that_starts_or_starts_again_is_not() {
        for (active, sub, up) in [
            ("active", "running", true),
            ("active", "exited", true),
            ("reloading", "reload", true),
            ("refreshing", "refresh", true),
            ("activating", "start", false),
            ("activating", "auto-restart", false),
            ("deactivating", "stop-sigterm", false),
            ("inactive", "dead", false),
            ("failed", "failed", false),
        ] {
            let told = judge(active, sub, "loaded", 7);
            let reason = format!("{active} ({sub})");
            let wanted =
                if up { UnitState::Up { reason, since: 7 } } else { UnitState::Down { reason, since: 7 } };
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_unit_that_does_not_exist_is_down_and_an_unheard_of_state_is_no_answer() {
        let UnitState::Down { reason, .. } = judge("inactive", "dead", "not-found", 0) else { panic!() };
        assert_eq!(reason, "systemd does not find such a unit");
        assert!(matches!(judge("levitating", "", "loaded", 0), UnitState::Nothing { .. }));
    }

    #[test]
    fn unit_names_are_completed_and_checked_as_systemctl_does() {
        for (name, full) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("dev-sda.device", "dev-sda.device"),
            ("openvpn@office.service", "openvpn@office.service"),
            ("a.b", "a.b.service"),
            ("data\\x2dbase.mount", "data\\x2dbase.mount"),
        ] {
            assert_eq!(unit_name(name).as_deref(), Ok(full));
        }
        for wrong in ["", "a b", "a/b.service", "getty@.service", "@x.service", &"x".repeat(300), ".service"]
        {
            assert!(unit_name(wrong).is_err(), "{wrong}");
        }
    }
}
