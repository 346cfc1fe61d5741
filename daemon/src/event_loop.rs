//! The loop: epoll, one absolute timer, and the only place that reads a clock.
//!
//! A descriptor is registered together with the value of the caller's own enum that it produces, so a daemon's
//! turn is one exhaustive match. The clock is CLOCK_BOOTTIME, which goes on while the machine sleeps: a router that
//! was suspended must know how long it was silent.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::clock_gettime;

/// Events taken from the kernel per turn; what remains comes with the next turn.
const EVENTS_PER_TURN: usize = 128;
/// The timer's own registration; callers' slots can never reach this number.
const TIMER: u64 = u64::MAX;

/// Reads CLOCK_BOOTTIME as `Instant`s, so that pure code needs no type of ours.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    base: Instant,
    base_boottime: Duration,
}

impl Clock {
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the clock")]
    pub fn new() -> io::Result<Self> {
        Ok(Self { base: Instant::now(), base_boottime: read(nix::time::ClockId::CLOCK_BOOTTIME)? })
    }

    /// # Panics
    /// If CLOCK_BOOTTIME cannot be read; `new` has read it, so it can.
    pub fn now(&self) -> Instant {
        let boottime =
            read(nix::time::ClockId::CLOCK_BOOTTIME).expect("a clock that was read once can be read");
        self.base + boottime.saturating_sub(self.base_boottime)
    }

    /// Microseconds of CLOCK_REALTIME at `then`, for people and the bus: as far off as the clock was set since.
    pub fn realtime_usec(&self, then: Instant) -> u64 {
        let realtime = read(nix::time::ClockId::CLOCK_REALTIME).unwrap_or_default();
        let now = self.now();
        let at = if then > now { realtime + (then - now) } else { realtime.saturating_sub(now - then) };
        u64::try_from(at.as_micros()).unwrap_or(u64::MAX)
    }

    /// `then` on CLOCK_BOOTTIME, which other processes read as well. What lies before this clock's start is taken for
    /// the start.
    pub fn boottime(&self, then: Instant) -> Duration {
        self.base_boottime + then.saturating_duration_since(self.base)
    }
}

fn read(clock: nix::time::ClockId) -> io::Result<Duration> {
    Ok(Duration::from(clock_gettime(clock)?))
}

/// What a descriptor is to be watched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    ReadWrite,
}

impl Interest {
    fn flags(self) -> EpollFlags {
        match self {
            Self::Read => EpollFlags::EPOLLIN,
            Self::Write => EpollFlags::EPOLLOUT,
            Self::ReadWrite => EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT,
        }
    }
}

/// What a descriptor is ready for. An error or a hang-up counts as both: the next call tells which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ready {
    pub read: bool,
    pub write: bool,
    /// An error or a hang-up in both directions.
    pub broken: bool,
    /// The peer has said its last: behind what is there to be read is the end. Told by
    /// [`EventLoop::register_changes`] only.
    pub ended: bool,
}

impl Ready {
    fn from_flags(flags: EpollFlags) -> Self {
        let broken = flags.intersects(EpollFlags::EPOLLERR | EpollFlags::EPOLLHUP);
        Self {
            read: broken || flags.contains(EpollFlags::EPOLLIN),
            write: broken || flags.contains(EpollFlags::EPOLLOUT),
            broken,
            ended: flags.contains(EpollFlags::EPOLLRDHUP),
        }
    }
}

/// A registration, for changing or ending it.
#[must_use = "without its token a registration cannot be ended; keep it or use register_forever"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token(u64);

impl Token {
    fn new(index: usize, generation: u32) -> Self {
        let index = u64::try_from(index).expect("fewer registrations than 2^32");
        Self(u64::from(generation) << 32 | index)
    }

    /// Slot and generation. A slot is used again; its generation tells an old event from a new one.
    fn parts(self) -> (usize, u32) {
        let index = usize::try_from(self.0 & 0xffff_ffff).expect("32 bits fit");
        (index, u32::try_from(self.0 >> 32).expect("32 bits fit"))
    }
}

