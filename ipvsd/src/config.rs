//! `ipvs.d/*.toml` and `ipvsd.toml`: from files to validated [`Settings`], with every mistake in one run.
//!
//! What the keys mean to a user is in ipvs.d(5) and ipvsd.toml(5), and in the commented examples of
//! `etc/trivet/ipvs.d`.

mod address;
mod daemon_wide;
mod fronts;
mod loader;
mod others;
mod references;
mod scheduling;
mod server;
mod service;
mod shortage;
mod sync;
mod ways;

use std::path::Path;

use daemon::diagnostic::Report;

pub use self::loader::Loader;
use crate::service::Settings;

/// Everything below `root`. Use the settings only if the report has no errors.
pub fn load(root: &Path) -> (Settings, Report) {
    Loader::new(root).load()
}

#[cfg(test)]
mod tests;
