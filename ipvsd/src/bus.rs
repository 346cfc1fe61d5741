//! `org.trivet.Ipvs1` on the system bus: what is shown comes from the last snapshot, verbs go to the loop.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;

use daemon::bus::{Model, Objects, Service, Session, Turnstile, announce_changes, ask, properties};
use daemon::queue::Sender;
use futures_util::future::{Either, select};
use zbus::object_server::Interface as _;
use zbus::{Variant, fdo, interface};

use crate::checks::Checks;
use crate::daemon::Command;
use crate::health::Target;
use crate::status::{ServerStatus, ServiceStatus, Status};
use crate::table::Connections;

const MANAGER: &str = "/org/trivet/Ipvs1";
const SERVICES: &str = "/org/trivet/Ipvs1/service";

/// What the loop publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    pub status: Status,
    /// Of IPVS in the kernel; empty until it was read.
    pub kernel_version: String,
    /// What checkd is to watch for us.
    pub targets: Arc<Vec<Target>>,
}

impl Snapshot {
    /// Without what changes all the time, which alone is no reason for a signal.
    fn quiet(&self) -> Status {
        let mut status = self.status.clone();
        for server in status.services.iter_mut().flat_map(|service| &mut service.servers) {
            server.connections = Connections::default();
        }
        status
    }

    fn service(&self, name: &str) -> fdo::Result<&ServiceStatus> {
        let services = &self.status.services;
        let index = services.binary_search_by(|service| service.name.as_str().cmp(name));
        let gone = || fdo::Error::UnknownObject(format!("there is no service '{name}' any more"));
        index.ok().and_then(|index| services.get(index)).ok_or_else(gone)
    }
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
        let mut shown = Shown::new(&session).await?;
        session.take_name().await?;
        let mut checks = Checks::subscribe(connection, self.commands.clone()).await?;
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
        }
    }
}

/// The objects as the bus shows them.
struct Shown {
    objects: Objects<ServiceObject>,
    manager: HashMap<String, zbus::OwnedVariant>,
    quiet: Option<Status>,
}

impl Shown {
    async fn new(session: &Session<Snapshot>) -> zbus::Result<Self> {
        let manager = properties::<Manager>(&session.connection, MANAGER).await?;
        let mut shown = Self { objects: Objects::new(SERVICES, &[]), manager, quiet: None };
        shown.update(session).await?;
        Ok(shown)
    }

    async fn update(&mut self, session: &Session<Snapshot>) -> zbus::Result<()> {
        let snapshot = session.model.latest();
        let quiet = snapshot.quiet();
        if self.quiet.as_ref() == Some(&quiet) {
            return Ok(());
        }
        self.quiet = Some(quiet);
        let names: Vec<&str> = snapshot.status.services.iter().map(|service| service.name.as_str()).collect();
        let make = |name: &str| ServiceObject { name: name.to_owned(), model: session.model.clone() };
        self.objects.update(&session.connection, &names, make).await?;
        let now = properties::<Manager>(&session.connection, MANAGER).await?;
        announce_changes(&session.connection, MANAGER, &Manager::name(), &[], &self.manager, &now).await?;
        self.manager = now;
        Ok(())
    }
}

struct Manager {
    model: Model<Snapshot>,
    commands: Sender<Command>,
    /// Anyone may ask for the plan; health answers must find room in the queue all the same.
    plans: Turnstile,
}

#[interface(name = "org.trivet.Ipvs1.Manager")]
impl Manager {
    /// What would be changed in the kernel as it was last read, in order; nothing if it is as it should be, since
    /// what can be changed is changed at once.
    #[zbus(out_args("changes"))]
    async fn plan(&self) -> fdo::Result<Vec<String>> {
        self.plans.ask(&self.commands, Command::Plan).await?.map_err(fdo::Error::Failed)
    }

    /// Read the kernel's table and put it right now, instead of at the next interval.
    async fn resync(&self) -> fdo::Result<()> {
        ask(&self.commands, Command::Resync).await?.map_err(fdo::Error::Failed)
    }

