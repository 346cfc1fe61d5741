//! The sockets of the interfaces that routers use: opened when an interface is usable, closed when it is not. (The
//! first frame after a link was down would fail on the old socket with ENETDOWN.)

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use daemon::event_loop::{EventLoop, Interest, Token};
use nix::errno::Errno;

use super::Wake;
use crate::arp::{self, MacAddress};
use crate::config::RouterConfig;
use crate::interfaces::{Interface, Interfaces};
use crate::ndp;
use crate::socket::{Buffer, FrameSender, FrameSocket, LinkAddresses, Received, VrrpSocket};
use crate::types::Family;

/// What an interface is used for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    /// Advertisements of these families; `true`: to and from the group, not only unicast peers.
    families: BTreeMap<Family, bool>,
    announcements: bool,
    /// With a virtual MAC address, advertisements are whole frames as well.
    frames: bool,
}

impl Use {
    pub(super) fn advertisements(&mut self, family: Family, group: bool) {
        *self.families.entry(family).or_default() |= group;
    }

    pub(super) fn advertisements_in_frames(&mut self) {
        self.frames = true;
    }

    pub(super) fn announcements(&mut self) {
        self.announcements = true;
    }
}

#[derive(Debug)]
struct Link {
    index: u32,
    /// Which one of those that had this index and name.
    birth: u64,
    mac: Option<MacAddress>,
    vrrp: BTreeMap<Family, (VrrpSocket, Token)>,
    /// For announcements. They may wait in the interface's queue;
    frames: Option<FrameSender>,
    /// advertisements in frames overtake them there.
    urgent: Option<FrameSender>,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<Arc<str>, Link>,
    names: BTreeMap<u32, Arc<str>>,
    /// Of all links, opened for the first.
    frames: Option<FrameSocket>,
    urgent: Option<FrameSocket>,
    /// Why a socket could not be opened, by interface. Tried again with the next update.
    errors: BTreeMap<Arc<str>, String>,
    /// Interfaces whose sockets broke, and are opened anew with the next update.
    broken: BTreeSet<Arc<str>>,
    /// Virtual MAC interface -> the interface below it, and the virtual MAC address.
    virtual_macs: BTreeMap<Arc<str>, (Arc<str>, MacAddress)>,
}

impl Links {
    /// Open what is needed and possible, close the rest. What is needed and open already is not touched. Returns the
    /// interfaces that have another MAC address than before: what lives there must be announced.
    pub(super) fn update(
        &mut self,
        events: &mut EventLoop<Wake>,
        interfaces: &Interfaces,
        needed: &BTreeMap<Arc<str>, Use>,
    ) -> Vec<Arc<str>> {
        let broken = std::mem::take(&mut self.broken);
        let stays = |name: &Arc<str>, link: &Link| {
            let same = |now: &Interface| (now.index, now.birth) == (link.index, link.birth);
            needed.contains_key(name) && !broken.contains(name) && interfaces.usable(name).is_ok_and(same)
        };
        let gone = self.links.iter().filter(|(name, link)| !stays(name, link));
        for name in gone.map(|(name, _)| Arc::clone(name)).collect::<Vec<_>>() {
            self.close(events, &name);
        }
        self.errors.clear();
        let (mut moved, mut addresses) = (Vec::new(), LinkAddresses::default());
        for (name, used) in needed {
            let Ok(interface) = interfaces.usable(name) else { continue };
            if self.links.get(name).is_some_and(|link| link.mac != interface.mac) {
                moved.push(Arc::clone(name));
            }
            if let Err(error) = self.open(events, interface, used, &mut addresses) {
                self.errors.insert(Arc::clone(name), error.to_string());
            }
        }
        moved
    }

    fn close(&mut self, events: &mut EventLoop<Wake>, name: &str) {
        let Some(link) = self.links.remove(name) else { return };
        self.names.remove(&link.index);
        for (socket, token) in link.vrrp.into_values() {
            events.deregister(token, &socket);
        }
    }

    fn open(
        &mut self,
        events: &mut EventLoop<Wake>,
        interface: &Interface,
        used: &Use,
        addresses: &mut LinkAddresses,
    ) -> io::Result<()> {
        let link = self.links.entry(Arc::clone(&interface.name)).or_insert_with(|| Link {
            index: interface.index,
            birth: interface.birth,
            mac: None,
            vrrp: BTreeMap::new(),
            frames: None,
            urgent: None,
        });
        self.names.insert(interface.index, Arc::clone(&interface.name));
        link.mac = interface.mac;
        if used.announcements && link.frames.is_none() && interface.mac.is_some() {
            link.frames = Some(opened(&mut self.frames, FrameSocket::open)?.to(&interface.name, addresses)?);
        }
        if used.frames && link.urgent.is_none() && interface.mac.is_some() {
            let socket = opened(&mut self.urgent, FrameSocket::open_urgent)?;
            link.urgent = Some(socket.to(&interface.name, addresses)?);
        }
        link.close_all_but(events, used);
        for (family, group) in &used.families {
            link.open(events, interface, *family)?.listen_to_group(*group)?;
        }
        Ok(())
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn has_broken(&self) -> bool {
        !self.broken.is_empty()
    }

    pub(super) fn error(&self, name: &str) -> Option<&String> {
        self.errors.get(name)
    }

    /// A packet from the socket that an event is about, and its interface. `None`: the socket was closed meanwhile.
    pub(super) fn receive<'a>(
        &mut self,
        index: u32,
        family: Family,
        buffer: &'a mut Buffer,
    ) -> Option<(Arc<str>, io::Result<Received<'a>>)> {
        let name = self.names.get(&index)?;
        let (socket, _) = self.links.get(name)?.vrrp.get(&family)?;
        let received = socket.receive(buffer);
        let name = Arc::clone(name);
        if let Err(error) = &received {
            self.check(&name, error);
        }
        Some((name, received))
    }

