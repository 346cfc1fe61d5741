//! Every frame that crosses an interface, with the kernel's own time stamp. Frames wait in the socket's buffer and are
//! read now and then, so that the watching costs nothing at the moment that is watched.

use std::io::IoSliceMut;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd};

use nix::cmsg_space;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockProtocol, SockType, bind, recvmsg,
    setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;

use crate::namespace::Namespace;
use crate::recorder::link;

/// Bytes of frames (with the kernel's overhead) that may wait to be read.
const BUFFER: usize = 512 * 1024 * 1024;

/// A packet socket.
#[derive(Debug)]
pub struct Stamps(OwnedFd);

impl Stamps {
    /// In both directions; listening when it returns.
    pub fn open(namespace: &Namespace, interface: &str) -> Self {
        Self(namespace.within(|| listen(interface)))
    }

    /// The next frame's time, in nanoseconds of CLOCK_REALTIME, and its length in the buffer.
    pub fn next(&self, buffer: &mut [u8]) -> Option<(i64, usize)> {
        let mut control = cmsg_space!(TimeSpec);
        let mut parts = [IoSliceMut::new(buffer)];
        let message =
            match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::MSG_DONTWAIT) {
                Ok(message) => message,
                // A device that went down is reported once as an error; its frames come again when it is up.
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => return None,
                Err(error) => panic!("reading frames: {error}"),
            };
        let stamp = message.cmsgs().expect("room for the time stamp").find_map(|control| {
            let ControlMessageOwned::ScmTimestampns(stamp) = control else { return None };
            Some(stamp.tv_sec() * 1_000_000_000 + stamp.tv_nsec())
        });
        Some((stamp.expect("every frame has a time stamp"), message.bytes))
    }
}

impl AsFd for Stamps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn listen(interface: &str) -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("packet socket");
    setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("root may set the size of a buffer");
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("time stamps of packets");
    let device = link(interface).unwrap_or_else(|| panic!("no interface {interface} to listen on"));
    bind(socket.as_raw_fd(), &device).expect("binding a packet socket");
    socket
}
