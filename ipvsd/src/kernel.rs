//! The kernel's end of IPVS: read the whole table, apply changes in batches. The only file that has its socket.
//!
//! The socket is nix's and not neli's, because neli's tells neither who sent a datagram nor gives up waiting for
//! one; the messages are in `ipvs.rs`. The kernel works while `send` runs, so answers are there when it returns.

use std::collections::BTreeMap;
use std::io::{self, IoSliceMut};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recvmsg, send, setsockopt,
    socket, sockopt,
};
use nix::sys::time::TimeVal;

use crate::director::Fault;
pub use crate::ipvs::Request;
use crate::ipvs::{Messages, Reply, WireError};
use crate::table::{AllConnections, Change, Dump, Entry, Family, List, Servers, ServiceKey, Table};

/// Changes in one datagram. Their refusals, about 1 KiB each in the kernel's accounting, must fit in the buffer.
const BATCH: usize = 256;
/// What we ask for as the receive buffer, bytes.
const RECEIVE_BUFFER: usize = 2 * 1024 * 1024;
/// A datagram of a dump has at most 32 KiB.
const DATAGRAM: usize = 64 * 1024;
/// The kernel answers at once. One that does not within this is broken, and the loop must go on.
const PATIENCE: TimeVal = TimeVal::new(5, 0);
/// What we were doing, for messages.
const READING: &str = "read the IPVS table";

#[derive(Debug)]
pub struct Kernel {
    socket: OwnedFd,
    buffer: Vec<u8>,
    sequence: u32,
    /// The number of the family `IPVS`, as of the last dump: it changes when the module is loaded again.
    family: u16,
    version: Option<(u8, u8, u8)>,
}

/// Why talking to the kernel failed.
#[derive(Debug)]
enum Failure {
    /// The kernel's own answer.
    Errno(Errno),
    Socket(io::Error),
    Wire(WireError),
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self::Socket(errno.into())
    }
}

