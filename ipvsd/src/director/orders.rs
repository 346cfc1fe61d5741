//! The director's dealings with operators: orders about single servers.

use std::sync::Arc;
use std::time::Duration;

use log::Level;

use super::services::Run;
use super::{Action, Actions, Director, Kernel, Moment};
use crate::orders::{Command, Order, parse_backend};
use crate::service::Backend;
use crate::table::{Connections, ServiceKey};

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
    /// Undo Drain and Disable.
    Enable,
    /// Undo whatever was ordered.
    Clear,
}

impl Verb {
    /// What is to be ordered; `None`: nothing any more.
    fn command(self, real: u64, former: Option<Command>) -> Option<Command> {
        match self {
            Self::SetWeight(weight) => Some(Command::Weight(weight)),
            Self::Drain { within } => {
                let within = u64::try_from(within.as_micros()).unwrap_or(u64::MAX);
                Some(Command::Drain { until: real.saturating_add(within) })
            }
            Self::Disable => Some(Command::Disable),
            Self::Enable => former.filter(|command| matches!(command, Command::Weight(_))),
            Self::Clear => None,
        }
    }
}

/// Characters of a reason that are kept.
const REASON: usize = 256;

impl Director {
    /// Take an order, and what follows from it.
    ///
    /// # Errors
    /// There is no such service or server; nothing was changed.
    pub fn order(&mut self, at: Moment, request: &Request) -> Result<Actions, String> {
        let (name, backend) = self.find(&request.service, &request.server)?;
        let seat = (Arc::clone(&name), backend);
        let mut actions = Actions::default();
        let former = self.orders.get(&seat).map(|order| order.command);
        if let (Verb::SetWeight(_), Some(Command::Drain { .. } | Command::Disable)) = (request.verb, former) {
            return Err(format!("server {backend} is out of use: Enable it first, or ClearOverride"));
        }
        match request.verb.command(at.real, former) {
            Some(command) if request.verb == Verb::Enable && former == Some(command) => return Ok(actions),
            Some(command) => {
                let reason = request.reason.chars().take(REASON).collect();
                let order = Order { command, author: request.author.clone(), reason, since: at.real };
                actions.log(Level::Info, format!("{name}: server {backend}: {order}"));
                self.orders.insert(seat, order);
            }
            None => {
                let Some(former) = self.orders.remove(&seat) else { return Ok(actions) };
                let author = &request.author;
                let text = format!("{name}: server {backend}: no longer {former}; cleared by {author}");
                actions.log(Level::Info, text);
            }
        }
        actions.push(Action::RememberOrders(self.orders.clone()));
        self.dirty.insert(name);
        self.reconcile(at, &mut actions);
        Ok(actions)
    }

    fn find(&self, service: &str, server: &str) -> Result<(Arc<str>, Backend), String> {
        let found = self.runs.get_key_value(service);
        let (name, run) = found.ok_or_else(|| format!("there is no service '{service}'"))?;
        let wanted = parse_backend(server)
            .ok_or_else(|| format!("'{server}' is not an address, such as 192.168.100.101:80"))?;
        let has = |backend: &Backend| run.service.servers.contains_key(backend);
        let is_behind = |backend: &&Backend| {
            let port = wanted.port;
            backend.ip == wanted.ip
                && run.service.fronts.iter().any(|front| Some(backend.behind(front).port()) == port)
        };
        let mut same_ip = run.service.servers.keys().filter(|backend| backend.ip == wanted.ip);
        let backend = if has(&wanted) {
            Some(wanted)
        } else if wanted.port.is_some() {
            run.service.servers.keys().find(is_behind).copied()
        } else {
            // Without its port, if that is clear.
            same_ip.next().copied().filter(|_| same_ip.next().is_none())
        };
        let servers = || run.service.servers.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        let backend = backend.ok_or_else(|| {
            format!("service '{service}' has no server '{server}'; its servers are {}", servers())
        })?;
        Ok((Arc::clone(name), backend))
    }

    /// A drain that has come to its end, or to its time, leaves the server out of use.
    pub(super) fn end_drains(&mut self, at: Moment, name: &Arc<str>, run: &Run, actions: &mut Actions) {
        let mut ended = false;
        let is_read = matches!(self.kernel, Kernel::Read(_));
        for backend in run.service.servers.keys() {
            let left = self.connections(run, backend);
            let read_at = self.read_at(run);
            let Some(order) = self.orders.get_mut(&(Arc::clone(name), *backend)) else { continue };
            let Command::Drain { until } = order.command else { continue };
            let number = left.active.saturating_add(left.inactive);
            // What was read before the order says nothing about what is left after it.
            let is_empty = is_read && number == 0 && read_at > order.since;
            if !is_empty && at.real < until {
                continue;
            }
            order.command = Command::Disable;
            ended = true;
            let text = if is_empty {
                format!("{name}: server {backend} is drained, out of use")
            } else {
                format!(
                    "{name}: server {backend}: its time to drain is over, out of use; {number} connections were left"
                )
            };
            actions.log(Level::Info, text);
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

    /// When all servers of a service had been read, in microseconds of CLOCK_REALTIME; 0: they were not.
    fn read_at(&self, run: &Run) -> u64 {
        let read = |front| self.rounds.read_at.get(front).copied().unwrap_or(0);
        run.service.fronts.iter().map(read).min().unwrap_or(0)
    }
}
