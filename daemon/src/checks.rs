//! The checks of checkd, as the daemons that name them see them: which there are, and what each needs of a target. The
//! files are checkd's; only what a reference to one depends on is read here, and nothing in them is a mistake here.

use std::collections::BTreeMap;
use std::path::Path;

use crate::diagnostic::Report;
use crate::document::{Kind, Table};
use crate::dropin;

/// The checks that need no file: of each the name is the type.
pub const BUILT_IN: [&str; 2] = ["tcp", "ping"];
/// The types of checks whose target has no port, or need not name it. The tests of those who name checks hold this, and
/// what a check's own keys change, against checkd.
const WITHOUT_PORT: [&str; 11] =
    ["ping", "dns", "smtp", "imap", "pop3", "ftp", "nntp", "redis", "mysql", "postgresql", "ldap"];
/// The type that is always about this machine, and that which is if its command asks for no target.
const OF_THIS_MACHINE: &str = "unit";
const OF_A_COMMAND: &str = "exec";

/// What the target of a check must have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    pub address: bool,
    pub port: bool,
}

/// All checks below `root` by name, without those that are disabled.
pub fn needs(root: &Path) -> BTreeMap<String, Needs> {
    let built_in = BUILT_IN.into_iter().filter(|name| !dropin::is_masked(root, "check.d", name));
    let mut checks: BTreeMap<_, _> = built_in.map(|name| (name.to_owned(), Needs::of_type(name))).collect();
    // By name first: also those that checkd could not read are there, and it will say what is wrong.
    for name in dropin::names(root, "check.d") {
        checks.insert(name, Needs::default());
    }
    for check in dropin::load_directory(root, "check.d", &mut Report::new()) {
        checks.insert(check.name, Needs::of_check(&check.table));
    }
    checks
}

impl Needs {
    fn of_type(word: &str) -> Self {
        let address = word != OF_THIS_MACHINE;
        Self { address, port: address && !WITHOUT_PORT.contains(&word) }
    }

    /// What checkd puts into a command's arguments.
    fn of_command(table: &Table) -> Self {
        let Some(Kind::Array(words)) = table.entries.get("command").map(|entry| &entry.value.kind) else {
            return Self::default();
        };
        let uses = |placeholder: &str| {
            words.iter().any(|word| matches!(&word.kind, Kind::String(text) if text.contains(placeholder)))
        };
        let port = uses("{port}");
        Self { address: port || uses("{address}") || uses("{target}"), port }
    }

    /// A check may also say itself where it goes.
    fn of_check(table: &Table) -> Self {
        let word = match table.entries.get("type").map(|entry| &entry.value.kind) {
            // Empty: what the parser makes of a value that is missing.
            Some(Kind::String(word)) if !word.is_empty() => word,
            Some(_) | None => return Self::default(),
        };
        let needs = if word == OF_A_COMMAND { Self::of_command(table) } else { Self::of_type(word) };
        let says = |key| table.entries.contains_key(key);
        Self { address: needs.address && !says("address"), port: needs.port && !says("port") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempRoot;

    #[test]
    fn a_check_needs_what_its_type_needs_unless_it_says_so_itself() {
        let root = TempRoot::new();
        root.write("etc/trivet/check.d/web.toml", "type = 'http'");
        root.write("etc/trivet/check.d/elsewhere.toml", "type = 'http'\naddress = '10.0.0.1'\nport = 80");
        root.write("etc/trivet/check.d/mail.toml", "type = 'smtp'");
        root.write("etc/trivet/check.d/here.toml", "type = 'unit'");
        root.write("etc/trivet/check.d/disk.toml", "type = 'exec'\ncommand = ['/bin/df', '/']");
        root.write("etc/trivet/check.d/port.toml", "type = 'exec'\ncommand = ['/bin/x', '-p{port}']");
        root.write("etc/trivet/check.d/broken.toml", "type = ");
        root.write("etc/trivet/check.d/ping.toml", "");
        let found: Vec<_> =
            needs(root.path()).into_iter().map(|(name, needs)| (name, needs.address, needs.port)).collect();
        let expected = [
            ("broken", false, false),
            ("disk", false, false),
            ("elsewhere", false, false),
            ("here", false, false),
            ("mail", true, false),
            ("port", true, true),
            ("tcp", true, true),
            ("web", true, true),
        ];
        assert_eq!(found, expected.map(|(name, address, port)| (name.to_owned(), address, port)));
    }
}
