//! The state Active, RFC 9568 section 6.4.3: Adver_Timer, and what is answered to other routers that are Active.

use std::sync::Arc;
use std::time::Instant;

use super::announcer::Announcer;
use super::event::{Action, Report};
use super::reason::Reason;
use super::settings::Settings;
use super::{Actions, Heard, Router, State, learned_interval};
use crate::types::{Centiseconds, Priority, VirtualAddress};

#[derive(Debug)]
pub(super) struct Active {
    /// Adver_Timer.
    next_advert: Instant,
    last_advert: Instant,
    /// Until then, no advertisement of another is answered by one of ours: whatever arrives, we send at most two an
    /// interval.
    next_assertion: Instant,
    announcer: Announcer,
}

impl Active {
    fn sent(&mut self, now: Instant, interval: Centiseconds) {
        self.last_advert = now;
        self.next_advert = now + interval.duration();
    }

    pub(super) fn deadline(&self) -> Instant {
        self.announcer.deadline().map_or(self.next_advert, |at| at.min(self.next_advert))
    }
}

impl Router {
    /// Not in the RFC. An Active router that was kept from running (machine suspended, process stopped, no CPU) for
    /// longer than Active_Down_Interval has lost its place to any Backup: it must not speak before it has listened.
    /// With `down_timer_adverts = 1` it may be late by a whole interval all the same, or it would give up at each delay.
    pub(super) fn step_down_if_late(&mut self, now: Instant, actions: &mut Actions) {
        let State::Active(active) = &self.state else { return };
        let silence = now.saturating_duration_since(active.last_advert);
        let interval = self.settings.advert_interval;
        let patience = self.active_down_interval(interval);
        if silence <= patience.max(2 * interval.duration() + self.skew(interval)) {
            return;
        }
        self.active_peer = None;
        self.become_backup(now, interval, Reason::Late(silence), actions);
    }

    /// Section 6.4.1 for an owner, 6.4.2 for a Backup: ADVERTISEMENT first, gratuitous ARP when the address is there.
    pub(super) fn become_active(&mut self, now: Instant, reason: Reason, actions: &mut Actions) {
        actions.push(Action::SendAdvertisement(self.priority));
        actions.push(Action::InstallAddresses);
        self.active_peer = None;
        self.took_over = Some(now);
        let active = Active {
            next_advert: now + self.settings.advert_interval.duration(),
            last_advert: now,
            next_assertion: now,
            announcer: Announcer::new(now),
        };
        self.enter(now, State::Active(active), reason, actions);
    }

    /// Adver_Timer fires, or announcements are due.
    pub(super) fn adver_timer(&mut self, now: Instant, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        if active.next_advert <= now {
            let due = active.next_advert;
            let interval = self.settings.advert_interval;
            actions.push(Action::SendAdvertisement(self.priority));
            active.sent(now, interval);
            // A timer that fires a little late does not shift all that follow: what three intervals may be late is what
            // one may, and a Backup with a short Skew_Time has nothing to spare.
            if now - due < interval.duration() {
                active.next_advert = due + interval.duration();
            }
        }
        self.announce(now, actions);
    }

    /// An ADVERTISEMENT is received. Preempt_Mode is not asked here.
    pub(super) fn advertisement_in_active(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        let ours = self.priority;
        if heard.priority == Priority::RELEASE {
            if active.next_assertion <= now {
                actions.push(Action::SendAdvertisement(ours));
                active.sent(now, self.settings.advert_interval);
                active.next_assertion = active.next_advert;
            }
            return;
        }
        // Neither greater nor smaller than ourselves: no state to change, and no answer that would loop as well.
        if heard.priority == ours && heard.from == self.source {
            actions.push(Action::Report(Report::OwnAddress));
            return;
        }
        // Addresses are compared as unsigned integers in network byte order, as IpAddr's order does.
        if heard.priority > ours || (heard.priority == ours && heard.from > self.source) {
            let reason = if heard.priority > ours {
                Reason::Higher { peer: heard.from, priority: heard.priority }
            } else {
                Reason::Tie(heard.from)
            };
            let learned = learned_interval(&self.settings, self.settings.advert_interval, heard);
            self.active_peer = Some(heard.from);
            // Not in the RFC; keepalived's `higher_prio_send_advert`. A last word, or the other would not know that
            // there were two of us, and hosts that learned our MAC address would keep it.
            actions.push(Action::SendAdvertisement(ours));
            self.become_backup(now, learned, reason, actions);
            return;
        }
        self.assert_ourselves(now, heard, actions);
    }

