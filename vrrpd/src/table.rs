//! Which objects the kernel should have, which it has, and what to do about the difference.
//!
//! Pure, and level-triggered: whatever happened (a transition, a crash before our time, somebody's `ip addr del`),
//! [`Table::plan`] compares what is wanted with what is there. It looks only at what was touched since the last plan:
//! thousands of addresses cost a turn nothing. `kernel.rs` carries the requests out, in their order: what is given up
//! goes before what is added; rules, routes, addresses on leaving, the other way round on coming.

mod entry;
mod plan;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::interfaces::{Changes, Interfaces, OUR_TAG};
use crate::kernel::{Answer, How, Operation, Outcome, Request};
use crate::objects::{AddressOptions, Object, Spec, message};
use crate::routing::Routing;
use crate::types::VirtualAddress;
use entry::Entry;
use plan::{Plan, company};

/// After a failure, and before something that somebody keeps deleting is put back a second time.
const RETRY: Duration = Duration::from_secs(1);

/// What the table noticed, for the router and the log.
#[derive(Debug)]
pub enum Notice {
    /// The kernel has a wanted object: an address may be announced.
    Installed(Object),
    /// It was there before, without our tag: it is the administrator's, and stays when we leave.
    Foreign(Object),
    /// Somebody deleted it; it is put back.
    Lost(Object),
    /// One with our tag that nobody wants: from a former run. It is removed.
    LeftBehind(Object),
    /// Tried again later.
    Failed(Request, io::Error),
    /// The kernel took an address that is not ours along with one of ours; it was put back.
    TakenAlong(Object),
}

impl Notice {
    /// What it is about.
    pub fn object(&self) -> &Object {
        match self {
            Self::Installed(object)
            | Self::Foreign(object)
            | Self::Lost(object)
            | Self::LeftBehind(object)
            | Self::TakenAlong(object) => object,
            Self::Failed(request, _) => &request.object,
        }
    }
}

/// What the kernel has.
#[derive(Clone, Copy, Debug)]
pub struct World<'a> {
    pub interfaces: &'a Interfaces,
    pub routing: &'a Routing,
}

/// How the kernel has an object.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Found {
    /// It carries our tag; whether it is as wanted.
    Ours {
        fits: bool,
    },
    Foreign,
}

#[derive(Debug, Default)]
pub struct Table {
    entries: BTreeMap<Object, Entry>,
    /// To be looked at in the next plan.
    touched: BTreeSet<Object>,
    /// Entries with something to try again, by time.
    retries: BTreeSet<(Instant, Object)>,
    /// Routes and rules whose last request failed: an address may have been what they lacked.
    failed: BTreeSet<Object>,
    /// Routes and rules that wait for the first look: some may be there from a former run.
    deferred: BTreeSet<Object>,
    looked: bool,
    /// How many are unwanted, and still ours or under way.
    leaving: usize,
}

impl Table {
    pub fn want(&mut self, object: Object, spec: Spec) {
        self.change(&object, |entry| entry.want(spec));
        self.touched.insert(object);
    }

    pub fn unwant(&mut self, object: &Object) {
        if self.entries.contains_key(object) {
            self.touched.insert(object.clone());
            self.change(object, Entry::unwant);
        }
    }

    /// Where the kernel keeps no tags: an address that can only be from a former run.
    pub fn adopt(&mut self, address: VirtualAddress) {
        let object = Object::Address(address);
        self.change(&object, |entry| entry.added = true);
        self.touched.insert(object);
    }

    /// Nothing unwanted of ours is there or under way any more. A stopping daemon waits for it.
    pub fn is_settled(&self) -> bool {
        self.leaving == 0
    }

    /// When [`Table::plan`] has something to try again.
    pub fn deadline(&self) -> Option<Instant> {
        self.retries.first().map(|(at, _)| *at)
    }

    /// Whether there are routes that a look has to be taken for, when the kernel may have taken some away.
    pub fn has_routes(&self) -> bool {
        self.entries.keys().next_back().is_some_and(|last| !matches!(last, Object::Address(_)))
    }

