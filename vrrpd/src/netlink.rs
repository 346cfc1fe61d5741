//! Plain rtnetlink sockets: opened, read datagram by datagram, taken apart into messages; and dumps.
//!
//! The message crates know the contents. Nothing here knows what any of it is for.

use std::io::{self, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_ACK_TLVS, NLM_F_CAPPED, NLM_F_DUMP, NLM_F_DUMP_INTR, NLM_F_REQUEST, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::RouteNetlinkMessage;
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, sendto,
    setsockopt, socket, sockopt,
};
use nix::{libc, setsockopt_impl, sockopt_impl};

/// The largest datagram that the kernel makes of a dump is 32 KiB; a single event can be no larger than its socket buffer.
pub const DATAGRAM: usize = 64 * 1024;
/// struct nlmsghdr (linux/netlink.h).
const HEADER: usize = 16;

sockopt_impl!(
    /// Dumps heed their header's fields: the kernel filters (NETLINK_GET_STRICT_CHK, since 4.20).
    StrictCheck, SetOnly, libc::SOL_NETLINK, libc::NETLINK_GET_STRICT_CHK, bool
);
sockopt_impl!(
    /// Acknowledgements of errors do not repeat the request (NETLINK_CAP_ACK, since 4.3).
    CapAck, SetOnly, libc::SOL_NETLINK, libc::NETLINK_CAP_ACK, bool
);
sockopt_impl!(
    /// Errors come with a sentence (NETLINK_EXT_ACK, since 4.12).
    ExtAck, SetOnly, libc::SOL_NETLINK, libc::NETLINK_EXT_ACK, bool
);

/// One datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// So many bytes of the buffer.
    Whole(usize),
    /// The buffer was too small: the datagram had so many bytes, and what was cut off is lost.
    Truncated(usize),
}

#[derive(Debug)]
pub struct RouteSocket(OwnedFd);

impl RouteSocket {
    /// `groups`: RTMGRP_* bits of the events to hear, or 0.
    pub fn open(flags: SockFlag, groups: u32) -> io::Result<Self> {
        let flags = flags | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkRoute)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
        Ok(Self(socket))
    }

    /// Room for `bytes`, if we may (CAP_NET_ADMIN); without it the default has to do.
    pub fn receive_buffer(&self, bytes: usize) {
        let _ = setsockopt(&self.0, sockopt::RcvBufForce, &bytes);
    }

    /// Have refusals explained, and not repeated; kernels that do not know this just refuse.
    pub fn tell_why(&self) {
        let _ = setsockopt(&self.0, CapAck, &true);
        let _ = setsockopt(&self.0, ExtAck, &true);
    }

    /// Whether the kernel filters dumps; otherwise they show everything.
    pub fn strict_check(&self) -> bool {
        setsockopt(&self.0, StrictCheck, &true).is_ok()
    }

    pub fn send(&self, bytes: &[u8]) -> nix::Result<()> {
        sendto(self.0.as_raw_fd(), bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty()).map(drop)
    }

    /// One datagram from the kernel. Other processes can send to a netlink socket too: those are not ours to believe,
    /// and read as empty.
    pub fn receive(&self, buffer: &mut [u8]) -> nix::Result<Datagram> {
        let mut parts = [IoSliceMut::new(buffer)];
        let message = recvmsg::<NetlinkAddr>(self.0.as_raw_fd(), &mut parts, None, MsgFlags::MSG_TRUNC)?;
        if message.address.is_none_or(|from| from.pid() != 0) {
            return Ok(Datagram::Whole(0));
        }
        let truncated = message.flags.contains(MsgFlags::MSG_TRUNC);
        Ok(if truncated { Datagram::Truncated(message.bytes) } else { Datagram::Whole(message.bytes) })
    }

    /// Ask for everything of a kind and hand each message to `take`. The kernel answers at once: no wait for anybody else.
    ///
    /// # Errors
    /// The kernel refused; or what changed meanwhile made the dump inconsistent ([`io::ErrorKind::Interrupted`]):
    /// what was taken is then to be thrown away.
    pub fn dump(
        &self,
        request: RouteNetlinkMessage,
        mut take: impl FnMut(RouteNetlinkMessage),
    ) -> io::Result<()> {
        let mut message = NetlinkMessage::from(request);
        message.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.send(&bytes)?;
        let mut buffer = vec![0; DATAGRAM];
        let mut interrupted = false;
        loop {
            let length = match self.receive(&mut buffer) {
                Ok(Datagram::Whole(length)) => length,
                Ok(Datagram::Truncated(_)) => return Err(io::Error::other("a dump larger than its buffer")),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            for message in messages(&buffer[..length]) {
                interrupted |= message.header.flags & NLM_F_DUMP_INTR != 0;
                #[expect(clippy::wildcard_enum_match_arm, reason = "netlink's own message types")]
                match message.payload {
                    NetlinkPayload::InnerMessage(message) => take(message),
                    NetlinkPayload::Done(_) if interrupted => return Err(io::ErrorKind::Interrupted.into()),
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(error.to_io()),
                    _ => {}
                }
            }
        }
    }
}