    /// The last arm, new in RFC 9568: discard, and send an ADVERTISEMENT at once. Addresses are announced as well, and
    /// again later: hosts may have learned the other's MAC address up to the moment it yields. At most once an
    /// interval, whoever provokes it.
    fn assert_ourselves(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        let interval = self.settings.advert_interval;
        let garp = &self.settings.garp;
        // The last word of the one that we have just preempted: it has yielded, and we are announcing already.
        let preempted = matches!(self.reason, Reason::Preempted { peer, .. } if peer == heard.from);
        if preempted && now.saturating_duration_since(self.since) < interval.duration() {
            return;
        }
        actions.push(Action::Report(Report::Conflict { peer: heard.from, priority: heard.priority }));
        if active.next_assertion <= now {
            actions.push(Action::SendAdvertisement(self.priority));
            active.sent(now, interval);
            active.next_assertion = active.next_advert;
            active.announcer.burst(now, garp);
        }
        active.announcer.not_before(now + garp.delay.max(interval.duration()));
        self.announce(now, actions);
    }

    /// A member of the sync group is no longer Active: neither are we. Priority 0 brings the others' member here as soon
    /// as it brings the one that left.
    pub(super) fn yield_with_group(&mut self, now: Instant, member: Arc<str>, actions: &mut Actions) {
        if self.is_active() {
            actions.push(Action::SendAdvertisement(Priority::RELEASE));
            self.become_backup(now, self.settings.advert_interval, Reason::Group(member), actions);
        }
    }

    pub(super) fn installed(&mut self, now: Instant, address: VirtualAddress, actions: &mut Actions) {
        if let State::Active(active) = &mut self.state {
            active.announcer.installed(now, address, &self.settings.garp);
            self.announce(now, actions);
        }
    }

    pub(super) fn lost(&mut self, address: &VirtualAddress) {
        if let State::Active(active) = &mut self.state {
            active.announcer.removed(address);
        }
    }

    pub(super) fn announce_all(&mut self, now: Instant, actions: &mut Actions) {
        if let State::Active(active) = &mut self.state {
            active.announcer.burst(now, &self.settings.garp);
            self.announce(now, actions);
        }
    }

    fn announce(&mut self, now: Instant, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        if active.announcer.wakes(now, &self.settings.garp) {
            actions.push(Action::Announce);
        }
    }

    /// The next frame to send, after [`Action::Announce`] and until there is none (now).
    pub fn next_announcement(&mut self, now: Instant) -> Option<VirtualAddress> {
        let State::Active(active) = &mut self.state else { return None };
        active.announcer.next_frame(now, &self.settings.garp)
    }

    /// A frame could not be sent and is to be sent later.
    pub fn put_back_announcement(&mut self, address: VirtualAddress) {
        if let State::Active(active) = &mut self.state {
            active.announcer.put_back(address);
        }
    }

    /// What others hear from us, or what the kernel is to hold, may be another now.
    pub(super) fn reconfigure_active(&mut self, now: Instant, former: &Settings, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        let settings = &self.settings;
        active.announcer.retain(settings);
        if former.garp.refresh != settings.garp.refresh {
            active.announcer.refresh_from(now, &settings.garp);
        }
        let same = former.priority == settings.priority
            && former.advert_interval == settings.advert_interval
            && former.addresses == settings.addresses;
        if !same {
            actions.push(Action::SendAdvertisement(self.priority));
            active.sent(now, settings.advert_interval);
            actions.push(Action::InstallAddresses);
        }
    }
}
