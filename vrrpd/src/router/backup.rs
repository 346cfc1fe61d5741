//! The state Backup, RFC 9568 section 6.4.2: Active_Down_Timer, and what an advertisement does to it.

use std::net::IpAddr;
use std::time::Instant;

use super::event::{Action, Report};
use super::reason::Reason;
use super::settings::Settings;
use super::{Actions, Heard, Router, State, learned_interval};
use crate::types::{Centiseconds, Priority};

#[derive(Debug)]
pub(super) struct Backup {
    /// Active_Adver_Interval: our own until an Active router taught us another.
    active_adver_interval: Centiseconds,
    /// When Active_Down_Timer was last set.
    restarted: Instant,
    wait: Wait,
    /// The last Active router of a lower priority, whose advertisements we discard: the one that we will preempt.
    lesser: Option<(IpAddr, Priority)>,
    /// Since when the Active router is one of a lower priority, or we are here: the preemption delay counts from then.
    pub(super) lesser_since: Option<Instant>,
    /// Somebody else is Active by right, or was when we gave up. Not so at the start, before anybody was heard.
    pub(super) follows: bool,
    /// It would be Active for this reason, and waits for the others of its sync group.
    pub(super) wants: Option<Reason>,
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

impl Backup {
    pub(super) fn new(now: Instant, active_adver_interval: Centiseconds) -> Self {
        let wait = Wait::ActiveDown;
        Self {
            active_adver_interval,
            restarted: now,
            wait,
            lesser: None,
            lesser_since: None,
            follows: false,
            wants: None,
        }
    }

    /// What was learned is kept.
    pub(super) fn reconfigured(&mut self, former: &Settings, settings: &Settings) {
        if self.active_adver_interval == former.advert_interval {
            self.active_adver_interval = settings.advert_interval;
        }
        // Whether we preempt is asked again with the next advertisement.
        self.lesser = None;
        if settings.sync_group != former.sync_group {
            self.wants = None;
        }
    }
}

impl Router {
    /// None while it waits for its sync group.
    pub(super) fn backup_deadline(&self, backup: &Backup) -> Option<Instant> {
        backup.wants.is_none().then(|| self.active_down(backup))
    }

    /// Active_Down_Timer. Computed, so that a changed priority moves it by the difference of the skews.
    ///
    /// Not in the RFC: however small an interval somebody taught us, and however often it then gives up, we become
    /// Active at most once in an interval of our own, and send no more than that allows.
    fn active_down(&self, backup: &Backup) -> Instant {
        let interval = backup.active_adver_interval;
        let wait = match backup.wait {
            Wait::ActiveDown => self.active_down_interval(interval),
            Wait::Skew => self.skew(interval),
            Wait::Relisten => interval.duration() + self.skew(interval),
        };
        let due = backup.restarted + wait;
        self.took_over.map_or(due, |at| due.max(at + self.settings.advert_interval.duration()))
    }

    /// Active_Down_Timer has fired.
    pub(super) fn active_down_timer(&mut self, now: Instant, actions: &mut Actions) {
        let State::Backup(backup) = &self.state else { return };
        let late = now.saturating_duration_since(self.active_down(backup));
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
        let State::Backup(backup) = &mut self.state else { return };
        if self.settings.sync_group.is_some() {
            backup.wants = Some(reason);
        } else {
            self.become_active(now, reason, actions);
        }
    }

    /// All members of its sync group may be Active.
    pub(super) fn permitted(&mut self, now: Instant, actions: &mut Actions) {
        let State::Backup(backup) = &mut self.state else { return };
        if let Some(reason) = backup.wants.take() {
            self.become_active(now, reason, actions);
        }
    }

    /// An ADVERTISEMENT is received.
    pub(super) fn advertisement_in_backup(&mut self, now: Instant, heard: Heard, actions: &mut Actions) {
        let (ours, settings) = (self.priority, &self.settings);
        let State::Backup(backup) = &mut self.state else { return };
        self.active_peer = Some(heard.from);
        if heard.priority == Priority::RELEASE {
            // Who waits for its group goes on waiting: nobody is Active.
            backup.wait = Wait::Skew;
            backup.restarted = now;
            backup.lesser = None;
            return;
        }
        if heard.priority < ours {
            let since = *backup.lesser_since.get_or_insert(now);
            if settings.preempts(now.saturating_duration_since(since)) {
                // Discard: the timer is not restarted.
                backup.lesser = Some((heard.from, heard.priority));
                return;
            }
        } else {
            backup.lesser_since = None;
        }
        let learned = learned_interval(settings, backup.active_adver_interval, heard);
        if learned != backup.active_adver_interval {
            actions.push(Action::Report(Report::IntervalLearned { peer: heard.from, theirs: learned }));
        }
        let lesser_since = backup.lesser_since;
        *backup = Backup { lesser_since, follows: true, ..Backup::new(now, learned) };
    }
}
