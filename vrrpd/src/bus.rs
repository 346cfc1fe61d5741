//! `org.trivet.Vrrp1` on the system bus: what is shown comes from the last snapshot, verbs go to the loop.

mod checks;
mod rows;
mod services;
pub(crate) mod targets;
mod units;

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use daemon::authority::authorize;
use daemon::bus::{Model, Objects, Reply, Service, Session, announce_changes, ask, path_element, properties};
use daemon::queue::Sender;
use futures_channel::mpsc;
use futures_util::future::{Either, select, try_join4};
use zbus::message::Header;
use zbus::object_server::{Interface as _, SignalEmitter};
use zbus::{Connection, fdo, interface};

use crate::receive::Discard;
use crate::router::StateName;
use crate::status::{RouterStatus, Snapshot};
use crate::track::news::News;
use crate::types::Family;
use targets::Goodbye;

const MANAGER: &str = "/org/trivet/Vrrp1";
const ROUTERS: &str = "/org/trivet/Vrrp1/router";

/// What the bus thread hands to the loop.
#[derive(Debug)]
pub enum Command {
    /// Send the gratuitous ARPs of the named router now; or why not.
    Announce(String, Reply<Result<(), String>>),
    /// Take the router out of service, or put it back; or why not.
    SetMaintenance {
        router: String,
        on: bool,
        reason: String,
        /// In words.
        by: String,
        reply: Reply<Result<(), String>>,
    },
}

/// How long the end of the daemon waits until systemd was told.
const FAREWELL: Duration = Duration::from_secs(1);

/// For the loop: whether the bus thread has told systemd that it is all over.
#[derive(Debug)]
pub struct Farewell {
    attached: Arc<AtomicBool>,
    said: Receiver<()>,
}

impl Farewell {
    /// Not long, and not at all where there is no systemd.
    pub fn wait(&self) {
        if self.attached.load(Ordering::Relaxed) && self.said.recv_timeout(FAREWELL).is_err() {
            log::warn!("systemd was not told in time that no router is Active any more");
        }
    }
}

/// What runs on the bus thread.
#[derive(Debug)]
pub struct BusService {
    commands: Sender<Command>,
    news: News,
    goodbye: Goodbye,
}

impl BusService {
    /// And how the loop knows that all was said.
    pub fn new(commands: Sender<Command>, news: News) -> (Self, Farewell) {
        let (say, said) = sync_channel(1);
        let attached = Arc::new(AtomicBool::new(false));
        let goodbye = Goodbye { attached: Arc::clone(&attached), said: say };
        (Self { commands, news, goodbye }, Farewell { attached, said })
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
        let mut objects = Objects::new(ROUTERS, &["Counters", "Peers"]);
        let mut shown = None;
        self.update(&session, &mut objects, &mut shown).await?;
        session.take_name().await?;
        let (wakes, changes) = (0..4).map(|_| mpsc::channel(0)).unzip::<_, _, Vec<_>, Vec<_>>();
        let Ok([for_checks, for_services, for_units, for_targets]) = <[_; 4]>::try_from(changes) else {
            unreachable!("there are four");
        };
        let (model, news) = (|| session.model.clone(), || self.news.clone());
        let clients = pin!(try_join4(
            checks::run(connection, model(), for_checks, news()),
            services::run(connection, model(), for_services, news()),
            units::run(connection, model(), for_units, news()),
            targets::run(connection, model(), for_targets, self.goodbye.clone()),
        ));
        let show = pin!(self.show(&session, objects, shown, wakes));
        match select(clients, show).await {
            Either::Left((result, _)) => result.map(|_| ()),
            Either::Right((result, _)) => result,
        }
    }
}

