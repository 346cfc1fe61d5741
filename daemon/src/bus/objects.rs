//! The objects that a daemon shows, one for each configured name, and the announcing of what changes of them.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{DefaultHasher, Hash, Hasher};

use zbus::names::InterfaceName;
use zbus::object_server::Interface;
use zbus::{Connection, OwnedVariant, Variant};

use super::step_aside;

const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// The objects of one interface below one path, one per configured name: exported, removed, and their changes
/// announced as the model changes.
#[derive(Debug)]
pub struct Objects<I> {
    base: &'static str,
    /// Properties that change too often to be announced; they say so with `emits_changed_signal = "false"`.
    silent: &'static [&'static str],
    shown: BTreeMap<String, Box<[(u64, u64)]>>,
    interface: std::marker::PhantomData<fn() -> I>,
}

impl<I: Interface> Objects<I> {
    /// For one connection; make a new one for the next.
    pub fn new(base: &'static str, silent: &'static [&'static str]) -> Self {
        Self { base, silent, shown: BTreeMap::new(), interface: std::marker::PhantomData }
    }

    /// Make the bus show exactly `names`, and announce what reads differently than before; `make` builds the object of a
    /// new one. Of those that are shown already, only those that are `changed` are looked at.
    pub async fn update_changed(
        &mut self,
        connection: &Connection,
        names: &[&str],
        changed: impl Fn(&str) -> bool,
        make: impl Fn(&str) -> I,
    ) -> zbus::Result<()> {
        let known: HashSet<&str> =
            names.iter().copied().filter(|name| self.shown.contains_key(*name)).collect();
        self.keep(connection, names, make).await?;
        for name in names {
            if known.contains(name) && !changed(name) {
                continue;
            }
            step_aside().await;
            let now = properties::<I>(connection, &self.path(name)).await?;
            if known.contains(name) {
                self.announce(connection, name, now).await?;
            } else {
                self.shown.insert((*name).to_owned(), self.digest(&now));
            }
        }
        Ok(())
    }

    /// Make the bus show exactly `names`. What changes of them is announced by [`Objects::tell`], by somebody who knows it.
    pub async fn keep(
        &mut self,
        connection: &Connection,
        names: &[&str],
        make: impl Fn(&str) -> I,
    ) -> zbus::Result<()> {
        let stay: HashSet<&str> = names.iter().copied().collect();
        let gone: Vec<String> =
            self.shown.keys().filter(|name| !stay.contains(name.as_str())).cloned().collect();
        for name in gone {
            step_aside().await;
            connection.object_server().remove::<I, _>(self.path(&name)).await?;
            self.shown.remove(&name);
        }
        for name in names {
            if !self.shown.contains_key(*name) {
                step_aside().await;
                connection.object_server().at(self.path(name), make(name)).await?;
                self.shown.insert((*name).to_owned(), Box::default());
            }
        }
        Ok(())
    }

    /// Emit one PropertiesChanged: these have these values now, and whoever wants to know those asks for them.
    pub async fn tell(
        &self,
        connection: &Connection,
        name: &str,
        changed: HashMap<&str, Variant<'_>>,
        asked_for: &[&str],
    ) -> zbus::Result<()> {
        if changed.is_empty() && asked_for.is_empty() {
            return Ok(());
        }
        let interface = I::name();
        let body = (interface.as_str(), changed, asked_for);
        connection.emit_signal(None::<&str>, self.path(name), PROPERTIES, "PropertiesChanged", &body).await
    }

    async fn announce(
        &mut self,
        connection: &Connection,
        name: &str,
        now: HashMap<String, OwnedVariant>,
    ) -> zbus::Result<()> {
        let path = self.path(name);
        let digest = self.digest(&now);
        let Some(before) = self.shown.insert(name.to_owned(), digest) else { return Ok(()) };
        let changed = now.iter().filter(|(name, value)| {
            let (name, value) = (name.as_str(), digest_of(&***value));
            !self.silent.contains(&name) && before.binary_search(&(digest_of(name), value)).is_err()
        });
        let changed = changed.map(|(name, value)| (name.as_str(), value)).collect();
        emit_changes(connection, &path, &I::name(), changed).await
    }

    /// What is enough to see which properties are others than before: thousands of objects are remembered.
    fn digest(&self, properties: &HashMap<String, OwnedVariant>) -> Box<[(u64, u64)]> {
        let audible = properties.iter().filter(|(name, _)| !self.silent.contains(&name.as_str()));
        let mut digest: Vec<_> =
            audible.map(|(name, value)| (digest_of(name.as_str()), digest_of(&**value))).collect();
        digest.sort_unstable();
        digest.into()
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{}", self.base, path_element(name))
    }
}

fn digest_of(value: &(impl Hash + ?Sized)) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// All properties of an exported object.
pub async fn properties<I: Interface>(
    connection: &Connection,
    path: &str,
) -> zbus::Result<HashMap<String, OwnedVariant>> {
    let server = connection.object_server();
    let object = server.interface::<_, I>(path).await?;
    let interface = object.get().await;
    Ok(interface.get_all(server, connection, None, object.signal_emitter()).await?)
}

/// Emit one PropertiesChanged for what differs between two states of an object.
pub async fn announce_changes(
    connection: &Connection,
    path: &str,
    interface: &InterfaceName<'_>,
    silent: &[&str],
    before: &HashMap<String, OwnedVariant>,
    now: &HashMap<String, OwnedVariant>,
) -> zbus::Result<()> {
    let changed: HashMap<&str, &OwnedVariant> = now
        .iter()
        .filter(|(name, value)| !silent.contains(&name.as_str()) && before.get(*name) != Some(value))
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    emit_changes(connection, path, interface, changed).await
}

async fn emit_changes(
    connection: &Connection,
    path: &str,
    interface: &InterfaceName<'_>,
    changed: HashMap<&str, &OwnedVariant>,
) -> zbus::Result<()> {
    if changed.is_empty() {
        return Ok(());
    }
    let invalidated: &[&str] = &[];
    let body = (interface.as_str(), changed, invalidated);
    connection.emit_signal(None::<&str>, path, PROPERTIES, "PropertiesChanged", &body).await
}

/// A name as one element of an object path, escaped as systemd does it: what is not a letter or a digit, and a
/// digit at the start, becomes `_` and two hexadecimal digits.
pub fn path_element(name: &str) -> String {
    if name.is_empty() {
        return "_".into();
    }
    let mut element = String::with_capacity(name.len());
    for (index, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (index > 0 && byte.is_ascii_digit()) {
            element.push(char::from(byte));
        } else {
            write!(element, "_{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    element
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_become_path_elements_as_systemd_escapes_them() {
        for (name, element) in
            [("gateway", "gateway"), ("web-1", "web_2d1"), ("1a", "_31a"), ("", "_"), ("é", "_c3_a9")]
        {
            assert_eq!(path_element(name), element);
        }
    }
}
