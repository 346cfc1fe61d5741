//! Link and address events: a plain rtnetlink socket for the loop, and the dump that starts the picture.
//!
//! When the socket overruns (ENOBUFS), or an event does not fit the buffer, events are lost: what is queued is thrown
//! away and everything is dumped anew.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use netlink_packet_core::NetlinkPayload;
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::SockFlag;

use crate::interfaces::{Changes, Interfaces};
use crate::netlink::{DATAGRAM, Datagram, RouteSocket, messages};

/// RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Room for many interfaces changing at once, bytes.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// Datagrams read before the loop gets its turn.
const READS: usize = 1024;
/// A dump during which something changed is made again, so often.
const DUMPS: usize = 10;

/// Whether there is more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    None,
    Some,
}

#[derive(Debug)]
pub struct Monitor {
    socket: RouteSocket,
    buffer: Vec<u8>,
    /// Events were lost, and what they said was not read anew yet.
    behind: bool,
}

impl Monitor {
    /// Start listening; call [`dump`] afterwards, so that nothing is missed in between.
    pub fn open() -> io::Result<Self> {
        let socket = RouteSocket::open(SockFlag::SOCK_NONBLOCK, GROUPS)?;
        socket.receive_buffer(RECEIVE_BUFFER);
        Ok(Self { socket, buffer: vec![0; DATAGRAM], behind: false })
    }

    /// Take in the events that have arrived, as many as one turn may cost; more leave the socket readable.
    ///
    /// # Errors
    /// `interfaces` may be out of date until a later call succeeds: it must be called again, without an event.
    pub fn read(&mut self, interfaces: &mut Interfaces, changes: &mut Changes) -> io::Result<Rest> {
        if self.behind {
            return self.catch_up(interfaces, changes);
        }
        for _ in 0..READS {
            let length = match self.socket.receive(&mut self.buffer) {
                Ok(Datagram::Whole(length)) => length,
                Ok(Datagram::Truncated(length)) => {
                    log::warn!("a link event has {length} bytes, reading everything anew");
                    self.buffer.resize(length.next_power_of_two(), 0);
                    return self.catch_up(interfaces, changes);
                }
                Err(Errno::EAGAIN) => return Ok(Rest::None),
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => {
                    log::warn!(
                        "link and address events came faster than they could be read, reading everything anew"
                    );
                    return self.catch_up(interfaces, changes);
                }
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]) {
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    interfaces.apply(&message, changes);
                }
            }
        }
        Ok(Rest::Some)
    }

    fn catch_up(&mut self, interfaces: &mut Interfaces, changes: &mut Changes) -> io::Result<Rest> {
        self.behind = true;
        self.discard();
        *interfaces = dump()?;
        *changes = Changes::all();
        self.behind = false;
        Ok(Rest::None)
    }

    /// Old events must not be applied to a newer dump.
    fn discard(&mut self) {
        for _ in 0..READS * 16 {
            if self.socket.receive(&mut self.buffer) == Err(Errno::EAGAIN) {
                return;
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// All links and addresses as they are now.
pub fn dump() -> io::Result<Interfaces> {
    let socket = RouteSocket::open(SockFlag::empty(), 0)?;
    for _ in 1..DUMPS {
        match dump_once(&socket) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
    dump_once(&socket)
}

fn dump_once(socket: &RouteSocket) -> io::Result<Interfaces> {
    let mut interfaces = Interfaces::default();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    let of_family = |family| {
        let mut addresses = AddressMessage::default();
        addresses.header.family = family;
        RouteNetlinkMessage::GetAddress(addresses)
    };
    // A kernel without IPv6 answers the last with an error.
    let (v4, v6) = (of_family(AddressFamily::Inet), of_family(AddressFamily::Inet6));
    for (request, needed) in [(links, true), (v4, true), (v6, false)] {
        let done = socket.dump(request, |message| interfaces.apply(&message, &mut Changes::default()));
        match done {
            Err(error) if needed || error.kind() == io::ErrorKind::Interrupted => return Err(error),
            Ok(()) | Err(_) => {}
        }
    }
    Ok(interfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_shows_the_loopback_interface_of_the_machine_that_runs_the_test() {
        let interfaces = dump().unwrap();
        let loopback = interfaces.by_name("lo").expect("every machine has one");
        assert_eq!(loopback.index, 1);
    }

    #[test]
    fn what_lost_events_said_is_read_anew_without_another_event() {
        let mut monitor = Monitor::open().unwrap();
        monitor.behind = true;
        let (mut interfaces, mut changes) = (Interfaces::default(), Changes::default());
        assert_eq!(monitor.read(&mut interfaces, &mut changes).unwrap(), Rest::None);
        assert!(changes.all);
        assert!(interfaces.by_name("lo").is_some());
        assert!(!monitor.behind);
    }
}