impl BusService {
    /// Have the objects show each snapshot, and the clients look at it.
    async fn show(
        &self,
        session: &Session<Snapshot>,
        mut objects: Objects<RouterObject>,
        mut shown: Option<Arc<Snapshot>>,
        mut wakes: Vec<mpsc::Sender<()>>,
    ) -> zbus::Result<()> {
        let connection = &session.connection;
        let mut manager = properties::<Manager>(connection, MANAGER).await?;
        loop {
            session.changed().await;
            for wake in &mut wakes {
                // Full: a wake-up is on its way already.
                let _ = wake.try_send(());
            }
            let told = shown.as_ref().map_or(0, |former| former.transitions.count());
            if self.update(session, &mut objects, &mut shown).await? {
                let now = properties::<Manager>(connection, MANAGER).await?;
                announce_changes(
                    connection,
                    MANAGER,
                    &Manager::name(),
                    &["Discarded", "Lateness"],
                    &manager,
                    &now,
                )
                .await?;
                manager = now;
            }
            if let Some(snapshot) = &shown {
                for transition in snapshot.transitions.after(told) {
                    let path = format!("{ROUTERS}/{}", path_element(&transition.router));
                    let emitter = SignalEmitter::new(connection, path)?;
                    let (from, to) = (transition.from.as_str(), transition.to.as_str());
                    RouterObject::transition(&emitter, from, to, &transition.reason).await?;
                }
            }
        }
    }

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

    /// How late timers were since the start: Turns (how often it was measured), MedianUsec, P99Usec, P999Usec, MaxUsec.
    #[zbus(property(emits_changed_signal = "false"))]
    fn lateness(&self) -> HashMap<&'static str, u64> {
        self.model.latest().lateness.get().rows().collect()
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
    /// Send the gratuitous ARPs (IPv6: neighbour advertisements) of its addresses now. Only while it is Active. For
    /// root, and for whom polkit allows org.trivet.vrrp1.announce.
    async fn announce(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> fdo::Result<()> {
        authorize(connection, &header, "org.trivet.vrrp1.announce").await?;
        let command = |reply| Command::Announce(self.name.clone(), reply);
        ask(&self.commands, command).await?.map_err(fdo::Error::Failed)
    }

    /// Take the router out of service (it is in Fault, with this reason), or put it back. That outlives a restart of
    /// vrrpd, but not one of the machine. For root, and for whom polkit allows org.trivet.vrrp1.set-maintenance.
    async fn set_maintenance(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        on: bool,
        reason: String,
    ) -> fdo::Result<()> {
        let by = authorize(connection, &header, "org.trivet.vrrp1.set-maintenance").await?;
        let router = self.name.clone();
        let command = |reply| Command::SetMaintenance { router, on, reason, by, reply };
        ask(&self.commands, command).await?.map_err(fdo::Error::Failed)
    }

    /// It has gone from one state to another; the reason is the new state's.
    #[zbus(signal)]
    async fn transition(emitter: &SignalEmitter<'_>, from: &str, to: &str, reason: &str) -> zbus::Result<()>;

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

    /// As advertised: the configured one and what is tracked make it, see Tracks.
    #[zbus(property)]
    fn effective_priority(&self) -> fdo::Result<u8> {
        self.get(|router| router.effective_priority)
    }

    /// One row for each thing that is tracked: What, State (up, down, unknown), Effect (weight or fault), Weight (if
    /// that is its effect), Reverse, Contribution (to the priority, now), Reason, Since (microseconds since 1970; 0:
    /// never), Stale (it was so once, but cannot be heard now).
    #[zbus(property)]
    fn tracks(&self) -> fdo::Result<Vec<rows::Row>> {
        self.get(|router| router.tracks.iter().map(rows::track).collect())
    }

    /// The name of the sync group; empty: none.
    #[zbus(property)]
    fn sync_group(&self) -> fdo::Result<String> {
        self.get(|router| router.config.settings.sync_group.as_deref().unwrap_or_default().to_owned())
    }

    /// Of the addresses: IPv4 or IPv6.
    #[zbus(property)]
    fn family(&self) -> fdo::Result<&'static str> {
        self.get(|router| match router.config.family {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }

    /// One row for each other router that was heard: Address (empty: all that have no row of their own), LastSeen
    /// (microseconds since 1970), Received (advertisements that were believed), Discarded (by reason); of the last that
    /// was believed Version, Priority, IntervalMSec and Checksum (rfc, keepalived). Up to half a second old.
    #[zbus(property(emits_changed_signal = "false"))]
    fn peers(&self) -> fdo::Result<Vec<rows::Row>> {
        self.get(|router| router.peers.get().iter().map(rows::peer).collect())
    }

    /// What there is to say about the peers, a sentence each; nothing if all is well.
    #[zbus(property)]
    fn remarks(&self) -> fdo::Result<Vec<String>> {
        self.get(|router| router.remarks.clone())
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
