//! The director's dealings with its two files: what operators ordered, and which services are ours. A file that cannot be
//! read or written is a fault, is told, and is tried again until it can.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use log::Level;

use super::orders::Asked;
use super::{Action, Actions, Director, Kernel, Moment};
use crate::orders::Found;
use crate::table::ServiceKey;

/// A file that could not be read or written is tried again after this long.
pub(super) const FILE_RETRY: Duration = Duration::from_secs(5);

/// What is known of the files, beside what they say.
#[derive(Debug)]
pub(super) struct Book {
    /// Why what was ordered before is not known.
    unread: Option<String>,
    /// What is wrong with parts of the orders' file.
    strange: String,
    /// Why the orders could not be written.
    unwritten: Option<String>,
    /// It is being written down.
    pub(super) asked: Option<Asked>,
    /// Why what was asked last was not done.
    pub(super) refusal: Option<String>,
    /// Why what is ours could not be written.
    unremembered: Option<Unremembered>,
    pub(super) retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Unremembered {
    /// Waits for its time to be tried again.
    waiting: Option<BTreeSet<ServiceKey>>,
    why: String,
}

impl Default for Book {
    fn default() -> Self {
        Self {
            unread: Some("what operators ordered was not read yet".into()),
            strange: String::new(),
            unwritten: None,
            asked: None,
            refusal: None,
            unremembered: None,
            retry_at: None,
        }
    }
}

impl Book {
    /// Whether an order can be taken.
    pub(super) fn may_order(&self) -> Result<(), String> {
        match &self.unread {
            Some(why) => Err(format!("{why}: nothing can be ordered while earlier orders are not known")),
            None if self.asked.is_some() => Err("another order is being written; try again".into()),
            None => Ok(()),
        }
    }

    /// Whether that just this could not be written is known, and it waits for its time.
    pub(super) fn waits_with(&self, owned: &BTreeSet<ServiceKey>) -> bool {
        self.unremembered.as_ref().is_some_and(|failed| failed.waiting.as_ref() == Some(owned))
    }

    pub(super) fn forget_owned_fault(&mut self) {
        self.unremembered = None;
    }
}

impl Director {
    /// What is wrong with the files, each a sentence.
    pub(crate) fn file_faults(&self) -> Vec<String> {
        let book = &self.book;
        let unread = book.unread.iter().map(|why| format!("{why}; nothing can be ordered"));
        let strange = Some(&book.strange).filter(|strange| !strange.is_empty()).cloned();
        let unwritten = book.unwritten.iter().map(|why| format!("{why}; {ORDERS_AT_RISK}"));
        let unremembered = book.unremembered.iter().map(|failed| format!("{}; {OWNED_AT_RISK}", failed.why));
        unread.chain(strange).chain(unwritten).chain(unremembered).collect()
    }

    pub(super) fn orders_read(&mut self, at: Moment, result: Result<Found, String>, actions: &mut Actions) {
        let found = match result {
            Ok(found) => found,
            Err(why) => {
                if self.book.unread.as_ref() != Some(&why) {
                    let text = format!(
                        "{why}; servers are used as if nothing had been ordered, and nothing can be; trying again"
                    );
                    actions.log(Level::Error, text);
                }
                self.book.unread = Some(why);
                self.book.retry_at = Some(at.now + FILE_RETRY);
                return;
            }
        };
        let is_first = matches!(self.kernel, Kernel::Unread);
        if self.book.unread.take().is_some() && !is_first {
            let number = found.orders.len();
            actions.log(Level::Info, format!("what operators ordered can be read now: {number} order(s)"));
        }
        if !found.strange.is_empty() {
            actions.log(Level::Warn, found.strange.clone());
        }
        self.book.strange = found.strange;
        self.orders = found.orders;
        self.drains.clear();
        for (seat, order) in self.orders.clone() {
            self.start_drain(at, &seat, &order, false);
        }
        self.seat_orders(actions);
        let names = self.orders.keys().map(|(name, _)| name);
        self.dirty.extend(names.filter(|name| self.runs.contains_key(*name)).cloned());
        if !is_first {
            self.reconcile(at, actions);
        }
    }

    pub(super) fn orders_written(&mut self, at: Moment, result: Result<(), String>, actions: &mut Actions) {
        let asked = self.book.asked.take();
        match result {
            Ok(()) => {
                if self.book.unwritten.take().is_some() {
                    actions.log(Level::Info, "what operators ordered is written down again".into());
                }
                if let Some(asked) = asked {
                    self.obey(at, asked, actions);
                }
            }
            Err(why) => {
                if self.book.unwritten.as_ref() != Some(&why) {
                    actions.log(Level::Error, format!("{why}; {ORDERS_AT_RISK}; trying again"));
                }
                // What the file says now is not certain: what stands is written until it is.
                self.book.retry_at = Some(at.now + FILE_RETRY);
                self.book.refusal = asked.map(|_| format!("not done: {why}"));
                self.book.unwritten = Some(why);
            }
        }
    }

    pub(super) fn remembered(
        &mut self,
        now: Instant,
        owned: BTreeSet<ServiceKey>,
        result: Result<(), String>,
        actions: &mut Actions,
    ) {
        match result {
            Ok(()) => {
                self.remembered = owned;
                if self.book.unremembered.take().is_some() {
                    actions.log(Level::Info, "which services are ours is written down again".into());
                }
            }
            Err(why) => {
                if self.book.unremembered.as_ref().is_none_or(|known| known.why != why) {
                    actions.log(Level::Warn, format!("{why}; {OWNED_AT_RISK}; trying again"));
                }
                self.book.unremembered = Some(Unremembered { waiting: Some(owned), why });
                self.book.retry_at = Some(now + FILE_RETRY);
            }
        }
    }

    /// It is time to try again what failed.
    pub(super) fn retry_files(&mut self, actions: &mut Actions) {
        self.book.retry_at = None;
        if self.book.unread.is_some() {
            actions.push(Action::ReadOrders);
        } else if self.book.unwritten.is_some() {
            actions.push(Action::RememberOrders(self.orders.clone()));
        }
        if let Some(failed) = &mut self.book.unremembered {
            failed.waiting = None;
            self.remember(actions);
        }
    }
}

const ORDERS_AT_RISK: &str = "what stands now may not be what the next ipvsd reads";
const OWNED_AT_RISK: &str = "a service whose file is removed while ipvsd is down will stay in the kernel";