    /// The kernel's answer. What it told its listeners must be in the [`World`].
    #[must_use]
    pub fn answered(&mut self, now: Instant, world: World<'_>, answer: Answer) -> Option<Notice> {
        let Answer { request, result } = answer;
        let object = request.object.clone();
        if request.operation == Operation::PutBack {
            return match result {
                Ok(Outcome::Done) => Some(Notice::TakenAlong(object)),
                // It was not taken along.
                Ok(Outcome::AlreadySo) => None,
                Err(error) => Some(Notice::Failed(request, error)),
            };
        }
        if !self.entries.contains_key(&object) {
            return None;
        }
        self.touched.insert(object.clone());
        self.failed.remove(&object);
        let error = match (request.operation, result) {
            (Operation::Add, Ok(Outcome::Done)) => {
                self.change(&object, |entry| entry.answered(true));
                return None;
            }
            (Operation::Remove | Operation::PutBack, Ok(_)) => {
                self.change(&object, |entry| entry.answered(false));
                return None;
            }
            // Somebody was faster; the next plan sees whose it is. Should it not see the object at all, then asking
            // at once would go round and round.
            (Operation::Add, Ok(Outcome::AlreadySo)) => {
                let route = matches!(object, Object::Route(_));
                if !route || found(world, &object, None).is_some() {
                    self.change(&object, |entry| entry.failed(now));
                    return None;
                }
                let why = "another route with the same destination and metric is there, and not from us";
                io::Error::new(io::ErrorKind::AlreadyExists, why)
            }
            (Operation::Add | Operation::Remove | Operation::PutBack, Err(error)) => error,
        };
        self.refused(now, &object);
        Some(Notice::Failed(request, error))
    }

    fn refused(&mut self, now: Instant, object: &Object) {
        self.change(object, |entry| entry.failed(now));
        if !matches!(object, Object::Address(_)) {
            self.failed.insert(object.clone());
        }
    }

    /// The kernel's links or addresses have changed.
    pub fn interfaces_changed(&mut self, changes: &Changes, interfaces: &Interfaces) {
        if changes.all {
            self.touch_all(interfaces);
            return;
        }
        self.touched.extend(changes.addresses.iter().cloned().map(Object::Address));
        if changes.links.is_empty() {
            return;
        }
        let on = |object: &Object| match object {
            Object::Address(address) => changes.links.contains(&address.interface),
            Object::Route(_) | Object::Rule(_) => true,
        };
        self.touched.extend(self.entries.keys().filter(|object| on(object)).cloned());
        // Ours that went with a link that has another name now: nobody knows them by that.
        let there = interfaces.tagged().filter(|address| changes.links.contains(&address.interface));
        self.touched.extend(there.map(Object::Address));
    }

    /// Everything that we know of, and everything of ours that the kernel has.
    pub fn touch_all(&mut self, interfaces: &Interfaces) {
        self.touched.extend(self.entries.keys().cloned());
        self.touched.extend(interfaces.tagged().map(Object::Address));
    }

    /// These routes and rules have changed.
    pub fn routing_changed(&mut self, objects: BTreeSet<Object>) {
        self.touched.extend(objects);
    }

    /// Somebody looked at what there is of ours among the routes and rules: these were there before, or are now.
    pub fn looked(&mut self, objects: BTreeSet<Object>) {
        self.looked = true;
        self.touched.append(&mut self.deferred);
        self.touched.extend(objects);
    }

    /// Whether a plan can find anything new: most turns of the loop are not about the kernel's objects.
    pub fn wants_plan(&self, now: Instant) -> bool {
        !self.touched.is_empty() || self.deadline().is_some_and(|deadline| deadline <= now)
    }

