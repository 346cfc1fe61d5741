//! What a drop-in of ipvsd may name that others configure: checks and virtual routers.

use std::path::Path;
use std::sync::Arc;

use daemon::diagnostic::nearest;
use daemon::dropin;
use daemon::reader::Reader;

use crate::table::Protocol;

/// Checks that need no file.
const BUILT_IN_CHECKS: [&str; 2] = ["tcp", "ping"];

/// As far as they are known by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    /// Of `check.d`.
    checks: Vec<String>,
    /// Those without a file, but for those that a link to `/dev/null` disables.
    built_in: Vec<&'static str>,
    /// Of `vrrp.d`.
    routers: Vec<String>,
}

impl References {
    pub(super) fn below(root: &Path) -> Self {
        let is_there = |name: &&str| !dropin::is_masked(root, "check.d", name);
        Self {
            checks: dropin::names(root, "check.d"),
            built_in: BUILT_IN_CHECKS.into_iter().filter(is_there).collect(),
            routers: dropin::names(root, "vrrp.d"),
        }
    }

    fn checks(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().map(String::as_str).chain(self.built_in.iter().copied())
    }

    /// The name of a check that exists. A wrong one has been reported.
    pub(super) fn read_check(&self, reader: &mut Reader<'_>, protocol: Protocol) -> Option<Arc<str>> {
        let name = reader.string("check")?;
        if self.checks.contains(&name.value) {
            return Some(name.value.into());
        }
        if self.built_in.contains(&name.value.as_str()) {
            if name.value == "tcp" && protocol != Protocol::Tcp {
                let text = format!(
                    "check 'tcp' makes TCP connections, which says little about a {protocol} service"
                );
                reader.report().warning(&name.at, text);
            }
            return Some(name.value.into());
        }
        if BUILT_IN_CHECKS.contains(&name.value.as_str()) {
            let message = format!("the check '{}' is disabled by a link to /dev/null", name.value);
            let hint = format!("remove {}.toml from check.d, or name another check", name.value);
            reader.report().error(&name.at, message).hint(hint);
            return None;
        }
        let hint = match nearest(&name.value, self.checks()) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => format!(
                "the checks are {}; a new one is a file in /etc/trivet/check.d",
                self.checks().collect::<Vec<_>>().join(", ")
            ),
        };
        reader.report().error(&name.at, format!("there is no check '{}'", name.value)).hint(hint);
        None
    }

    /// The name of a virtual router that exists. A wrong one has been reported.
    pub(super) fn read_router(&self, reader: &mut Reader<'_>, key: &'static str) -> Option<Arc<str>> {
        let name = reader.string(key)?;
        if self.routers.contains(&name.value) {
            return Some(name.value.into());
        }
        let known = self.routers.iter().map(String::as_str);
        let hint = match nearest(&name.value, known) {
            Some(near) => format!("did you mean \"{near}\"?"),
            None if self.routers.is_empty() => "write it: /etc/trivet/vrrp.d/NAME.toml".to_owned(),
            None => format!("the virtual routers of /etc/trivet/vrrp.d are {}", self.routers.join(", ")),
        };
        let message = format!("there is no virtual router '{}'", name.value);
        reader.report().error(&name.at, message).hint(hint);
        None
    }
}
