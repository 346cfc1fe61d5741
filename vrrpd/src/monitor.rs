//! Link and address events: a plain rtnetlink socket for the loop, and the dump that starts the picture.
//!
//! When the socket overruns (ENOBUFS) events are lost: what is queued is thrown away and everything is dumped anew.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload, NetlinkSerializable};
use netlink_packet_route::address::AddressMessage;
use netlink_packet_route::link::LinkMessage;
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily as Family, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, sendto,
    setsockopt, socket, sockopt,
};

use crate::interfaces::{Change, Interfaces};

/// RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR (linux/rtnetlink.h).
const GROUPS: u32 = 0x1 | 0x10 | 0x100;
/// Room for many interfaces changing at once, bytes.
const RECEIVE_BUFFER: usize = 4 * 1024 * 1024;
/// The largest datagram that the kernel makes of a dump is 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// Datagrams read before the loop gets its turn; more of them are treated as an overrun.
const READS: usize = 1024;

#[derive(Debug)]
pub struct Monitor {
    socket: OwnedFd,
    buffer: Vec<u8>,
    /// Events were lost, and what they said was not read anew yet.
    behind: bool,
}

impl Monitor {
    /// Start listening; call [`Monitor::dump`] afterwards, so that nothing is missed in between.
    pub fn open() -> io::Result<Self> {
        let socket = open(SockFlag::SOCK_NONBLOCK)?;
        // Needs CAP_NET_ADMIN, which we have; without it the default has to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM], behind: false })
    }

    /// Take in all events that have arrived.
    ///
    /// # Errors
    /// `interfaces` may be out of date until a later call succeeds: it must be called again, without an event.
    pub fn read(&mut self, interfaces: &mut Interfaces) -> io::Result<Change> {
        if self.behind {
            return self.catch_up(interfaces);
        }
        let mut change = Change::None;
        for _ in 0..READS {
            let length = match receive(&self.socket, &mut self.buffer) {
                Ok(length) => length,
                Err(Errno::EAGAIN) => return Ok(change),
                Err(Errno::EINTR) => continue,
                Err(Errno::ENOBUFS) => break,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&self.buffer[..length]) {
                if let NetlinkPayload::InnerMessage(message) = message.payload
                    && interfaces.apply(&message) == Change::Some
                {
                    change = Change::Some;
                }
            }
        }
        log::warn!("link and address events came faster than they could be read, reading everything anew");
        self.catch_up(interfaces)
    }

    fn catch_up(&mut self, interfaces: &mut Interfaces) -> io::Result<Change> {
        self.behind = true;
        self.discard();
        *interfaces = dump()?;
        self.behind = false;
        Ok(Change::Some)
    }

    /// Old events must not be applied to a newer dump.
    fn discard(&mut self) {
        for _ in 0..READS * 16 {
            if receive(&self.socket, &mut self.buffer) == Err(Errno::EAGAIN) {
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

/// All links and addresses as they are now. The kernel answers at once: no wait for anybody else.
pub fn dump() -> io::Result<Interfaces> {
    let socket = open(SockFlag::empty())?;
    bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
    let mut interfaces = Interfaces::default();
    let links = RouteNetlinkMessage::GetLink(LinkMessage::default());
    dump_into(&socket, links, &mut interfaces)?;
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut addresses = AddressMessage::default();
        addresses.header.family = family;
        dump_into(&socket, RouteNetlinkMessage::GetAddress(addresses), &mut interfaces)?;
    }
    Ok(interfaces)
}

fn dump_into(socket: &OwnedFd, request: RouteNetlinkMessage, interfaces: &mut Interfaces) -> io::Result<()> {
    send(socket, request)?;
    let mut buffer = vec![0; DATAGRAM];
    loop {
        let length = match receive(socket, &mut buffer) {
            Ok(length) => length,
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in messages(&buffer[..length]) {
            #[expect(clippy::wildcard_enum_match_arm, reason = "netlink's own message types")]
            match message.payload {
                NetlinkPayload::InnerMessage(message) => {
                    interfaces.apply(&message);
                }
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

fn open(flags: SockFlag) -> io::Result<OwnedFd> {
    let flags = flags | SockFlag::SOCK_CLOEXEC;
    Ok(socket(Family::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?)
}

fn send<M: NetlinkSerializable>(socket: &OwnedFd, request: M) -> io::Result<()>
where
    NetlinkMessage<M>: From<M>,
{
    let mut message = NetlinkMessage::from(request);
    message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    sendto(socket.as_raw_fd(), &bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
    Ok(())
}

/// One datagram from the kernel. Other processes can send to a netlink socket too: those are not ours to believe.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> nix::Result<usize> {
    let (length, from) = recvfrom::<NetlinkAddr>(socket.as_raw_fd(), buffer)?;
    let from_kernel = from.is_some_and(|from| from.pid() == 0);
    Ok(if from_kernel { length } else { 0 })
}

/// The messages of a datagram. One that cannot be read is passed over.
fn messages(mut bytes: &[u8]) -> Vec<NetlinkMessage<RouteNetlinkMessage>> {
    let mut messages = Vec::new();
    while let Some(head) = bytes.first_chunk::<4>() {
        // Netlink is in the machine's own byte order; messages are aligned to four bytes.
        let Ok(length) = usize::try_from(u32::from_ne_bytes(*head)) else { break };
        if length < 16 || length > bytes.len() {
            break;
        }
        match NetlinkMessage::deserialize(&bytes[..length]) {
            Ok(message) => messages.push(message),
            Err(error) => log::debug!("an rtnetlink message cannot be read: {error}, ignoring"),
        }
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    messages
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
        let mut interfaces = Interfaces::default();
        assert_eq!(monitor.read(&mut interfaces).unwrap(), Change::Some);
        assert!(interfaces.by_name("lo").is_some());
        assert!(!monitor.behind);
    }

    #[test]
    fn no_bytes_make_the_splitter_panic() {
        let mut random = crate::testing::Random::new(7);
        for _ in 0..20_000 {
            let length = random.below(80);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            if bytes.len() > 6 {
                // A plausible head: length, and one of the types that we listen to.
                bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
                bytes[4..6].copy_from_slice(&(16 + u16::from(random.byte() % 8)).to_ne_bytes());
            }
            let mut interfaces = Interfaces::default();
            for message in messages(&bytes) {
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    interfaces.apply(&message);
                }
            }
        }
    }
}
