//! One object of the table: what is wanted, what was asked of the kernel, and what to ask next.

use std::time::Instant;

use super::{Found, Notice, RETRY};
use crate::kernel::Operation;
use crate::objects::{Object, Spec};

#[derive(Debug, Default)]
pub(super) struct Entry {
    pub(super) wanted: Option<Spec>,
    /// How we last added it, or how one from a former run is.
    pub(super) asked: Option<Spec>,
    /// The kernel has it and the router knows.
    pub(super) installed: bool,
    /// We added it, or it has our tag: it is ours to remove, even where the kernel keeps no tags.
    pub(super) added: bool,
    /// Requests that were not answered yet.
    pub(super) in_flight: u8,
    /// Nothing is asked for before then.
    pub(super) retry_at: Option<Instant>,
    /// When somebody's deletion was last undone.
    put_back: Option<Instant>,
}

impl Entry {
    pub(super) fn want(&mut self, spec: Spec) {
        if self.wanted.is_none() {
            self.installed = false;
            self.retry_at = None;
            self.put_back = None;
        }
        self.wanted = Some(spec);
    }

    pub(super) fn unwant(&mut self) {
        self.wanted = None;
        self.retry_at = None;
    }

    /// Unwanted, and still ours or under way.
    pub(super) fn is_leaving(&self) -> bool {
        self.wanted.is_none() && (self.added || self.in_flight > 0)
    }

    /// Nothing is left to remember.
    pub(super) fn is_over(&self) -> bool {
        self.wanted.is_none() && !self.added && self.in_flight == 0
    }

    /// The kernel did what was asked for: it has the object of ours now, or has not.
    pub(super) fn answered(&mut self, added: bool) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.added = added;
    }

    /// It did not.
    pub(super) fn failed(&mut self, now: Instant) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.retry_at = Some(now + RETRY);
    }

    /// What to ask for now, in this order.
    pub(super) fn next(
        &mut self,
        now: Instant,
        object: &Object,
        found: Option<Found>,
        notices: &mut Vec<Notice>,
    ) -> &'static [Operation] {
        let waiting = self.retry_at.is_some_and(|at| at > now);
        if !waiting {
            self.retry_at = None;
        }
        match (self.wanted.clone(), found) {
            (Some(spec), Some(found)) => self.there(object, &spec, &found, waiting, notices),
            (Some(spec), None) => {
                if self.installed && self.insists(now, object, notices) || waiting {
                    return &[];
                }
                self.asked = Some(spec);
                &[Operation::Add]
            }
            (None, Some(found)) if self.added || matches!(found, Found::Ours { .. }) => {
                self.installed = false;
                self.added = true;
                if waiting {
                    return &[];
                }
                self.retry_at = Some(now + RETRY);
                &[Operation::Remove]
            }
            (None, _) => {
                self.installed = false;
                self.added = false;
                self.retry_at = None;
                &[]
            }
        }
    }

    /// It is wanted, and there.
    fn there(
        &mut self,
        object: &Object,
        spec: &Spec,
        found: &Found,
        waiting: bool,
        notices: &mut Vec<Notice>,
    ) -> &'static [Operation] {
        self.added |= matches!(found, Found::Ours { .. });
        let outdated = match &self.asked {
            // What was asked for is as it is, whatever the kernel shows: it is not to be asked for again and again.
            Some(asked) => asked != spec,
            None => *found == Found::Ours { fits: false },
        };
        if self.added && outdated {
            if waiting {
                return &[];
            }
            self.asked = Some(spec.clone());
            self.installed = false;
            return &[Operation::Remove, Operation::Add];
        }
        if !self.installed {
            self.installed = true;
            self.retry_at = None;
            if self.added {
                self.asked = Some(spec.clone());
            } else {
                notices.push(Notice::Foreign(object.clone()));
            }
            notices.push(Notice::Installed(object.clone()));
        }
        &[]
    }

    /// A wanted object was deleted. It is put back at once; but if somebody insists, not more than once a second.
    fn insists(&mut self, now: Instant, object: &Object, notices: &mut Vec<Notice>) -> bool {
        self.installed = false;
        self.added = false;
        notices.push(Notice::Lost(object.clone()));
        let insists = self.put_back.is_some_and(|before| now < before + RETRY);
        self.put_back = Some(now);
        if insists {
            self.retry_at = Some(now + RETRY);
        }
        insists
    }
}
