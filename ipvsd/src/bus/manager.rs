//! The object of ipvsd as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use daemon::authority::authorize;
use daemon::bus::{Model, Turnstile, ask};
use daemon::queue::Sender;
use zbus::message::Header;
use zbus::{Connection, Variant, fdo, interface};

use super::Snapshot;
use super::service::order_columns;
use crate::daemon::Command;
use crate::director::{Request, Verb};
use crate::orders::Order;
use crate::service::Backend;

pub(super) struct Manager {
    pub(super) model: Model<Snapshot>,
    pub(super) commands: Sender<Command>,
    /// Anyone may ask for the plan; health answers must find room in the queue all the same.
    pub(super) plans: Turnstile,
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
