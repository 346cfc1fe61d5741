//! What the network said by ICMP (RFC 792) or ICMPv6 (RFC 4443) about a datagram of ours, in words: taken from the
//! socket's error queue (ip(7), IP_RECVERR), where it stands with type, code and who said it.

use std::fmt;
use std::io::IoSliceMut;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;

use nix::libc::{sock_extended_err, sockaddr_in6};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, SockaddrIn6, recvmsg};

/// linux/errqueue.h: SO_EE_ORIGIN_ICMP and SO_EE_ORIGIN_ICMP6.
const ORIGINS: [u8; 2] = [2, 3];

/// One ICMP message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    is_v6: bool,
    kind: u8,
    code: u8,
    /// Who sent it, if the kernel says so.
    from: Option<IpAddr>,
}

/// Takes the oldest one out of the socket's error queue. `None`: there is none.
pub(super) fn take(socket: &UdpSocket, endpoint: SocketAddr) -> Option<Message> {
    // The beginning of our own datagram comes with it; we know it.
    let mut ours = [0; 0];
    let mut space = nix::cmsg_space!(sock_extended_err, sockaddr_in6);
    let mut parts = [IoSliceMut::new(&mut ours)];
    let flags = MsgFlags::MSG_ERRQUEUE | MsgFlags::MSG_DONTWAIT;
    let received = recvmsg::<()>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags).ok()?;
    let mut messages = received.cmsgs().ok()?.filter_map(|control| {
        // The kernel's own enum of control messages, of which these two carry errors.
        #[expect(clippy::wildcard_enum_match_arm, reason = "nix's enum, which grows")]
        let (error, from) = match control {
            ControlMessageOwned::Ipv4RecvErr(error, from) => {
                (error, from.map(|from| IpAddr::V4(SockaddrIn::from(from).ip())))
            }
            ControlMessageOwned::Ipv6RecvErr(error, from) => {
                (error, from.map(|from| IpAddr::V6(SockaddrIn6::from(from).ip())))
            }
            _ => return None,
        };
        let (kind, code) = (error.ee_type, error.ee_code);
        ORIGINS.contains(&error.ee_origin).then_some(Message { is_v6: endpoint.is_ipv6(), kind, code, from })
    });
    messages.next()
}

impl Message {
    /// For the operator. `None`: it is no reason to give up, since the kernel has learned from it.
    pub(super) fn describe(self, endpoint: IpAddr, own: Option<IpAddr>) -> Option<String> {
        let what = self.meaning()?;
        Some(match self.from {
            Some(from) if from == endpoint => format!("{what} (ICMP from the server)"),
            // This machine asked for the server's hardware address, and nobody answered.
            Some(from) if Some(from) == own && self.is_of_neighbour() => {
                "host unreachable: it does not answer on the local network (ARP, ND)".to_owned()
            }
            Some(from) if Some(from) == own => format!("{what} (ICMP from this machine)"),
            Some(from) if !from.is_unspecified() => format!("{what} (ICMP from {from})"),
            Some(_) | None => format!("{what} (ICMP)"),
        })
    }

    fn is_of_neighbour(self) -> bool {
        if self.is_v6 { (self.kind, self.code) == (1, 3) } else { (self.kind, self.code) == (3, 1) }
    }

    fn meaning(self) -> Option<Meaning> {
        let Self { kind, code, .. } = self;
        let table = if self.is_v6 { V6 } else { V4 };
        // Too big for the way; source quench and redirects, which ping sockets hear of: the datagram goes its way.
        let goes_on =
            if self.is_v6 { (kind, code) == (2, 0) } else { (kind, code) == (3, 4) || matches!(kind, 4 | 5) };
        if goes_on {
            return None;
        }
        let known = table.iter().find(|(first, second, _)| (*first, *second) == (kind, code));
        Some(known.map_or(Meaning::Other { kind, code }, |(_, _, text)| Meaning::Known(text)))
    }
}

