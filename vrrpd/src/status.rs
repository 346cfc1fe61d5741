//! What the loop publishes for the bus: plain values, made from the routers.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::config::RouterConfig;
use crate::counters::Counters;
use crate::receive::Discard;
use crate::router::{Router, StateName};

/// Everything that the objects show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Snapshot {
    /// In the order of their names.
    pub routers: Vec<RouterStatus>,
    /// Packets that belong to no router here, by reason.
    pub discarded: [u64; Discard::COUNT],
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterStatus {
    pub name: String,
    pub state: StateName,
    /// Microseconds of CLOCK_REALTIME.
    pub since: u64,
    pub reason: String,
    pub vrid: u8,
    pub interface: String,
    pub version: u8,
    pub priority: u8,
    pub effective_priority: u8,
    /// Address with prefix length, and interface.
    pub addresses: Vec<(String, String)>,
    /// Empty: nobody else, as far as we know.
    pub active_peer: String,
    pub counters: Counters,
}

impl RouterStatus {
    pub fn new(
        name: &str,
        since: u64,
        reason: String,
        config: &RouterConfig,
        router: &Router,
        counters: &Counters,
    ) -> Self {
        let settings = &config.settings;
        let addresses = settings.addresses.iter();
        Self {
            name: name.to_owned(),
            state: router.state(),
            since,
            reason,
            vrid: config.vrid.get(),
            interface: config.interface.to_string(),
            version: settings.version.number(),
            priority: settings.priority.0,
            effective_priority: router.priority().0,
            addresses: addresses
                .map(|address| {
                    (format!("{}/{}", address.address, address.prefix_len), address.interface.to_string())
                })
                .collect(),
            active_peer: router.active_peer().as_ref().map(IpAddr::to_string).unwrap_or_default(),
            counters: counters.clone(),
        }
    }

    pub fn counters(&self) -> HashMap<&'static str, u64> {
        self.counters.rows().collect()
    }
}

impl Snapshot {
    pub fn router(&self, name: &str) -> Option<&RouterStatus> {
        let index = self.routers.binary_search_by(|router| router.name.as_str().cmp(name)).ok()?;
        self.routers.get(index)
    }

    pub fn count(&self, state: StateName) -> u32 {
        let count = self.routers.iter().filter(|router| router.state == state).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Without what changes all the time, which alone is no reason for a signal.
    pub fn quiet(&self) -> Self {
        let mut quiet = Self { discarded: Default::default(), ..self.clone() };
        for router in &mut quiet.routers {
            router.counters = Counters::default();
        }
        quiet
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