    /// Of ipvsd.
    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &'static str {
        env!("CARGO_PKG_VERSION")
    }

    /// Of IPVS in the kernel.
    #[zbus(property)]
    fn kernel_version(&self) -> String {
        self.model.latest().kernel_version.clone()
    }

    /// Why the kernel's table cannot be used; empty if it can.
    #[zbus(property)]
    fn kernel_fault(&self) -> String {
        self.model.latest().status.kernel_fault.clone()
    }

    /// Why checkd cannot be heard; empty if it can.
    #[zbus(property)]
    fn checkd_fault(&self) -> String {
        self.model.latest().status.checkd_fault.clone()
    }

    /// How many virtual services are configured.
    #[zbus(property)]
    fn services(&self) -> u32 {
        count(self.model.latest().status.services.len())
    }

    /// How many real servers they have.
    #[zbus(property)]
    fn servers(&self) -> u32 {
        count(self.model.latest().status.services.iter().map(|service| service.servers.len()).sum())
    }

    /// How many real servers get new connections.
    #[zbus(property)]
    fn servers_in_use(&self) -> u32 {
        let model = self.model.latest();
        let servers = model.status.services.iter().flat_map(|service| &service.servers);
        count(servers.filter(|server| server.effective_weight > 0).count())
    }

    /// How often a service was put right after others had changed it.
    #[zbus(property)]
    fn repairs(&self) -> u64 {
        self.model.latest().status.repairs
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One virtual service. Changed connection counts alone are not announced.
struct ServiceObject {
    name: String,
    model: Model<Snapshot>,
}

impl ServiceObject {
    fn get<T>(&self, read: impl FnOnce(&ServiceStatus) -> T) -> fdo::Result<T> {
        self.model.latest().service(&self.name).map(read)
    }
}

#[interface(name = "org.trivet.Ipvs1.Service")]
impl ServiceObject {
    /// The file's name without its ending.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Where clients connect: `10.0.10.50:80`.
    #[zbus(property)]
    fn address(&self) -> fdo::Result<String> {
        self.get(|service| service.address.clone())
    }

    /// tcp, udp or sctp.
    #[zbus(property)]
    fn protocol(&self) -> fdo::Result<String> {
        self.get(|service| service.protocol.clone())
    }

    /// The scheduler's name in the kernel, such as wlc.
    #[zbus(property)]
    fn scheduler(&self) -> fdo::Result<String> {
        self.get(|service| service.scheduler.clone())
    }

    /// nat, route or tunnel.
    #[zbus(property)]
    fn forward(&self) -> fdo::Result<String> {
        self.get(|service| service.forward.clone())
    }

    /// The check of its servers; empty: they have none, or each its own.
    #[zbus(property)]
    fn check(&self) -> fdo::Result<String> {
        self.get(|service| service.check.clone())
    }

    /// How long a client keeps its server, in seconds; 0: it does not.
    #[zbus(property)]
    fn persistence(&self) -> fdo::Result<u32> {
        self.get(|service| service.persistence)
    }

    /// forwarding, no-servers, failed (the kernel refuses it) or pending (the kernel cannot be read).
    #[zbus(property)]
    fn state(&self) -> fdo::Result<&'static str> {
        self.get(|service| service.state.word())
    }

    /// Why the state is what it is.
    #[zbus(property)]
    fn reason(&self) -> fdo::Result<String> {
        self.get(|service| service.reason.clone())
    }

    /// Whether there are servers enough to be worth sending clients here: at least one that gets new connections.
    #[zbus(property)]
    fn has_quorum(&self) -> fdo::Result<bool> {
        self.get(|service| service.has_quorum)
    }

    /// How often it was put right after others had changed it in the kernel.
    #[zbus(property)]
    fn repairs(&self) -> fdo::Result<u64> {
        self.get(|service| service.repairs)
    }

    /// What the last repair was; empty: there was none.
    #[zbus(property)]
    fn last_repair(&self) -> fdo::Result<String> {
        self.get(|service| service.last_repair.clone())
    }

    /// One row for each real server: Address, Weight (configured), EffectiveWeight (in the kernel), InTable, Health
    /// (unchecked, unknown, up, down), Reason, Since (microseconds since 1970; 0: never), Stale (checkd said so once,
    /// but cannot be heard now), ActiveConnections, InactiveConnections.
    #[zbus(property)]
    fn servers(&self) -> fdo::Result<Vec<HashMap<&'static str, Variant<'static>>>> {
        self.get(|service| service.servers.iter().map(row).collect())
    }
}

fn row(server: &ServerStatus) -> HashMap<&'static str, Variant<'static>> {
    HashMap::from([
        ("Address", Variant::from(server.address.clone())),
        ("Weight", Variant::from(u32::from(server.weight))),
        ("EffectiveWeight", Variant::from(server.effective_weight)),
        ("InTable", Variant::from(server.in_table)),
        ("Health", Variant::from(server.health)),
        ("Reason", Variant::from(server.reason.clone())),
        ("Since", Variant::from(server.since)),
        ("Stale", Variant::from(server.stale)),
        ("ActiveConnections", Variant::from(server.connections.active)),
        ("InactiveConnections", Variant::from(server.connections.inactive)),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_tells_the_weight_that_is_configured_and_the_one_that_is_in_force() {
        let row = row(&ServerStatus {
            address: "10.0.0.1:80".into(),
            weight: 3,
            effective_weight: 40,
            in_table: true,
            health: "up",
            reason: "load 0.3".into(),
            since: 7,
            stale: false,
            connections: Connections { active: 5, inactive: 6, persistent: 0 },
        });
        let number = |key: &str| u32::try_from(&row[key]).unwrap();
        let told = ["Weight", "EffectiveWeight", "ActiveConnections", "InactiveConnections"].map(number);
        assert_eq!(told, [3, 40, 5, 6]);
    }
}
