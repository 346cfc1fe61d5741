//! The virtual router's state machine, RFC 9568 section 6.4, for versions 2 and 3.
//!
//! Pure: time comes in with each event, effects go out in the order in which they must happen, deadlines are
//! queried. Arms are in the RFC's order. What happens to gratuitous ARPs in time is in `announcer.rs`.

mod announcer;
pub mod event;
pub mod reason;
pub mod settings;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::types::{Centiseconds, Priority, Version};
use announcer::Announcer;
pub use event::{Action, Actions, Event, Report, StateName};
use reason::{Fault, Reason};
use settings::Settings;

/// Before the first [`Event::Ready`].
const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Debug)]
enum State {
    Initialize,
    Fault,
    Backup(Backup),
    Active(Active),
}

#[derive(Debug)]
struct Backup {
    /// Active_Adver_Interval: our own until an Active router taught us another.
    active_adver_interval: Centiseconds,
    /// When Active_Down_Timer was last set.
    restarted: Instant,
    wait: Wait,
    /// The last Active router of a lower priority, whose advertisements we discard: the one that we will preempt.
    lesser: Option<(IpAddr, Priority)>,
}

/// How long Active_Down_Timer was set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// Active_Down_Interval.
    ActiveDown,
    /// Skew_Time: the Active router gave up.
    Skew,
    /// One interval and Skew_Time: we could not run, and must listen before we believe our timer.
    Relisten,
}

#[derive(Debug)]
struct Active {
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
}

/// One virtual router on this machine.
#[derive(Debug)]
pub struct Router {
    settings: Settings,
    state: State,
    reason: Reason,
    since: Instant,
    source: IpAddr,
    /// The effective priority: the configured one, and what tracking makes of it.
    priority: Priority,
    active_peer: Option<IpAddr>,
}

