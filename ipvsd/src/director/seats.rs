//! Whom a target's health is about: an index of all servers that have a check, by what that check asks.

use std::sync::Arc;

use super::services::target;
use crate::health::Target;
use crate::service::{Backend, RealServer, Settings};

/// One server of one configured service.
pub(crate) type Seat = (Arc<str>, Backend);

/// In the order of their targets: made at once, and looked into often.
#[derive(Debug, Default)]
pub(super) struct Seats(Vec<(Target, Seat)>);

impl Seats {
    pub(super) fn of(settings: &Settings) -> Self {
        let seats = settings.services.iter().flat_map(|(name, service)| {
            let seat = |(backend, server): (&Backend, &RealServer)| {
                Some((target(server)?, (Arc::clone(name), *backend)))
            };
            service.servers.iter().filter_map(seat)
        });
        let mut seats: Vec<_> = seats.collect();
        seats.sort_unstable();
        seats.shrink_to_fit();
        Self(seats)
    }

    /// The servers of a target; none if nobody asks for it.
    pub(super) fn get(&self, target: &Target) -> impl Iterator<Item = &Seat> {
        let start = self.0.partition_point(|(found, _)| found < target);
        self.0[start..].iter().take_while(move |(found, _)| found == target).map(|(_, seat)| seat)
    }

    /// All targets, each once, in their order.
    pub(super) fn targets(&self) -> impl Iterator<Item = &Target> {
        self.0.chunk_by(|one, next| one.0 == next.0).filter_map(|same| same.first()).map(|(target, _)| target)
    }
}
