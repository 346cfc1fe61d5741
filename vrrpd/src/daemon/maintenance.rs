//! Routers that an operator has taken out of service: in Fault until they are put back. That outlives a reload and a
//! restart of the daemon, and ends with the machine: the file is below /run.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;
use std::{fs, io};

use daemon::cli::below;
use daemon::replace::{Durability, replace_file};

use super::journal::Entry;
use super::tracking::Scope;
use super::{Daemon, message_id};
use crate::router::reason::Fault;

const DIRECTORY: &str = "/run/trivet-vrrpd";
const NAME: &str = "maintenance";
/// Characters of a reason that are kept.
const LONGEST: usize = 200;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Order {
    by: String,
    reason: String,
}

#[derive(Debug)]
pub(super) struct Maintenance {
    directory: PathBuf,
    orders: BTreeMap<String, Order>,
}

impl Maintenance {
    /// What a former run was told.
    pub(super) fn read(root: &Path) -> Self {
        let directory = below(root, DIRECTORY);
        let path = directory.join(NAME);
        let orders = match fs::read_to_string(&path) {
            Ok(text) => text.lines().filter_map(parse).collect(),
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    log::error!("cannot read {}: {error}; nothing is in maintenance", path.display());
                }
                BTreeMap::new()
            }
        };
        Self { directory, orders }
    }

    pub(super) fn fault(&self, router: &str) -> Option<Fault> {
        let Order { by, reason } = self.orders.get(router)?;
        Some(Fault::Maintenance { by: by.clone(), why: reason.clone() })
    }

    /// In one step for whoever reads it.
    fn write(&self) -> io::Result<()> {
        let line = |(router, order): (&String, &Order)| {
            [router, &order.by, &order.reason].map(|part| escape(part)).join("\t") + "\n"
        };
        let text: String = self.orders.iter().map(line).collect();
        replace_file(&self.directory.join(NAME), text.as_bytes(), Durability::Process)
    }
}

/// A tab ends a field, a line feed a line.
fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\t', "\\t").replace('\n', "\\n")
}

fn unescape(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (character, character == '\\') {
            (_, true) => match characters.next() {
                Some('t') => plain.push('\t'),
                Some('n') => plain.push('\n'),
                other => plain.extend(other),
            },
            (character, false) => plain.push(character),
        }
    }
    plain
}

fn parse(line: &str) -> Option<(String, Order)> {
    let mut fields = line.split('\t').map(unescape);
    let (router, by, reason) = (fields.next()?, fields.next()?, fields.next()?);
    Some((router, Order { by, reason }))
}

/// One line, of bounded length.
fn one_line(text: &str) -> String {
    let kept: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST).collect();
    kept.trim().to_owned()
}

impl Daemon {
    /// `by`: who says so, in words.
    ///
    /// # Errors
    /// There is no such router, or it would change nothing.
    pub(super) fn set_maintenance(
        &mut self,
        now: Instant,
        router: &str,
        on: bool,
        reason: &str,
        by: &str,
    ) -> Result<(), String> {
        if self.routers.find(router).is_none() {
            return Err(format!("there is no router '{router}' any more"));
        }
        let order = Order { by: by.to_owned(), reason: one_line(reason) };
        let (state, text) = if on {
            (
                "on",
                format!("{router}: {}", Fault::Maintenance { by: by.to_owned(), why: order.reason.clone() }),
            )
        } else {
            ("off", format!("{router}: maintenance ended by {by}"))
        };
        if on {
            self.maintenance.orders.insert(router.to_owned(), order.clone());
        } else if self.maintenance.orders.remove(router).is_none() {
            return Err(format!("router '{router}' is not in maintenance"));
        }
        // Give up, or come back, first; then write it down.
        self.reconsider(now, Scope::All);
        let entry = Entry::new(log::Level::Info, text).about(message_id::MAINTENANCE, router);
        let entry = entry.with("MAINTENANCE", state).with("BY", by);
        self.journal.push(entry.with("REASON", &order.reason));
        self.remember_maintenance();
        Ok(())
    }

    /// Routers that are not configured any more are not in maintenance either.
    pub(super) fn forget_maintenance(&mut self) {
        let before = self.maintenance.orders.len();
        let names: Vec<Arc<str>> = self.routers.iter().map(|(name, _)| Arc::clone(name)).collect();
        self.maintenance.orders.retain(|router, _| names.iter().any(|name| **name == **router));
        if self.maintenance.orders.len() != before {
            self.remember_maintenance();
        }
    }

    fn remember_maintenance(&mut self) {
        if let Err(error) = self.maintenance.write() {
            let path = self.maintenance.directory.join(NAME);
            let text = format!(
                "cannot write {}: {error}; which routers are in maintenance is forgotten with a restart",
                path.display()
            );
            self.journal.push(Entry::new(log::Level::Warn, text));
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::testing::TempRoot;

    use super::*;

    #[test]
    fn what_an_operator_said_is_read_back_by_the_next_run_whatever_he_wrote() {
        let root = TempRoot::new();
        let mut maintenance = Maintenance::read(root.path());
        assert_eq!(maintenance.fault("gateway"), None);
        for (router, reason) in [("gateway", "new\tkernel\\n \\t\n"), ("web-1", ""), ("é", "näher")] {
            let order = Order { by: "alice (uid 1000)".into(), reason: reason.into() };
            maintenance.orders.insert(router.into(), order);
        }
        maintenance.write().unwrap();
        assert_eq!(Maintenance::read(root.path()).orders, maintenance.orders);
        maintenance.orders.clear();
        maintenance.write().unwrap();
        assert!(Maintenance::read(root.path()).orders.is_empty());
    }

    #[test]
    fn a_reason_is_one_line_of_bounded_length() {
        assert_eq!(one_line(" a\nb\x1b[31m "), "a b [31m");
        assert_eq!(one_line(&"x".repeat(1000)).len(), LONGEST);
    }
}
