//! The virtual router's state machine, RFC 9568 section 6.4, for versions 2 and 3.
//!
//! Pure: time comes in with each event, effects go out in the order in which they must happen, deadlines are
//! queried. Here are Startup, Shutdown and what concerns every state; 6.4.2 is in `backup.rs`, 6.4.3 in `active.rs`, and
//! when addresses are announced in `announcer.rs`.

pub mod actions;
mod active;
mod announcer;
mod backup;
pub mod event;
pub mod reason;
pub mod settings;

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::types::{Centiseconds, Priority, Version};
pub use actions::Actions;
use active::Active;
use backup::Backup;
pub use event::{Action, Event, Report, StateName};
use reason::{Fault, Reason};
use settings::Settings;

const UNSPECIFIED: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

#[derive(Debug)]
enum State {
    /// Since when it could take part, were it not for the startup delay.
    Initialize(Option<Instant>),
    Fault,
    Backup(Backup),
    Active(Active),
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
    /// The startup delay is over.
    started: bool,
    /// When it became Active last.
    took_over: Option<Instant>,
}

impl Router {
    pub fn new(now: Instant, settings: Settings) -> Self {
        let priority = settings.priority;
        Self {
            settings,
            state: State::Initialize(None),
            reason: Reason::Starting,
            since: now,
            source: UNSPECIFIED,
            priority,
            active_peer: None,
            started: false,
            took_over: None,
        }
    }

    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub fn state(&self) -> StateName {
        match self.state {
            State::Initialize(_) => StateName::Initialize,
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

    /// Why it would be Active, if its sync group were: it waits for [`Event::Permit`].
    pub fn waits_for_group(&self) -> Option<&Reason> {
        match &self.state {
            State::Backup(backup) => backup.wants.as_ref(),
            State::Initialize(_) | State::Fault | State::Active(_) => None,
        }
    }

    /// Backup, and somebody else is Active by right, as far as we know.
    pub fn follows(&self) -> bool {
        match &self.state {
            State::Backup(backup) => backup.follows,
            State::Initialize(_) | State::Fault | State::Active(_) => false,
        }
    }

    /// When [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Initialize(ready) => ready.map(|ready| ready + self.settings.startup_delay),
            State::Fault => None,
            State::Backup(backup) => self.backup_deadline(backup),
            State::Active(active) => Some(active.deadline()),
        }
    }

    pub fn on_event(&mut self, now: Instant, event: Event) -> Actions {
        let mut actions = Actions::default();
        self.step_down_if_late(now, &mut actions);
        match event {
            Event::Ready { source } => self.ready(now, source, &mut actions),
            Event::Resume { source, silence } => self.resume(now, source, silence, &mut actions),
            Event::Fault(fault) => self.fault(now, fault, &mut actions),
            Event::Timer => self.timer(now, &mut actions),
            Event::Advertisement { from, priority, interval } => {
                self.advertisement(now, Heard { from, priority, interval }, &mut actions);
            }
            Event::Installed(address) => self.installed(now, address, &mut actions),
            Event::Lost(address) => self.lost(&address),
            // An owner has no other (section 5.2.4), and nobody but an owner has 255; 0 is a word, not a priority.
            Event::Priority(priority) if !self.settings.is_owner() => {
                self.priority = Priority(priority.0.clamp(1, 254));
            }
            Event::Priority(_) => {}
            Event::Reconfigure(settings) => self.reconfigure(now, settings, &mut actions),
            Event::Announce => self.announce_all(now, &mut actions),
            Event::Permit => self.permitted(now, &mut actions),
            Event::Yield(member) => self.yield_with_group(now, member, &mut actions),
            Event::Shutdown => self.leave(now, State::Initialize(None), Reason::Stopped, &mut actions),
        }
        actions
    }

    /// Section 6.4.1, Startup. A router comes back from a fault the same way, but without the startup delay.
    fn ready(&mut self, now: Instant, source: IpAddr, actions: &mut Actions) {
        self.source = source;
        let delay = self.settings.startup_delay;
        match self.state {
            State::Initialize(None) | State::Fault if !self.started && delay > Duration::ZERO => {
                self.enter(now, State::Initialize(Some(now)), Reason::StartupDelay(delay), actions);
            }
            State::Initialize(None) | State::Fault => self.start(now, actions),
            State::Initialize(Some(_)) | State::Backup(_) | State::Active(_) => {}
        }
    }

    fn start(&mut self, now: Instant, actions: &mut Actions) {
        self.started = true;
        let interval = self.settings.advert_interval;
        let owner = self.settings.is_owner();
        if owner && self.settings.sync_group.is_none() {
            self.become_active(now, Reason::Owner, actions);
            return;
        }
        let listening = Reason::Listening(self.active_down_interval(interval));
        // keepalived's preempt_delay counts from the start as well: the lesser router that is Active may stay so long.
        let mut backup = Backup::new(now, interval);
        backup.lesser_since = Some(now);
        backup.wants = owner.then_some(Reason::Owner);
        self.enter(now, State::Backup(backup), listening, actions);
    }

    /// Not in the RFC. The daemon was restarted faster than anybody could notice: the RFC's Active goes on.
    fn resume(&mut self, now: Instant, source: IpAddr, silence: Duration, actions: &mut Actions) {
        match self.state {
            State::Initialize(_) => {
                self.source = source;
                self.started = true;
                self.become_active(now, Reason::Resumed(silence), actions);
            }
            State::Fault | State::Backup(_) | State::Active(_) => self.ready(now, source, actions),
        }
    }

    fn fault(&mut self, now: Instant, fault: Fault, actions: &mut Actions) {
        if !matches!(&self.reason, Reason::Fault(known) if *known == fault) {
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
        if self.deadline().is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            State::Initialize(_) => self.start(now, actions),
            State::Fault => {}
            State::Backup(_) => self.active_down_timer(now, actions),
            State::Active(_) => self.adver_timer(now, actions),
        }
    }

    fn advertisement(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        if heard.priority == Priority::OWNER && self.settings.is_owner() && heard.from != self.source {
            actions.push(Action::Report(Report::SecondOwner(heard.from)));
        }
        match self.state {
            State::Initialize(_) | State::Fault => {}
            State::Backup(_) => self.advertisement_in_backup(now, heard, actions),
            State::Active(_) => self.advertisement_in_active(now, heard, actions),
        }
    }

    fn become_backup(&mut self, now: Instant, interval: Centiseconds, reason: Reason, actions: &mut Actions) {
        if self.is_active() {
            actions.push(Action::RemoveAddresses);
        }
        let mut backup = Backup::new(now, interval);
        backup.follows = true;
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

    /// What tracking makes of the priority holds for another one as well, until tracking says what it makes of that: an
    /// advertisement in between must not say what is not so.
    fn moved_priority(&self, former: &Settings) -> Priority {
        if former.is_owner() || self.settings.is_owner() {
            return self.settings.priority;
        }
        let moved =
            i16::from(self.priority.0) - i16::from(former.priority.0) + i16::from(self.settings.priority.0);
        Priority(u8::try_from(moved.clamp(1, 254)).expect("it was just made to fit"))
    }

    /// The state is kept; what was learned from others too.
    fn reconfigure(&mut self, now: Instant, settings: Settings, actions: &mut Actions) {
        let former = std::mem::replace(&mut self.settings, settings);
        self.priority = self.moved_priority(&former);
        match &mut self.state {
            State::Initialize(_) | State::Fault => {}
            State::Backup(backup) => backup.reconfigured(&former, &self.settings),
            State::Active(_) => self.reconfigure_active(now, &former, actions),
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
mod tests;