impl Router {
    pub fn new(now: Instant, settings: Settings) -> Self {
        let (state, reason, priority) = (State::Initialize, Reason::Starting, settings.priority);
        Self { settings, state, reason, since: now, source: UNSPECIFIED, priority, active_peer: None }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn state(&self) -> StateName {
        match self.state {
            State::Initialize => StateName::Initialize,
            State::Fault => StateName::Fault,
            State::Backup(_) => StateName::Backup,
            State::Active(_) => StateName::Active,
        }
    }

    /// The effective priority.
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Skew_Time (section 6.1) of the effective priority.
    fn skew(&self, interval: Centiseconds) -> Duration {
        self.settings.skew(self.priority, interval)
    }

    /// Active_Down_Interval (section 6.1) of the effective priority.
    fn active_down_interval(&self, interval: Centiseconds) -> Duration {
        self.settings.active_down_interval(self.priority, interval)
    }

    pub fn is_active(&self) -> bool {
        self.state() == StateName::Active
    }

    pub fn reason(&self) -> &Reason {
        &self.reason
    }

    /// When the state was entered.
    pub fn since(&self) -> Instant {
        self.since
    }

    /// The primary address of its interface; unspecified before the first [`Event::Ready`].
    pub fn source(&self) -> IpAddr {
        self.source
    }

    /// Who else is Active, as far as we know: whom we heard last. None while we are.
    pub fn active_peer(&self) -> Option<IpAddr> {
        self.active_peer
    }

    /// When [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Initialize | State::Fault => None,
            State::Backup(backup) => Some(self.active_down(backup)),
            State::Active(active) => {
                Some(active.announcer.deadline().map_or(active.next_advert, |at| at.min(active.next_advert)))
            }
        }
    }

    /// Active_Down_Timer. Computed, so that a changed priority moves it by the difference of the skews.
    fn active_down(&self, backup: &Backup) -> Instant {
        let interval = backup.active_adver_interval;
        let wait = match backup.wait {
            Wait::ActiveDown => self.active_down_interval(interval),
            Wait::Skew => self.skew(interval),
            Wait::Relisten => interval.duration() + self.skew(interval),
        };
        backup.restarted + wait
    }

    pub fn on_event(&mut self, now: Instant, event: Event) -> Actions {
        let mut actions = Actions::default();
        self.step_down_if_late(now, &mut actions);
        match event {
            Event::Ready { source } => self.ready(now, source, &mut actions),
            Event::Fault(fault) => self.fault(now, fault, &mut actions),
            Event::Timer => self.timer(now, &mut actions),
            Event::Advertisement { from, priority, interval } => {
                self.advertisement(now, Heard { from, priority, interval }, &mut actions);
            }
            Event::Installed(address) => {
                if let State::Active(active) = &mut self.state {
                    active.announcer.installed(now, address, &self.settings.garp);
                    self.announce(now, &mut actions);
                }
            }
            Event::Lost(address) => {
                if let State::Active(active) = &mut self.state {
                    active.announcer.removed(&address);
                }
            }
            Event::Priority(priority) => {
                if !self.settings.is_owner() {
                    self.priority = priority;
                }
            }
            Event::Reconfigure(settings) => self.reconfigure(now, settings, &mut actions),
            Event::Announce => {
                if let State::Active(active) = &mut self.state {
                    active.announcer.burst(now, &self.settings.garp);
                    self.announce(now, &mut actions);
                }
            }
            Event::Shutdown => self.leave(now, State::Initialize, Reason::Stopped, &mut actions),
        }
        actions
    }

    /// Not in the RFC. An Active router that was kept from running (machine suspended, process stopped, no CPU) for
    /// longer than Active_Down_Interval has lost its place to any Backup: it must not speak before it has listened.
    fn step_down_if_late(&mut self, now: Instant, actions: &mut Actions) {
        let State::Active(active) = &self.state else { return };
        let silence = now.saturating_duration_since(active.last_advert);
        if silence <= self.active_down_interval(self.settings.advert_interval) {
            return;
        }
        self.active_peer = None;
        self.become_backup(now, self.settings.advert_interval, Reason::Late(silence), actions);
    }

    /// Section 6.4.1, Startup. A router comes back from a fault the same way.
    fn ready(&mut self, now: Instant, source: IpAddr, actions: &mut Actions) {
        self.source = source;
        match self.state {
            State::Initialize | State::Fault => {
                if self.settings.is_owner() {
                    self.become_active(now, Reason::Owner, actions);
                } else {
                    let interval = self.settings.advert_interval;
                    let listening = Reason::Listening(self.active_down_interval(interval));
                    self.become_backup(now, interval, listening, actions);
                }
            }
            State::Backup(_) | State::Active(_) => {}
        }
    }

    fn fault(&mut self, now: Instant, fault: Fault, actions: &mut Actions) {
        if self.reason != Reason::Fault(fault.clone()) {
            self.leave(now, State::Fault, Reason::Fault(fault), actions);
        }
    }

    /// Leave for Initialize or Fault. Sections 6.4.2 and 6.4.3, Shutdown: an Active router says so with priority 0, a
    /// Backup says nothing.
    fn leave(&mut self, now: Instant, to: State, reason: Reason, actions: &mut Actions) {
        if self.is_active() {
            actions.push(Action::SendAdvertisement(Priority::RELEASE));
            actions.push(Action::RemoveAddresses);
        }
        self.active_peer = None;
        self.enter(now, to, reason, actions);
    }

    fn timer(&mut self, now: Instant, actions: &mut Actions) {
        match &mut self.state {
            State::Initialize | State::Fault => {}
            State::Backup(_) => self.active_down_timer(now, actions),
            // Section 6.4.3: Adver_Timer fires.
            State::Active(active) => {
                if active.next_advert <= now {
                    actions.push(Action::SendAdvertisement(self.priority));
                    active.sent(now, self.settings.advert_interval);
                }
                self.announce(now, actions);
            }
        }
    }

    /// Section 6.4.2: Active_Down_Timer fires.
    fn active_down_timer(&mut self, now: Instant, actions: &mut Actions) {
        let State::Backup(backup) = &self.state else { return };
        let due = self.active_down(backup);
        if due > now {
            return;
        }
        let late = now - due;
        let (wait, lesser, interval) = (backup.wait, backup.lesser, backup.active_adver_interval);
        // Not in the RFC. What arrived has been read before timers are believed; but a machine that slept through a
        // whole interval could not hear a living Active, and would take its place. Listen once more, and only once.
        if late > interval.duration() && wait != Wait::Relisten {
            let State::Backup(backup) = &mut self.state else { return };
            backup.wait = Wait::Relisten;
            backup.restarted = now;
            return;
        }
        let reason = match (wait, lesser, self.active_peer) {
            (_, Some((peer, priority)), _) => Reason::Preempted { peer, priority },
            (Wait::Skew, None, Some(peer)) => Reason::Released(peer),
            (Wait::ActiveDown | Wait::Relisten | Wait::Skew, None, last_peer) => {
                Reason::Silence { last_peer, interval: self.active_down_interval(interval) }
            }
        };
        self.become_active(now, reason, actions);
    }

    fn advertisement(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        if heard.priority == Priority::OWNER && self.settings.is_owner() && heard.from != self.source {
            actions.push(Action::Report(Report::SecondOwner(heard.from)));
        }
        match self.state {
            State::Initialize | State::Fault => {}
            State::Backup(_) => self.advertisement_in_backup(now, heard, actions),
            State::Active(_) => self.advertisement_in_active(now, heard, actions),
        }
    }

    /// Section 6.4.2: an ADVERTISEMENT is received.
    fn advertisement_in_backup(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        let State::Backup(backup) = &mut self.state else { return };
        if heard.priority == Priority::RELEASE {
            backup.wait = Wait::Skew;
            backup.restarted = now;
            backup.lesser = None;
            self.active_peer = Some(heard.from);
            return;
        }
        // An owner preempts whatever Preempt_Mode says (section 6.1).
        let preempt = self.settings.preempt || self.settings.is_owner();
        if heard.priority < self.priority && preempt {
            // Discard: the timer is not restarted.
            backup.lesser = Some((heard.from, heard.priority));
            self.active_peer = Some(heard.from);
            return;
        }
        let learned = learned_interval(&self.settings, backup.active_adver_interval, heard);
        if learned != backup.active_adver_interval {
            actions.push(Action::Report(Report::IntervalLearned { peer: heard.from, theirs: learned }));
        }
        *backup =
            Backup { active_adver_interval: learned, restarted: now, wait: Wait::ActiveDown, lesser: None };
        self.active_peer = Some(heard.from);
    }

    /// Section 6.4.3: an ADVERTISEMENT is received. Preempt_Mode is not asked here.
    fn advertisement_in_active(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
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

    /// Section 6.4.3, the last arm, new in RFC 9568: discard, and send an ADVERTISEMENT at once. Addresses are announced
    /// as well, and again later: hosts may have learned the other's MAC address up to the moment it yields. At most
    /// once an interval, whoever provokes it.
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

    fn announce(&mut self, now: Instant, actions: &mut Actions) {
        let State::Active(active) = &mut self.state else { return };
        let due = active.announcer.due(now, &self.settings.garp);
        actions.extend(due.into_iter().map(Action::Announce));
    }

    /// Section 6.4.1 for an owner, 6.4.2 for a Backup: ADVERTISEMENT first, gratuitous ARP when the address is there.
    fn become_active(&mut self, now: Instant, reason: Reason, actions: &mut Actions) {
        actions.push(Action::SendAdvertisement(self.priority));
        actions.push(Action::InstallAddresses);
        let interval = self.settings.advert_interval.duration();
        self.active_peer = None;
        let active = Active {
            next_advert: now + interval,
            last_advert: now,
            next_assertion: now,
            announcer: Announcer::new(now),
        };
        self.enter(now, State::Active(active), reason, actions);
    }

    fn become_backup(&mut self, now: Instant, interval: Centiseconds, reason: Reason, actions: &mut Actions) {
        if self.is_active() {
            actions.push(Action::RemoveAddresses);
        }
        let wait = Wait::ActiveDown;
        let backup = Backup { active_adver_interval: interval, restarted: now, wait, lesser: None };
        self.enter(now, State::Backup(backup), reason, actions);
    }

    fn enter(&mut self, now: Instant, state: State, reason: Reason, actions: &mut Actions) {
        let from = self.state();
        self.state = state;
        self.reason = reason;
        // From fault to fault is no other state.
        if self.state() != from {
            self.since = now;
        }
        actions.push(Action::Transition { from });
    }

    /// The state is kept; what was learned from others too.
    fn reconfigure(&mut self, now: Instant, settings: Settings, actions: &mut Actions) {
        let former = std::mem::replace(&mut self.settings, settings);
        if former.priority != self.settings.priority {
            self.priority = self.settings.priority;
        }
        let settings = &self.settings;
        match &mut self.state {
            State::Initialize | State::Fault => {}
            State::Backup(backup) => {
                if backup.active_adver_interval == former.advert_interval {
                    backup.active_adver_interval = settings.advert_interval;
                }
                // Whether we preempt is asked again with the next advertisement.
                backup.lesser = None;
            }
            State::Active(active) => {
                active.announcer.retain(&settings.addresses);
                if former.garp.refresh != settings.garp.refresh {
                    active.announcer.refresh_from(now, &settings.garp);
                }
                let said = |settings: &Settings| {
                    (settings.priority, settings.advert_interval, settings.addresses.clone())
                };
                if said(&former) != said(settings) {
                    actions.push(Action::SendAdvertisement(self.priority));
                    active.sent(now, settings.advert_interval);
                    actions.push(Action::InstallAddresses);
                }
            }
        }
    }
}

/// What the state machine reads of an advertisement.
#[derive(Clone, Copy, Debug)]
struct Heard {
    from: IpAddr,
    priority: Priority,
    interval: Centiseconds,
}

/// Version 3 follows the Active router's interval (section 6.4.2); in version 2 all have the same one.
fn learned_interval(settings: &Settings, current: Centiseconds, heard: Heard) -> Centiseconds {
    match settings.version {
        Version::V2 => current,
        Version::V3 => heard.interval,
    }
}

#[cfg(test)]
mod simulator;
#[cfg(test)]
mod tests;
