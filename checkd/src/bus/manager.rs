//! `org.trivet.Check1.Manager`: who wants to know about which targets, and what changed about them.

use daemon::bus::{Model, Turnstile, step_aside};
use daemon::queue::Sender;
use zbus::fdo::{self, DBusProxy};
use zbus::message::Header;
use zbus::names::BusName;
use zbus::object_server::SignalEmitter;
use zbus::{Connection, interface};

use super::{Command, HealthRow, Snapshot, Watchers, health_row, send};
use crate::registry::Wanted;

/// Targets that one watcher may have.
const TARGETS: usize = 100_000;
/// Rows between two looks at what else there is to do.
const PORTION: usize = 1024;

pub(super) struct Manager {
    pub(super) model: Model<Snapshot>,
    pub(super) commands: Sender<Command>,
    pub(super) watchers: Watchers,
    /// One set is taken in at a time.
    pub(super) turns: Turnstile,
}

#[interface(name = "org.trivet.Check1.Manager")]
impl Manager {
    /// Watch exactly these targets, (check, address) each, and none that the caller named before. The answer has a
    /// row for each: (check, address, state, reason, since, weight), state one of "unknown", "up", "down", since in
    /// microseconds of CLOCK_REALTIME, 0 for never, weight from 0 to 65535 if the check gives the server one while it
    /// is up, else -1. HealthChanged signals up to `generation` tell nothing new. The watch ends when the caller
    /// leaves the bus.
    #[zbus(out_args("generation", "answers"))]
    async fn watch(
        &self,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
        targets: Vec<(String, String)>,
    ) -> fdo::Result<(u64, Vec<HealthRow>)> {
        let Some(caller) = header.sender().map(ToString::to_string) else {
            return Err(fdo::Error::AccessDenied("a watch needs a sender".into()));
        };
        if targets.len() > TARGETS {
            return Err(fdo::Error::LimitsExceeded(format!("no more than {TARGETS} targets can be watched")));
        }
        self.watchers.add(&caller);
        let mut wanted = Wanted::default();
        for (number, (check, address)) in targets.iter().enumerate() {
            wanted.add(check, address);
            if number % PORTION == 0 {
                step_aside().await;
            }
        }
        let keys = wanted.take_keys();
        let watch = |reply| Command::Watch { caller: caller.clone(), keys, reply };
        let (generation, standings) = self.turns.ask(&self.commands, watch).await?;
        self.forget_if_gone(connection, caller).await?;
        let mut rows = Vec::with_capacity(targets.len());
        for (number, (check, address)) in targets.into_iter().enumerate() {
            rows.push(health_row(wanted.answer(number, check, address, &standings)));
            if number % PORTION == 0 {
                step_aside().await;
            }
        }
        Ok((generation, rows))
    }

    /// What changed since the last one, (check, address, state, reason, since, weight) each, for all watchers together.
    /// `generation` grows from one to the next; addresses are in their shortest spelling.
    #[zbus(signal)]
    pub(super) async fn health_changed(
        emitter: &SignalEmitter<'_>,
        generation: u64,
        changed: Vec<HealthRow>,
    ) -> zbus::Result<()>;

    #[zbus(property(emits_changed_signal = "const"))]
    fn version(&self) -> &str {
        env!("CARGO_PKG_VERSION")
    }

    #[zbus(property)]
    fn checks(&self) -> u32 {
        count(self.model.latest().checks.len())
    }

    #[zbus(property)]
    fn watchers(&self) -> u32 {
        count(self.model.latest().watchers)
    }

    #[zbus(property)]
    fn targets_unknown(&self) -> u32 {
        count(self.model.latest().counts[0])
    }

    #[zbus(property)]
    fn targets_up(&self) -> u32 {
        count(self.model.latest().counts[1])
    }

    #[zbus(property)]
    fn targets_down(&self) -> u32 {
        count(self.model.latest().counts[2])
    }
}

impl Manager {
    /// The caller may have left between its call and our taking it in: then its departure was told before there was
    /// anything to forget.
    async fn forget_if_gone(&self, connection: &Connection, caller: String) -> fdo::Result<()> {
        let name =
            BusName::try_from(caller.as_str()).map_err(|error| fdo::Error::Failed(error.to_string()))?;
        let is_there = DBusProxy::new(connection).await?.name_has_owner(name).await?;
        if !is_there {
            self.watchers.remove(&caller);
            send(&self.commands, || Command::Gone { caller: caller.clone() }).await;
        }
        Ok(())
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
