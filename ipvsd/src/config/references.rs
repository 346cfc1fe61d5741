//! What a drop-in of ipvsd may name that others configure: checks and virtual routers; and what its own files say that
//! concerns all of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use daemon::checks::{self, BUILT_IN, Needs};
use daemon::diagnostic::{Location, Report, nearest};
use daemon::dropin;
use daemon::reader::{Located, Reader};

use crate::service::Backend;
use crate::table::Protocol;

/// As far as a service depends upon them: with equal ones it reads the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct References {
    root: PathBuf,
    /// Of `check.d`.
    checks: Vec<String>,
    /// Those without a file, but for those that a link to `/dev/null` disables.
    built_in: Vec<&'static str>,
    /// What is in the files of `check.d`: read when the first server without a port has a check.
    needs: OnceLock<BTreeMap<String, Needs>>,
    /// Of `vrrp.d`.
    routers: Vec<String>,
    /// Where ipvsd.toml says `[sync]`.
    sync_at: Option<Location>,
}

impl References {
    pub(super) fn below(root: &Path) -> Self {
        let is_there = |name: &&str| !dropin::is_masked(root, "check.d", name);
        Self {
            root: root.to_owned(),
            checks: dropin::names(root, "check.d"),
            built_in: BUILT_IN.into_iter().filter(is_there).collect(),
            needs: OnceLock::new(),
            routers: dropin::names(root, "vrrp.d"),
            sync_at: None,
        }
    }

    /// What they are now: of the contents of `check.d` only if they mattered, and of `[sync]` what it was until
    /// ipvsd.toml is read.
    pub(super) fn again(&self, root: &Path) -> Self {
        let now = Self { sync_at: self.sync_at.clone(), ..Self::below(root) };
        if self.needs.get().is_some() {
            now.needs();
        }
        now
    }

    /// Whether a service may be right now that was not before, or the other way round.
    pub(super) fn set_sync_at(&mut self, at: Option<Location>) -> bool {
        let was_there = self.sync_at.is_some();
        self.sync_at = at;
        was_there != self.sync_at.is_some()
    }

    pub(super) fn sync_at(&self) -> Option<&Location> {
        self.sync_at.as_ref()
    }

    fn needs(&self) -> &BTreeMap<String, Needs> {
        self.needs.get_or_init(|| checks::needs(&self.root))
    }

    fn checks(&self) -> impl Iterator<Item = &str> {
        self.checks.iter().map(String::as_str).chain(self.built_in.iter().copied())
    }

    /// The name of a check that exists. A wrong one has been reported.
    pub(super) fn read_check(
        &self,
        reader: &mut Reader<'_>,
        protocol: Protocol,
    ) -> Option<Located<Arc<str>>> {
        let name = reader.string("check")?;
        if self.checks.contains(&name.value) {
            return Some(name.map(Arc::from));
        }
        if self.built_in.contains(&name.value.as_str()) {
            if name.value == "tcp" && protocol != Protocol::Tcp {
                let text = format!(
                    "check 'tcp' makes TCP connections, which says little about a {protocol} service"
                );
                reader.report().warning(&name.at, text);
            }
            return Some(name.map(Arc::from));
        }
        if BUILT_IN.contains(&name.value.as_str()) {
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

    /// Of the check of a server that has no port, nor has its service.
    pub(super) fn check_port(&self, check: &Located<Arc<str>>, server: &Backend, report: &mut Report) {
        if !self.needs().get(&*check.value).is_some_and(|needs| needs.port) {
            return;
        }
        let text = format!(
            "check '{}' needs a port, and neither server {server} nor its service has one",
            check.value
        );
        let hint = "name a check that says its own (in check.d: port = 80), or one that needs none, such as \"ping\"";
        report.error(&check.at, text).hint(hint);
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