enum Meaning {
    Known(&'static str),
    Other { kind: u8, code: u8 },
}

impl fmt::Display for Meaning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Known(text) => f.write_str(text),
            Self::Other { kind, code } => write!(f, "unreachable for a reason of type {kind}, code {code}"),
        }
    }
}

/// Type, code and meaning: RFC 792, RFC 1122 section 3.2.2.1, RFC 1812 section 5.2.7.1.
const V4: &[(u8, u8, &str)] = &[
    (3, 0, "network unreachable"),
    (3, 1, "host unreachable"),
    (3, 2, "protocol unreachable"),
    (3, 3, "port unreachable: nothing listens on it"),
    (3, 5, "source route failed"),
    (3, 6, "network unknown"),
    (3, 7, "host unknown"),
    (3, 9, "network administratively prohibited"),
    (3, 10, "host administratively prohibited"),
    (3, 11, "network unreachable for this type of service"),
    (3, 12, "host unreachable for this type of service"),
    (3, 13, "communication administratively prohibited"),
    (11, 0, "time to live exceeded on the way: a routing loop?"),
    (11, 1, "fragments were lost on the way"),
    (12, 0, "parameter problem"),
];

/// Type, code and meaning: RFC 4443 section 3.
const V6: &[(u8, u8, &str)] = &[
    (1, 0, "no route to the host"),
    (1, 1, "communication administratively prohibited"),
    (1, 2, "beyond the scope of the source address"),
    (1, 3, "host unreachable"),
    (1, 4, "port unreachable: nothing listens on it"),
    (1, 5, "the source address is not allowed there"),
    (1, 6, "the route to the host is one that rejects"),
    (3, 0, "hop limit exceeded on the way: a routing loop?"),
    (3, 1, "fragments were lost on the way"),
    (4, 0, "parameter problem"),
    (4, 1, "next header not known there"),
];

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: &str = "10.0.0.5";

    fn described(is_v6: bool, kind: u8, code: u8, from: &str) -> Option<String> {
        let from = (!from.is_empty()).then(|| from.parse().unwrap());
        let own = Some("10.0.0.1".parse().unwrap());
        Message { is_v6, kind, code, from }.describe(SERVER.parse().unwrap(), own)
    }

    #[test]
    fn what_icmp_says_is_told_in_words_with_who_said_it() {
        for (is_v6, kind, code, from, expected) in [
            (false, 3, 3, SERVER, "port unreachable: nothing listens on it (ICMP from the server)"),
            (false, 3, 1, "10.0.0.254", "host unreachable (ICMP from 10.0.0.254)"),
            (false, 3, 1, "10.0.0.1", "host unreachable: it does not answer on the local network (ARP, ND)"),
            (false, 3, 0, "10.0.0.1", "network unreachable (ICMP from this machine)"),
            (false, 3, 13, "0.0.0.0", "communication administratively prohibited (ICMP)"),
            (
                false,
                11,
                0,
                "10.9.9.9",
                "time to live exceeded on the way: a routing loop? (ICMP from 10.9.9.9)",
            ),
            (true, 1, 4, "", "port unreachable: nothing listens on it (ICMP)"),
            (true, 1, 3, "fe80::1", "host unreachable (ICMP from fe80::1)"),
            (true, 77, 9, "fe80::1", "unreachable for a reason of type 77, code 9 (ICMP from fe80::1)"),
        ] {
            assert_eq!(described(is_v6, kind, code, from).as_deref(), Some(expected));
        }
    }

    #[test]
    fn a_redirect_and_a_packet_that_is_too_big_for_the_way_are_no_failure_of_the_server() {
        assert_eq!(described(false, 5, 1, "10.0.0.254"), None);
        assert_eq!(described(false, 4, 0, "10.0.0.254"), None);
        assert_eq!(described(false, 3, 4, "10.0.0.254"), None);
        assert_eq!(described(true, 2, 0, "fe80::1"), None);
        assert!(described(false, 2, 0, "10.0.0.254").is_some());
    }
}
