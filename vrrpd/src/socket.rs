//! The sockets of one interface: raw IP protocol 112 for advertisements, one for each family; and a packet socket
//! of all interfaces for gratuitous ARPs, neighbour advertisements and advertisements that are frames.
//!
//! All virtual routers of an interface share them, those with unicast peers too: the kernel would give a packet to
//! each of several sockets. Nothing here blocks, and nothing decides.

use std::collections::HashMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use nix::cmsg_space;
use nix::ifaddrs::getifaddrs;
use nix::libc::{c_int, in_addr, in_pktinfo, in6_addr, in6_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, LinkAddr, MsgFlags, RecvMsg, SockFlag, SockType,
    SockaddrIn, SockaddrIn6, SockaddrLike, recv, recvmsg, sendmsg, sendto, setsockopt, socket, sockopt,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::packet::{Datagram, GROUP, GROUP_V6, PROTOCOL};
use crate::types::Family;

/// CS6, network control: what routing protocols use.
const TRAFFIC_CLASS: u32 = 0xc0;
/// linux/pkt_sched.h. The TOS alone does not make it so.
const TC_PRIO_CONTROL: c_int = 7;
/// The longest advertisement has 8 + 255 * 16 bytes. What is longer is cut, and its checksum is wrong.
const LONGEST_PACKET: usize = 8192;
/// Room for what arrives while the loop is kept from running, bytes. The kernel doubles it, and counts about 800 for each
/// packet: 640 of them.
const RECEIVE_BUFFER: usize = 256 * 1024;
/// Packets to unicast peers whose MAC address nobody knows wait in the kernel, at our expense, up to 200 KiB each
/// (sysctl unres_qlen_bytes). They must not keep back those to other peers.
const SEND_BUFFER: usize = 4 * 1024 * 1024;
/// Frames that wait in the interfaces' queues, bytes: a thousand for each of twenty interfaces.
const FRAMES_WAITING: usize = 16 * 1024 * 1024;

/// Where packets are received; one for all sockets.
#[derive(Debug)]
pub struct Buffer {
    packet: Vec<u8>,
    control: Vec<u8>,
}

impl Default for Buffer {
    fn default() -> Self {
        Self { packet: vec![0; LONGEST_PACKET], control: cmsg_space!(in6_pktinfo, c_int) }
    }
}

/// What a look into a socket finds.
#[derive(Debug)]
pub enum Received<'a> {
    Packet(Datagram<'a>),
    /// The kernel did not say what belongs to the packet; there may be another.
    Unreadable,
    Nothing,
}

#[derive(Debug)]
pub struct VrrpSocket {
    socket: Socket,
    family: Family,
    interface_index: u32,
    in_group: bool,
}

impl VrrpSocket {
    /// Receives what is sent to an address of the machine and arrives on this interface; not yet what is sent to the
    /// group.
    pub fn open(interface: &str, index: u32, family: Family) -> io::Result<Self> {
        let domain = match family {
            Family::V4 => Domain::IPV4,
            Family::V6 => Domain::IPV6,
        };
        let protocol = Protocol::from(i32::from(PROTOCOL));
        let socket = Socket::new(domain, Type::RAW.nonblocking(), Some(protocol))?;
        socket.set_cloexec(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        // These need CAP_NET_ADMIN, which we have; without it the defaults have to do.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        let _ = setsockopt(&socket, sockopt::SndBufForce, &SEND_BUFFER);
        match family {
            Family::V4 => prepare_v4(&socket)?,
            Family::V6 => prepare_v6(&socket, index)?,
        }
        Ok(Self { socket, family, interface_index: index, in_group: false })
    }

    /// Receive what is sent to the group of VRRP, or do not.
    pub fn listen_to_group(&mut self, listen: bool) -> io::Result<()> {
        if listen == self.in_group {
            return Ok(());
        }
        let index = self.interface_index;
        let by_index = InterfaceIndexOrAddress::Index(index);
        match (self.family, listen) {
            (Family::V4, true) => self.socket.join_multicast_v4_n(&GROUP, &by_index)?,
            (Family::V4, false) => self.socket.leave_multicast_v4_n(&GROUP, &by_index)?,
            (Family::V6, true) => self.socket.join_multicast_v6(&GROUP_V6, index)?,
            (Family::V6, false) => self.socket.leave_multicast_v6(&GROUP_V6, index)?,
        }
        self.in_group = listen;
        Ok(())
    }

    pub fn receive<'a>(&self, buffer: &'a mut Buffer) -> io::Result<Received<'a>> {
        let received = match self.family {
            Family::V4 => self.receive_v4(buffer),
            Family::V6 => self.receive_v6(buffer),
        };
        match received {
            Ok(Some(datagram)) => Ok(Received::Packet(datagram)),
            Ok(None) => Ok(Received::Unreadable),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(Received::Nothing),
            Err(error) => Err(error.into()),
        }
    }

    /// An IPv4 raw socket delivers the packet with its header.
    fn receive_v4<'a>(&self, buffer: &'a mut Buffer) -> nix::Result<Option<Datagram<'a>>> {
        let length = recv(self.socket.as_raw_fd(), &mut buffer.packet, MsgFlags::MSG_DONTWAIT)?;
        Ok(Datagram::parse(&buffer.packet[..length]))
    }

    /// An IPv6 one delivers what follows the last extension header; what was in the header comes beside it (RFC 3542).
    fn receive_v6<'a>(&self, buffer: &'a mut Buffer) -> nix::Result<Option<Datagram<'a>>> {
        let (length, origin) = {
            let mut parts = [IoSliceMut::new(&mut buffer.packet)];
            let control = Some(&mut buffer.control[..]);
            let message: RecvMsg<'_, '_, SockaddrIn6> =
                recvmsg(self.socket.as_raw_fd(), &mut parts, control, MsgFlags::MSG_DONTWAIT)?;
            (message.bytes, origin(&message))
        };
        let payload = &buffer.packet[..length];
        Ok(origin.map(|(source, destination, ttl)| Datagram { source, destination, ttl, payload }))
    }

    /// Send an advertisement from `source`, whatever other addresses the interface has, with this TTL or hop limit.
    pub fn send(&self, source: IpAddr, destination: IpAddr, ttl: u8, payload: &[u8]) -> io::Result<()> {
        match (source, destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => self.send_v4(source, destination, ttl, payload),
            (IpAddr::V6(source), IpAddr::V6(destination)) => self.send_v6(source, destination, ttl, payload),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => {
                Err(io::ErrorKind::InvalidInput.into())
            }
        }
    }

    fn send_v4(&self, source: Ipv4Addr, to: Ipv4Addr, ttl: u8, payload: &[u8]) -> io::Result<()> {
        let ifindex = i32::try_from(self.interface_index).map_err(io::Error::other)?;
        let spec_dst = in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
        let info =
            in_pktinfo { ipi_ifindex: ifindex, ipi_spec_dst: spec_dst, ipi_addr: in_addr { s_addr: 0 } };
        let ttl = c_int::from(ttl);
        let control = [ControlMessage::Ipv4PacketInfo(&info), ControlMessage::Ipv4Ttl(&ttl)];
        self.send_to(&SockaddrIn::from(SocketAddrV4::new(to, 0)), &control, payload)
    }

    fn send_v6(&self, source: Ipv6Addr, to: Ipv6Addr, hop_limit: u8, payload: &[u8]) -> io::Result<()> {
        let info = in6_pktinfo {
            ipi6_addr: in6_addr { s6_addr: source.octets() },
            ipi6_ifindex: self.interface_index,
        };
        let hop_limit = c_int::from(hop_limit);
        let control = [ControlMessage::Ipv6PacketInfo(&info), ControlMessage::Ipv6HopLimit(&hop_limit)];
        let to = SocketAddrV6::new(to, 0, 0, self.interface_index);
        self.send_to(&SockaddrIn6::from(to), &control, payload)
    }

    fn send_to<A: SockaddrLike>(
        &self,
        to: &A,
        control: &[ControlMessage<'_>],
        payload: &[u8],
    ) -> io::Result<()> {
        let parts = [IoSlice::new(payload)];
        sendmsg(self.socket.as_raw_fd(), &parts, control, MsgFlags::MSG_DONTWAIT, Some(to))?;
        Ok(())
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

fn prepare_v4(socket: &Socket) -> io::Result<()> {
    // Only what was joined here: without this, other programs' groups are delivered as well.
    socket.set_multicast_all_v4(false)?;
    socket.set_multicast_loop_v4(false)?;
    socket.set_tos_v4(TRAFFIC_CLASS)?;
    prefer(socket)
}

/// The checksum stays with us (IPV6_CHECKSUM is off in a raw socket by itself): a wrong one is to be counted.
fn prepare_v6(socket: &Socket, index: u32) -> io::Result<()> {
    socket.set_multicast_all_v6(false)?;
    socket.set_multicast_loop_v6(false)?;
    socket.set_multicast_if_v6(index)?;
    socket.set_tclass_v6(TRAFFIC_CLASS)?;
    socket.set_recv_hoplimit_v6(true)?;
    setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
    prefer(socket)
}

/// In the interface's queue, overtake everything else: our own announcements too.
fn prefer(socket: &impl AsFd) -> io::Result<()> {
    Ok(setsockopt(socket, sockopt::Priority, &TC_PRIO_CONTROL)?)
}

/// Source, destination and hop limit. `None`: the kernel left one of them out.
fn origin(message: &RecvMsg<'_, '_, SockaddrIn6>) -> Option<(IpAddr, IpAddr, u8)> {
    let (mut destination, mut hop_limit) = (None, None);
    for control in message.cmsgs().ok()? {
        #[expect(clippy::wildcard_enum_match_arm, reason = "the kernel's messages, not ours")]
        match control {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(IpAddr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => hop_limit = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    Some((IpAddr::V6(message.address?.ip()), destination?, hop_limit?))
}

/// Sends whole Ethernet frames, receives nothing. One socket for all interfaces, for as long as the daemon lives: whoever
/// closes such a socket waits until no processor can be using it any more (synchronize_net, some 13 ms each), and an
/// interface that goes down must not hold up the advertisements of the others.
#[derive(Clone, Debug)]
pub struct FrameSocket(Arc<OwnedFd>);

impl FrameSocket {
    pub fn open() -> io::Result<Self> {
        // Protocol 0: nothing is delivered to us.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        // What waits in one interface's queue must leave room for the others. Without the right to it, the default.
        let _ = setsockopt(&socket, sockopt::SndBufForce, &FRAMES_WAITING);
        Ok(Self(Arc::new(socket)))
    }

    /// One whose frames overtake all others in the interface's queue.
    pub fn open_urgent() -> io::Result<Self> {
        let frames = Self::open()?;
        prefer(&frames.0)?;
        Ok(frames)
    }

    /// The way out through one interface, as it is now.
    pub fn to(&self, interface: &str, addresses: &mut LinkAddresses) -> io::Result<FrameSender> {
        Ok(FrameSender { socket: self.clone(), interface: addresses.of(interface)? })
    }
}

/// Sends frames through one interface.
#[derive(Debug)]
pub struct FrameSender {
    socket: FrameSocket,
    interface: LinkAddr,
}

impl FrameSender {
    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        sendto(self.socket.0.as_raw_fd(), frame, &self.interface, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// The interfaces' packet addresses, which can be had without `unsafe` only from getifaddrs(3). That lists every address
/// of the machine, some 6 ms for four thousand: it is asked once for all interfaces that are to be opened together, and
/// not before the first.
#[derive(Debug, Default)]
pub struct LinkAddresses(Option<HashMap<String, LinkAddr>>);

impl LinkAddresses {
    fn of(&mut self, interface: &str) -> io::Result<LinkAddr> {
        let addresses = match &mut self.0 {
            Some(addresses) => addresses,
            none => none.insert(listed()?),
        };
        let missing = || io::Error::new(io::ErrorKind::NotFound, "the interface has no link-layer address");
        addresses.get(interface).copied().ok_or_else(missing)
    }
}

fn listed() -> io::Result<HashMap<String, LinkAddr>> {
    let rows = getifaddrs()?.filter_map(|row| {
        let address = row.address.filter(|address| address.family() == Some(AddressFamily::Packet))?;
        Some((row.interface_name, *address.as_link_addr()?))
    });
    Ok(rows.collect())
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::Command;

    use nix::sched::{CloneFlags, unshare};

    use super::*;

    #[test]
    fn the_addresses_of_the_machine_are_listed_once_for_all_interfaces() {
        // Of this thread only.
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(io::stderr(), "LEFT OUT (packet addresses): a network namespace needs root");
            return;
        }
        let ip = |arguments: &str| {
            assert!(
                Command::new("ip").args(arguments.split(' ')).status().unwrap().success(),
                "ip {arguments}"
            );
        };
        ip("link add one type veth peer name two");
        let mut addresses = LinkAddresses::default();
        let indexes = ["one", "two"].map(|name| addresses.of(name).unwrap().ifindex());
        assert_ne!(indexes[0], indexes[1]);
        ip("link add three type veth peer name four");
        assert!(addresses.of("three").is_err(), "it was not there when they were listed");
        assert!(LinkAddresses::default().of("three").is_ok());
    }
}
