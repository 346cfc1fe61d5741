//! The sockets of the interfaces that routers use: opened when an interface is usable, closed when it is not. (The
//! first frame after a link was down would fail on the old socket with ENETDOWN.)

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use daemon::event_loop::{EventLoop, Interest, Token};

use super::Wake;
use crate::arp::{self, MacAddress};
use crate::interfaces::{Interface, Interfaces};
use crate::ndp;
use crate::socket::{FrameSocket, VrrpSocket};

/// What an interface is used for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Use {
    pub(super) advertisements: bool,
    pub(super) addresses: bool,
}

#[derive(Debug)]
struct Link {
    index: u32,
    mac: Option<MacAddress>,
    vrrp: Option<(VrrpSocket, Token)>,
    frames: Option<FrameSocket>,
}

#[derive(Debug, Default)]
pub(super) struct Links {
    links: BTreeMap<Arc<str>, Link>,
    /// Why a socket could not be opened, by interface. Tried again with the next update.
    errors: BTreeMap<Arc<str>, String>,
}

impl Links {
    /// Open what is needed and possible, close the rest. What is needed and open already is not touched.
    pub(super) fn update(
        &mut self,
        events: &mut EventLoop<Wake>,
        interfaces: &Interfaces,
        needed: &BTreeMap<Arc<str>, Use>,
    ) {
        let stays = |name: &Arc<str>, link: &Link| {
            needed.contains_key(name) && interfaces.usable(name).is_ok_and(|now| now.index == link.index)
        };
        let gone: Vec<_> = self
            .links
            .iter()
            .filter(|(name, link)| !stays(name, link))
            .map(|(name, _)| Arc::clone(name))
            .collect();
        for name in gone {
            if let Some(Link { vrrp: Some((socket, token)), .. }) = self.links.remove(&name) {
                events.deregister(token, &socket);
            }
        }
        self.errors.clear();
        for (name, used) in needed {
            let Ok(interface) = interfaces.usable(name) else { continue };
            if let Err(error) = self.open(events, interface, *used) {
                self.errors.insert(Arc::clone(name), error.to_string());
            }
        }
    }

    fn open(&mut self, events: &mut EventLoop<Wake>, interface: &Interface, used: Use) -> io::Result<()> {
        let link = self.links.entry(Arc::clone(&interface.name)).or_insert_with(|| Link {
            index: interface.index,
            mac: None,
            vrrp: None,
            frames: None,
        });
        link.mac = interface.mac;
        if used.addresses && link.frames.is_none() && interface.mac.is_some() {
            link.frames = Some(FrameSocket::open(&interface.name)?);
        }
        if used.advertisements && link.vrrp.is_none() {
            let socket = VrrpSocket::open(&interface.name, interface.index)?;
            let token = events.register(&socket, Interest::Read, Wake::Vrrp(interface.index))?;
            link.vrrp = Some((socket, token));
        }
        Ok(())
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    pub(super) fn error(&self, name: &str) -> Option<&String> {
        self.errors.get(name)
    }

    /// The socket that an event is about, and its interface; `None` if it was closed meanwhile.
    pub(super) fn vrrp(&self, index: u32) -> Option<(&Arc<str>, &VrrpSocket)> {
        let (name, link) = self.links.iter().find(|(_, link)| link.index == index)?;
        link.vrrp.as_ref().map(|(socket, _)| (name, socket))
    }

    pub(super) fn send(&self, interface: &str, source: IpAddr, message: &[u8]) -> io::Result<()> {
        let link = self.links.get(interface).and_then(|link| link.vrrp.as_ref());
        let Some((socket, _)) = link else { return Err(io::ErrorKind::NotConnected.into()) };
        match source {
            IpAddr::V4(source) => socket.send(source, message),
            IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
        }
    }

    /// Send a gratuitous ARP or an unsolicited neighbour advertisement. An interface that is no Ethernet has no use for it: that is no error.
    pub(super) fn announce(&self, interface: &str, address: IpAddr) -> io::Result<()> {
        let Some(link) = self.links.get(interface) else { return Err(io::ErrorKind::NotConnected.into()) };
        let (Some(frames), Some(mac)) = (&link.frames, link.mac) else { return Ok(()) };
        match address {
            IpAddr::V4(address) => frames.send(&arp::gratuitous(mac, address)),
            IpAddr::V6(address) => frames.send(&ndp::unsolicited(mac, address)),
        }
    }
}
