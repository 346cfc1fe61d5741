//! What the kernel holds for the routers: it is made to be as it should be, and the routers hear what came of it.

use std::time::Instant;

use super::Daemon;
use super::journal::Entry;
use crate::router::Event;
use crate::table::Notice;

impl Daemon {
    /// Have the kernel's addresses as they should be, and tell the routers what came of it.
    pub(super) fn settle(&mut self, now: Instant) {
        self.settle_rules(now);
        // What a former run left may be for a router that goes on, and cannot be told so before its rules are there.
        if self.guard.keeper.is_opening() {
            return;
        }
        self.settle_links(now);
        while self.table.wants_plan(now) {
            let (requests, notices) = self.table.plan(now, &self.interfaces);
            if !requests.is_empty()
                && let Err(error) = self.addresses.request(requests)
            {
                self.journal.push(Entry::error(format!("cannot change addresses: {error}")));
            }
            for notice in notices {
                self.notice(now, &notice);
            }
        }
    }

    pub(super) fn notice(&mut self, now: Instant, notice: &Notice) {
        let (address, event) = match notice {
            Notice::Installed(address) => (address, Some(Event::Installed(address.clone()))),
            Notice::Lost(address) => (address, Some(Event::Lost(address.clone()))),
            Notice::Foreign(address) | Notice::LeftBehind(address) => (address, None),
            Notice::Failed(request, _) => (&request.address, None),
        };
        let holder = self.routers.of_address(address);
        if let Some((name, instance)) = holder.and_then(|id| self.routers.get_mut(id)) {
            if instance.note(notice) {
                instance.changed();
                self.showing.changed(now);
            }
            self.journal.address(now, name, instance, notice);
        } else {
            self.journal.stray_address(notice);
        }
        if let (Some(id), Some(event)) = (holder, event) {
            self.dispatch(now, id, event);
        }
    }
}
