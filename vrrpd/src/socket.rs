//! The sockets of one interface: raw IP for advertisements, packet for gratuitous ARP.
//!
//! Non-blocking, and nothing but system calls: what the bytes mean is in `packet.rs` and `arp.rs`.

use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::ifaddrs::getifaddrs;
use nix::sys::socket::{AddressFamily, LinkAddr, MsgFlags, SockFlag, SockType, bind, send, socket};
use socket2::{Domain, InterfaceIndexOrAddress, Protocol, SockAddr, Socket, Type};

use crate::packet::{GROUP, PROTOCOL, TTL};

/// Internetwork control, as routing protocols are marked (RFC 2474, 4.2.2.2).
const TOS: u32 = 0xc0;
/// Bytes that wait for us at the most: some thousand advertisements.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Sends and receives the advertisements of one interface.
#[derive(Debug)]
pub struct VrrpSocket {
    socket: Socket,
    group: SockAddr,
}

impl VrrpSocket {
    /// Open a socket that hears protocol 112 on this interface only, and sends from `source` with TTL 255
    /// (RFC 9568, 5.1.1).
    ///
    /// # Errors
    /// Without CAP_NET_RAW, or when the interface or its address has just gone.
    pub fn open(interface: &str, index: u32, source: Ipv4Addr) -> io::Result<Self> {
        let protocol = Protocol::from(i32::from(PROTOCOL));
        let socket = Socket::new(Domain::IPV4, Type::RAW, Some(protocol))?;
        socket.set_nonblocking(true)?;
        socket.bind_device(Some(interface.as_bytes()))?;
        // Only groups that this socket joined, not those that any process of this machine joined.
        socket.set_multicast_all_v4(false)?;
        socket.set_multicast_loop_v4(false)?;
        socket.set_multicast_ttl_v4(u32::from(TTL))?;
        socket.set_tos_v4(TOS)?;
        socket.set_recv_buffer_size(RECEIVE_BUFFER)?;
        socket.join_multicast_v4_n(&GROUP, &InterfaceIndexOrAddress::Index(index))?;
        socket.set_multicast_if_v4(&source)?;
        Ok(Self { socket, group: SocketAddrV4::new(GROUP, 0).into() })
    }

    /// Send from another address of the interface from now on.
    pub fn set_source(&self, source: Ipv4Addr) -> io::Result<()> {
        self.socket.set_multicast_if_v4(&source)
    }

    /// Send one VRRP message; the kernel puts the IP header before it.
    pub fn send(&self, message: &[u8]) -> io::Result<()> {
        self.socket.send_to(message, &self.group).map(|_length| ())
    }

    /// The next IP packet, header included, or `None` when none waits. What does not fit is cut off.
    pub fn receive<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match nix::sys::socket::recv(self.socket.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(nix::errno::Errno::EAGAIN) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for VrrpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Sends whole Ethernet frames on one interface; receives nothing.
#[derive(Debug)]
pub struct FrameSocket(OwnedFd);

impl FrameSocket {
    /// # Errors
    /// Without CAP_NET_RAW, or `NotFound` when the interface has just gone.
    pub fn open(interface: &str) -> io::Result<Self> {
        // Protocol 0: no frame is ever queued for us.
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let fd = socket(AddressFamily::Packet, SockType::Raw, flags, None)?;
        bind(fd.as_raw_fd(), &link_address(interface)?)?;
        Ok(Self(fd))
    }

    pub fn send(&self, frame: &[u8]) -> io::Result<()> {
        send(self.0.as_raw_fd(), frame, MsgFlags::MSG_DONTWAIT)?;
        Ok(())
    }
}

/// The interface's sockaddr_ll, with its index and MAC address; its protocol is 0.
fn link_address(interface: &str) -> io::Result<LinkAddr> {
    getifaddrs()?
        .filter(|entry| entry.interface_name == interface)
        .find_map(|entry| entry.address?.as_link_addr().copied())
        .ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, format!("there is no interface {interface}")))
}
