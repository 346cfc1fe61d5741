//! The director's dealings with operators: orders about single servers.
//!
//! An order is written down first and done then: what was promised outlives us, and what cannot be written is refused.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use log::Level;

use super::seats::Seat;
use super::{Action, Actions, Director, Moment};
use crate::orders::{Command, Order, parse_backend};
use crate::service::{Backend, VirtualService};

/// What an operator asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub service: String,
    /// As configured, or as it is in the kernel: `192.168.100.101:80`.
    pub server: String,
    pub verb: Verb,
    pub author: String,
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    SetWeight(u16),
    /// Out of use when it has no connection left, or after so long.
    Drain {
        within: Duration,
    },
    Disable,
    /// Undo Drain and Disable: a weight that was ordered before them stands again.
    Enable,
    /// Undo whatever was ordered.
    Clear,
}

impl Verb {
    /// What is ordered by it.
    fn command(self, real: u64) -> Option<Command> {
        match self {
            Self::SetWeight(weight) => Some(Command::Weight(weight)),
            // No time to drain is none.
            Self::Drain { within } if within.is_zero() => Some(Command::Disable),
            Self::Drain { within } => {
                let within = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                Some(Command::Drain { until: real.saturating_add(within) })
            }
            Self::Disable => Some(Command::Disable),
            Self::Enable | Self::Clear => None,
        }
    }
}

/// What will stand about a server as soon as it is written down.
#[derive(Debug)]
pub(super) struct Asked {
    seat: Seat,
    /// `None`: nothing any more.
    order: Option<Order>,
    /// What there is to say about it.
    text: String,
}

/// Characters of a reason that are kept.
const REASON: usize = 256;

impl Director {
    /// Take an order, and what follows from it. Whether it could be written down, and so was done, is asked of
    /// [`Director::take_refusal`] after the actions.
    ///
    /// # Errors
    /// There is no such service or server, or what was ordered before is not known; nothing was changed.
    pub fn order(&mut self, at: Moment, request: &Request) -> Result<Actions, String> {
        let mut actions = Actions::default();
        let seat = self.find(request)?;
        self.book.may_order()?;
        let Some(asked) = self.ask(at, seat, request)? else { return Ok(actions) };
        let mut orders = self.orders.clone();
        match &asked.order {
            Some(order) => drop(orders.insert(asked.seat.clone(), order.clone())),
            None => drop(orders.remove(&asked.seat)),
        }
        self.book.asked = Some(asked);
        actions.push(Action::RememberOrders(orders));
        Ok(actions)
    }

    /// Why the last order was not done after all.
    ///
    /// # Errors
    /// The reason; nothing was changed.
    pub fn take_refusal(&mut self) -> Result<(), String> {
        self.book.refusal.take().map_or(Ok(()), Err)
    }

    /// `None`: nothing would be another way than it is.
    fn ask(&self, at: Moment, seat: Seat, request: &Request) -> Result<Option<Asked>, String> {
        let (name, backend) = &seat;
        let former = self.orders.get(&seat);
        let out = former.filter(|former| former.command.is_out());
        if let (Verb::SetWeight(_), Some(out)) = (request.verb, out) {
            let author = &out.author;
            return Err(match out.command {
                Command::Drain { .. } => format!(
                    "server {backend} is draining by order of {author}: Enable it first, or ClearOverride"
                ),
                Command::Disable | Command::Weight(_) => format!(
                    "server {backend} is out of use by order of {author}: Enable it first, or ClearOverride"
                ),
            });
        }
        if let Some(command) = request.verb.command(at.real) {
            let beneath = former.filter(|_| command.is_out()).and_then(|former| former.clone().into_weight());
            let (author, reason) = (request.author.clone(), one_line(&request.reason));
            let order =
                Order { command, author, reason, since: at.real, beneath, front: self.front_of(name) };
            let text = format!("{name}: server {backend}: {order}");
            return Ok(Some(Asked { seat, order: Some(order), text }));
        }
        let former = if request.verb == Verb::Enable { out } else { former };
        let Some(former) = former else { return Ok(None) };
        let mut text = format!("{name}: server {backend}: no longer {former}; cleared by {}", request.author);
        let beneath = former.beneath.clone().filter(|_| request.verb == Verb::Enable);
        let order = beneath.map(|weight| Order { front: self.front_of(name), ..*weight });
        if let Some(weight) = &order {
            text = format!("{text}; again {weight}");
        }
        Ok(Some(Asked { seat, order, text }))
    }

    /// It is written down: do it.
    pub(super) fn obey(&mut self, at: Moment, asked: Asked, actions: &mut Actions) {
        let Asked { seat, order, text } = asked;
        actions.log(Level::Info, text);
        self.dirty.insert(Arc::clone(&seat.0));
        self.drains.remove(&seat);
        match order {
            Some(order) => {
                self.start_drain(at, &seat, &order, true);
                self.orders.insert(seat, order);
            }
            None => drop(self.orders.remove(&seat)),
        }
        self.note_unseated();
        self.reconcile(at, actions);
    }

    /// Whom an order is about.
    fn find(&self, request: &Request) -> Result<Seat, String> {
        let (service, server) = (request.service.as_str(), request.server.as_str());
        let wanted = parse_backend(server);
        // What is not configured any more may have an order all the same.
        let left = wanted.map(|wanted| (Arc::from(service), wanted));
        let left = left.filter(|seat| request.verb == Verb::Clear && self.orders.contains_key(seat));
        let found = self.runs.get_key_value(service);
        let Some((name, run)) = found else {
            return left.ok_or_else(|| format!("there is no service '{service}'"));
        };
        let wanted =
            wanted.ok_or_else(|| format!("'{server}' is not an address, such as 192.168.100.101:80"))?;
        if let Some(backend) = server_at(&run.service, wanted, left.is_some()) {
            return Ok((Arc::clone(name), backend));
        }
        left.ok_or_else(|| {
            if is_sorry(&run.service, wanted) {
                return format!(
                    "'{server}' is the sorry server of '{service}': there are no orders about it"
                );
            }
            let servers = run.service.servers.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            format!("service '{service}' has no server '{server}'; its servers are {servers}")
        })
    }
}

/// The server that an operator means, by its address as it is configured, or, unless that must be `exact`, as it is in
/// the kernel, or without its port if that is clear.
fn server_at(service: &VirtualService, wanted: Backend, exact: bool) -> Option<Backend> {
    if exact || service.servers.contains_key(&wanted) {
        return Some(wanted).filter(|wanted| service.servers.contains_key(wanted));
    }
    let mut same_ip = service.servers.keys().filter(|backend| backend.ip == wanted.ip);
    let Some(port) = wanted.port else {
        return same_ip.next().copied().filter(|_| same_ip.next().is_none());
    };
    let place = SocketAddr::new(wanted.ip, port);
    same_ip.find(|backend| service.fronts.iter().any(|front| backend.behind(front) == place)).copied()
}

fn is_sorry(service: &VirtualService, wanted: Backend) -> bool {
    service.sorry.is_some_and(|sorry| {
        let place = wanted.port.map(|port| SocketAddr::new(wanted.ip, port));
        let is_there = |place| service.fronts.iter().any(|front| sorry.backend.behind(front) == place);
        sorry.backend.ip == wanted.ip && place.is_none_or(is_there)
    })
}

/// Of bounded length.
fn one_line(reason: &str) -> String {
    let plain = |character: char| if character.is_control() { ' ' } else { character };
    reason.chars().take(REASON).map(plain).collect()
}
