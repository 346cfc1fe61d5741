//! What the kernel holds for the routers: it is made to be as it should be, and the routers hear what came of it.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use daemon::event_loop::{EventLoop, Interest};

use super::index::RouterId;
use super::journal::Entry;
use super::{Daemon, Wake};
use crate::accept::keeper::Keeper;
use crate::config::{Configuration, RouterConfig};
use crate::interfaces::{Changes, Interfaces};
use crate::kernel::{Kernel, Report, Request};
use crate::monitor::Rest;
use crate::objects::Object;
use crate::router::{Event, StateName};
use crate::routing::{Dump, Routing, RoutingChanges, RoutingMonitor};
use crate::table::{Notice, Table, World};
use crate::untagged;

/// Between two looks at the routing tables, and after one that failed. A look may be long work on a large router.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
/// What no event tells, such as a route of ours that somebody replaced by another, is noticed after this time.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// How long what a former run left waits at most for routers that cannot say yet whether they go on with it.
const BEGINNING: Duration = Duration::from_secs(1);

/// The table, the mirrors of what it is about, and the ways to the kernel.
#[derive(Debug)]
pub(super) struct Holding {
    kernel: Kernel,
    table: Table,
    routing: Routing,
    monitor: RoutingMonitor,
    look: Look,
    /// Since when routers are waited for that may go on with what a former run left.
    beginning: Beginning,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Beginning {
    Before,
    Until(Instant),
    Over,
}

/// When to look at the routing tables again.
#[derive(Debug)]
struct Look {
    /// Nobody looks before then.
    not_before: Option<Instant>,
    wanted: bool,
    under_way: bool,
    /// Something happened to our routes while somebody looked: what was seen may be old.
    stale: bool,
    next: Option<Instant>,
}

impl Look {
    fn deadline(&self) -> Option<Instant> {
        if self.under_way {
            return None;
        }
        if self.wanted { self.not_before } else { self.next }
    }
}

impl Holding {
    /// Start the thread, and listen.
    pub(super) fn start() -> io::Result<Self> {
        Ok(Self {
            kernel: Kernel::start()?,
            table: Table::default(),
            routing: Routing::default(),
            monitor: RoutingMonitor::open()?,
            look: Look { not_before: None, wanted: true, under_way: false, stale: false, next: None },
            beginning: Beginning::Before,
        })
    }

    pub(super) fn register(&self, events: &mut EventLoop<Wake>) -> io::Result<()> {
        events.register_forever(&self.monitor, Interest::Read, Wake::Routing)?;
        events.register_forever(&self.kernel.reports, Interest::Read, Wake::Kernel)
    }

    /// Everything of a router, but the addresses that have to wait for their nftables rules.
    pub(super) fn want_all(&mut self, config: &RouterConfig, rules: &Keeper) {
        for (object, spec) in config.objects() {
            if !matches!(&object, Object::Address(address) if rules.holds(address.address)) {
                self.table.want(object, spec);
            }
        }
    }

    pub(super) fn unwant_all(&mut self, config: &RouterConfig) {
        for (object, _) in config.objects() {
            self.table.unwant(&object);
        }
    }

    /// What only the former configuration of a router had.
    pub(super) fn give_up(&mut self, former: &RouterConfig, new: &RouterConfig) {
        let kept: BTreeSet<Object> = new.objects().map(|(object, _)| object).collect();
        for (object, _) in former.objects().filter(|(object, _)| !kept.contains(object)) {
            self.table.unwant(&object);
        }
    }

    /// Everything is to be compared once: what a former run left behind is removed.
    pub(super) fn begin(&mut self, interfaces: &Interfaces, configuration: &Configuration) {
        for address in untagged::left_behind(interfaces, configuration) {
            self.table.adopt(address);
        }
        self.table.touch_all(interfaces);
    }

    pub(super) fn interfaces_changed(&mut self, changes: &Changes, interfaces: &Interfaces) {
        self.look.wanted |= changes.routes_doubtful && self.table.has_routes();
        self.table.interfaces_changed(changes, interfaces);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let beginning = match self.beginning {
            Beginning::Until(until) => Some(until),
            Beginning::Before | Beginning::Over => None,
        };
        [self.table.deadline(), self.look.deadline(), beginning].into_iter().flatten().min()
    }

    pub(super) fn is_settled(&self) -> bool {
        self.table.is_settled()
    }

    /// Take in events about routes and rules.
    fn read(&mut self, interfaces: &Interfaces) -> Rest {
        let mut changes = RoutingChanges::default();
        let rest = self.monitor.read(&mut self.routing, interfaces, &mut changes).unwrap_or_else(|error| {
            changes.doubtful = true;
            log::error!("cannot read events about routes: {error}, looking at them again");
            Rest::None
        });
        self.look.wanted |= changes.doubtful;
        self.look.stale |= changes.doubtful || !changes.objects.is_empty();
        self.table.routing_changed(changes.objects);
        rest
    }

