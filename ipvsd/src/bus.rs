//! `org.trivet.Ipvs1` on the system bus: what is shown comes from the last snapshot, verbs go to the loop.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::authority::authorize;
use daemon::bus::{
    Model, Objects, Service, Session, Turnstile, announce_changes, ask, properties, step_aside,
};
use daemon::client::wake;
use daemon::queue::Sender;
use futures_util::future::{Either, select};
use zbus::message::Header;
use zbus::object_server::Interface as _;
use zbus::{Connection, Variant, fdo, interface};

use crate::checks::Checks;
use crate::daemon::Command;
use crate::director::{Request, Verb};
use crate::health::Target;
use crate::orders::{self, Order};
use crate::routers::{self, Roles};
use crate::service::{Backend, VirtualService};
use crate::status::{ServerStatus, ServiceStatus, Status};
use crate::table::{AllConnections, Connections, ServiceKey};

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
}

impl Shown {
    async fn new(session: &Session<Snapshot>, commands: &Sender<Command>) -> zbus::Result<Self> {
        let manager = properties::<Manager>(&session.connection, MANAGER).await?;
        let objects = Objects::new(SERVICES, &[]);
        let mut shown = Self { objects, manager, services: BTreeMap::new(), commands: commands.clone() };
        shown.update(session).await?;
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

/// The properties of a service that are others now, but for its rows.
fn changes(before: &ServiceStatus, now: &ServiceStatus) -> HashMap<&'static str, Variant<'static>> {
    let (old, new) = (shown(before), shown(now));
    let differs = |(old, new): &((_, Variant<'_>), (_, Variant<'_>))| old.1 != new.1;
    old.into_iter().zip(new).filter(differs).map(|(_, new)| new).collect()
}

/// What is shown of a service as a whole, but for its name, which never changes.
fn shown(status: &ServiceStatus) -> [(&'static str, Variant<'static>); 13] {
    [
        ("Address", Variant::from(address(status))),
        ("Addresses", Variant::from(addresses(status))),
        ("Protocol", Variant::from(status.service.protocol.to_string())),
        ("Scheduler", Variant::from(status.service.scheduler.clone())),
        ("Forward", Variant::from(status.service.forward.to_string())),
        ("Check", Variant::from(status.service.check.clone().unwrap_or_default())),
        ("Persistence", Variant::from(persistence(status))),
        ("State", Variant::from(status.state.word())),
        ("Reason", Variant::from(status.reason.clone())),
        ("HasQuorum", Variant::from(status.has_quorum)),
        ("SorryActive", Variant::from(status.sorry_active)),
        ("Repairs", Variant::from(status.repairs)),
        ("LastRepair", Variant::from(status.last_repair.clone())),
    ]
}

fn address(status: &ServiceStatus) -> String {
    match status.service.fronts.first() {
        Some(ServiceKey::Address { address, .. }) => address.to_string(),
        Some(mark @ ServiceKey::Mark { .. }) => mark.to_string(),
        None => String::new(),
    }
}

fn addresses(status: &ServiceStatus) -> Vec<String> {
    status.service.fronts.iter().map(ToString::to_string).collect()
}

fn persistence(status: &ServiceStatus) -> u32 {
    status.service.persistence.as_ref().map_or(0, |persistence| persistence.timeout)
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

    /// Read the kernel's table and put it right now, instead of at the next interval. For root, and for whom polkit
    /// allows org.trivet.ipvs1.resync.
    async fn resync(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, "org.trivet.ipvs1.resync").await?;
        ask(&self.commands, Command::Resync).await?.map_err(fdo::Error::Failed)
    }

    /// Undo whatever was ordered about a server that is not configured, or whose service is not; both named as in
    /// `UnseatedOrders`. For root, and for whom polkit allows org.trivet.ipvs1.order.
    async fn forget_order(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        service: String,
        server: String,
    ) -> fdo::Result<()> {
        let author = authorize(connection, &header, "org.trivet.ipvs1.order").await?;
        let request = Request { service, server, verb: Verb::Clear, author, reason: String::new() };
        ask(&self.commands, |reply| Command::Order(request, reply)).await?.map_err(fdo::Error::InvalidArgs)
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
        self.model.latest().status.faults.kernel.clone()
    }

    /// Why checkd cannot be heard; empty if it can.
    #[zbus(property)]
    fn checkd_fault(&self) -> String {
        self.model.latest().status.faults.checkd.clone()
    }

    /// Timeouts, sysctls and sync daemons that cannot be set, and files of orders and of what is ours that cannot be read
    /// or written, or have lines that make no sense; each with the reason. All of it is tried again.
    #[zbus(property)]
    fn faults(&self) -> Vec<String> {
        self.model.latest().status.faults.unset.clone()
    }

    /// What was ordered about servers that are not configured, one row each: Service, Server, and as in `Servers` of a
    /// service Override, OverrideBy, OverrideReason, OverrideSince, OverrideUntil and OverrideBeneath. It applies again
    /// when they are configured, unless ForgetOrder clears it.
    #[zbus(property)]
    fn unseated_orders(&self) -> Vec<HashMap<&'static str, Variant<'static>>> {
        let model = self.model.latest();
        let row = |((service, backend), order): (&(Arc<str>, Backend), &Order)| {
            let place = [
                ("Service", Variant::from(service.to_string())),
                ("Server", Variant::from(backend.to_string())),
            ];
            place.into_iter().chain(order_columns(Some(order))).collect()
        };
        model.status.faults.unseated.iter().map(row).collect()
    }

    /// How many virtual services are configured.
    #[zbus(property)]
    fn services(&self) -> u32 {
        count(self.model.latest().status.services.len())
    }

    /// How many real servers they have.
    #[zbus(property)]
    fn servers(&self) -> u32 {
        count(self.model.latest().status.services.values().map(|service| service.servers.len()).sum())
    }

    /// How many real servers get new connections.
    #[zbus(property)]
    fn servers_in_use(&self) -> u32 {
        let model = self.model.latest();
        let servers = model.status.services.values().flat_map(|service| &service.servers);
        count(servers.filter(|server| server.effective_weight > 0).count())
    }

    /// How often a service was put right after others had changed it.
    #[zbus(property)]
    fn repairs(&self) -> u64 {
        self.model.latest().status.faults.repairs
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// One virtual service. Changed connection counts alone are not announced.
struct ServiceObject {
    name: String,
    model: Model<Snapshot>,
    commands: Sender<Command>,
}

impl ServiceObject {
    fn get<T>(&self, read: impl FnOnce(&ServiceStatus) -> T) -> fdo::Result<T> {
        self.model.latest().service(&self.name).map(|service| read(service))
    }

    async fn order(
        &self,
        caller: (&Header<'_>, &Connection),
        verb: Verb,
        server: String,
        reason: String,
    ) -> fdo::Result<()> {
        let (header, connection) = caller;
        let author = authorize(connection, header, "org.trivet.ipvs1.order").await?;
        let request = Request { service: self.name.clone(), server, verb, author, reason };
        ask(&self.commands, |reply| Command::Order(request, reply)).await?.map_err(fdo::Error::InvalidArgs)
    }
}

#[interface(name = "org.trivet.Ipvs1.Service")]
impl ServiceObject {
    /// Give a server this weight, 0 to 65535, instead of the configured one and of what its check gives it. All of
    /// these verbs: the server is named as in `Servers`; the order is written down before it is done, and refused if it
    /// cannot be; it outlives restarts, and stands until it is cleared; for root, and for whom polkit allows
    /// org.trivet.ipvs1.order. Refused while the server is draining or disabled.
    async fn set_weight(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        server: String,
        weight: u16,
        reason: String,
    ) -> fdo::Result<()> {
        self.order((&header, connection), Verb::SetWeight(weight), server, reason).await
    }

    /// Let a server have no new connections, and take it out of use when it has none left, or after this many seconds;
    /// 0: at once, as Disable. The time counts anew if it is draining already.
    async fn drain(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        server: String,
        within: u32,
        reason: String,
    ) -> fdo::Result<()> {
        let within = Duration::from_secs(within.into());
        self.order((&header, connection), Verb::Drain { within }, server, reason).await
    }

    /// Take a server out of use at once.
    async fn disable(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        server: String,
        reason: String,
    ) -> fdo::Result<()> {
        self.order((&header, connection), Verb::Disable, server, reason).await
    }

    /// Undo Drain and Disable: its health decides again, with the weight that was ordered before them (OverrideBeneath), else
    /// the configured one.
    async fn enable(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        server: String,
    ) -> fdo::Result<()> {
        self.order((&header, connection), Verb::Enable, server, String::new()).await
    }

    /// Undo whatever was ordered.
    async fn clear_override(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        server: String,
    ) -> fdo::Result<()> {
        self.order((&header, connection), Verb::Clear, server, String::new()).await
    }

    /// The file's name without its ending.
    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> String {
        self.name.clone()
    }

    /// Where clients connect, the first of `Addresses`: `10.0.10.50:80`, or `fwmark 1`.
    #[zbus(property)]
    fn address(&self) -> fdo::Result<String> {
        self.get(address)
    }

    /// All services of the kernel that it has: `tcp 10.0.10.50:80`, `fwmark 1`.
    #[zbus(property)]
    fn addresses(&self) -> fdo::Result<Vec<String>> {
        self.get(addresses)
    }

    /// tcp, udp or sctp.
    #[zbus(property)]
    fn protocol(&self) -> fdo::Result<String> {
        self.get(|status| status.service.protocol.to_string())
    }

    /// The scheduler's name in the kernel, such as wlc.
    #[zbus(property)]
    fn scheduler(&self) -> fdo::Result<String> {
        self.get(|status| status.service.scheduler.clone())
    }

    /// nat, route or tunnel.
    #[zbus(property)]
    fn forward(&self) -> fdo::Result<String> {
        self.get(|status| status.service.forward.to_string())
    }

    /// The check of its servers; empty: they have none, or each its own.
    #[zbus(property)]
    fn check(&self) -> fdo::Result<String> {
        self.get(|status| status.service.check.clone().unwrap_or_default())
    }

    /// How long a client keeps its server, in seconds; 0: it does not.
    #[zbus(property)]
    fn persistence(&self) -> fdo::Result<u32> {
        self.get(persistence)
    }

    /// forwarding, sorry (the sorry server answers), no-servers, standby (its virtual router is not Active here), failed
    /// (the kernel refuses it) or pending (the kernel cannot be read).
    #[zbus(property)]
    fn state(&self) -> fdo::Result<&'static str> {
        self.get(|status| status.state.word())
    }

    /// Why the state is what it is.
    #[zbus(property)]
    fn reason(&self) -> fdo::Result<String> {
        self.get(|status| status.reason.clone())
    }

    /// Whether there are servers enough to be worth sending clients here: with as much weight as `quorum` says.
    #[zbus(property)]
    fn has_quorum(&self) -> fdo::Result<bool> {
        self.get(|status| status.has_quorum)
    }

    /// Whether the sorry server answers.
    #[zbus(property)]
    fn sorry_active(&self) -> fdo::Result<bool> {
        self.get(|status| status.sorry_active)
    }

    /// How often it was put right after others had changed it in the kernel.
    #[zbus(property)]
    fn repairs(&self) -> fdo::Result<u64> {
        self.get(|status| status.repairs)
    }

    /// What the last repair was; empty: there was none.
    #[zbus(property)]
    fn last_repair(&self) -> fdo::Result<String> {
        self.get(|status| status.last_repair.clone())
    }

    /// One row for each real server: Address, Weight (configured), EffectiveWeight (in the kernel), InTable, Health
    /// (unchecked, unknown, up, down), Reason, Since (microseconds since 1970; 0: never), Stale (checkd said so once,
    /// but cannot be heard now), Override (what an operator ordered: weight N, drain, disabled; empty: nothing),
    /// OverrideBy, OverrideReason, OverrideSince, OverrideUntil (when a drain ends whatever is left), OverrideBeneath (the
    /// weight that Enable brings back, with its author and reason), ActiveConnections, InactiveConnections. That rows are
    /// others is announced without them; changed connection counts alone are not.
    #[zbus(property(emits_changed_signal = "invalidates"))]
    fn servers(&self) -> fdo::Result<Vec<HashMap<&'static str, Variant<'static>>>> {
        let model = self.model.latest();
        let status = model.service(&self.name)?;
        Ok(status.servers.iter().map(|server| row(&status.service, server, &model.connections)).collect())
    }
}

fn row(
    service: &VirtualService,
    server: &ServerStatus,
    connections: &AllConnections,
) -> HashMap<&'static str, Variant<'static>> {
    let mut counts = Connections::default();
    for front in &service.fronts {
        let found = connections.get(front).and_then(|of| of.get(&server.backend.behind(front)));
        found.into_iter().for_each(|found| counts += *found);
    }
    let columns = [
        ("Address", Variant::from(server.backend.to_string())),
        ("Weight", Variant::from(u32::from(server.weight))),
        ("EffectiveWeight", Variant::from(server.effective_weight)),
        ("InTable", Variant::from(server.in_table)),
        ("Health", Variant::from(server.health())),
        ("Reason", Variant::from(server.reason.to_string())),
        ("Since", Variant::from(server.since)),
        ("Stale", Variant::from(server.stale)),
        ("ActiveConnections", Variant::from(counts.active)),
        ("InactiveConnections", Variant::from(counts.inactive)),
    ];
    columns.into_iter().chain(order_columns(server.order.as_deref())).collect()
}

fn order_columns(order: Option<&Order>) -> [(&'static str, Variant<'static>); 6] {
    let text = |read: fn(&Order) -> String| Variant::from(order.map(read).unwrap_or_default());
    let until = |order: &Order| match order.command {
        orders::Command::Drain { until } => until,
        orders::Command::Weight(_) | orders::Command::Disable => 0,
    };
    let beneath = |order: &Order| order.beneath.as_ref().map(ToString::to_string).unwrap_or_default();
    [
        ("Override", text(|order| order.command.to_string())),
        ("OverrideBy", text(|order| order.author.clone())),
        ("OverrideReason", text(|order| order.reason.clone())),
        ("OverrideSince", Variant::from(order.map_or(0, |order| order.since))),
        ("OverrideUntil", Variant::from(order.map_or(0, until))),
        ("OverrideBeneath", text(beneath)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::director::scene::{backend_with_port, key, server_address, service};
    use crate::health::Verdict;
    use crate::status::State;

    #[test]
    fn a_row_tells_the_weight_that_is_configured_and_the_one_that_is_in_force() {
        let mut service = service(50, &[101]);
        service.fronts.push(key(51));
        let server = ServerStatus {
            backend: backend_with_port(101),
            weight: 3,
            effective_weight: 40,
            in_table: true,
            health: Some(Verdict::Up),
            reason: "load 0.3".into(),
            since: 7,
            stale: false,
            order: None,
        };
        let counts = |front: u8, active| {
            let counts = Connections { active, inactive: 3, persistent: 0 };
            (key(front), Arc::new(HashMap::from([(server_address(101), counts)])))
        };
        let connections = HashMap::from([counts(50, 5), counts(51, 2), counts(52, 9)]);
        let row = row(&service, &server, &connections);
        let number = |key: &str| u32::try_from(&row[key]).unwrap();
        let told = ["Weight", "EffectiveWeight", "ActiveConnections", "InactiveConnections"].map(number);
        assert_eq!(told, [3, 40, 7, 6], "connections of all its addresses");
    }

    #[test]
    fn only_what_reads_differently_is_announced_and_each_property_is_known_here() {
        let status = |state, reason: &str| ServiceStatus {
            service: Arc::new(service(50, &[101])),
            state,
            reason: reason.into(),
            has_quorum: true,
            sorry_active: false,
            repairs: 0,
            last_repair: String::new(),
            servers: Box::default(),
        };
        let (before, now) = (status(State::Forwarding, "why"), status(State::NoServers, "why"));
        assert!(changes(&before, &before).is_empty());
        let changed = changes(&before, &now);
        assert_eq!(changed.keys().copied().collect::<Vec<_>>(), ["State"]);
        assert_eq!(changed["State"], Variant::from("no-servers"));
        let mut introspection = String::new();
        let object =
            |name| ServiceObject { name, model: Model::new(Snapshot::default()), commands: commands() };
        object(String::new()).introspect_to_writer(&mut introspection, 0);
        let told: BTreeSet<&str> =
            shown(&now).into_iter().map(|(name, _)| name).chain(["Name", "Servers"]).collect();
        let lines = introspection.lines().filter_map(|line| line.trim().strip_prefix("<property name=\""));
        let all: BTreeSet<&str> = lines.filter_map(|line| line.split('"').next()).collect();
        assert_eq!(told, all, "every property is announced");
    }

    fn commands() -> Sender<Command> {
        daemon::queue::queue(1).unwrap().0
    }

    #[test]
    fn what_was_ordered_is_told_with_what_is_beneath_it_and_when_it_ends() {
        let order = |command, reason: &str, since, beneath| Order {
            command,
            author: "alice".into(),
            reason: reason.into(),
            since,
            beneath,
            front: None,
        };
        let weight = order(orders::Command::Weight(5), "half of it", 2, None);
        let drain = order(orders::Command::Drain { until: 9 }, "its disk", 3, Some(Box::new(weight.clone())));
        let told = |order: Option<&Order>| {
            let columns = HashMap::from(order_columns(order));
            let text = |key: &str| String::try_from(columns[key].try_clone().unwrap()).unwrap();
            let number = |key: &str| u64::try_from(&columns[key]).unwrap();
            let texts = ["Override", "OverrideBy", "OverrideReason", "OverrideBeneath"].map(text);
            (texts.join("|"), number("OverrideSince"), number("OverrideUntil"))
        };
        assert_eq!(told(None), ("|||".into(), 0, 0));
        assert_eq!(told(Some(&weight)), ("weight 5|alice|half of it|".into(), 2, 0));
        let words = "drain|alice|its disk|weight 5 by alice: half of it".to_owned();
        assert_eq!(told(Some(&drain)), (words, 3, 9));
    }
}
