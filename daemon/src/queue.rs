//! A bounded queue from any thread into the loop: a channel, and an eventfd that makes the loop's epoll see it.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Channel, SyncSender, TryIter, TrySendError, sync_channel};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A queue for at most `capacity` items.
pub fn queue<T>(capacity: usize) -> io::Result<(Sender<T>, Receiver<T>)> {
    let wake = Arc::new(EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    let (sender, channel) = sync_channel(capacity);
    Ok((Sender { channel: sender, wake: Arc::clone(&wake) }, Receiver { channel, wake }))
}

#[derive(Debug)]
pub struct Sender<T> {
    channel: SyncSender<T>,
    wake: Arc<EventFd>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        Self { channel: self.channel.clone(), wake: Arc::clone(&self.wake) }
    }
}

impl<T> Sender<T> {
    /// Queue an item and wake the loop; never blocks.
    ///
    /// # Errors
    /// The item comes back if the queue is full, or if the loop has ended.
    pub fn send(&self, item: T) -> Result<(), T> {
        match self.channel.try_send(item) {
            Ok(()) => {
                // A counter that is already at its limit wakes the loop as well.
                let _ = self.wake.write(1);
                Ok(())
            }
            Err(TrySendError::Full(item) | TrySendError::Disconnected(item)) => Err(item),
        }
    }
}

/// The loop's end: register it for reading, and drain it when it is ready.
#[derive(Debug)]
pub struct Receiver<T> {
    channel: Channel<T>,
    wake: Arc<EventFd>,
}

impl<T> Receiver<T> {
    /// Everything that is queued now.
    pub fn drain(&self) -> TryIter<'_, T> {
        // Clear the wake-up first: an item that comes while we drain sets it again.
        let _ = self.wake.read();
        self.channel.try_iter()
    }
}

impl<T> AsFd for Receiver<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event_loop::{EventLoop, Interest};

    #[test]
    fn an_item_from_another_thread_wakes_the_loop() {
        let mut events = EventLoop::new().unwrap();
        let (sender, receiver) = queue(4).unwrap();
        events.register_forever(&receiver, Interest::Read, ()).unwrap();
        let thread = std::thread::spawn(move || sender.send(7));
        let mut ready = Vec::new();
        events.wait(None, &mut ready).unwrap();
        thread.join().unwrap().unwrap();
        assert_eq!(receiver.drain().collect::<Vec<_>>(), [7]);
    }

    #[test]
    fn a_full_queue_gives_the_item_back_instead_of_blocking() {
        let (sender, receiver) = queue(1).unwrap();
        assert_eq!(sender.send(1), Ok(()));
        assert_eq!(sender.send(2), Err(2));
        assert_eq!(receiver.drain().collect::<Vec<_>>(), [1]);
        drop(receiver);
        assert_eq!(sender.send(3), Err(3));
    }
}