    fn looked(&mut self, now: Instant, found: io::Result<Dump>, interfaces: &Interfaces) {
        self.look.under_way = false;
        self.look.not_before = Some(now + LOOK_PAUSE);
        match found {
            Ok(_) if self.look.stale => self.look.wanted = true,
            Ok(dump) => {
                let objects = self.routing.replace(&dump, interfaces);
                self.table.looked(objects);
            }
            Err(error) => {
                self.look.wanted = true;
                log::error!("cannot list routes and rules: {error}, trying again");
            }
        }
    }

    /// Have somebody look, if it is time.
    fn look(&mut self, now: Instant) -> io::Result<()> {
        let (look, has_routes) = (&mut self.look, self.table.has_routes());
        if look.next.is_some_and(|next| next <= now) {
            look.next = None;
            look.wanted |= has_routes;
        }
        if look.next.is_none() && has_routes {
            look.next = Some(now + LOOK_EVERY);
        }
        if !look.wanted || look.under_way || look.not_before.is_some_and(|at| at > now) {
            return Ok(());
        }
        (look.wanted, look.stale, look.under_way, look.not_before) = (false, false, true, None);
        look.next = has_routes.then(|| now + LOOK_EVERY);
        self.kernel.look()
    }

    /// What the kernel should be asked for now.
    fn plan(&mut self, now: Instant, interfaces: &Interfaces) -> Option<(Vec<Request>, Vec<Notice>)> {
        let world = World { interfaces, routing: &self.routing };
        self.table.wants_plan(now).then(|| self.table.plan(now, world))
    }
}

impl Daemon {
    /// Have the kernel's objects as they should be, and tell the routers what came of it.
    pub(super) fn settle(&mut self, now: Instant) {
        self.settle_rules(now);
        // What a former run left may be for a router that goes on, and cannot be told so before its rules are there.
        if self.guard.keeper.is_opening() {
            return;
        }
        self.settle_links(now);
        if self.is_beginning(now) {
            return;
        }
        let mut result = self.holding.look(now);
        while let Some((requests, notices)) = self.holding.plan(now, &self.interfaces) {
            if !requests.is_empty() {
                result = result.and(self.holding.kernel.request(requests));
            }
            for notice in notices {
                self.notice(now, &notice);
            }
        }
        if let Err(error) = result {
            self.journal.push(Entry::error(format!("cannot change addresses: {error}")));
        }
    }

    /// Whether a router that may go on with what a former run left waits for its virtual MAC interface or its rules: what
    /// it is to have would look left behind.
    fn is_beginning(&mut self, now: Instant) -> bool {
        let until = match self.holding.beginning {
            Beginning::Over => return false,
            Beginning::Before => now + BEGINNING,
            Beginning::Until(until) => until,
        };
        let starts = |id: &RouterId| {
            self.routers.get(*id).is_some_and(|instance| instance.router.state() == StateName::Initialize)
        };
        let waiting = now < until && self.routers.ids().iter().any(|id| starts(id) && self.waits(*id));
        self.holding.beginning = if waiting { Beginning::Until(until) } else { Beginning::Over };
        waiting
    }

    pub(super) fn read_routing(&mut self, _: Instant) {
        self.holding.read(&self.interfaces);
    }

    /// What came of requests.
    pub(super) fn read_reports(&mut self, now: Instant) {
        // The kernel told its listeners before it answered: what it said is waiting, and is to be known first.
        if self.read_monitor(now) == Rest::Some || self.holding.read(&self.interfaces) == Rest::Some {
            return;
        }
        let reports: Vec<Report> = self.holding.kernel.reports.drain().collect();
        for report in reports {
            match report {
                Report::Looked(found) => self.holding.looked(now, found, &self.interfaces),
                Report::Answers(answers) => {
                    for answer in answers {
                        let Holding { table, routing, .. } = &mut self.holding;
                        let world = World { interfaces: &self.interfaces, routing };
                        if let Some(notice) = table.answered(now, world, answer) {
                            self.notice(now, &notice);
                        }
                    }
                }
            }
        }
    }

    fn notice(&mut self, now: Instant, notice: &Notice) {
        let object = notice.object();
        let holder = self.routers.of_object(object);
        if let Some((name, instance)) = holder.and_then(|id| self.routers.get_mut(id)) {
            if instance.note(notice) {
                instance.changed();
                self.showing.changed(now);
            }
            self.journal.object(now, name, instance, notice);
        } else {
            self.journal.stray_object(notice);
        }
        let event = match (notice, object) {
            (Notice::Installed(_), Object::Address(address)) => Event::Installed(address.clone()),
            (Notice::Lost(_), Object::Address(address)) => Event::Lost(address.clone()),
            (
                Notice::Installed(_)
                | Notice::Lost(_)
                | Notice::Foreign(_)
                | Notice::LeftBehind(_)
                | Notice::TakenAlong(_)
                | Notice::Failed(..),
                _,
            ) => return,
        };
        if let Some(id) = holder {
            self.dispatch(now, id, event);
        }
    }
}
