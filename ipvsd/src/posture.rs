//! What health and operators make of a service: which servers the kernel's table should hold, with which weight, and
//! whether there are enough of them. Pure and without memory; who is healthy and what was ordered is kept in
//! `director.rs`.

use std::collections::BTreeMap;

use crate::orders::Command;
use crate::service::{AllDown, Backend, OnFailure, RealServer, VirtualService};
use crate::table::{Entry, Forward, Server, ServiceKey};

/// What is known of a server that decides whether it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It has no check.
    Unchecked,
    /// The check has not answered yet.
    Unknown(Admission),
    /// With the weight that the check gives it, if it does.
    Up(Option<u16>),
    Down,
}

/// What happens to a server until its check has answered. Unknown is not down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It was not in use; it waits.
    Withheld,
    /// It was found in the table with weight 0, and stays so.
    Idle,
    /// It was found in use, with this weight, and stays so.
    AsFound(u16),
    /// The wait is over.
    Admitted,
}

/// Thousandths of a server's weight; it grows while the server starts slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(pub u16);

impl Share {
    pub const WHOLE: Self = Self(1000);

    /// At least 1, unless the weight is 0.
    fn of(self, weight: u32) -> u32 {
        let part = u64::from(weight) * u64::from(self.0) / 1000;
        u32::try_from(part).unwrap_or(weight).clamp(weight.min(1), weight)
    }
}

/// One server at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    pub health: Health,
    /// What an operator ordered.
    pub command: Option<Command>,
    pub share: Share,
}

impl Standing {
    /// The weight that it has while it is used; `None`: it is not used.
    pub fn full_weight(self, server: &RealServer) -> Option<u32> {
        if self.is_ordered_out() {
            return None;
        }
        let given = match self.health {
            Health::Up(weight) => weight,
            Health::Unknown(Admission::AsFound(weight)) => Some(weight),
            Health::Unchecked | Health::Unknown(Admission::Admitted) => None,
            Health::Unknown(Admission::Withheld | Admission::Idle) | Health::Down => return None,
        };
        Some(self.ordered_weight().or(given).unwrap_or(server.weight).into())
    }

    /// It would be used if its check answered, which it has not done yet.
    pub fn is_waiting(self) -> bool {
        let is_unknown = matches!(self.health, Health::Unknown(Admission::Withheld | Admission::Idle));
        is_unknown && !self.is_ordered_out()
    }

    fn ordered_weight(self) -> Option<u16> {
        match self.command {
            Some(Command::Weight(weight)) => Some(weight),
            Some(Command::Drain { .. } | Command::Disable) | None => None,
        }
    }

    fn is_ordered_out(self) -> bool {
        matches!(self.command, Some(Command::Drain { .. } | Command::Disable))
    }

    /// Its weight in a table of servers that are used as they should be; `None`: it is not in it.
    fn weight(self, server: &RealServer) -> Option<u32> {
        let out_of_use = out_of_use(server);
        match (self.command, self.health) {
            // Its connections end by themselves; it gets no new ones.
            (Some(Command::Drain { .. }), Health::Down) => out_of_use,
            (Some(Command::Drain { .. }), Health::Unchecked | Health::Unknown(_) | Health::Up(_)) => Some(0),
            (Some(Command::Disable), _) => out_of_use,
            (Some(Command::Weight(_)) | None, Health::Unknown(Admission::Idle)) => Some(0),
            (Some(Command::Weight(_)) | None, _) => match self.full_weight(server) {
                Some(weight) => Some(self.share.of(weight)),
                None => out_of_use,
            },
        }
    }
}

/// The weight of a server that must not be used.
fn out_of_use(server: &RealServer) -> Option<u32> {
    match server.on_failure {
        OnFailure::Remove => None,
        OnFailure::Inhibit => Some(0),
    }
}

/// Who answers a service's clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stand {
    /// Its servers, as many as are usable.
    #[default]
    Servers,
    /// The sorry server: there is no quorum.
    Sorry,
    /// All servers although none is usable.
    All,
}

/// What a service as a whole is at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Posture {
    pub has_quorum: bool,
    pub stand: Stand,
    /// Weight of the servers that are usable, together.
    pub weight: u32,
    /// Servers that should get new connections, whoever answers.
    pub usable: usize,
    /// Servers that would be usable if their check answered.
    pub waiting: usize,
}

impl VirtualService {
    /// `before`: hysteresis is about that, and who answered goes on answering until somebody better is known.
    pub fn posture(&self, standing: impl Fn(&Backend, &RealServer) -> Standing, before: Posture) -> Posture {
        let (mut weight, mut usable, mut waiting, mut hoped) = (0_u32, 0, 0, 0_u32);
        let mut down = 0;
        for (backend, server) in &self.servers {
            let standing = standing(backend, server);
            if let Some(full) = standing.full_weight(server) {
                weight = weight.saturating_add(full);
                usable += usize::from(full > 0);
            } else if standing.is_waiting() {
                waiting += 1;
                hoped = hoped.saturating_add(server.weight.into());
            } else if !standing.is_ordered_out() {
                down += 1;
            }
        }
        let has_quorum = self.quorum.holds(weight, before.has_quorum);
        // Nobody becomes sorry about servers that were not looked at yet.
        let may_come = waiting > 0
            && before.stand != Stand::Sorry
            && self.quorum.holds(weight.saturating_add(hoped), before.has_quorum);
        let stand = if self.sorry.is_some() && !has_quorum && !may_come {
            Stand::Sorry
        } else if self.all_down == AllDown::Keep && usable == 0 && waiting == 0 && down > 0 {
            Stand::All
        } else {
            Stand::Servers
        };
        Posture { has_quorum, stand, weight, usable, waiting }
    }

    /// What the kernel's table should hold for one of the services.
    pub fn desired(
        &self,
        front: &ServiceKey,
        stand: Stand,
        standing: impl Fn(&Backend, &RealServer) -> Standing,
    ) -> Entry {
        let weighed = |(backend, server): (&Backend, &RealServer)| {
            let standing = standing(backend, server);
            let weight = match stand {
                Stand::Servers => standing.weight(server),
                Stand::Sorry => match standing.command {
                    Some(Command::Drain { .. }) => standing.weight(server),
                    Some(Command::Disable | Command::Weight(_)) | None => out_of_use(server),
                },
                Stand::All => match standing.health {
                    Health::Down if !standing.is_ordered_out() => {
                        Some(standing.ordered_weight().unwrap_or(server.weight).into())
                    }
                    Health::Down | Health::Unchecked | Health::Unknown(_) | Health::Up(_) => {
                        standing.weight(server)
                    }
                },
            }?;
            let entry = Server {
                forward: server.forward,
                weight,
                upper_threshold: server.upper_threshold,
                lower_threshold: server.lower_threshold,
            };
            Some((backend.behind(front), entry))
        };
        let mut servers: BTreeMap<_, _> = self.servers.iter().filter_map(weighed).collect();
        if let (Stand::Sorry, Some(sorry)) = (stand, self.sorry) {
            servers.insert(sorry.backend.behind(front), alone(sorry.forward));
        }
        Entry { service: self.parameters(front), servers }
    }
}

fn alone(forward: Forward) -> Server {
    Server { forward, weight: 1, upper_threshold: 0, lower_threshold: 0 }
}

#[cfg(test)]
mod tests;