impl From<WireError> for Failure {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl Failure {
    /// For the operator: what is wrong, and what to do.
    fn into_fault(self, doing: &str) -> Fault {
        Fault(match self {
            Self::Errno(Errno::EPERM) => {
                format!("the kernel did not let us {doing}: ipvsd needs CAP_NET_ADMIN (its unit gives it)")
            }
            Self::Errno(errno) => format!("the kernel refused to {doing}: {}", errno.desc()),
            Self::Socket(error) => format!("cannot {doing}: {error}"),
            Self::Wire(error) => format!("cannot {doing}: {error}"),
        })
    }
}

impl Kernel {
    /// Open the socket, in the network namespace of the calling thread. Whether the kernel has IPVS is found later.
    pub fn open() -> io::Result<Self> {
        let flags = SockFlag::SOCK_CLOEXEC;
        let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, SockProtocol::NetlinkGeneric)?;
        bind(socket.as_raw_fd(), &NetlinkAddr::new(0, 0))?;
        setsockopt(&socket, sockopt::ReceiveTimeout, &PATIENCE)?;
        // Without CAP_NET_ADMIN nothing else will work either, and is reported then.
        let _ = setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER);
        Ok(Self { socket, buffer: vec![0; DATAGRAM], sequence: 0, family: 0, version: None })
    }

    /// The version of IPVS, once the table has been read.
    pub fn version(&self) -> Option<String> {
        self.version.map(|(major, minor, patch)| format!("{major}.{minor}.{patch}"))
    }

    /// Read all virtual services and their real servers.
    pub fn dump(&mut self) -> Result<Dump, Fault> {
        let List { services, rest } = self.list()?;
        let (mut table, mut connections) = (Table::new(), AllConnections::new());
        let order = services.iter().map(|(key, _)| *key).collect();
        for (key, service) in services {
            let read = self.read_servers(&key).map_err(|failure| failure.into_fault(READING))?;
            table.insert(key, Arc::new(Entry { service, servers: read.servers }));
            if !read.connections.is_empty() {
                connections.insert(key, Arc::new(read.connections));
            }
        }
        Ok(Dump { table, order, connections: Arc::new(connections), rest })
    }

    /// Read all virtual services without their real servers: one question.
    pub fn list(&mut self) -> Result<List, Fault> {
        self.find_family()?;
        self.read_list().map_err(|failure| failure.into_fault(READING))
    }

    /// Read the real servers of these services, each by a question.
    pub fn servers(&mut self, keys: &[ServiceKey]) -> Result<Vec<Servers>, Fault> {
        let read = keys.iter().map(|key| self.read_servers(key));
        read.collect::<Result<_, _>>().map_err(|failure| failure.into_fault(READING))
    }

    /// Send changes, in their order; the kernel goes on after one that it refuses. Returns which ones those were.
    pub fn apply(&mut self, changes: &[Change]) -> Result<Vec<(usize, Errno)>, Fault> {
        let mut refused = Vec::new();
        for (number, batch) in changes.chunks(BATCH).enumerate() {
            let failures =
                self.apply_batch(batch).map_err(|failure| failure.into_fault("change the IPVS table"))?;
            refused.extend(failures.into_iter().map(|(index, errno)| (number * BATCH + index, errno)));
        }
        Ok(refused)
    }

    fn find_family(&mut self) -> Result<(), Fault> {
        let mut family = None;
        let result = self.ask(Request::Family, Family::V4, &mut |reply| {
            if let Reply::Family(number) = reply {
                family = Some(number);
            }
        });
        match (result, family) {
            (Ok(()), Some(family)) => self.family = family,
            (Ok(()), None) | (Err(Failure::Errno(Errno::ENOENT)), _) => {
                return Err(Fault("the kernel has no IPVS: modprobe ip_vs".into()));
            }
            (Err(failure), _) => return Err(failure.into_fault("find IPVS in the kernel")),
        }
        if self.version.is_none() {
            let mut version = None;
            let result = self.ask(Request::Info, Family::V4, &mut |reply| {
                if let Reply::Version(major, minor, patch) = reply {
                    version = Some((major, minor, patch));
                }
            });
            result.map_err(|failure| failure.into_fault("ask for the version of IPVS"))?;
            self.version = version;
        }
        Ok(())
    }

    fn read_list(&mut self) -> Result<List, Failure> {
        let mut list = List::default();
        self.ask(Request::Services, Family::V4, &mut |reply| {
            if let Reply::Service(key, service) = reply {
                list.services.push((key, service));
            }
        })?;
        self.ask(Request::Daemons, Family::V4, &mut |reply| {
            if let Reply::Daemon(state, link) = reply {
                list.rest.daemons.insert(state, link);
            }
        })?;
        self.ask(Request::Timeouts, Family::V4, &mut |reply| {
            if let Reply::Timeouts(timeouts) = reply {
                list.rest.timeouts = timeouts;
            }
        })?;
        Ok(list)
    }

    fn read_servers(&mut self, key: &ServiceKey) -> Result<Servers, Failure> {
        let mut read = Servers::default();
        self.ask(Request::Servers(key), key.family(), &mut |reply| {
            if let Reply::Server(address, server, connections) = reply {
                read.servers.insert(address, server);
                if !connections.is_none() {
                    read.connections.insert(address, connections);
                }
            }
        })?;
        Ok(read)
    }

    /// Set what is not in the table, and wait for the kernel's answer.
    ///
    /// # Errors
    /// Why it cannot be, with what to do about it.
    pub fn set(&mut self, request: Request<'_>) -> Result<(), String> {
        let result = self.ask(request, Family::V4, &mut |_| {});
        result.map_err(|failure| match failure {
            Failure::Errno(Errno::ENODEV) => "there is no such interface".to_owned(),
            Failure::Errno(Errno::EEXIST) => "another one runs already".to_owned(),
            Failure::Errno(_) | Failure::Socket(_) | Failure::Wire(_) => failure.into_fault("set this").0,
        })
    }

    /// Send one request and hand every answer to `take`, up to the last one.
    fn ask(
        &mut self,
        request: Request<'_>,
        servers_of: Family,
        take: &mut dyn FnMut(Reply),
    ) -> Result<(), Failure> {
        let sequence = self.next_sequence();
        let mut bytes = Vec::new();
        request.encode(&mut bytes, self.family, sequence, true);
        self.send(&bytes)?;
        let mut end = None;
        while end.is_none() {
            self.receive(servers_of, &mut |number, reply| {
                // What belongs to an earlier request came too late for it.
                if number != sequence {
                    return;
                }
                if let Reply::Result(errno) | Reply::Done(errno) = reply {
                    end = Some(errno);
                } else {
                    take(reply);
                }
            })?;
        }
        match end {
            Some(0) | None => Ok(()),
            Some(errno) => Err(Failure::Errno(Errno::from_raw(errno))),
        }
    }

    /// Only the last request of a batch asks for an answer on success: the others answer if they fail.
    fn apply_batch(&mut self, changes: &[Change]) -> Result<Vec<(usize, Errno)>, Failure> {
        let Some(last_index) = changes.len().checked_sub(1) else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let mut index_of = BTreeMap::new();
        let mut last = 0;
        for (index, change) in changes.iter().enumerate() {
            last = self.next_sequence();
            index_of.insert(last, index);
            Request::Change(change).encode(&mut bytes, self.family, last, index == last_index);
        }
        self.send(&bytes)?;
        let mut refused = Vec::new();
        let mut ended = false;
        while !ended {
            self.receive(Family::V4, &mut |number, reply| {
                let (Some(index), Reply::Result(errno)) = (index_of.get(&number), reply) else { return };
                ended |= number == last;
                if errno != 0 {
                    refused.push((*index, Errno::from_raw(errno)));
                }
            })?;
        }
        Ok(refused)
    }

    fn next_sequence(&mut self) -> u32 {
        self.sequence = self.sequence.wrapping_add(1);
        self.sequence
    }

    fn send(&self, bytes: &[u8]) -> Result<(), Failure> {
        loop {
            match send(self.socket.as_raw_fd(), bytes, MsgFlags::empty()) {
                Err(Errno::EINTR) => {}
                other => return other.map(drop).map_err(Failure::from),
            }
        }
    }

    /// Receive one datagram, and hand each message in it, with the number of its request, to `take`.
    fn receive(&mut self, servers_of: Family, take: &mut dyn FnMut(u32, Reply)) -> Result<(), Failure> {
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut self.buffer)];
            let received =
                match recvmsg::<NetlinkAddr>(self.socket.as_raw_fd(), &mut slices, None, MsgFlags::empty()) {
                    Err(Errno::EINTR) => continue,
                    other => other?,
                };
            // Port 0 is the kernel; nobody else has anything to say here, however long it is.
            if received.address.is_none_or(|sender| sender.pid() != 0) {
                continue;
            }
            if received.flags.contains(MsgFlags::MSG_TRUNC) {
                return Err(WireError::Framing.into());
            }
            break received.bytes;
        };
        for message in Messages::new(&self.buffer[..length]) {
            let message = message?;
            take(message.sequence, message.decode(self.family, servers_of)?);
        }
        Ok(())
    }
}