    pub(super) fn send(
        &mut self,
        interface: &Arc<str>,
        source: IpAddr,
        (destination, ttl): (IpAddr, u8),
        message: &[u8],
    ) -> io::Result<()> {
        let link = self.links.get(interface);
        let Some((socket, _)) = link.and_then(|link| link.vrrp.get(&Family::of(source))) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        let sent = socket.send(source, destination, ttl, message);
        sent.inspect_err(|error| self.check(interface, error))
    }

    /// Which interfaces are virtual MAC interfaces: what is announced of their addresses leaves below them.
    pub(super) fn virtual_macs<'a>(&mut self, routers: impl Iterator<Item = &'a RouterConfig>) {
        let of = |config: &RouterConfig| {
            let vmac = config.vmac.as_ref()?;
            Some((Arc::clone(&vmac.name), (Arc::clone(&config.interface), vmac.mac)))
        };
        self.virtual_macs = routers.filter_map(of).collect();
    }

    /// Send an advertisement that is a whole frame.
    pub(super) fn send_frame(&mut self, interface: &Arc<str>, frame: &[u8]) -> io::Result<()> {
        let link = self.links.get(interface).and_then(|link| link.urgent.as_ref());
        let Some(frames) = link else { return Err(io::ErrorKind::NotConnected.into()) };
        let sent = frames.send(frame);
        sent.inspect_err(|error| self.check(interface, error))
    }

    /// Send a gratuitous ARP or an unsolicited neighbour advertisement. An interface that is no Ethernet has no use for
    /// it: that is no error.
    pub(super) fn announce(&mut self, interface: &Arc<str>, address: IpAddr) -> io::Result<()> {
        let (interface, virtual_mac) = match self.virtual_macs.get(interface) {
            Some((parent, mac)) => (Arc::clone(parent), Some(*mac)),
            None => (Arc::clone(interface), None),
        };
        let Some(link) = self.links.get(&interface) else { return Err(io::ErrorKind::NotConnected.into()) };
        let (Some(frames), Some(mac)) = (&link.frames, virtual_mac.or(link.mac)) else { return Ok(()) };
        let sent = match address {
            IpAddr::V4(address) => frames.send(&arp::gratuitous(mac, address)),
            IpAddr::V6(address) => frames.send(&ndp::unsolicited(mac, address)),
        };
        sent.inspect_err(|error| self.check(&interface, error))
    }

    /// An error that says that the socket's interface is not there any more: it needs another socket.
    fn check(&mut self, interface: &Arc<str>, error: &io::Error) {
        let errno = error.raw_os_error().map(Errno::from_raw);
        if matches!(errno, Some(Errno::ENXIO | Errno::ENODEV | Errno::ENETDOWN)) {
            self.broken.insert(Arc::clone(interface));
        }
    }
}

fn opened(
    place: &mut Option<FrameSocket>,
    open: fn() -> io::Result<FrameSocket>,
) -> io::Result<&FrameSocket> {
    if let Some(socket) = place {
        return Ok(socket);
    }
    Ok(place.insert(open()?))
}

impl Link {
    fn open(
        &mut self,
        events: &mut EventLoop<Wake>,
        interface: &Interface,
        family: Family,
    ) -> io::Result<&mut VrrpSocket> {
        let place = match self.vrrp.entry(family) {
            std::collections::btree_map::Entry::Occupied(place) => place.into_mut(),
            std::collections::btree_map::Entry::Vacant(place) => {
                let socket = VrrpSocket::open(&interface.name, interface.index, family)?;
                let token = events.register(&socket, Interest::Read, Wake::Vrrp(interface.index, family))?;
                place.insert((socket, token))
            }
        };
        Ok(&mut place.0)
    }

    /// The last router of a family may have gone.
    fn close_all_but(&mut self, events: &mut EventLoop<Wake>, used: &Use) {
        self.vrrp.retain(|family, (socket, token)| {
            let stays = used.families.contains_key(family);
            if !stays {
                events.deregister(*token, &*socket);
            }
            stays
        });
        if !used.announcements {
            self.frames = None;
        }
        if !used.frames {
            self.urgent = None;
        }
    }
}
