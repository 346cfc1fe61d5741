//! Servers that are drained: how long, and what is left. A deadline is written down in the time of day, so that it holds
//! after a restart; within a run it is counted on the loop's clock, which nobody sets.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::Level;

use super::seats::Seat;
use super::services::Run;
use super::{Action, Actions, Director, Kernel, Moment};
use crate::orders::{Command, Order};
use crate::service::Backend;
use crate::table::{Connections, ServiceKey};

/// A drain on the loop's clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drain {
    /// No reading from before this counts. `None`: it was ordered in an earlier run.
    ordered: Option<Instant>,
    deadline: Option<Instant>,
}

impl Director {
    /// Count an order's time from now on, if it has one.
    pub(super) fn start_drain(&mut self, at: Moment, seat: &Seat, order: &Order, is_new: bool) {
        let Command::Drain { until } = order.command else { return };
        // However wrong the time of day was at the order, or is now: it is never longer than what was ordered.
        let left = until.saturating_sub(at.real).min(until.saturating_sub(order.since));
        let deadline = at.now.checked_add(Duration::from_micros(left));
        self.drains.insert(seat.clone(), Drain { ordered: is_new.then_some(at.now), deadline });
    }

    /// When drains of this service end whatever is left.
    pub(super) fn drain_deadlines(&self, name: &Arc<str>, run: &Run) -> Vec<Instant> {
        if self.drains.is_empty() {
            return Vec::new();
        }
        let drains = |backend: &Backend| self.drains.get(&(Arc::clone(name), *backend))?.deadline;
        run.service.servers.keys().filter_map(drains).collect()
    }

    /// A drain that has come to its end, or to its time, leaves the server out of use.
    pub(super) fn end_drains(&mut self, at: Moment, name: &Arc<str>, run: &Run, actions: &mut Actions) {
        if self.drains.is_empty() {
            return;
        }
        let mut ended = false;
        let is_read = matches!(self.kernel, Kernel::Read(_));
        // One that stands by has none yet: they come with the failover, and are seen by the next reading.
        let is_here = self.is_here(&run.service);
        let read_at = self.read_at(run);
        for backend in run.service.servers.keys() {
            let seat = (Arc::clone(name), *backend);
            let Some(drain) = self.drains.get_mut(&seat) else { continue };
            if !is_here {
                drain.ordered = Some(at.now);
            }
            let drain = *drain;
            let left = self.connections(run, backend);
            let number = left.active.saturating_add(left.inactive);
            // What was read before the order says nothing about what is left after it.
            let is_news =
                read_at.is_some_and(|read_at| drain.ordered.is_none_or(|ordered| read_at > ordered));
            let is_empty = is_read && is_here && number == 0 && is_news;
            if !is_empty && drain.deadline.is_none_or(|deadline| at.now < deadline) {
                continue;
            }
            let text = if is_empty {
                format!("{name}: server {backend} is drained, out of use")
            } else {
                let left = if is_read {
                    format!("{number} connections were left")
                } else {
                    "how many connections were left is not known".to_owned()
                };
                format!("{name}: server {backend}: its time to drain is over, out of use; {left}")
            };
            actions.log(Level::Info, text);
            self.drains.remove(&seat);
            if let Some(order) = self.orders.get_mut(&seat) {
                order.command = Command::Disable;
                ended = true;
            }
        }
        if ended {
            actions.push(Action::RememberOrders(self.orders.clone()));
        }
    }

    /// Of a server, at all of its service's addresses, as of the last reading.
    pub(crate) fn connections(&self, run: &Run, backend: &Backend) -> Connections {
        let mut sum = Connections::default();
        if let Kernel::Read(dump) = &self.kernel {
            let counts =
                |front: &ServiceKey| dump.connections.get(front)?.get(&backend.behind(front)).copied();
            run.service.fronts.iter().filter_map(counts).for_each(|counts| sum += counts);
        }
        sum
    }

    /// When all servers of a service had been read; `None`: they were not.
    fn read_at(&self, run: &Run) -> Option<Instant> {
        let mut read = run.service.fronts.iter().map(|front| self.rounds.read_at.get(front).copied());
        read.try_fold(None, |first: Option<Instant>, read| {
            let read = read?;
            Some(Some(first.map_or(read, |first| first.min(read))))
        })?
    }
}