#[derive(Debug)]
struct Slot<E> {
    generation: u32,
    event: Option<E>,
}

/// An epoll instance that yields values of `E`.
#[derive(Debug)]
pub struct EventLoop<E> {
    epoll: Epoll,
    timer: TimerFd,
    armed: Option<Instant>,
    clock: Clock,
    slots: Vec<Slot<E>>,
    free: Vec<usize>,
    buffer: Vec<EpollEvent>,
}

impl<E: Copy> EventLoop<E> {
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        let timer =
            TimerFd::new(ClockId::CLOCK_BOOTTIME, TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK)?;
        epoll.add(&timer, EpollEvent::new(EpollFlags::EPOLLIN, TIMER))?;
        let buffer = vec![EpollEvent::empty(); EVENTS_PER_TURN];
        Ok(Self {
            epoll,
            timer,
            armed: None,
            clock: Clock::new()?,
            slots: Vec::new(),
            free: Vec::new(),
            buffer,
        })
    }

    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Watch `fd`, level-triggered; `event` is what [`EventLoop::wait`] yields for it.
    ///
    /// # Errors
    /// EPERM for a file that cannot be watched, EEXIST for one that already is, ENOSPC at the user's limit.
    pub fn register(&mut self, fd: impl AsFd, interest: Interest, event: E) -> io::Result<Token> {
        self.add(fd, interest.flags(), event)
    }

    /// Watch a stream in both directions, edge-triggered (epoll(7)): `event` is yielded when something has changed, and
    /// not again until the next change. For whoever goes on each time until the kernel says that it would block, or has
    /// [`EventLoop::change`] look at what is left: spares one system call for each change of mind, and the kernel a
    /// second look at what was just told.
    ///
    /// # Errors
    /// As [`EventLoop::register`].
    pub fn register_changes(&mut self, fd: impl AsFd, event: E) -> io::Result<Token> {
        let both = EpollFlags::EPOLLIN | EpollFlags::EPOLLOUT | EpollFlags::EPOLLRDHUP;
        self.add(fd, both | EpollFlags::EPOLLET, event)
    }

    fn add(&mut self, fd: impl AsFd, flags: EpollFlags, event: E) -> io::Result<Token> {
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, event: None });
            self.slots.len() - 1
        });
        let token = Token::new(index, self.slots[index].generation);
        if let Err(error) = self.epoll.add(fd, EpollEvent::new(flags, token.0)) {
            self.free.push(index);
            return Err(error.into());
        }
        self.slots[index].event = Some(event);
        Ok(token)
    }

    /// Watch a descriptor that lives as long as the loop.
    pub fn register_forever(&mut self, fd: impl AsFd, interest: Interest, event: E) -> io::Result<()> {
        self.register(fd, interest, event).map(|_token| ())
    }

    /// Watch it for this from now on, level-triggered.
    ///
    /// # Errors
    /// ENOENT if the descriptor has been closed.
    pub fn change(&mut self, token: Token, fd: impl AsFd, interest: Interest) -> io::Result<()> {
        let mut event = EpollEvent::new(interest.flags(), token.0);
        Ok(self.epoll.modify(fd, &mut event)?)
    }

    /// What [`EventLoop::wait`] yields for it from now on. Events of it that were handed out keep the former value.
    pub fn rename(&mut self, token: Token, event: E) {
        let (index, generation) = token.parts();
        if let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.generation == generation) {
            slot.event = Some(event);
        }
    }

    /// Stop watching. Events of it that this turn has already collected are not yielded any more if they have not
    /// been handed out; a caller that holds them must expect a value for something that is gone.
    pub fn deregister(&mut self, token: Token, fd: impl AsFd) {
        if self.free_slot(token) {
            // A closed descriptor has left the set by itself.
            let _ = self.epoll.delete(fd);
        }
    }

    /// The same for a descriptor that has no duplicate and is closed here and now: closing takes it out of the set, which
    /// spares a system call.
    pub fn close(&mut self, token: Token, fd: impl AsFd + 'static) {
        self.free_slot(token);
        drop(fd);
    }

    /// `false`: that registration has ended already.
    fn free_slot(&mut self, token: Token) -> bool {
        let (index, generation) = token.parts();
        let Some(slot) = self.slots.get_mut(index).filter(|slot| slot.generation == generation) else {
            return false;
        };
        slot.generation = slot.generation.wrapping_add(1);
        slot.event = None;
        self.free.push(index);
        true
    }

    /// Wait until a descriptor is ready or `deadline` has come; fill `ready` and return the time.
    ///
    /// Descriptors that are ready are yielded even when the deadline is long past: what has arrived is to be read
    /// before a timer is believed. An interrupted wait returns early, with nothing.
    pub fn wait(&mut self, deadline: Option<Instant>, ready: &mut Vec<(E, Ready)>) -> io::Result<Instant> {
        ready.clear();
        self.arm(deadline)?;
        let due = deadline.is_some_and(|deadline| deadline <= self.clock.now());
        let timeout = if due { EpollTimeout::ZERO } else { EpollTimeout::NONE };
        let count = match self.epoll.wait(&mut self.buffer, timeout) {
            Ok(count) => count,
            Err(Errno::EINTR) => 0,
            Err(error) => return Err(error.into()),
        };
        for event in &self.buffer[..count] {
            if event.data() == TIMER {
                continue;
            }
            let (index, generation) = Token(event.data()).parts();
            let slot = self.slots.get(index).filter(|slot| slot.generation == generation);
            if let Some(value) = slot.and_then(|slot| slot.event) {
                ready.push((value, Ready::from_flags(event.events())));
            }
        }
        Ok(self.clock.now())
    }

    /// Set the timer, if it is not set so already. Setting it also clears an expiry that nobody read.
    fn arm(&mut self, deadline: Option<Instant>) -> io::Result<()> {
        let expired = self.armed.is_some_and(|armed| armed <= self.clock.now());
        if deadline == self.armed && !expired {
            return Ok(());
        }
        match deadline {
            None => self.timer.unset()?,
            Some(deadline) => {
                let at = TimeSpec::from_duration(self.clock.boottime(deadline));
                self.timer.set(Expiration::OneShot(at), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
        }
        self.armed = deadline;
        Ok(())
    }
}

impl<E> AsFd for EventLoop<E> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Event {
        Left,
        Right,
    }

    #[test]
    fn a_ready_descriptor_yields_the_callers_own_event() {
        let mut events = EventLoop::new().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        events.register_forever(&there, Interest::Read, Event::Left).unwrap();
        here.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [(Event::Left, Ready { read: true, write: false, broken: false, ended: false })]);
    }

    #[test]
    fn a_deadline_wakes_the_loop_not_before_its_time() {
        let mut events = EventLoop::<Event>::new().unwrap();
        let deadline = events.clock().now() + Duration::from_millis(20);
        let mut ready = Vec::new();
        let mut now = events.wait(Some(deadline), &mut ready).unwrap();
        while now < deadline {
            now = events.wait(Some(deadline), &mut ready).unwrap();
        }
        assert!(ready.is_empty());
        // The timer has expired; a wait for a later deadline must not return because of it for ever.
        let later = now + Duration::from_millis(20);
        let turns = (0..1_000).take_while(|_| events.wait(Some(later), &mut ready).unwrap() < later).count();
        assert!(turns < 10, "{turns} turns until the second deadline: the loop spins");
    }

    #[test]
    fn what_has_arrived_is_yielded_even_when_the_deadline_is_long_past() {
        let mut events = EventLoop::new().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        events.register_forever(&there, Interest::Read, Event::Right).unwrap();
        here.write_all(b"x").unwrap();
        let past = events.clock().now();
        let mut ready = Vec::new();
        events.wait(Some(past), &mut ready).unwrap();
        assert_eq!(ready.len(), 1);
    }

    #[test]
    fn a_slot_that_is_used_again_does_not_yield_events_of_its_former_owner() {
        let mut events = EventLoop::new().unwrap();
        let (mut a, b) = UnixStream::pair().unwrap();
        let first = events.register(&b, Interest::Read, Event::Left).unwrap();
        events.deregister(first, &b);
        let second = events.register(&b, Interest::Read, Event::Right).unwrap();
        assert_ne!(first, second);
        events.deregister(first, &b); // stale: must not end the second registration
        a.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        assert_eq!(ready[0].0, Event::Right);
        let mut byte = [0];
        (&b).read_exact(&mut byte).unwrap();
    }

    #[test]
    fn a_descriptor_may_yield_another_event_from_some_time_on() {
        let mut events = EventLoop::new().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        let (stale, token) = {
            let stale = events.register(&there, Interest::Read, Event::Left).unwrap();
            events.deregister(stale, &there);
            (stale, events.register(&there, Interest::Read, Event::Left).unwrap())
        };
        events.rename(token, Event::Right);
        events.rename(stale, Event::Left);
        here.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        assert_eq!(ready[0].0, Event::Right);
    }

    #[test]
    fn a_descriptor_that_is_closed_with_its_registration_yields_nothing_and_leaves_room_for_the_next() {
        let mut events = EventLoop::new().unwrap();
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(b"x").unwrap();
        let first = events.register(&b, Interest::Read, Event::Left).unwrap();
        events.close(first, b);
        let (mut c, d) = UnixStream::pair().unwrap();
        let second = events.register(&d, Interest::Read, Event::Right).unwrap();
        assert_ne!(first, second);
        c.write_all(b"x").unwrap();
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        assert_eq!(ready.iter().map(|(event, _)| *event).collect::<Vec<_>>(), [Event::Right]);
    }

    #[test]
    fn a_change_is_yielded_once_and_what_is_left_when_it_is_asked_for() {
        let mut events = EventLoop::new().unwrap();
        let (mut here, there) = UnixStream::pair().unwrap();
        let token = events.register_changes(&there, Event::Left).unwrap();
        let mut ready = Vec::new();
        let mut next = |events: &mut EventLoop<Event>| {
            let soon = events.clock().now() + Duration::from_millis(20);
            while ready.is_empty() && events.wait(Some(soon), &mut ready).unwrap() < soon {}
            ready.pop().map(|(_, ready)| (ready.read, ready.write, ready.ended, ready.broken))
        };
        assert_eq!(next(&mut events), Some((false, true, false, false)), "it can be written to");
        assert_eq!(next(&mut events), None);
        here.write_all(b"xy").unwrap();
        assert_eq!(next(&mut events), Some((true, true, false, false)));
        assert_eq!(next(&mut events), None, "although nobody has read it");
        events.change(token, &there, Interest::Read).unwrap();
        assert_eq!(next(&mut events), Some((true, false, false, false)));
        assert_eq!(next(&mut events), Some((true, false, false, false)), "for as long as it is there");
    }

    #[test]
    fn an_end_and_a_hang_up_are_told_apart() {
        let mut events = EventLoop::new().unwrap();
        let (here, there) = UnixStream::pair().unwrap();
        here.shutdown(std::net::Shutdown::Write).unwrap();
        let _token = events.register_changes(&there, Event::Left).unwrap();
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        let half = Ready { read: true, write: true, broken: false, ended: true };
        assert_eq!(ready, [(Event::Left, half)]);
        drop(here);
        events.wait(None, &mut ready).unwrap();
        assert_eq!(ready, [(Event::Left, Ready { broken: true, ..half })]);
    }

    #[test]
    fn instants_are_as_far_apart_in_real_time_as_on_our_clock() {
        let clock = Clock::new().unwrap();
        let now = clock.now();
        let minute = Duration::from_secs(60);
        let apart = clock.realtime_usec(now + minute) - clock.realtime_usec(now);
        assert!((59_000_000..=61_000_000).contains(&apart), "{apart} us");
    }
}
