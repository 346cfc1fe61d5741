//! The end of the daemon: say so to the others, take the addresses back, and be gone.

use std::time::{Duration, Instant};

use daemon::error::Error;

use super::journal::Entry;
use super::{Daemon, Wake};
use crate::router::Event;

/// How long a stopping daemon waits for the kernel to take its addresses back. It takes less than a millisecond.
const STOP: Duration = Duration::from_secs(3);

impl Daemon {
    /// Say so to the others, take the addresses back, and be gone.
    pub(super) fn stop(&mut self, now: Instant) -> Result<(), Error> {
        self.notify.stopping();
        self.succession.renounce();
        for id in self.routers.ids() {
            self.dispatch(now, id, Event::Shutdown);
        }
        // What happens to interfaces from now on starts nobody again.
        self.routers.clear();
        self.want_links();
        self.renew_rules();
        self.settle(now);
        let deadline = now + STOP;
        let mut ready = Vec::new();
        let mut now = now;
        while !self.is_settled() && now < deadline {
            let retries =
                [self.holding.deadline(), self.vmacs.table.deadline(), self.guard.keeper.deadline()];
            let wake = retries.into_iter().flatten().fold(deadline, Instant::min);
            now = self.events.wait(Some(wake), &mut ready).map_err(Error::when("wait for events"))?;
            // Everything: what nobody read would wake us over and over, and with real-time priority we would keep the
            // only processor from the thread that removes the addresses.
            for (wake, _) in ready.drain(..) {
                self.read(now, wake);
                if wake == Wake::Signals {
                    while self.signals.next().is_some() {}
                }
            }
            self.settle(now);
        }
        if !self.is_settled() {
            self.journal.push(Entry::error("the kernel did not take back everything in time".into()));
        }
        self.journal.write();
        self.take_leave();
        log::info!("stopped");
        log::logger().flush();
        Ok(())
    }

    /// Nothing of ours is left in the kernel.
    fn is_settled(&self) -> bool {
        self.holding.is_settled() && self.vmacs.table.is_settled() && self.guard.keeper.is_settled()
    }
}
