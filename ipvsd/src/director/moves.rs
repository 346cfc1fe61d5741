//! Whom an order is about when the configuration becomes another one: it goes with its server where that is clear, and
//! else waits until what it is about is configured again.

use std::collections::BTreeMap;
use std::sync::Arc;

use log::Level;

use super::seats::Seat;
use super::{Action, Actions, Director};
use crate::orders::{Order, Orders};
use crate::service::Backend;
use crate::table::ServiceKey;

impl Director {
    /// Find everybody's seat, after the configuration or the orders have become others.
    pub(super) fn seat_orders(&mut self, actions: &mut Actions) {
        let mut is_other = self.move_orders(actions);
        let unknown = |seat: &Seat, order: &Order| {
            let run = self.runs.get(&seat.0)?;
            let is_known = order.front.is_some_and(|front| run.service.fronts.contains(&front));
            run.service.fronts.first().filter(|_| !is_known).map(|front| (seat.clone(), *front))
        };
        let fronts: Vec<_> = self.orders.iter().filter_map(|(seat, order)| unknown(seat, order)).collect();
        for (seat, front) in fronts {
            if let Some(order) = self.orders.get_mut(&seat) {
                order.front = Some(front);
                is_other = true;
            }
        }
        if is_other {
            actions.push(Action::RememberOrders(self.orders.clone()));
        }
        let before = self.note_unseated();
        for ((service, backend), order) in self.unseated.iter() {
            if !before.contains_key(&(Arc::clone(service), *backend)) {
                let text = format!(
                    "{service}: server {backend} is not configured and yet {order}; that is kept until it is, or until ForgetOrder"
                );
                actions.log(Level::Warn, text);
            }
        }
    }

    /// See who has an order and is not configured; what was known of that before.
    pub(super) fn note_unseated(&mut self) -> Arc<Orders> {
        let is_unseated = |(seat, _): &(&Seat, &Order)| !self.is_seat(seat);
        let orders = self.orders.iter().filter(is_unseated);
        let unseated: Orders = orders.map(|(seat, order)| (seat.clone(), order.clone())).collect();
        std::mem::replace(&mut self.unseated, Arc::new(unseated))
    }

    fn is_seat(&self, (name, backend): &Seat) -> bool {
        self.runs.get(name).is_some_and(|run| run.service.servers.contains_key(backend))
    }

    /// An address of a service, by which it is found again under another name.
    pub(super) fn front_of(&self, name: &str) -> Option<ServiceKey> {
        self.runs.get(name)?.service.fronts.first().copied()
    }

    /// Whether an order has gone to another seat.
    fn move_orders(&mut self, actions: &mut Actions) -> bool {
        let mut claims: BTreeMap<Seat, Vec<Seat>> = BTreeMap::new();
        for (seat, order) in self.orders.iter().filter(|(seat, _)| !self.is_seat(seat)) {
            if let Some(new) = self.new_seat(seat, order) {
                claims.entry(new).or_default().push(seat.clone());
            }
        }
        let mut has_moved = false;
        for (new, claimants) in claims {
            // Two for one server, or one that has its own: nobody can say which is meant.
            let [old] = &claimants[..] else { continue };
            if self.orders.contains_key(&new) {
                continue;
            }
            let Some(order) = self.orders.remove(old) else { continue };
            let text = format!("{}: server {} is {} before: {order}", new.0, new.1, was(old, &new));
            actions.log(Level::Info, text);
            if let Some(drain) = self.drains.remove(old) {
                self.drains.insert(new.clone(), drain);
            }
            self.orders.insert(new, order);
            has_moved = true;
        }
        has_moved
    }

    /// Where the server of an order is now: in its service, or in the one that has its service's address where there is
    /// no service of that name any more.
    fn new_seat(&self, (name, backend): &Seat, order: &Order) -> Option<Seat> {
        let (name, run) = match self.runs.get_key_value(name) {
            Some(found) => found,
            None => self.runs.get_key_value(self.fronts.get(&order.front?)?)?,
        };
        let servers = &run.service.servers;
        if servers.contains_key(backend) {
            return Some((Arc::clone(name), *backend));
        }
        let mut same_ip = servers.keys().filter(|server| server.ip == backend.ip);
        let only = same_ip.next().filter(|_| same_ip.next().is_none())?;
        is_with_or_without_port(only, backend).then(|| (Arc::clone(name), *only))
    }
}

/// With another port it is another server.
fn is_with_or_without_port(one: &Backend, other: &Backend) -> bool {
    one.port.is_some() != other.port.is_some()
}

/// `what 192.168.100.101 of web was`
fn was(old: &Seat, new: &Seat) -> String {
    if old.0 == new.0 { format!("what {} was", old.1) } else { format!("what {} of {} was", old.1, old.0) }
}
