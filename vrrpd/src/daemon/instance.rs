//! One virtual router as the daemon keeps it: configuration, state machine, counters, and what was said about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::hearing::ShownRemarks;
use super::tracking::Watch;
use crate::config::RouterConfig;
use crate::counters::Counters;
use crate::kernel::Operation;
use crate::objects::Object;
use crate::peers::Peers;
use crate::peers::status::PeerStatus;
use crate::router::Router;
use crate::router::StateName;
use crate::status::{RouterStatus, Shared};
use crate::table::Notice;

/// The same thing is said again after this, if it still happens.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// Says when something that may happen at any rate is to be logged.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Limit {
    next: Option<Instant>,
    unsaid: u64,
}

impl Limit {
    /// `Some`: log it, and how many times it happened since the last time without a word.
    pub(super) fn hit(&mut self, now: Instant) -> Option<u64> {
        if self.next.is_some_and(|next| now < next) {
            self.unsaid += 1;
            return None;
        }
        self.next = Some(now + SAY_AGAIN);
        Some(std::mem::take(&mut self.unsaid))
    }
}

/// ` (and 3 more since the last message)`
pub(super) fn more(unsaid: u64) -> String {
    if unsaid == 0 { String::new() } else { format!(" (and {unsaid} more since the last message)") }
}

#[derive(Debug, Default)]
pub(super) struct Limits {
    pub(super) conflict: Limit,
    pub(super) send: Limit,
    pub(super) address_failed: Limit,
}

#[derive(Debug)]
pub(super) struct Instance {
    pub(super) config: Arc<RouterConfig>,
    pub(super) router: Router,
    pub(super) counters: Counters,
    pub(super) limits: Limits,
    pub(super) peers: Peers,
    pub(super) watch: Watch,
    /// When the state was entered, microseconds of CLOCK_REALTIME.
    pub(super) since_usec: u64,
    /// Addresses, routes and rules that the kernel did not let us add, and why.
    refused: BTreeMap<Object, String>,
    /// The counters as the bus shows them.
    shown_counters: Shared<Counters>,
    shown_peers: Shared<Vec<PeerStatus>>,
    pub(super) shown_remarks: ShownRemarks,
    /// What the bus shows of it, until it changes.
    status: Option<Arc<RouterStatus>>,
}

impl Instance {
    pub(super) fn new(now: Instant, since_usec: u64, config: RouterConfig) -> Self {
        let router = Router::new(now, config.settings.clone());
        let (counters, limits, peers) = (Counters::default(), Limits::default(), Peers::default());
        let watch = Watch::new(now, &config.track);
        Self {
            watch,
            config: Arc::new(config),
            router,
            counters,
            limits,
            since_usec,
            peers,
            refused: BTreeMap::new(),
            shown_counters: Shared::default(),
            shown_peers: Shared::default(),
            shown_remarks: ShownRemarks::default(),
            status: None,
        }
    }

    /// Another configuration; the state machine is to be told.
    pub(super) fn configure(&mut self, config: RouterConfig) {
        let is_running = matches!(self.router.state(), StateName::Backup | StateName::Active);
        self.watch.reconfigure(&config.track, is_running);
        self.config = Arc::new(config);
        let objects: BTreeSet<Object> = self.config.objects().map(|(object, _)| object).collect();
        self.refused.retain(|object, _| objects.contains(object));
        self.changed();
    }

    /// What it shows on the bus is to be made anew.
    pub(super) fn changed(&mut self) {
        self.status = None;
    }

    /// What it shows on the bus.
    pub(super) fn status(&mut self, name: &Arc<str>) -> Arc<RouterStatus> {
        if let Some(status) = &self.status {
            return Arc::clone(status);
        }
        let status = RouterStatus {
            name: Arc::clone(name),
            state: self.router.state(),
            since: self.since_usec,
            reason: self.reason(),
            config: Arc::clone(&self.config),
            effective_priority: self.router.priority().0,
            tracks: self.watch.parts().to_vec(),
            active_peer: self.router.active_peer(),
            counters: self.shown_counters.clone(),
            peers: self.shown_peers.clone(),
            remarks: self.remark_sentences(),
        };
        Arc::clone(self.status.insert(Arc::new(status)))
    }

