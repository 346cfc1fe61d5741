//! The objects of the virtual services.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use daemon::authority::authorize;
use daemon::bus::{Model, ask};
use daemon::queue::Sender;
use zbus::message::Header;
use zbus::{Connection, Variant, fdo, interface};

use super::Snapshot;
use crate::daemon::Command;
use crate::director::{Request, Verb};
use crate::orders::{self, Order};
use crate::service::VirtualService;
use crate::status::{ServerStatus, ServiceStatus};
use crate::table::{AllConnections, Connections, ServiceKey};

/// One virtual service. Changed connection counts alone are not announced.
pub(super) struct ServiceObject {
    pub(super) name: String,
    pub(super) model: Model<Snapshot>,
    pub(super) commands: Sender<Command>,
    pub(super) unseen: Arc<AtomicBool>,
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
        if self.unseen.load(Ordering::Relaxed) {
            return Ok(Vec::new());
        }
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

pub(super) fn order_columns(order: Option<&Order>) -> [(&'static str, Variant<'static>); 6] {
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

/// The properties of a service that are others now, but for its rows.
pub(super) fn changes(
    before: &ServiceStatus,
    now: &ServiceStatus,
) -> HashMap<&'static str, Variant<'static>> {
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use zbus::object_server::Interface as _;

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
        let object = |name| ServiceObject {
            name,
            model: Model::new(Snapshot::default()),
            commands: commands(),
            unseen: Arc::default(),
        };
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
