//! What the bus shows of the loop: a snapshot when something has changed, and figures that are brought up to date.
//!
//! Neither is worth a delay of the protocol: a snapshot is made anew only for the routers that changed, and a little
//! after the change; figures are copied twice a second.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::bus::Publisher;

use super::Daemon;
use crate::bus::Farewell;
use crate::lateness::Lateness;
use crate::receive::Discard;
use crate::router::reason::Reason;
use crate::router::{Event, Router};
use crate::status::{Shared, Snapshot};
use crate::transitions::Transitions;
use crate::types::Priority;

/// From a change to its publication: many at once are published together, and after what they made necessary.
const SOON: Duration = Duration::from_millis(10);
/// Counters on the bus are at most so old.
const FIGURES: Duration = Duration::from_millis(500);

/// What is shown of a router's state machine, before an event.
#[derive(Debug)]
pub(super) struct Seen(Option<Shown>);

type Shown = (Reason, Instant, Priority, Option<IpAddr>, Option<Reason>);

impl Seen {
    /// Only of events that come all the time, and most of which change nothing.
    pub(super) fn before(event: &Event, router: &Router) -> Self {
        let often = matches!(
            event,
            Event::Timer | Event::Advertisement { .. } | Event::Ready { .. } | Event::Installed(_)
        );
        Self(often.then(|| Self::of(router)))
    }

    pub(super) fn differs(&self, router: &Router) -> bool {
        self.0.as_ref().is_none_or(|before| *before != Self::of(router))
    }

    fn of(router: &Router) -> Shown {
        let waits = router.waits_for_group().cloned();
        (router.reason().clone(), router.since(), router.priority(), router.active_peer(), waits)
    }
}

#[derive(Debug)]
pub(super) struct Showing {
    publisher: Publisher<Snapshot>,
    publish_at: Option<Instant>,
    figures_at: Option<Instant>,
    discarded: Shared<[u64; Discard::COUNT]>,
    lateness: Shared<Lateness>,
    pub(super) transitions: Transitions,
    farewell: Farewell,
}

impl Showing {
    pub(super) fn new(publisher: Publisher<Snapshot>, farewell: Farewell) -> Self {
        Self {
            publisher,
            publish_at: None,
            figures_at: None,
            discarded: Shared::default(),
            lateness: Shared::default(),
            transitions: Transitions::default(),
            farewell,
        }
    }

    /// Something that is shown has changed. The router that it is about is to be told [`Instance::changed`].
    ///
    /// [`Instance::changed`]: super::instance::Instance::changed
    pub(super) fn changed(&mut self, now: Instant) {
        self.publish_at.get_or_insert(now + SOON);
    }

    /// As [`Showing::changed`], and to be shown at once.
    pub(super) fn changed_by_order(&mut self, now: Instant) {
        self.publish_at = Some(now);
    }

    /// Something was counted.
    pub(super) fn counted(&mut self, now: Instant) {
        self.figures_at.get_or_insert(now + FIGURES);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.publish_at, self.figures_at].into_iter().flatten().min()
    }
}

impl Daemon {
    /// Bring up to date what is shown, if it is time.
    pub(super) fn publish(&mut self, now: Instant) {
        if self.showing.figures_at.is_some_and(|at| at <= now) {
            self.publish_figures(now);
        }
        if self.showing.publish_at.is_some_and(|at| at <= now) {
            self.showing.publish_at = None;
            let snapshot = self.snapshot();
            self.notify.status(&snapshot.summary());
            self.showing.publisher.publish(snapshot);
        }
    }

    /// The last word: no router is anything any more. Waits until systemd has been told so, but not long.
    pub(super) fn take_leave(&mut self) {
        let snapshot = Snapshot { is_last: true, ..self.snapshot() };
        self.showing.publisher.publish(snapshot);
        self.showing.farewell.wait();
    }

    fn publish_figures(&mut self, now: Instant) {
        let mut complete = self.showing.discarded.set(&self.discarded);
        complete &= self.showing.lateness.set(&self.lateness);
        for instance in self.routers.values_mut() {
            complete &= instance.publish_figures(|then| self.events.clock().realtime_usec(then));
            // What a peer has not done for a minute is over.
            if instance.renew_remarks(now) {
                instance.changed();
                self.showing.changed(now);
            }
        }
        self.showing.figures_at = (!complete).then_some(now + FIGURES);
    }

    pub(super) fn snapshot(&mut self) -> Snapshot {
        let ids = self.routers.ids();
        let status = |id| self.routers.get_mut(id).map(|(name, instance)| instance.status(name));
        Snapshot {
            routers: ids.into_iter().filter_map(status).collect(),
            discarded: self.showing.discarded.clone(),
            lateness: self.showing.lateness.clone(),
            is_complete: true,
            is_last: false,
            tracked: Arc::clone(&self.tracks.tracked),
            transitions: self.showing.transitions.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use daemon::diagnostic::Report;
    use daemon::testing::TempRoot;

    use super::*;
    use crate::config;
    use crate::types::Centiseconds;

    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    fn heard(peer: u8) -> Event {
        let from = [10, 0, 0, peer].into();
        Event::Advertisement { from, priority: Priority(200), interval: Centiseconds(100) }
    }

    #[test]
    fn an_advertisement_is_shown_when_it_tells_something_new_and_not_otherwise() {
        let now = start();
        let root = TempRoot::new();
        let text = "interface = \"lo\"\nvirtual_router_id = 1\naddresses = [\"10.0.0.9/24\"]\n";
        root.write("etc/trivet/vrrp.d/x.toml", text);
        let settings = config::load(root.path(), None, &mut Report::new()).routers["x"].settings.clone();
        let mut router = Router::new(now, settings);
        let _ = router.on_event(now, Event::Ready { source: [10, 0, 0, 1].into() });
        for (event, tells) in [(heard(2), true), (heard(2), false), (heard(3), true), (Event::Timer, false)] {
            let before = Seen::before(&event, &router);
            let _ = router.on_event(now, event.clone());
            assert_eq!(before.differs(&router), tells, "{event:?}");
        }
        let before = Seen::before(&Event::Announce, &router);
        assert!(before.differs(&router), "what is rare is shown anew in any case");
    }

    #[test]
    fn figures_that_somebody_reads_just_now_are_not_waited_for() {
        let shared = Shared::<u64>::default();
        assert!(shared.set(&1));
        let seen = shared.clone();
        assert_eq!((seen.get(), seen == shared), (1, true));
    }
}
