//! What systemd hears from us: ready, reloading, status, watchdog. A no-op where there is no `NOTIFY_SOCKET`.
//!
//! PID 1 can stall, and a full socket would then block its sender. So messages leave on a thread of their own: a
//! loop that may not wait only queues them, and when the queue is full a message is lost, not the loop.

use std::io;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// Messages that may wait for PID 1. The watchdog's are the most frequent: this is minutes of them.
const CAPACITY: usize = 64;
/// Stack of the sending thread, bytes: it formats short strings.
const STACK: usize = 128 * 1024;
/// How long the end of a daemon waits for its last words to leave.
const LAST_WORDS: Duration = Duration::from_millis(100);

#[derive(Debug)]
enum Message {
    Ready,
    Reloading,
    Stopping,
    Status(String),
    Watchdog,
}

/// The handle that the loop keeps.
#[derive(Debug)]
pub struct Notify {
    queue: Option<SyncSender<Message>>,
    /// Disconnects when the thread has sent everything and ended.
    ended: Option<Receiver<()>>,
    watchdog: Option<Duration>,
    next_watchdog: Option<Instant>,
    last_status: String,
}

impl Notify {
    /// Start the sending thread, if systemd listens.
    pub fn start() -> io::Result<Self> {
        let listening = std::env::var_os("NOTIFY_SOCKET").is_some();
        let (queue, ended) = if listening {
            start_thread().map(|(queue, ended)| (Some(queue), Some(ended)))?
        } else {
            (None, None)
        };
        // Half of the time that systemd waits, as sd_watchdog_enabled(3) advises.
        let watchdog = queue.as_ref().and(sd_notify::watchdog_enabled()).map(|interval| interval / 2);
        Ok(Self { queue, ended, watchdog, next_watchdog: None, last_status: String::new() })
    }

    pub fn ready(&self) {
        self.send(Message::Ready);
    }

    /// A reload has begun; [`Notify::ready`] ends it, whether the new configuration was taken or not.
    pub fn reloading(&self) {
        self.send(Message::Reloading);
    }

    pub fn stopping(&self) {
        self.send(Message::Stopping);
    }

    /// One line for `systemctl status`; sent only when it differs from the last.
    pub fn status(&mut self, status: &str) {
        if self.last_status != status {
            status.clone_into(&mut self.last_status);
            self.send(Message::Status(status.to_owned()));
        }
    }

    /// When the loop must have a turn for the watchdog's sake.
    pub fn deadline(&self) -> Option<Instant> {
        self.next_watchdog
    }

    /// Kick the watchdog if it is time. To be called from the loop, at the end of a turn, and from nowhere else.
    pub fn kick(&mut self, now: Instant) {
        let Some(interval) = self.watchdog else { return };
        if self.next_watchdog.is_none_or(|next| next <= now) {
            self.send(Message::Watchdog);
            self.next_watchdog = Some(now + interval);
        }
    }

    fn send(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // Full: PID 1 has not read for minutes. There is nobody to tell.
            let _ = queue.try_send(message);
        }
    }
}

/// What was said just before the end, STOPPING above all, still leaves; PID 1 that does not read is not waited for.
impl Drop for Notify {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(ended) = &self.ended {
            let _ = ended.recv_timeout(LAST_WORDS);
        }
    }
}

fn start_thread() -> io::Result<(SyncSender<Message>, Receiver<()>)> {
    let (sender, receiver) = sync_channel(CAPACITY);
    let (end, ended) = channel();
    thread::Builder::new().name("notify".into()).stack_size(STACK).spawn(move || {
        run(&receiver);
        drop(end);
    })?;
    Ok((sender, ended))
}

fn run(queue: &Receiver<Message>) {
    for message in queue {
        let sent = match &message {
            Message::Ready => sd_notify::notify(&[NotifyState::Ready]),
            // systemd before 253 ignores the time stamp; later ones demand it.
            Message::Reloading => NotifyState::monotonic_usec_now()
                .and_then(|stamp| sd_notify::notify(&[NotifyState::Reloading, stamp])),
            Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Message::Status(text) => sd_notify::notify(&[NotifyState::Status(text)]),
            Message::Watchdog => sd_notify::notify(&[NotifyState::Watchdog]),
        };
        if let Err(error) = sent {
            log::warn!("cannot tell systemd {message:?}: {error}, ignoring");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::Clock;

    #[test]
    fn the_watchdog_is_kicked_once_an_interval_and_asks_for_its_turn() {
        let (queue, sent) = sync_channel(8);
        let second = Duration::from_secs(1);
        let mut notify = Notify {
            queue: Some(queue),
            ended: None,
            watchdog: Some(second),
            next_watchdog: None,
            last_status: String::new(),
        };
        let start = Clock::new().unwrap().now();
        for now in [start, start + second / 2, start + second] {
            notify.kick(now);
        }
        assert_eq!(sent.try_iter().count(), 2);
        assert_eq!(notify.deadline(), Some(start + 2 * second));
    }

    #[test]
    fn a_systemd_that_does_not_read_costs_messages_not_the_loop() {
        let (queue, sent) = sync_channel(1);
        let mut notify = Notify {
            queue: Some(queue),
            ended: None,
            watchdog: None,
            next_watchdog: None,
            last_status: String::new(),
        };
        notify.status("1 router: 1 backup");
        notify.status("1 router: 1 backup");
        notify.ready();
        assert_eq!(sent.try_iter().count(), 1);
    }
}
