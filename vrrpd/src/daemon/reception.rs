//! Advertisements that arrive: read, checked, counted, and given to the router that they are for.

use std::sync::Arc;
use std::time::Instant;

use super::Daemon;
use crate::packet::{self, Datagram};
use crate::receive::Discard;
use crate::router::Event;
use crate::socket::Received;
use crate::types::Family;

/// Packets read from one socket per turn: a flood cannot hold up the timers. It is what a socket's buffer holds, so that
/// no timer is believed before everything has been read that had arrived.
const PACKETS_PER_TURN: usize = 640;

impl Daemon {
    /// Read what has arrived on an interface.
    pub(super) fn receive(&mut self, now: Instant, index: u32, family: Family) {
        // Borrowed from us while routers are; nobody else reads into it.
        let mut buffer = std::mem::take(&mut self.buffer);
        for _ in 0..PACKETS_PER_TURN {
            let Some((interface, received)) = self.links.receive(index, family, &mut buffer) else { break };
            match received {
                Ok(Received::Packet(datagram)) => self.packet(now, &interface, &datagram),
                Ok(Received::Unreadable) => {}
                Ok(Received::Nothing) => break,
                Err(error) => {
                    // An interface that goes says so here first; the monitor tells the rest.
                    log::debug!("cannot receive on {interface}: {error}, ignoring");
                    break;
                }
            }
        }
        self.buffer = buffer;
    }

    pub(super) fn packet(&mut self, now: Instant, interface: &Arc<str>, datagram: &Datagram<'_>) {
        self.showing.counted(now);
        let vrid = packet::peek_vrid(datagram.payload);
        let owner = vrid.and_then(|vrid| self.routers.of_group(interface, datagram.family(), vrid));
        let Some((id, (name, instance))) = owner.and_then(|id| Some((id, self.routers.get_mut(id)?))) else {
            let number = datagram.payload.get(1).copied().unwrap_or_default();
            let why = packet::decode(datagram).err().unwrap_or(Discard::UnknownRouter(number));
            self.discarded[why.index()] += 1;
            log::debug!("dropped an advertisement from {} on {interface}: {why}", datagram.source);
            return;
        };
        let decoded = packet::decode(datagram).and_then(|advertisement| {
            instance.accept(&advertisement).map(|remarks| (advertisement, remarks))
        });
        match decoded {
            Ok((advertisement, remarks)) => {
                self.journal.remarks(now, name, instance, datagram.source, &remarks);
                let event = Event::Advertisement {
                    from: datagram.source,
                    priority: advertisement.priority,
                    interval: advertisement.interval,
                };
                self.dispatch(now, id, event);
            }
            Err(why) => {
                instance.counters.discard(why);
                self.journal.discarded(now, name, instance, datagram.source, why);
            }
        }
    }
}
