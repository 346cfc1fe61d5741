//! Advertisements that arrive: read, checked, counted, and given to the router that they are for.

use std::sync::Arc;
use std::time::Instant;

use super::Daemon;
use crate::packet::{self, Datagram, Path};
use crate::receive::Discard;
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
            let path = Path::multicast(datagram.family());
            let why = packet::decode(datagram, &path).err().unwrap_or(Discard::UnknownRouter(number));
            self.discarded[why.index()] += 1;
            log::debug!("dropped an advertisement from {} on {interface}: {why}", datagram.source);
            return;
        };
        // Before it knows from where it sends, it cannot say what is not for it.
        let ours = Some(instance.router.source()).filter(|ours| !ours.is_unspecified());
        let path = instance.config.transport.path(ours.unwrap_or(datagram.destination), datagram.source);
        let hearing = match path {
            Ok(path) => instance.hear(now, datagram, &path),
            Err(why) => instance.drop(now, datagram.source, why),
        };
        if !hearing.news.is_empty() && instance.renew_remarks(now) {
            instance.changed();
            self.showing.changed(now);
        }
        self.journal.heard(name, hearing.news);
        if let Some(event) = hearing.event {
            self.dispatch(now, id, event);
        }
    }
}