    /// Compare, and say what is to be done.
    pub fn plan(&mut self, now: Instant, world: World<'_>) -> (Vec<Request>, Vec<Notice>) {
        let mut touched = std::mem::take(&mut self.touched);
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            touched.extend(self.retries.pop_first().map(|(_, object)| object));
        }
        let mut plan = Plan::default();
        for object in touched {
            self.look_at(now, world, object, &mut plan);
        }
        // Routes and rules may have lacked an address. They come after it: requests are carried out in order.
        if plan.adds_addresses() {
            for object in std::mem::take(&mut self.failed) {
                self.change(&object, |entry| entry.retry_at = None);
                self.look_at(now, world, object, &mut plan);
            }
        }
        self.keep_company(world, &mut plan);
        plan.finish()
    }

    fn look_at(&mut self, now: Instant, world: World<'_>, object: Object, plan: &mut Plan) {
        if !self.looked && !matches!(object, Object::Address(_)) {
            self.deferred.insert(object);
            return;
        }
        if !self.entries.contains_key(&object) {
            let Some(spec) = left_behind(world, &object) else { return };
            plan.notices.push(Notice::LeftBehind(object.clone()));
            self.change(&object, |entry| (entry.added, entry.asked) = (true, Some(spec)));
        }
        let mut refused = None;
        self.change(&object, |entry| {
            if entry.in_flight > 0 {
                return;
            }
            let found = found(world, &object, entry.wanted.as_ref());
            let operations = entry.next(now, &object, found, &mut plan.notices);
            refused = plan.ask(&object, entry, operations, world).err();
        });
        match (refused, &object) {
            // The router's state tells that its interface is missing; a new one is an event.
            (None, _) | (Some(_), Object::Address(_)) => {}
            (Some(error), Object::Route(_) | Object::Rule(_)) => {
                self.refused(now, &object);
                let request = Request { operation: Operation::Add, object: object.clone(), how: How::Rule };
                plan.notices.push(Notice::Failed(request, error));
            }
        }
        if self.entries.get(&object).is_some_and(Entry::is_over) {
            self.entries.remove(&object);
            self.failed.remove(&object);
        }
    }

    /// Where a primary address goes, its secondaries may go with it: ours are asked for again in the same breath, others
    /// are put back. Where the kernel keeps them that changes nothing.
    fn keep_company(&mut self, world: World<'_>, plan: &mut Plan) {
        let leaving: Vec<Object> = plan.removals.iter().map(|request| request.object.clone()).collect();
        for object in &leaving {
            let Object::Address(removed) = object else { continue };
            for (address, assigned) in company(removed, world) {
                let object = Object::Address(address);
                if let Some(message) = &assigned.message {
                    let how = How::Message(Arc::clone(message));
                    plan.put_back.push(Request {
                        operation: Operation::PutBack,
                        object: object.clone(),
                        how,
                    });
                }
                let wanted = |entry: &Entry| entry.wanted.is_some() && entry.added && entry.in_flight == 0;
                if self.entries.get(&object).is_some_and(wanted) {
                    self.change(&object, |entry| {
                        entry.installed = false;
                        // Its interface is there: it has the address.
                        let _ = plan.ask(&object, entry, &[Operation::Add], world);
                    });
                }
            }
        }
    }

    /// Change an entry, which is made if there is none, and keep the books about it.
    fn change(&mut self, object: &Object, change: impl FnOnce(&mut Entry)) {
        let entry = self.entries.entry(object.clone()).or_default();
        let before = (entry.retry_at, entry.is_leaving());
        change(entry);
        let after = (entry.retry_at, entry.is_leaving());
        self.leaving = self.leaving + usize::from(after.1) - usize::from(before.1);
        if before.0 != after.0 {
            if let Some(at) = before.0 {
                self.retries.remove(&(at, object.clone()));
            }
            if let Some(at) = after.0 {
                self.retries.insert((at, object.clone()));
            }
        }
    }
}

/// How the kernel has an object. `wanted`: how it should.
fn found(world: World<'_>, object: &Object, wanted: Option<&Spec>) -> Option<Found> {
    match object {
        Object::Address(address) => {
            let assigned = world.interfaces.find(address)?;
            if assigned.tag != OUR_TAG {
                return Some(Found::Foreign);
            }
            let Some(Spec::Address(options)) = wanted else { return Some(Found::Ours { fits: true }) };
            Some(Found::Ours { fits: message::fits(assigned, options, &address.interface) })
        }
        Object::Route(key) => {
            let there = world.routing.route(key)?;
            let Some(Spec::Route(route)) = wanted else { return Some(Found::Ours { fits: true }) };
            Some(Found::Ours { fits: message::route_fits(there, route) })
        }
        Object::Rule(rule) => {
            let ours = world.routing.rule(rule)?;
            Some(if ours { Found::Ours { fits: true } } else { Found::Foreign })
        }
    }
}

/// One that nobody here asked for and that has our tag.
fn left_behind(world: World<'_>, object: &Object) -> Option<Spec> {
    match (found(world, object, None)?, object) {
        (Found::Foreign, _) => None,
        (Found::Ours { .. }, Object::Address(_)) => Some(Spec::Address(Arc::new(AddressOptions::default()))),
        (Found::Ours { .. }, Object::Route(key)) => {
            world.routing.route(key).map(|route| Spec::Route(Arc::new(route.clone())))
        }
        (Found::Ours { .. }, Object::Rule(_)) => Some(Spec::Rule),
    }
}

#[cfg(test)]
mod tests;