    /// Never waits. `false`: not now, somebody reads them.
    pub(super) fn publish_figures(&mut self, realtime_usec: impl Fn(Instant) -> u64) -> bool {
        if self.peers.take_heard() {
            let rows = self.peers.rows().map(|peer| PeerStatus::new(peer, &realtime_usec)).collect();
            if !self.shown_peers.set(&rows) {
                return false;
            }
        }
        self.shown_counters.set(&self.counters)
    }

    /// The state was entered just now.
    pub(super) fn entered(&mut self, since_usec: u64) {
        self.since_usec = since_usec;
        self.counters.became_active += u64::from(self.router.is_active());
        self.refused.clear();
    }

    /// Something happened to one of its addresses. Whether the object reads differently now.
    pub(super) fn note(&mut self, notice: &Notice) -> bool {
        match notice {
            Notice::Installed(object) => self.refused.remove(object).is_some(),
            Notice::Failed(request, error) if request.operation == Operation::Add => {
                let why = error.to_string();
                self.refused.insert(request.object.clone(), why.clone()) != Some(why)
            }
            Notice::Lost(_) => {
                self.counters.addresses_restored += 1;
                true
            }
            Notice::Foreign(_) | Notice::LeftBehind(_) | Notice::TakenAlong(_) | Notice::Failed(..) => false,
        }
    }

    /// Why it is in its state, and what it lacks there.
    pub(super) fn reason(&self) -> String {
        let mut text = self.router.reason().to_string();
        if let Some(waiting) = self.watch.waiting() {
            write!(text, "; {waiting}").expect("writing to a String cannot fail");
        }
        if let Some(why) = self.router.waits_for_group() {
            write!(text, "; would be Active ({why}), but its sync group is not: they move together")
                .expect("writing to a String cannot fail");
        }
        for (object, why) in &self.refused {
            write!(text, "; without {object}: {why}").expect("writing to a String cannot fail");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;

    use super::*;
    use crate::config;
    use crate::kernel::{How, Request};

    fn router_config() -> RouterConfig {
        let root = TempRoot::new();
        let text = "interface = \"lo\"\nvirtual_router_id = 1\naddresses = [\"10.0.0.9/24\"]\n";
        root.write("etc/trivet/vrrp.d/gateway.toml", text);
        config::load(root.path(), None, &mut Report::new()).routers.remove("gateway").unwrap()
    }

    #[test]
    fn an_address_that_the_kernel_refuses_is_told_by_the_router_until_it_is_there() {
        #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
        let mut instance = Instance::new(Instant::now(), 0, router_config());
        let address = Object::Address(instance.config.settings.addresses[0].clone());
        let refused = || {
            let request = Request { operation: Operation::Add, object: address.clone(), how: How::Rule };
            Notice::Failed(request, io::Error::from(io::ErrorKind::PermissionDenied))
        };
        assert!(instance.note(&refused()));
        assert!(!instance.note(&refused()), "the same again is no news");
        let wanted = format!("without {address}: permission denied");
        assert!(instance.reason().ends_with(&wanted), "{}", instance.reason());
        assert!(instance.note(&Notice::Installed(address.clone())));
        assert!(!instance.reason().contains("without"));
        assert!(instance.note(&refused()));
        instance.entered(0);
        assert!(!instance.reason().contains("without"), "a new state begins without it");
    }

    #[test]
    fn what_happens_often_is_said_once_and_counted() {
        #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
        let start = Instant::now();
        let mut limit = Limit::default();
        assert_eq!(limit.hit(start), Some(0));
        for second in 1..60 {
            assert_eq!(limit.hit(start + Duration::from_secs(second)), None);
        }
        assert_eq!(limit.hit(start + SAY_AGAIN), Some(59));
        assert_eq!(more(59), " (and 59 more since the last message)");
    }
}
