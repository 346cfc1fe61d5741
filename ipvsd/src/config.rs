//! `ipvs.d/*.toml` and `ipvsd.toml`: from files to validated [`Settings`], with every mistake in one run.
//!
//! What the keys mean to a user is in ipvs.d(5) and ipvsd.toml(5), and in the commented examples of
//! `etc/trivet/ipvs.d`.

mod address;
mod daemon_wide;
mod others;
mod references;
mod server;
mod service;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use daemon::diagnostic::Report;
use daemon::dropin;

use self::references::References;
use crate::service::Settings;

/// Everything below `root`. Use the settings only if the report has no errors.
pub fn load(root: &Path) -> (Settings, Report) {
    let mut report = Report::new();
    let references = References::below(root);
    let mut settings = daemon_wide::load(root, &references, &mut report);
    let mut taken = BTreeMap::new();
    for object in dropin::load_directory(root, "ipvs.d", &mut report) {
        let Some(service) = service::read(&object, &references, &mut taken, &mut report) else { continue };
        settings.services.insert(object.name.into(), Arc::new(service));
    }
    (settings, report)
}

#[cfg(test)]
mod tests;
