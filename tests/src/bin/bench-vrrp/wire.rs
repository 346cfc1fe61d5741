//! Everything that crosses a segment, with the kernel's own time stamp: frames wait in the socket's buffer and are read
//! now and then, so that the watching costs nothing at the moment that is watched.

use std::io::IoSliceMut;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use trivet_tests::namespace::Namespace;

/// Bytes of frames (with the kernel's overhead) that may wait to be read.
const BUFFER: usize = 512 * 1024 * 1024;
const VRRP: u8 = 112;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum What {
    Advert {
        priority: u8,
    },
    /// A gratuitous ARP: somebody announces that the address is his.
    Announcement,
}

/// A frame of somebody who has or had a virtual address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Frame {
    /// Nanoseconds of CLOCK_REALTIME.
    pub(crate) at: i64,
    pub(crate) router: RouterKey,
    /// The last octet of the sender's address, or of its hardware address: the lab makes them the same.
    pub(crate) sender: u8,
    pub(crate) what: What,
}

/// Segment and VRID; the virtual address is 10.SEGMENT.1.VRID.
pub(crate) type RouterKey = (u8, u8);

/// A socket for each segment's bridge.
#[derive(Debug)]
pub(crate) struct Wire {
    sockets: Vec<(u8, OwnedFd)>,
    frames: Vec<Frame>,
}

impl Wire {
    /// Listens on the bridges "seg0" and so on in the switch's namespace.
    pub(crate) fn open(switch: &Namespace, segments: u8) -> Self {
        let open = |segment| (segment, switch.within(|| listen(&format!("seg{segment}"))));
        Self { sockets: (0..segments).map(open).collect(), frames: Vec::new() }
    }

    /// Reads what has arrived, and shows all of it since the last `forget`, each segment in its order.
    pub(crate) fn frames(&mut self) -> &[Frame] {
        let mut buffer = vec![0; 2048];
        for (segment, socket) in &self.sockets {
            while let Some((at, length)) = receive(socket, &mut buffer) {
                self.frames.extend(decode(*segment, at, &buffer[..length]));
            }
        }
        &self.frames
    }

    /// Begins anew with what arrives from now on.
    pub(crate) fn forget(&mut self) {
        self.frames();
        self.frames.clear();
    }
}

fn listen(interface: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("packet socket");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("root may set the size of a buffer");
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("time stamps of packets");
    let mut all = nix::ifaddrs::getifaddrs().expect("listing interfaces");
    let device: LinkAddr = all
        .find_map(|entry| {
            (entry.interface_name == interface).then(|| entry.address?.as_link_addr().copied()).flatten()
        })
        .unwrap_or_else(|| panic!("no interface {interface} to listen on"));
    bind(socket.as_raw_fd(), &device).expect("binding a packet socket");
    socket
}

/// The next frame's time and length.
fn receive(socket: &OwnedFd, buffer: &mut [u8]) -> Option<(i64, usize)> {
    let mut control = cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(buffer)];
    let message =
        match recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
            Ok(message) => message,
            Err(Errno::EAGAIN | Errno::EINTR) => return None,
            Err(error) => panic!("reading frames: {error}"),
        };
    let stamp = message.cmsgs().expect("room for the time stamp").find_map(|control| {
        let ControlMessageOwned::ScmTimestampns(stamp) = control else { return None };
        Some(stamp.tv_sec() * 1_000_000_000 + stamp.tv_nsec())
    });
    Some((stamp.expect("every frame has a time stamp"), message.bytes))
}

fn decode(segment: u8, at: i64, frame: &[u8]) -> Option<Frame> {
    match frame.get(12..14)? {
        [0x08, 0x00] => advert(segment, at, frame.get(14..)?),
        [0x08, 0x06] => announcement(segment, at, frame.get(14..42)?),
        _ => None,
    }
}

fn advert(segment: u8, at: i64, packet: &[u8]) -> Option<Frame> {
    let body = packet.get(usize::from(packet.first()? & 0x0f) * 4..)?;
    if *packet.get(9)? != VRRP || *body.first()? != 0x31 {
        return None;
    }
    let what = What::Advert { priority: *body.get(2)? };
    Some(Frame { at, router: (segment, *body.get(1)?), sender: *packet.get(15)?, what })
}

fn announcement(segment: u8, at: i64, packet: &[u8]) -> Option<Frame> {
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(packet.get(14..18)?).ok()?);
    let [_, _, virtual_net, vrid] = address.octets();
    if packet.get(14..18)? != packet.get(24..28)? || virtual_net != 1 {
        return None;
    }
    Some(Frame { at, router: (segment, vrid), sender: *packet.get(13)?, what: What::Announcement })
}
