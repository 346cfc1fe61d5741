//! Announcements leave in small portions, over all routers, with timers and sockets looked at in between: a hundred
//! routers that become Active at once announce ten thousand addresses, and no advertisement waits for them.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Daemon;
use super::index::RouterId;
use super::instance::Instance;
use crate::router::Event;

/// Frames per turn of the loop, of all routers together: some tenths of a millisecond.
const FRAMES_PER_TURN: usize = 64;
/// Frames of one router before the next router's.
const FRAMES_AT_ONCE: usize = 8;
/// A frame that found no room in its interface's queue is sent again after this.
const RETRY: Duration = Duration::from_millis(5);

/// The routers that have frames to send, by name, in the order of their turns.
#[derive(Debug, Default)]
pub(super) struct Announcing {
    ready: VecDeque<Arc<str>>,
    /// When the first of them came.
    since: Option<Instant>,
    /// Their interface had no room.
    blocked: VecDeque<Arc<str>>,
    retry_at: Option<Instant>,
}

impl Announcing {
    /// A router has frames to fetch.
    pub(super) fn push(&mut self, now: Instant, name: &Arc<str>) {
        self.ready.push_back(Arc::clone(name));
        self.since.get_or_insert(now);
    }

    /// When there is something to do: a time that is past means at once.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.since.or(self.retry_at)
    }

    fn retry(&mut self, now: Instant) {
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.ready.append(&mut self.blocked);
            self.since.get_or_insert(now);
        }
    }

    fn block(&mut self, now: Instant, name: Arc<str>) {
        self.blocked.push_back(name);
        self.retry_at.get_or_insert(now + RETRY);
    }
}

/// How a portion ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Portion {
    /// The router has no more.
    Finished,
    More,
    Blocked,
}

impl Daemon {
    /// Interfaces have another MAC address than before: who learned the former one must learn it.
    pub(super) fn announce_moved(&mut self, now: Instant, interfaces: &[Arc<str>]) {
        if interfaces.is_empty() {
            return;
        }
        let lives_there = |instance: &Instance| {
            instance.config.settings.held().any(|address| interfaces.contains(&address.interface))
        };
        for id in self.routers.ids() {
            if self.routers.get(id).is_some_and(lives_there) {
                self.dispatch(now, id, Event::Announce);
            }
        }
    }

    /// The portion of this turn.
    pub(super) fn announce(&mut self, now: Instant) {
        self.announcing.retry(now);
        let mut budget = FRAMES_PER_TURN;
        while budget > 0
            && let Some(name) = self.announcing.ready.pop_front()
        {
            match self.announce_some(now, &name, &mut budget) {
                Portion::Finished => {}
                Portion::More => self.announcing.ready.push_back(name),
                Portion::Blocked => self.announcing.block(now, name),
            }
        }
        if self.announcing.ready.is_empty() {
            self.announcing.since = None;
        }
    }

    fn announce_some(&mut self, now: Instant, name: &str, budget: &mut usize) -> Portion {
        let Some((id, _)) = self.routers.find(name) else { return Portion::Finished };
        let portion = self.frames(now, id, budget);
        self.routers.rearm(id);
        portion
    }

    fn frames(&mut self, now: Instant, id: RouterId, budget: &mut usize) -> Portion {
        let Some((name, instance)) = self.routers.get_mut(id) else { return Portion::Finished };
        for _ in 0..FRAMES_AT_ONCE.min(*budget) {
            let Some(address) = instance.router.next_announcement(now) else { return Portion::Finished };
            *budget -= 1;
            match self.links.announce(&address.interface, address.address) {
                Ok(()) => instance.counters.announced(address.address),
                Err(error) if is_full(&error) => {
                    instance.counters.announcements_deferred += 1;
                    instance.router.put_back_announcement(address);
                    return Portion::Blocked;
                }
                Err(error) => self.journal.send_failed(now, name, instance, "an announcement", &error),
            }
        }
        Portion::More
    }
}

/// The socket's buffer (EAGAIN) or the interface's queue (ENOBUFS) is full: that passes.
fn is_full(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock || error.raw_os_error() == Some(nix::libc::ENOBUFS)
}
