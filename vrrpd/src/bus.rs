//! `org.trivet.Vrrp1` on the system bus: what is shown comes from the last snapshot, verbs go to the loop.

use std::collections::HashMap;
use std::sync::Arc;

use daemon::bus::{Model, Objects, Reply, Service, Session, announce_changes, ask, properties};
use daemon::queue::Sender;
use zbus::object_server::Interface as _;
use zbus::{fdo, interface};

use crate::receive::Discard;
use crate::router::StateName;
use crate::status::{RouterStatus, Snapshot};

const MANAGER: &str = "/org/trivet/Vrrp1";
const ROUTERS: &str = "/org/trivet/Vrrp1/router";

/// What the bus thread hands to the loop.
#[derive(Debug)]
pub enum Command {
    /// Send the gratuitous ARPs of the named router now; or why not.
    Announce(String, Reply<Result<(), String>>),
}

/// What runs on the bus thread.
#[derive(Debug)]
pub struct BusService {
    commands: Sender<Command>,
}

impl BusService {
    pub fn new(commands: Sender<Command>) -> Self {
        Self { commands }
    }
}

impl Service for BusService {
    type Snapshot = Snapshot;
    const NAME: &'static str = "org.trivet.Vrrp1";

    async fn serve(&mut self, session: Session<Snapshot>) -> zbus::Result<()> {
        let connection = &session.connection;
        let server = connection.object_server();
        server.at(MANAGER, fdo::ObjectManager).await?;
        server.at(MANAGER, Manager { model: session.model.clone() }).await?;
        let mut manager = properties::<Manager>(connection, MANAGER).await?;
        let mut objects = Objects::new(ROUTERS, &["Counters"]);
        let mut shown = None;
        self.update(&session, &mut objects, &mut shown).await?;
        session.take_name().await?;
        loop {
            session.changed().await;
            if self.update(&session, &mut objects, &mut shown).await? {
                let now = properties::<Manager>(connection, MANAGER).await?;
                announce_changes(connection, MANAGER, &Manager::name(), &["Discarded"], &manager, &now)
                    .await?;
                manager = now;
            }
        }
    }
}

impl BusService {
    /// Show the last snapshot. `false`: it is shown already.
    async fn update(
        &self,
        session: &Session<Snapshot>,
        objects: &mut Objects<RouterObject>,
        shown: &mut Option<Arc<Snapshot>>,
    ) -> zbus::Result<bool> {
        let snapshot = session.model.latest();
        if shown.as_ref() == Some(&snapshot) {
            return Ok(false);
        }
        let names: Vec<&str> = snapshot.routers.iter().map(|router| &*router.name).collect();
        let changed = |name: &str| !shown.as_ref().is_some_and(|former| snapshot.shows_as(former, name));
        let make = |name: &str| RouterObject {
            name: name.to_owned(),
            model: session.model.clone(),
            commands: self.commands.clone(),
        };
        objects.update_changed(&session.connection, &names, changed, make).await?;
        *shown = Some(snapshot);
        Ok(true)
    }
}

struct Manager {
    model: Model<Snapshot>,
}

#[interface(name = "org.trivet.Vrrp1.Manager")]
impl Manager {
    /// Of vrrpd.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// How many virtual routers are configured.
    #[zbus(property)]
    fn routers(&self) -> u32 {
        u32::try_from(self.model.latest().routers.len()).unwrap_or(u32::MAX)
    }

    /// How many of them are Active.
    #[zbus(property)]
    fn active(&self) -> u32 {
        self.model.latest().count(StateName::Active)
    }

    #[zbus(property)]
    fn backup(&self) -> u32 {
        self.model.latest().count(StateName::Backup)
    }

    /// How many cannot take part; each says why in its Reason.
    #[zbus(property)]
    fn fault(&self) -> u32 {
        self.model.latest().count(StateName::Fault)
    }

    /// Packets of no router here, by reason.
    #[zbus(property(emits_changed_signal = "false"))]
    fn discarded(&self) -> HashMap<&'static str, u64> {
        Discard::NAMES.into_iter().zip(self.model.latest().discarded.get()).collect()
    }
}

/// One virtual router.
struct RouterObject {
    name: String,
    model: Model<Snapshot>,
    commands: Sender<Command>,
}

impl RouterObject {
    fn get<T>(&self, read: impl FnOnce(&RouterStatus) -> T) -> fdo::Result<T> {
        let model = self.model.latest();
        let gone = || fdo::Error::UnknownObject(format!("there is no router '{}' any more", self.name));
        model.router(&self.name).map(read).ok_or_else(gone)
    }
}

#[interface(name = "org.trivet.Vrrp1.Router")]
impl RouterObject {
    /// Send the gratuitous ARPs of its addresses now. Only while it is Active.
    async fn announce(&self) -> fdo::Result<()> {
        let command = |reply| Command::Announce(self.name.clone(), reply);
        ask(&self.commands, command).await?.map_err(fdo::Error::Failed)
    }

    /// The file's name without its ending.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Initialize, Backup, Active (RFC 9568), or Fault.
    #[zbus(property)]
    fn state(&self) -> fdo::Result<&'static str> {
        self.get(|router| router.state.as_str())
    }

    /// When the state was entered, microseconds since 1970.
    #[zbus(property)]
    fn state_since(&self) -> fdo::Result<u64> {
        self.get(|router| router.since)
    }

    /// Why the state is what it is.
    #[zbus(property)]
    fn reason(&self) -> fdo::Result<String> {
        self.get(|router| router.reason.clone())
    }

    #[zbus(property)]
    fn virtual_router_id(&self) -> fdo::Result<u8> {
        self.get(|router| router.config.vrid.get())
    }

    /// Where advertisements are sent and heard.
    #[zbus(property)]
    fn interface(&self) -> fdo::Result<String> {
        self.get(RouterStatus::interface)
    }

    /// Of the protocol: 2 or 3.
    #[zbus(property)]
    fn version(&self) -> fdo::Result<u8> {
        self.get(|router| router.config.settings.version.number())
    }

    /// As configured.
    #[zbus(property)]
    fn priority(&self) -> fdo::Result<u8> {
        self.get(|router| router.config.settings.priority.0)
    }

    /// As advertised.
    #[zbus(property)]
    fn effective_priority(&self) -> fdo::Result<u8> {
        self.get(|router| router.effective_priority)
    }

    /// What the Active router has: address with prefix length, and interface.
    #[zbus(property)]
    fn addresses(&self) -> fdo::Result<Vec<(String, String)>> {
        self.get(RouterStatus::addresses)
    }

    /// Who else is Active, as far as it was heard; empty: nobody.
    #[zbus(property)]
    fn active_peer(&self) -> fdo::Result<String> {
        self.get(RouterStatus::active_peer)
    }

    /// What was sent, received and discarded, up to half a second old.
    #[zbus(property(emits_changed_signal = "false"))]
    fn counters(&self) -> fdo::Result<HashMap<&'static str, u64>> {
        self.get(RouterStatus::counters)
    }
}
