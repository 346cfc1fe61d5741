//! The client of vrrpd: which of the virtual routers that something here depends on are Active.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::bus::Model;
use daemon::client::Changes;
use daemon::follow::{self, Told, Untold, Whose};
use daemon::queue::Sender;
use zbus::Connection;

use crate::bus::Snapshot;
use crate::daemon::Command;

static VRRPD: Whose = Whose {
    daemon: "vrrpd",
    object: "virtual router",
    name: "org.trivet.Vrrp1",
    manager: "/org/trivet/Vrrp1",
    base: "/org/trivet/Vrrp1/router",
    interface: "org.trivet.Vrrp1.Router",
};

/// What each virtual router is here, as far as that can be said: written by the bus thread, read by the loop. However
/// slow that is, it finds the last word and not a queue of them.
#[derive(Clone, Debug, Default)]
pub struct Roles(Arc<Mutex<BTreeMap<Arc<str>, Role>>>);

/// What is known of a virtual router. One that nothing is known of has none: the bus is gone, or vrrpd does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Active,
    /// Backup, in Fault, or not begun.
    Inactive,
    /// Vrrpd is not on the bus: it was stopped, or is about to come back.
    Absent,
}

impl Roles {
    pub fn get(&self) -> BTreeMap<Arc<str>, Role> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn tell(&self, name: &Arc<str>, role: Option<Role>) {
        let mut roles = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match role {
            Some(role) => roles.insert(Arc::clone(name), role),
            None => roles.remove(name),
        };
    }
}

/// Until the connection ends.
pub(crate) async fn run(
    connection: &Connection,
    model: Model<Snapshot>,
    changes: Changes,
    roles: &Roles,
    commands: &Sender<Command>,
) -> zbus::Result<()> {
    let followed = || Arc::clone(&model.latest().followed);
    let tell = |name: &Arc<str>, told: Told| {
        roles.tell(name, role(&told));
        // A queue that is full wakes the loop as well, which then looks.
        let _ = commands.send(Command::Roles);
    };
    follow::objects(connection, &VRRPD, changes, followed, BTreeSet::clone, tell).await
}

fn role(told: &Told) -> Option<Role> {
    match told {
        Ok(properties) => {
            let state = String::try_from(properties.get("State")?.clone()).ok()?;
            Some(if state == "Active" { Role::Active } else { Role::Inactive })
        }
        Err(Untold::Absent(_)) => Some(Role::Absent),
        Err(Untold::Other(_)) => None,
    }
}
