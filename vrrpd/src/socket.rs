//! The sockets of one interface: raw IP protocol 112 for advertisements, a packet socket for gratuitous ARP.
//!
//! All virtual routers of an interface share them. Nothing here blocks, and nothing decides.

use std::io::{self, IoSlice};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::libc::{in_addr, in_pktinfo};
use nix::sys::socket::{
    AddressFamily, ControlMessage, LinkAddr, MsgFlags, SockFlag, SockType, SockaddrIn, SockaddrLike, bind,
    recv, send, sendmsg, socket,
};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};

use crate::packet::{GROUP, PROTOCOL, TTL};

/// CS6, network control: what routing protocols use.
const TOS: u32 = 0xc0;
/// The longest advertisement is shorter: 60 bytes of IPv4 header, 8 + 255 * 4 + 8 of VRRP.
pub const LONGEST_PACKET: usize = 2048;

#[derive(Debug)]
pub struct VrrpSocket {
    socket: Socket,
    interface_index: i32,
}

impl VrrpSocket {
    pub fn open(interface: &str, index: u32) -> io::Result<Self> {
        let socket =
            Socket::new(Domain::IPV4, Type::RAW.nonblocking(), Some(Protocol::from(i32::from(PROTOCOL))))?;
        socket.set_cloexec(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        // Only what was joined here: without this, other programs' groups are delivered as well.
        socket.set_multicast_all_v4(false)?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_ttl_v4(u32::from(TTL))?;
        socket.set_tos_v4(TOS)?;
        let interface_index = i32::try_from(index).map_err(io::Error::other)?;
        Ok(Self { socket, interface_index })
    }

    /// One packet with its IPv4 header; `None` if there is none.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(nix::Error::EAGAIN | nix::Error::EINTR) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Send an advertisement from `source`, whatever other addresses the interface has.
    pub fn send(&self, source: Ipv4Addr, payload: &[u8]) -> io::Result<()> {
        let spec_dst = in_addr { s_addr: u32::from_ne_bytes(source.octets()) };
        let info = in_pktinfo {
            ipi_ifindex: self.interface_index,
            ipi_spec_dst: spec_dst,
            ipi_addr: in_addr { s_addr: 0 },
        };
        let group = SockaddrIn::from(std::net::SocketAddrV4::new(GROUP, 0));
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let parts = [IoSlice::new(payload)];
        sendmsg(self.socket.as_raw_fd(), &parts, &control, MsgFlags::MSG_DONTWAIT, Some(&group))?;
        Ok(())
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends whole Ethernet frames, receives nothing.
#[derive(Debug)]
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    pub fn open(interface: &str) -> io::Result<Self> {
        // Protocol 0: nothing is delivered to us.
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let socket = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(socket.as_raw_fd(), &link_address(interface)?)?;
        Ok(Self(socket))
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// The interface's packet address, which can be had without `unsafe` only from getifaddrs(3).
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|row| row.interface_name == interface)
        .filter_map(|row| row.address)
        .find(|address| address.family() == Some(AddressFamily::Packet))
        .and_then(|address| address.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "the interface has no link-layer address"))
}
