//! The client of ipvsd: whether the virtual services that are tracked have a quorum.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use daemon::bus::Model;
use daemon::client::Changes;
use daemon::follow::{self, Whose};
use zbus::{Connection, OwnedVariant};

use crate::status::Snapshot;
use crate::track::news::News;
use crate::track::{Told, What};

static IPVSD: Whose = Whose {
    daemon: "ipvsd",
    object: "service",
    name: "org.trivet.Ipvs1",
    manager: "/org/trivet/Ipvs1",
    base: "/org/trivet/Ipvs1/service",
    interface: "org.trivet.Ipvs1.Service",
};

/// Until the connection ends.
pub(super) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    changes: Changes,
    news: News,
) -> zbus::Result<()> {
    let tracked = || Arc::clone(&model.latest().tracked);
    let tell = |name: &Arc<str>, told: follow::Told| news.tell(&What::Service(Arc::clone(name)), read(told));
    follow::objects(connection, &IPVSD, changes, tracked, services, tell).await
}

fn services(tracked: &BTreeSet<What>) -> BTreeSet<Arc<str>> {
    let service = |what: &What| match what {
        What::Service(name) => Some(Arc::clone(name)),
        What::Interface(_) | What::Unit(_) | What::Check(..) => None,
    };
    tracked.iter().filter_map(service).collect()
}

fn read(told: follow::Told) -> Told {
    let properties = match told {
        Ok(properties) => properties,
        Err(why) => return Told::Nothing { reason: why.into_reason() },
    };
    let reason = text(&properties, "Reason");
    match properties.get("HasQuorum").map(bool::try_from) {
        Some(Ok(true)) => Told::Up { reason, since: 0 },
        Some(Ok(false)) => Told::Down { reason, since: 0 },
        Some(Err(_)) | None => {
            Told::Nothing { reason: "ipvsd does not say whether it has a quorum".to_owned() }
        }
    }
}

fn text(properties: &HashMap<String, OwnedVariant>, name: &str) -> String {
    properties.get(name).and_then(|value| String::try_from(value.clone()).ok()).unwrap_or_default()
}
