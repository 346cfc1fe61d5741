//! What the loop publishes for the bus: plain values, made from the routers.

use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::config::RouterConfig;
use crate::counters::Counters;
use crate::lateness::Lateness;
use crate::peers::status::PeerStatus;
use crate::receive::Discard;
use crate::router::StateName;
use crate::track::{Part, What};
use crate::transitions::Transitions;
use crate::types::VirtualAddress;

/// Everything that the objects show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their names.
    pub routers: Vec<Arc<RouterStatus>>,
    /// Packets that belong to no router here, by reason.
    pub discarded: Shared<[u64; Discard::COUNT]>,
    /// Of the loop's timers.
    pub lateness: Shared<Lateness>,
    /// The loop has said it all; not so before its first turn.
    pub is_complete: bool,
    /// The daemon ends, and none of its routers goes on.
    pub is_last: bool,
    /// What the bus thread is to bring news of.
    pub tracked: Arc<BTreeSet<What>>,
    /// The last ones of all routers, the newest last.
    pub transitions: Transitions,
}

/// Figures that change with every packet, which alone is no reason for a new snapshot: the loop brings them up to date
/// in place. Two are equal if they are the same one.
#[derive(Debug, Default)]
pub struct Shared<T>(Arc<Mutex<T>>);

impl<T: Clone> Shared<T> {
    pub fn get(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Never waits. `false`: somebody reads it at this very moment, and it is as it was.
    #[must_use]
    pub fn set(&self, value: &T) -> bool {
        let Ok(mut place) = self.0.try_lock() else { return false };
        place.clone_from(value);
        true
    }
}

impl<T> Clone for Shared<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> PartialEq for Shared<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for Shared<T> {}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatus {
    pub name: Arc<str>,
    pub state: StateName,
    /// Microseconds of CLOCK_REALTIME.
    pub since: u64,
    pub reason: String,
    pub config: Arc<RouterConfig>,
    pub effective_priority: u8,
    pub tracks: Vec<Part>,
    /// Nobody else, as far as we know.
    pub active_peer: Option<IpAddr>,
    pub counters: Shared<Counters>,
    /// Whom it hears; the row of those that have none of their own is the last.
    pub peers: Shared<Vec<PeerStatus>>,
    /// What there is to say about them, a sentence each: "peer 10.0.0.2 sends version 2; this router speaks 3".
    pub remarks: Vec<String>,
}

impl RouterStatus {
    /// Where advertisements are sent and heard.
    pub fn interface(&self) -> String {
        self.config.interface.to_string()
    }

    /// Address with prefix length, and interface.
    pub fn addresses(&self) -> Vec<(String, String)> {
        let addresses = self.config.settings.held();
        let row = |address: &VirtualAddress| {
            (format!("{}/{}", address.address, address.prefix_len), address.interface.to_string())
        };
        addresses.map(row).collect()
    }

    /// Empty: nobody else, as far as we know.
    pub fn active_peer(&self) -> String {
        self.active_peer.as_ref().map(IpAddr::to_string).unwrap_or_default()
    }

    pub fn counters(&self) -> HashMap<&'static str, u64> {
        self.counters.get().rows().collect()
    }
}

impl Snapshot {
    pub fn router(&self, name: &str) -> Option<&RouterStatus> {
        self.find(name).map(|router| &**router)
    }

    /// Whether a router is shown as it was in `former`.
    pub fn shows_as(&self, former: &Self, name: &str) -> bool {
        self.find(name) == former.find(name)
    }

    fn find(&self, name: &str) -> Option<&Arc<RouterStatus>> {
        let index = self.routers.binary_search_by(|router| (*router.name).cmp(name)).ok()?;
        self.routers.get(index)
    }

    pub fn count(&self, state: StateName) -> u32 {
        let count = self.routers.iter().filter(|router| router.state == state).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// One line for `systemctl status`: `3 routers: 2 active, 1 backup`.
    pub fn summary(&self) -> String {
        let states = [
            (StateName::Active, "active"),
            (StateName::Backup, "backup"),
            (StateName::Fault, "fault"),
            (StateName::Initialize, "starting"),
        ];
        let counts = states.iter().map(|(state, word)| (self.count(*state), word));
        let parts: Vec<String> =
            counts.filter(|(count, _)| *count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        match self.routers.len() {
            0 => "no routers configured".into(),
            1 => format!("1 router: {}", parts.join(", ")),
            count => format!("{count} routers: {}", parts.join(", ")),
        }
    }
}
