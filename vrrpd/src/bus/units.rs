//! Hears systemd about the units that are tracked.

use std::collections::BTreeSet;
use std::sync::Arc;

use daemon::bus::Model;
use daemon::client::Changes;
use daemon::systemd::{UnitState, follow};
use zbus::Connection;

use crate::status::Snapshot;
use crate::track::What;
use crate::track::news::News;

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    changes: Changes,
    news: News,
) -> zbus::Result<()> {
    let units_of = |tracked: &BTreeSet<What>| {
        let unit = |what: &What| match what {
            What::Unit(name) => Some(Arc::clone(name)),
            What::Interface(_) | What::Check(..) | What::Service(_) => None,
        };
        tracked.iter().filter_map(unit).collect()
    };
    let wanted = || Arc::clone(&model.latest().tracked);
    let tell = |name: &Arc<str>, state: UnitState| news.tell(&What::Unit(Arc::clone(name)), state.into());
    follow(connection, changes, wanted, units_of, tell).await
}
