//! Tracking and maintenance in the daemon: facts come in, from the interfaces and from the bus thread, and every router
//! that they are about is looked at anew: whether it may take part, and with which priority.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use daemon::event_loop::{EventLoop, Interest};

use super::index::RouterId;
use super::instance::Instance;
use super::journal::Entry;
use super::{Daemon, Wake, message_id};
use crate::router::reason::{Fault, Reason};
use crate::router::{Event, StateName};
use crate::track::knowledge::Heard;
use crate::track::news::{Inbox, News, news};
use crate::track::{Knowledge, Part, Standing, Told, Tracker, Tracking, Verdict, What};
use crate::types::Priority;

/// What is known for all routers together.
#[derive(Debug)]
pub(super) struct Tracks {
    knowledge: Knowledge,
    inbox: Inbox,
    /// Everything that some router tracks, for the bus thread.
    pub(super) tracked: Arc<BTreeSet<What>>,
    /// Some router waits to hear of what it tracks, until then at most.
    grace: Option<Instant>,
}

impl Tracks {
    /// And the end of the mailbox that is the bus thread's.
    pub(super) fn new() -> io::Result<(Self, News)> {
        let (news, inbox) = news()?;
        let tracks = Self { knowledge: Knowledge::default(), inbox, tracked: Arc::default(), grace: None };
        Ok((tracks, news))
    }

    pub(super) fn register(&self, events: &mut EventLoop<Wake>) -> io::Result<()> {
        events.register_forever(&self.inbox, Interest::Read, Wake::Tracks)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.grace
    }
}

/// A router's own share of it.
#[derive(Debug)]
pub(super) struct Watch {
    tracking: Tracking,
    /// As it is shown.
    parts: Vec<Part>,
    /// Why a router that could begin does not, yet.
    waiting: Option<String>,
    /// It takes part without knowing what it should; said once.
    last_choice: bool,
}

impl Watch {
    pub(super) fn new(now: Instant, trackers: &[Tracker]) -> Self {
        Self { tracking: Tracking::new(now, trackers), parts: Vec::new(), waiting: None, last_choice: false }
    }

    pub(super) fn reconfigure(&mut self, trackers: &[Tracker], is_running: bool) {
        self.tracking.reconfigure(trackers, is_running);
    }

    pub(super) fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub(super) fn waiting(&self) -> Option<&str> {
        self.waiting.as_deref()
    }
}

/// Which routers are looked at anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    All,
    /// Those that track something, and those of sync groups, which may be with one that does.
    Tracking,
}

impl Scope {
    pub(super) fn covers(self, instance: &Instance) -> bool {
        match self {
            Self::All => true,
            Self::Tracking => {
                !instance.watch.tracking.is_empty() || instance.config.settings.sync_group.is_some()
            }
        }
    }
}

impl Daemon {
    /// The routers are others, or otherwise configured.
    pub(super) fn track(&mut self) {
        let all = self.routers.values().flat_map(|instance| instance.watch.tracking.whats());
        let tracked: BTreeSet<What> = all.cloned().collect();
        if tracked != *self.tracks.tracked {
            self.tracks.knowledge.want(tracked.clone());
            self.tracks.tracked = Arc::new(tracked);
        }
    }

    /// The bus thread has heard something.
    pub(super) fn read_tracks(&mut self, now: Instant) {
        for (what, told) in self.tracks.inbox.take() {
            self.learn(now, &what, told);
        }
        self.reconsider(now, Scope::Tracking);
    }

    /// What the interfaces are, that routers track without being on them.
    fn look_at_interfaces(&mut self, now: Instant) {
        let names = self.tracks.tracked.iter().filter_map(|what| match what {
            What::Interface(name) => Some(Arc::clone(name)),
            What::Unit(_) | What::Check(..) | What::Service(_) => None,
        });
        for name in names.collect::<Vec<_>>() {
            let told = match self.interfaces.usable(&name) {
                Ok(_) => Told::Up { reason: "up and running".into(), since: 0 },
                Err(fault) => Told::Down { reason: fault.to_string(), since: 0 },
            };
            self.learn(now, &What::Interface(name), told);
        }
    }

    fn learn(&mut self, now: Instant, what: &What, told: Told) {
        let usec = self.events.clock().realtime_usec(now);
        let Heard::Verdict(former) = self.tracks.knowledge.hear(usec, what, told) else { return };
        let known = self.tracks.knowledge.get(what);
        let (from, to) = (former.word(), known.verdict.word());
        let text = format!("{what}: {from} -> {to}: {}", known.reason);
        // What was not known before is no change, unless it is bad news.
        let level = match (former, known.verdict) {
            (_, Verdict::Down) => log::Level::Warn,
            (Verdict::Unknown, Verdict::Up | Verdict::Unknown) => log::Level::Debug,
            (Verdict::Up | Verdict::Down, Verdict::Up | Verdict::Unknown) => log::Level::Info,
        };
        let entry = Entry::new(level, text).with("MESSAGE_ID", message_id::TRACKED).with("TRACKED", what);
        self.journal.push(entry.with("STATE_FROM", from).with("STATE", to).with("REASON", &known.reason));
    }

