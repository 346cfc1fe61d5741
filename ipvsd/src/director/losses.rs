//! Which services lost servers, and in which order: the kernel keeps deleted servers for two minutes and looks through
//! them, the last one first, for each that is added (`ip_vs_trash_get_dest`).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::table::ServiceKey;

/// After this long without any the kernel has forgotten them all.
const KEPT: Duration = Duration::from_secs(180);

#[derive(Debug, Default)]
pub(super) struct Losses {
    /// The higher, the later.
    ranks: HashMap<ServiceKey, u64>,
    last_rank: u64,
    last_at: Option<Instant>,
    /// Servers that the kernel may still keep.
    deleted: u64,
}

impl Losses {
    /// A service lost so many servers.
    pub(super) fn add(&mut self, now: Instant, key: ServiceKey, servers: usize) {
        self.deleted = self.deleted(now) + u64::try_from(servers).unwrap_or(u64::MAX);
        self.last_at = Some(now);
        self.last_rank += 1;
        self.ranks.insert(key, self.last_rank);
    }

    /// Of a service; 0: it lost none.
    pub(super) fn rank(&self, key: &ServiceKey) -> u64 {
        self.ranks.get(key).copied().unwrap_or(0)
    }

    /// How many servers the kernel keeps, at most.
    pub(super) fn deleted(&self, now: Instant) -> u64 {
        let is_over = self.last_at.is_none_or(|at| now.saturating_duration_since(at) > KEPT);
        if is_over { 0 } else { self.deleted }
    }

    /// What is not configured any more is nobody's to return to.
    pub(super) fn retain(&mut self, is_ours: impl Fn(&ServiceKey) -> bool) {
        self.ranks.retain(|key, _| is_ours(key));
    }
}
