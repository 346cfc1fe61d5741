//! Tells when somebody changes our nftables tables (or we did): nfnetlink's events, read in the loop. What changed is
//! not read from them, only that it was ours; `nft.rs` looks.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvfrom, socket,
};

use super::TABLE;

/// NFNLGRP_NFTABLES is group 7 (linux/netfilter/nfnetlink.h).
const GROUPS: u32 = 1 << 6;
/// NFNL_SUBSYS_NFTABLES.
const SUBSYSTEM: u16 = 10;
/// NFTA_TABLE_NAME, NFTA_CHAIN_TABLE, NFTA_RULE_TABLE, NFTA_SET_TABLE and so on: the table's name is attribute 1 of all.
const TABLE_NAME: u16 = 1;
/// nlmsghdr, and nfgenmsg behind it.
const HEADERS: usize = 16 + 4;
const DATAGRAM: usize = 64 * 1024;
/// Datagrams read before the loop gets its turn.
const READS: usize = 64;

#[derive(Debug)]
pub struct Watch {
    socket: OwnedFd,
    buffer: Vec<u8>,
}

impl Watch {
    /// Start listening.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkNetFilter)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS))?;
        Ok(Self { socket, buffer: vec![0; DATAGRAM] })
    }

    /// Take in what has arrived: whether it was about our tables, or may have been.
    pub fn read(&mut self) -> bool {
        let mut ours = false;
        for _ in 0..READS {
            match recvfrom::<NetlinkAddr>(self.socket.as_raw_fd(), &mut self.buffer) {
                Ok((length, from)) => {
                    let from_kernel = from.is_some_and(|from| from.pid() == 0);
                    ours |= from_kernel && concerns_us(&self.buffer[..length]);
                }
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => return ours,
                // ENOBUFS: events were lost, ours perhaps among them.
                Err(_) => ours = true,
            }
        }
        ours
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Whether a datagram has a message of nftables about a table of our name.
fn concerns_us(mut bytes: &[u8]) -> bool {
    while let Some(head) = bytes.first_chunk::<6>() {
        // Netlink is in the machine's own byte order; messages are aligned to four bytes.
        let [a, b, c, d, e, f] = *head;
        let Ok(length) = usize::try_from(u32::from_ne_bytes([a, b, c, d])) else { return false };
        let kind = u16::from_ne_bytes([e, f]);
        let Some(message) = bytes.get(..length) else { return false };
        if kind >> 8 == SUBSYSTEM && message.get(HEADERS..).is_some_and(names_our_table) {
            return true;
        }
        let Some(rest) = bytes.get(length.max(1).next_multiple_of(4)..) else { return false };
        bytes = rest;
    }
    false
}

fn names_our_table(mut attributes: &[u8]) -> bool {
    while let Some(&[a, b, c, d]) = attributes.first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([a, b]));
        let kind = u16::from_ne_bytes([c, d]) & 0x3fff;
        let Some(value) = attributes.get(4..length) else { return false };
        if kind == TABLE_NAME {
            return value.strip_suffix(&[0]) == Some(TABLE.as_bytes());
        }
        let Some(rest) = attributes.get(length.next_multiple_of(4)..) else { return false };
        attributes = rest;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Random;

    fn message(kind: u16, table: &str) -> Vec<u8> {
        let name: Vec<u8> = table.bytes().chain([0]).collect();
        let mut attribute = u16::try_from(4 + name.len()).unwrap().to_ne_bytes().to_vec();
        attribute.extend(TABLE_NAME.to_ne_bytes());
        attribute.extend(name);
        attribute.resize(attribute.len().next_multiple_of(4), 0);
        let mut message = u32::try_from(HEADERS + attribute.len()).unwrap().to_ne_bytes().to_vec();
        message.extend(kind.to_ne_bytes());
        message.extend([0; HEADERS - 6]);
        message.extend(attribute);
        message
    }

    #[test]
    fn only_what_nftables_tells_of_a_table_of_our_name_concerns_us() {
        let (new_rule, del_table, conntrack) = (SUBSYSTEM << 8 | 6, SUBSYSTEM << 8 | 2, 1 << 8);
        assert!(concerns_us(&message(del_table, "trivet")));
        assert!(!concerns_us(&message(del_table, "trivets")));
        assert!(!concerns_us(&message(conntrack, "trivet")));
        let both = [message(new_rule, "filter"), message(new_rule, "trivet")].concat();
        assert!(concerns_us(&both), "the second message of a datagram");
    }

    #[test]
    fn nonsense_is_survived() {
        let mut random = Random::new(1);
        for _ in 0..20_000 {
            let mut bytes = message(SUBSYSTEM << 8, "trivet");
            let length = bytes.len();
            for _ in 0..3 {
                let at = usize::try_from(random.below(u64::try_from(length).unwrap())).unwrap();
                bytes[at] = random.byte();
            }
            let _ = concerns_us(&bytes);
        }
    }
}
