//! `org.trivet.Check1.Check`: one configured check with its targets.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use daemon::bus::{Model, Turnstile, ask_within};
use daemon::queue::Sender;
use zbus::{Variant, fdo, interface};

use super::{Command, Snapshot, TargetDetail, weight};
use crate::target::State;

/// What a probe may take beyond its own time limit, until its outcome is with the caller.
const REPLY_GRACE: Duration = Duration::from_secs(5);

pub(super) struct Check {
    pub(super) name: String,
    pub(super) model: Model<Snapshot>,
    pub(super) commands: Sender<Command>,
    /// Anyone may read `Targets`, of all checks together one at a time: watchers must find room in the queue all the
    /// same.
    pub(super) readers: Arc<Turnstile>,
}

type Target = HashMap<&'static str, Variant<'static>>;

#[interface(name = "org.trivet.Check1.Check")]
impl Check {
    /// Probe this address, such as "192.0.2.1:80", now, be it watched or not. `state` is "up" or "down", or
    /// "unknown" if the probe could not run; for a watched target it is the state that follows, with `rise` and
    /// `fall`. `duration` is in microseconds. Takes as long as the probe does, at most Timeout.
    #[zbus(out_args("state", "reason", "duration"))]
    async fn probe(&self, address: String) -> fdo::Result<(&'static str, String, u64)> {
        let deadline = self.settings()?.timeout + REPLY_GRACE;
        let probe = |reply| Command::Probe { check: self.name.clone(), address, reply };
        let judged = ask_within(&self.commands, deadline, probe).await?.map_err(fdo::Error::InvalidArgs)?;
        Ok((judged.row.state.as_str(), judged.row.reason, microseconds(judged.took)))
    }

    #[zbus(property(emits_changed_signal = "const"))]
    fn name(&self) -> &str {
        &self.name
    }

    /// "tcp" or "http".
    #[zbus(property, name = "Type")]
    fn kind(&self) -> fdo::Result<&'static str> {
        Ok(self.settings()?.kind.as_str())
    }

    /// Microseconds from the start of one probe to the start of the next.
    #[zbus(property)]
    fn interval(&self) -> fdo::Result<u64> {
        Ok(microseconds(self.settings()?.interval))
    }

    /// The same while the server is down.
    #[zbus(property)]
    fn down_interval(&self) -> fdo::Result<u64> {
        Ok(microseconds(self.settings()?.interval_in(State::Down)))
    }

    /// Microseconds that a whole probe may take.
    #[zbus(property)]
    fn timeout(&self) -> fdo::Result<u64> {
        Ok(microseconds(self.settings()?.timeout))
    }

    /// Microseconds until the next probe when a result may change the state.
    #[zbus(property)]
    fn retry_interval(&self) -> fdo::Result<u64> {
        Ok(microseconds(self.settings()?.retry_interval))
    }

    /// Passes in a row that take a server up.
    #[zbus(property)]
    fn rise(&self) -> fdo::Result<u32> {
        Ok(self.settings()?.thresholds.rise.get())
    }

    /// Failures in a row that take a server down.
    #[zbus(property)]
    fn fall(&self) -> fdo::Result<u32> {
        Ok(self.settings()?.thresholds.fall.get())
    }

    /// Flap damping: a server whose state changed so often (0: damping is off) within so many microseconds stays down
    /// until it has passed for so many microseconds without a break.
    #[zbus(property)]
    fn damping(&self) -> fdo::Result<(u32, u64, u64)> {
        let damping = self.settings()?.damping;
        Ok(damping.map_or((0, 0, 0), |damping| {
            (damping.changes.get(), microseconds(damping.within), microseconds(damping.hold))
        }))
    }

    /// One entry for each target: Address, State, Reason, Since (microseconds of CLOCK_REALTIME, 0: never),
    /// Weight (that the check gives the server while it is up, 0 to 65535; -1: none), LastDuration (microseconds; not
    /// there before the first result), Next (when the next probe starts, microseconds of CLOCK_REALTIME; 0 while one
    /// runs), Running (whether one does), Against and Needed (how many results in a row disagree with the state, and
    /// how many change it), Probes and Changes (how many probes were judged, and how often the state changed, since
    /// checkd was started), Damped (whether flap damping keeps it down) and DampedUntil (until then, if it goes on
    /// passing, microseconds of CLOCK_REALTIME; 0: it does not pass).
    #[zbus(property(emits_changed_signal = "invalidates"))]
    async fn targets(&self) -> fdo::Result<Vec<Target>> {
        let targets = |reply| Command::Targets { check: self.name.clone(), reply };
        let mut rows = self.readers.ask(&self.commands, targets).await?;
        rows.sort_unstable_by_key(|row| row.detail.address);
        Ok(rows.into_iter().map(target).collect())
    }
}

impl Check {
    fn settings(&self) -> fdo::Result<Arc<crate::check::Check>> {
        let check = self.model.latest().checks.get(&self.name).cloned();
        check.ok_or_else(|| fdo::Error::UnknownObject(format!("no check '{}' is configured", self.name)))
    }
}

fn target(target: TargetDetail) -> Target {
    let TargetDetail { detail, next } = target;
    let mut entries = Target::from([
        ("Address", detail.row.address.into()),
        ("State", detail.row.state.as_str().into()),
        ("Reason", detail.row.reason.into()),
        ("Since", detail.row.since.0.into()),
        ("Weight", weight(detail.row.weight).into()),
        ("Next", next.into()),
        ("Running", detail.is_probing.into()),
        ("Against", detail.progress.against.into()),
        ("Needed", detail.progress.needed.into()),
        ("Probes", detail.probes.into()),
        ("Changes", detail.changes.into()),
        ("Damped", detail.is_held.into()),
        ("DampedUntil", detail.held_until.map_or(0, |until| until.0).into()),
    ]);
    if let Some(duration) = detail.last_duration {
        entries.insert("LastDuration", microseconds(duration).into());
    }
    entries
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
