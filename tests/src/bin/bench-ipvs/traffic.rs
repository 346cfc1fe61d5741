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
/// PACKET_USER of linux/if_packet.h: a datagram for a program.
const TO_USER: u8 = 6;
const NETLINK_GENERIC: u16 = 16;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
/// The first command that only reads (`IPVS_CMD_…`), but for those that are in the middle.
const READING: [u8; 4] = [4, 8, 11, 13];
const GET_INFO: u8 = 15;
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
                counts.add(&buffer[..length], from.pkttype() == TO_USER, family);
            }
        });
        Self(counts)
    }

    pub(crate) fn counts(&self) -> Counts {
        *self.0.lock().expect("no panic while locked")
    }
}

impl Counts {
    fn add(&mut self, datagram: &[u8], to_user: bool, family: u16) {
        let mut rest = datagram;
        let mut sent = false;
        while let Some((kind, sequence, command, length)) = header(rest) {
            rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
            if sequence >= OURS {
                continue;
            }
            let is_answer = kind == NLMSG_ERROR || kind == NLMSG_DONE || kind == family;
            if to_user {
                self.answers += u64::from(is_answer);
            } else if kind == family {
                sent = true;
                if READING.contains(&command) || command >= GET_INFO {
                    self.questions += 1;
                } else {
                    self.commands += 1;
                }
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

/// Type, number, command of generic netlink, length.
fn header(bytes: &[u8]) -> Option<(u16, u32, u8, usize)> {
    let length = u32::from_ne_bytes(bytes.get(..4)?.try_into().ok()?);
    let kind = u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?);
    let sequence = u32::from_ne_bytes(bytes.get(8..12)?.try_into().ok()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= 16)?;
    Some((kind, sequence, bytes.get(16).copied().unwrap_or(0), length))
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