    /// Look at the routers anew: may they take part, and with which priority?
    pub(super) fn reconsider(&mut self, now: Instant, scope: Scope) {
        if scope == Scope::All {
            self.look_at_interfaces(now);
        }
        self.tracks.grace = None;
        for (id, event) in self.verdicts(now, scope) {
            if matches!(event, Event::Ready { .. }) && !self.goes_on(now, id) && self.waits(id) {
                continue;
            }
            self.ready_or_not(now, id, event);
        }
    }

    /// A wait may be over.
    pub(super) fn fire_grace(&mut self, now: Instant) {
        if self.tracks.grace.is_some_and(|at| at <= now) {
            self.reconsider(now, Scope::Tracking);
        }
    }

    /// From which address a router sends, or why it may not take part; `None`: it does not begin yet. Its priority
    /// becomes what tracking makes of it.
    pub(super) fn fitness(&mut self, now: Instant, id: RouterId) -> Option<Result<IpAddr, Fault>> {
        let boottime = self.events.clock().boottime(now);
        let (name, instance) = self.routers.get_mut(id)?;
        let name = Arc::clone(name);
        if self.succession.is_heir(boottime, &name, instance) {
            instance.watch.tracking.resume();
        }
        let base = instance.config.settings.priority;
        let standing = instance.watch.tracking.standing(now, base, &self.tracks.knowledge);
        self.show_tracks(now, id, &standing);
        if let Some(fault) = self.maintenance.fault(&name) {
            return Some(Err(fault));
        }
        let source = match self.usable(self.routers.get(id)?) {
            Ok(source) => source,
            Err(fault) => return Some(Err(fault)),
        };
        match standing {
            Standing::Fit(priority) => {
                self.prefer(now, id, priority);
                Some(Ok(source))
            }
            Standing::LastChoice(_) => {
                self.prefer(now, id, Priority(1));
                Some(Ok(source))
            }
            Standing::Wait(what) => {
                let grace = self.routers.get(id)?.watch.tracking.grace();
                self.tracks.grace = Some(self.tracks.grace.map_or(grace, |other| other.min(grace)));
                let is_in_fault = self.routers.get(id)?.router.state() == StateName::Fault;
                is_in_fault.then(|| Err(Fault::Untold(what.to_string().into())))
            }
            Standing::Down(what, why) => Some(Err(down(self.routers.get(id)?, &what, why))),
        }
    }

    fn prefer(&mut self, now: Instant, id: RouterId, priority: Priority) {
        let Some(instance) = self.routers.get(id) else { return };
        if instance.router.priority() != priority && !instance.config.settings.is_owner() {
            self.dispatch(now, id, Event::Priority(priority));
        }
    }

    fn show_tracks(&mut self, now: Instant, id: RouterId, standing: &Standing) {
        let Some((name, instance)) = self.routers.get_mut(id) else { return };
        let watch = &mut instance.watch;
        let parts: Vec<Part> = watch.tracking.parts(&self.tracks.knowledge).collect();
        let reason = |what: &What| {
            let part = parts.iter().find(|part| part.tracker.what == *what);
            part.map(|part| part.known.reason.as_str()).filter(|reason| !reason.is_empty())
        };
        let waiting = match standing {
            Standing::Wait(what) => {
                let why = reason(what).unwrap_or("it was not heard of yet");
                Some(format!("waiting to hear of {what}, which it tracks ({why})"))
            }
            Standing::LastChoice(what) => {
                let why = reason(what).unwrap_or("nothing was heard");
                Some(format!("with priority 1 only, since nothing is known of {what} ({why})"))
            }
            Standing::Fit(_) | Standing::Down(..) => None,
        };
        let is_last_choice = matches!(standing, Standing::LastChoice(_));
        if is_last_choice && !watch.last_choice {
            let text = format!("{name}: takes part {}", waiting.as_deref().unwrap_or_default());
            self.journal.push(Entry::new(log::Level::Warn, text).about(message_id::LAST_CHOICE, name));
        }
        watch.last_choice = is_last_choice;
        if parts != watch.parts || waiting != watch.waiting {
            watch.parts = parts;
            watch.waiting = waiting;
            instance.changed();
            self.showing.changed(now);
        }
    }
}

/// While it is down for the same thing, the first reason stays: how something fails may change all the time.
fn down(instance: &Instance, what: &What, why: String) -> Fault {
    let what: Arc<str> = what.to_string().into();
    if let Reason::Fault(former @ Fault::Tracked(same, _)) = instance.router.reason()
        && *same == what
    {
        return former.clone();
    }
    Fault::Tracked(what, why)
}
