//! The kernel's table as somebody sees it who trusts none of the programs: often, a single service; in the end, all.

use std::collections::BTreeSet;
use std::io::IoSliceMut;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use ipvsd::ipvs::{Messages, Reply, Request};
use ipvsd::table::{Change, Entry, Family, ServiceKey, Table};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, send, setsockopt,
    socket, sockopt,
};

use crate::plan::{Weights, weights};

/// Our own messages have numbers from this one on; nobody else's have.
pub(crate) const OURS: u32 = 0xb000_0000;
const DATAGRAM: usize = 64 * 1024;
/// A bare batch.
const BATCH: usize = 120 * 1024;

#[derive(Debug)]
pub(crate) struct Look {
    socket: OwnedFd,
    sequence: u32,
    family: u16,
}

impl Look {
    pub(crate) fn new() -> Self {
        let kind = (SockType::Raw, SockProtocol::NetlinkGeneric);
        let socket = socket(AddressFamily::Netlink, kind.0, SockFlag::SOCK_CLOEXEC, kind.1);
        let socket = socket.expect("opening a netlink socket");
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0)).expect("binding a netlink socket");
        setsockopt(&socket, sockopt::SndBufForce, &(4 * BATCH)).expect("root may have a larger buffer");
        let mut look = Self { socket, sequence: OURS, family: 0 };
        let mut family = None;
        look.ask(Request::Family, |reply| {
            if let Reply::Family(number) = reply {
                family = Some(number);
            }
        });
        look.family = family.expect("the kernel has IPVS: use tests/bench");
        look
    }

    /// The number of the family IPVS.
    pub(crate) fn family(&self) -> u16 {
        self.family
    }

    /// The servers of one service; none if there is none.
    pub(crate) fn servers(&mut self, key: &ServiceKey) -> Weights {
        let mut found = Weights::new();
        self.ask(Request::Servers(key), |reply| {
            if let Reply::Server(address, server, _) = reply {
                found.insert(address, server.weight);
            }
        });
        found
    }

    /// How many services have other servers than they should.
    pub(crate) fn differences(&mut self, wanted: &Table) -> usize {
        let mut there = BTreeSet::new();
        self.ask(Request::Services, |reply| {
            if let Reply::Service(key, _) = reply {
                there.insert(key);
            }
        });
        let is_right = |(key, entry): (&ServiceKey, &Arc<Entry>)| {
            there.contains(key) && self.servers(key) == weights(entry)
        };
        wanted.len() - wanted.iter().map(is_right).filter(|is_right| *is_right).count()
    }

    /// These changes as datagrams, to be sent as they are. A refusal shows at the next question.
    pub(crate) fn batches(&mut self, changes: &[Change]) -> Vec<Vec<u8>> {
        let mut batches = vec![Vec::with_capacity(BATCH)];
        for change in changes {
            if batches.last().is_some_and(|batch| batch.len() + 256 > BATCH) {
                batches.push(Vec::with_capacity(BATCH));
            }
            let sequence = self.next();
            let batch = batches.last_mut().expect("there is one");
            Request::Change(change).encode(batch, self.family, sequence, false);
        }
        batches
    }

    /// The kernel has done it when this returns.
    pub(crate) fn send(&self, bytes: &[u8]) {
        send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()).expect("sending to the kernel");
    }

    fn next(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    fn ask(&mut self, request: Request<'_>, mut take: impl FnMut(Reply)) {
        let sequence = self.next();
        let mut bytes = Vec::new();
        request.encode(&mut bytes, self.family, sequence, true);
        self.send(&bytes);
        let mut buffer = vec![0; DATAGRAM];
        let mut ended = false;
        while !ended {
            let mut slices = [IoSliceMut::new(&mut buffer)];
            let received =
                recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut slices, None, MsgFlags::empty());
            let length = match received {
                Ok(received) => received.bytes,
                Err(Errno::EINTR) => continue,
                Err(error) => panic!("reading from the kernel: {error}"),
            };
            for message in Messages::new(&buffer[..length]) {
                let message = message.expect("whole messages");
                let reply = message.decode(self.family, Family::V4).expect("what the kernel sends");
                if message.sequence != sequence {
                    assert!(
                        !matches!(reply, Reply::Result(errno) if errno != 0),
                        "a bare message was refused: {reply:?}"
                    );
                    continue;
                }
                ended |= matches!(reply, Reply::Result(_) | Reply::Done(_));
                take(reply);
            }
        }
    }
}
