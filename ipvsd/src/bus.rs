//! `org.trivet.Ipvs1` on the system bus: what is shown comes from the last snapshot, verbs go to the loop.

mod manager;
mod service;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use daemon::bus::{Objects, Service, Session, Turnstile, announce_changes, properties, step_aside};
use daemon::client::wake;
use daemon::queue::Sender;
use futures_util::future::{Either, select};
use zbus::fdo;
use zbus::object_server::Interface as _;

use self::manager::Manager;
use self::service::{ServiceObject, changes};
use crate::checks::Checks;
use crate::daemon::Command;
use crate::health::Target;
use crate::routers::{self, Roles};
use crate::status::{ServiceStatus, Status};
use crate::table::AllConnections;

const MANAGER: &str = "/org/trivet/Ipvs1";
const SERVICES: &str = "/org/trivet/Ipvs1/service";

/// What the loop publishes.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    pub status: Status,
    pub connections: Arc<AllConnections>,
    /// Of IPVS in the kernel; empty until it was read.
    pub kernel_version: String,
    /// What checkd is to watch for us.
    pub targets: Arc<Vec<Target>>,
    /// The virtual routers that vrrpd is to tell about.
    pub followed: Arc<BTreeSet<Arc<str>>>,
}

impl Snapshot {
    fn service(&self, name: &str) -> fdo::Result<&Arc<ServiceStatus>> {
        let gone = || fdo::Error::UnknownObject(format!("there is no service '{name}' any more"));
        self.status.services.get(name).ok_or_else(gone)
    }
}

/// What runs on the bus thread.
#[derive(Debug)]
pub struct BusService {
    commands: Sender<Command>,
    roles: Roles,
}

impl BusService {
    pub fn new(commands: Sender<Command>, roles: Roles) -> Self {
        Self { commands, roles }
    }
}

impl Service for BusService {
    type Snapshot = Snapshot;
    const NAME: &'static str = "org.trivet.Ipvs1";

    async fn serve(&mut self, session: Session<Snapshot>) -> zbus::Result<()> {
        let connection = &session.connection;
        let server = connection.object_server();
        server.at(MANAGER, fdo::ObjectManager).await?;
        let manager = Manager {
            model: session.model.clone(),
            commands: self.commands.clone(),
            plans: Turnstile::default(),
        };
        server.at(MANAGER, manager).await?;
        let mut shown = Shown::new(&session, &self.commands).await?;
        session.take_name().await?;
        let mut checks = Checks::subscribe(connection, self.commands.clone()).await?;
        let (mut wake, changes) = wake();
        let routers =
            pin!(routers::run(connection, session.model.clone(), changes, &self.roles, &self.commands));
        let shown = pin!(async {
            let mut followed = Arc::clone(&session.model.latest().followed);
            loop {
                checks.register(&session.model.latest().targets).await;
                // What is not ready first is dropped, and loses nothing by it.
                let heard = match select(pin!(session.changed()), pin!(checks.next())).await {
                    Either::Left(((), _)) => None,
                    Either::Right((heard, _)) => Some(heard?),
                };
                match heard {
                    None => shown.update(&session).await?,
                    Some(heard) => checks.handle(heard).await,
                }
                let latest = Arc::clone(&session.model.latest().followed);
                if !Arc::ptr_eq(&followed, &latest) {
                    followed = latest;
                    let _ = wake.try_send(());
                }
            }
        });
        match select(shown, routers).await {
            Either::Left((result, _)) | Either::Right((result, _)) => result,
        }
    }
}

/// The objects as the bus shows them.
struct Shown {
    objects: Objects<ServiceObject>,
    manager: HashMap<String, zbus::OwnedVariant>,
    services: BTreeMap<Arc<str>, Arc<ServiceStatus>>,
    commands: Sender<Command>,
    /// Nobody can find the objects before the name is there. To each new one belongs a signal with all that it shows:
    /// tens of thousands of rows would be told to nobody.
    unseen: Arc<AtomicBool>,
}

impl Shown {
    async fn new(session: &Session<Snapshot>, commands: &Sender<Command>) -> zbus::Result<Self> {
        let manager = properties::<Manager>(&session.connection, MANAGER).await?;
        let objects = Objects::new(SERVICES, &[]);
        let (services, commands, unseen) =
            (BTreeMap::new(), commands.clone(), Arc::new(AtomicBool::new(true)));
        let mut shown = Self { objects, manager, services, commands, unseen };
        shown.update(session).await?;
        shown.unseen.store(false, Ordering::Relaxed);
        Ok(shown)
    }

    /// Looks only at what reads differently: changed connection counts alone are not announced.
    async fn update(&mut self, session: &Session<Snapshot>) -> zbus::Result<()> {
        let latest = session.model.latest().status.services.clone();
        let before = std::mem::replace(&mut self.services, latest);
        let names: Vec<&str> = self.services.keys().map(|name| &**name).collect();
        let make = |name: &str| ServiceObject {
            name: name.to_owned(),
            model: session.model.clone(),
            commands: self.commands.clone(),
            unseen: Arc::clone(&self.unseen),
        };
        self.objects.keep(&session.connection, &names, make).await?;
        for (name, now) in &self.services {
            if let Some(before) = before.get(name).filter(|before| !Arc::ptr_eq(before, now)) {
                step_aside().await;
                let asked_for: &[&str] = if before.servers == now.servers { &[] } else { &["Servers"] };
                self.objects.tell(&session.connection, name, changes(before, now), asked_for).await?;
            }
        }
        let now = properties::<Manager>(&session.connection, MANAGER).await?;
        announce_changes(&session.connection, MANAGER, &Manager::name(), &[], &self.manager, &now).await?;
        self.manager = now;
        Ok(())
    }
}
