//! What the bus thread has heard of what is tracked, on its way to the loop: of each thing the last only, so that
//! nothing is lost and nothing piles up, however fast it changes and however late the loop is.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::queue::{Receiver, Sender, queue};

use super::{Told, What};

/// A verdict, and that its source was lost after it.
type Rows = BTreeMap<What, Vec<Told>>;

/// A mailbox with one wake-up.
pub fn news() -> io::Result<(News, Inbox)> {
    let (wake, woken) = queue(1)?;
    let rows = Arc::default();
    Ok((News { rows: Arc::clone(&rows), wake }, Inbox { rows, woken }))
}

/// The bus thread's end.
#[derive(Clone, Debug)]
pub struct News {
    rows: Arc<Mutex<Rows>>,
    wake: Sender<()>,
}

impl News {
    /// Never blocks: the loop holds the lock for one swap.
    pub fn tell(&self, what: &What, told: Told) {
        {
            let mut rows = self.rows.lock().unwrap_or_else(PoisonError::into_inner);
            let row = rows.entry(what.clone()).or_default();
            // A loss of the source does not take back what it said before; a word of its does.
            if matches!(told, Told::Nothing { .. }) {
                row.retain(|former| !matches!(former, Told::Nothing { .. }));
            } else {
                row.clear();
            }
            row.push(told);
        }
        // Full: a wake-up is on its way already.
        let _ = self.wake.send(());
    }
}

/// The loop's end: register it for reading.
#[derive(Debug)]
pub struct Inbox {
    rows: Arc<Mutex<Rows>>,
    woken: Receiver<()>,
}

impl Inbox {
    /// All that was told since the last time, of each thing in its order.
    pub fn take(&self) -> impl Iterator<Item = (What, Told)> + use<> {
        // First the wake-up: what is told from now on sets it again.
        self.woken.drain().for_each(drop);
        let rows = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        rows.into_iter().flat_map(|(what, row)| row.into_iter().map(move |told| (what.clone(), told)))
    }
}

impl AsFd for Inbox {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up(reason: &str) -> Told {
        Told::Up { reason: reason.into(), since: 0 }
    }

    fn nothing(reason: &str) -> Told {
        Told::Nothing { reason: reason.into() }
    }

    #[test]
    fn the_loop_gets_the_last_word_on_each_thing_and_the_loss_of_its_source_after_it() {
        let (news, inbox) = news().unwrap();
        let (a, b) = (What::Unit("a.service".into()), What::Service("b".into()));
        for number in 0..1000 {
            news.tell(&a, up(&number.to_string()));
            news.tell(&a, nothing("gone"));
        }
        news.tell(&b, nothing("never there"));
        news.tell(&b, up("there"));
        let taken: Vec<_> = inbox.take().collect();
        assert_eq!(taken, [(a.clone(), up("999")), (a.clone(), nothing("gone")), (b, up("there"))]);
        assert_eq!(inbox.take().count(), 0);
        news.tell(&a, nothing("gone"));
        assert_eq!(inbox.take().count(), 1);
    }
}
