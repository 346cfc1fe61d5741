//! What goes over generic netlink to and from IPVS, seen by an nlmon interface; and the system calls, as strace has
//! written them down. Our own questions are left out.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use nix::net::if_::if_nametoindex;
use nix::sys::socket::{
    AddressFamily, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, recvmsg, setsockopt, socket, sockopt,
};

use crate::look::OURS;

const INTERFACE: &str = "nlmon0";
const NETLINK_GENERIC: u16 = 16;
/// What the kernel says does not have it (`linux/netlink.h`). The packet's type is no help: all are outgoing on nlmon.
const NLM_F_REQUEST: u16 = 1;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The commands that only read (`IPVS_CMD_GET_…` of linux/ip_vs.h).
const READING: [u8; 5] = [4, 8, 11, 13, 15];
const BUFFER: usize = 256 * 1024 * 1024;
const DATAGRAM: usize = 256 * 1024;

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Messages that change something.
    pub(crate) commands: u64,
    /// Those that ask for something.
    pub(crate) questions: u64,
    /// Messages of the kernel's: acknowledgements, refusals, services, servers.
    pub(crate) answers: u64,
    /// What the program sent, each with one message or many.
    pub(crate) datagrams: u64,
}

#[derive(Debug)]
pub(crate) struct Traffic(Arc<Mutex<Counts>>);

impl Traffic {
    /// Counts until the program ends.
    pub(crate) fn start(family: u16) -> Self {
        for words in [&["link", "add", INTERFACE, "type", "nlmon"][..], &["link", "set", INTERFACE, "up"]] {
            let status = Command::new("ip").args(words).status().expect("running ip");
            assert!(status.success(), "ip {words:?} failed: the kernel needs nlmon");
        }
        let index = usize::try_from(if_nametoindex(INTERFACE).expect("it was just made")).expect("small");
        let socket =
            socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll);
        let socket = socket.expect("opening a packet socket");
        setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).expect("root may have a larger buffer");
        let counts = Arc::new(Mutex::new(Counts::default()));
        let shared = Arc::clone(&counts);
        std::thread::spawn(move || {
            let mut buffer = vec![0; DATAGRAM];
            loop {
                let mut slices = [IoSliceMut::new(&mut buffer)];
                let Ok(received) =
                    recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut slices, None, MsgFlags::empty())
                else {
                    continue;
                };
                let (length, from) = (received.bytes, received.address);
                let Some(from) = from else { continue };
                if from.ifindex() != index || from.protocol() != NETLINK_GENERIC.to_be() {
                    continue;
                }
                let mut counts = shared.lock().expect("no panic while locked");
                counts.add(&buffer[..length], family);
            }
        });
        Self(counts)
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.0.lock().expect("no panic while locked")
    }
}

impl Counts {
    fn add(&mut self, datagram: &[u8], family: u16) {
        let mut rest = datagram;
        let mut sent = false;
        while let Some(message) = Header::read(rest) {
            rest = rest.get(message.length.next_multiple_of(4)..).unwrap_or_default();
            let is_ours = message.sequence >= OURS;
            let is_of_ipvs = message.kind == family || [NLMSG_ERROR, NLMSG_DONE].contains(&message.kind);
            if is_ours || !is_of_ipvs {
                continue;
            }
            if message.flags & NLM_F_REQUEST == 0 {
                self.answers += 1;
                continue;
            }
            sent = true;
            if READING.contains(&message.command) {
                self.questions += 1;
            } else {
                self.commands += 1;
            }
        }
        self.datagrams += u64::from(sent);
    }

    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            commands: self.commands - earlier.commands,
            questions: self.questions - earlier.questions,
            answers: self.answers - earlier.answers,
            datagrams: self.datagrams - earlier.datagrams,
        }
    }
}

/// `nlmsghdr` of linux/netlink.h, and the command of the `genlmsghdr` behind it.
#[derive(Clone, Copy, Debug)]
struct Header {
    length: usize,
    kind: u16,
    flags: u16,
    sequence: u32,
    command: u8,
}

impl Header {
    /// None where the datagram ends.
    fn read(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
        let half = |at: usize| Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?));
        let length = usize::try_from(word(0)?).ok().filter(|length| *length >= 16)?;
        let command = bytes.get(16).copied().unwrap_or(0);
        Some(Self { length, kind: half(4)?, flags: half(6)?, sequence: word(8)?, command })
    }
}

/// The system calls that strace has written to this file.
pub(crate) fn system_calls(log: &Path) -> u64 {
    let text = std::fs::read(log).unwrap_or_default();
    let is_call = |line: &&[u8]| {
        let word =
            line.iter().position(|byte| *byte == b' ').map_or(&[][..], |at| line[at..].trim_ascii_start());
        word.first().is_some_and(u8::is_ascii_alphanumeric)
    };
    text.split(|byte| *byte == b'\n').filter(is_call).count().try_into().unwrap_or(0)
}