/// The message type of answers (linux/netlink.h).
const NLMSG_ERROR: u16 = 2;

impl AsFd for RouteSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The messages of a datagram. One that cannot be read is passed over.
pub fn messages(bytes: &[u8]) -> impl Iterator<Item = NetlinkMessage<RouteNetlinkMessage>> {
    split(bytes).filter_map(|bytes| match NetlinkMessage::deserialize(bytes) {
        Ok(message) => Some(message),
        Err(error) => {
            log::debug!("an rtnetlink message cannot be read: {error}, ignoring");
            None
        }
    })
}

/// The bytes of each message of a datagram, header and all.
pub fn split(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        // Netlink is in the machine's own byte order; messages are aligned to four bytes.
        let length = usize::try_from(u32::from_ne_bytes(*bytes.first_chunk::<4>()?)).ok()?;
        if length < HEADER || length > bytes.len() {
            return None;
        }
        let message = &bytes[..length];
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The kernel's answer to one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The request's sequence number.
    pub number: u32,
    /// 0: done.
    pub errno: i32,
    /// The kernel's own words about an error.
    pub text: Option<String>,
}

/// The answers in a datagram: struct nlmsghdr, then struct nlmsgerr, then attributes (linux/netlink.h).
pub fn acks(bytes: &[u8]) -> impl Iterator<Item = Ack> {
    split(bytes).filter_map(ack)
}

fn ack(message: &[u8]) -> Option<Ack> {
    /// NLMSGERR_ATTR_MSG.
    const TEXT: u16 = 1;
    if short(message, 4)? != NLMSG_ERROR {
        return None;
    }
    let flags = short(message, 6)?;
    let errno = i32::from_ne_bytes(*message.get(HEADER..)?.first_chunk()?).checked_neg()?;
    // The request's header, and where it is not left out, the request.
    let request = HEADER + 4;
    let whole = usize::try_from(word(message, request)?).ok()?;
    let end = request + if flags & NLM_F_CAPPED != 0 { HEADER } else { whole.next_multiple_of(4) };
    let attributes = if flags & NLM_F_ACK_TLVS != 0 { message.get(end..) } else { None };
    let text = attributes
        .and_then(|attributes| attribute(attributes, TEXT))
        .map(|text| String::from_utf8_lossy(text).trim_end_matches('\0').to_owned());
    Some(Ack { number: word(message, 8)?, errno, text })
}

/// The value of the first attribute of a kind.
fn attribute(mut bytes: &[u8], kind: u16) -> Option<&[u8]> {
    loop {
        let length = usize::from(short(bytes, 0)?);
        let value = bytes.get(4..length)?;
        if short(bytes, 2)? == kind {
            return Some(value);
        }
        bytes = bytes.get(length.next_multiple_of(4)..)?;
    }
}

fn short(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interfaces::{Changes, Interfaces};

    #[test]
    fn no_bytes_make_the_splitter_panic() {
        let mut random = crate::testing::Random::new(7);
        for _ in 0..20_000 {
            let length = random.below(80);
            let mut bytes: Vec<u8> = (0..length).map(|_| random.byte()).collect();
            if bytes.len() > 6 {
                // A plausible head: length, and one of the types that we listen to.
                bytes[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
                bytes[4..6].copy_from_slice(&(16 + u16::from(random.byte() % 20)).to_ne_bytes());
            }
            let (mut interfaces, mut changes) = (Interfaces::default(), Changes::default());
            for message in messages(&bytes) {
                if let NetlinkPayload::InnerMessage(message) = message.payload {
                    interfaces.apply(&message, &mut changes);
                }
            }
            if let Some(kind) = bytes.get_mut(4..6) {
                kind.copy_from_slice(&NLMSG_ERROR.to_ne_bytes());
            }
            let _ = acks(&bytes).count();
        }
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_known_to_be_cut_off() {
        let socket = RouteSocket::open(SockFlag::empty(), 0).unwrap();
        let mut request = NetlinkMessage::from(RouteNetlinkMessage::GetLink(Default::default()));
        request.header.flags = NLM_F_REQUEST | NLM_F_DUMP;
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        socket.send(&bytes).unwrap();
        let mut small = [0; 20];
        let Datagram::Truncated(length) = socket.receive(&mut small).unwrap() else {
            panic!("a link does not fit in 20 bytes");
        };
        assert!(length > small.len());
    }
}
