//! A tap on the lab's switch: every frame that a host sends, with its sender (the port by which it came, whatever its
//! addresses say) and the kernel's own time stamp, so that a busy machine does not blur the measure.

use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, IoSliceMut, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, LinkAddr, MsgFlags, SockFlag, SockProtocol, SockType, getsockopt,
    recvmsg, setsockopt, socket, sockopt,
};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};
use nix::{getsockopt_impl, libc, sockopt_impl};

use crate::frames::{self, Advert, Frame};
use crate::lab::Lab;

/// PACKET_OUTGOING (linux/if_packet.h): what the switch itself sends out of a port.
const OUTGOING: u8 = 4;
/// Longer than any frame of the lab.
const LONGEST: usize = 2048;

/// Since 1970, CLOCK_REALTIME: the kernel stamps frames with it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp(Duration);

impl Stamp {
    pub fn now() -> Self {
        Self(clock_gettime(ClockId::CLOCK_REALTIME).expect("every kernel has this clock").into())
    }

    /// Nanoseconds since 1970.
    pub fn of_nanoseconds(time: i64) -> Self {
        Self(Duration::from_nanos(u64::try_from(time).expect("after 1970")))
    }

    /// Zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl std::ops::Add<Duration> for Stamp {
    type Output = Self;

    fn add(self, time: Duration) -> Self {
        Self(self.0 + time)
    }
}

/// One frame of a host.
#[derive(Clone)]
pub struct Sent {
    pub at: Stamp,
    /// Index into the ports that the tap was given.
    pub by: usize,
    pub bytes: Vec<u8>,
    pub frame: Option<Frame>,
}

/// What it says; the bytes are in the recording.
impl fmt::Debug for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} host {} {:?}", self.at.0, self.by, self.frame)
    }
}

impl Sent {
    pub fn advert(&self) -> Option<&Advert> {
        match &self.frame {
            Some(Frame::Advert(advert)) => Some(advert),
            Some(Frame::Announcement { .. }) | None => None,
        }
    }
}

/// Records until it is dropped.
#[derive(Debug)]
pub struct Tap {
    sent: Arc<Mutex<Vec<Sent>>>,
    socket: Arc<OwnedFd>,
    /// Frames lost so far; the kernel forgets its count when it has told it.
    lost: AtomicU64,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

sockopt_impl!(
    /// PACKET_STATISTICS of packet(7).
    PacketStatistics, GetOnly, libc::SOL_PACKET, libc::PACKET_STATISTICS, libc::tpacket_stats
);

impl Tap {
    /// On the named ports of the switch ("HOST-INTERFACE"); listening when it returns.
    pub fn start(lab: &Lab, ports: &[&str]) -> Self {
        let (socket, indices) = lab.switch().within(|| {
            let index = |port: &&str| if_nametoindex(*port).expect("the lab made this port");
            (open(), ports.iter().map(index).collect::<Vec<_>>())
        });
        let sent = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let socket = Arc::new(socket);
        let (list, flag, from) = (Arc::clone(&sent), Arc::clone(&stop), Arc::clone(&socket));
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                while let Some(found) = receive(&from, &indices) {
                    if let Some(found) = found {
                        list.lock().expect("no panic while locked").push(found);
                    }
                }
                let mut fds = [PollFd::new(from.as_fd(), PollFlags::POLLIN)];
                let _ = poll(&mut fds, PollTimeout::from(100u8));
            }
        });
        Self { sent, socket, lost: AtomicU64::new(0), stop, thread: Some(thread) }
    }

    /// Everything since a time, in order.
    pub fn since(&self, since: Stamp) -> Vec<Sent> {
        let sent = self.sent.lock().expect("no panic while locked");
        let from = sent.partition_point(|sent| sent.at < since);
        sent[from..].to_vec()
    }

    /// Looks at every frame so far, without a copy.
    pub fn visit(&self, look: impl FnMut(&Sent)) {
        self.sent.lock().expect("no panic while locked").iter().for_each(look);
    }

    /// How many frames found no room on their way to the recording: then nothing can be said about what is not in it.
    pub fn lost(&self) -> u64 {
        let lost = getsockopt(&self.socket, PacketStatistics).map_or(0, |statistics| statistics.tp_drops);
        self.lost.fetch_add(u64::from(lost), Ordering::Relaxed) + u64::from(lost)
    }

    /// The first frame since a time that suits.
    pub fn find(&self, since: Stamp, wanted: impl Fn(&Sent) -> bool) -> Option<Sent> {
        let sent = self.sent.lock().expect("no panic while locked");
        let from = sent.partition_point(|sent| sent.at < since);
        sent[from..].iter().find(|sent| wanted(sent)).cloned()
    }

    /// The last advertisement that a host sent before a time.
    pub fn last_advert(&self, by: usize, before: Stamp) -> Option<Sent> {
        let sent = self.sent.lock().expect("no panic while locked");
        let of = |sent: &&Sent| sent.by == by && sent.at < before && sent.advert().is_some();
        sent.iter().rev().find(of).cloned()
    }

    pub fn everything(&self) -> Vec<Sent> {
        self.since(Stamp::default())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open() -> OwnedFd {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket =
        socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll).expect("packet socket");
    setsockopt(&socket, sockopt::ReceiveTimestampns, &true).expect("time stamps on a packet socket");
    // Room for a hundred thousand short frames, which come faster than a busy machine reads them.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(128 * 1024 * 1024));
    socket
}

/// Outer `None`: nothing has arrived. Inner `None`: nothing of interest.
fn receive(socket: &OwnedFd, ports: &[u32]) -> Option<Option<Sent>> {
    let mut buffer = [0; LONGEST];
    let mut control = nix::cmsg_space!(TimeSpec);
    let mut parts = [IoSliceMut::new(&mut buffer)];
    let message =
        recvmsg::<LinkAddr>(socket.as_raw_fd(), &mut parts, Some(&mut control), MsgFlags::empty()).ok()?;
    let stamp = message.cmsgs().ok()?.find_map(|message| {
        let ControlMessageOwned::ScmTimestampns(time) = message else { return None };
        Some(Stamp(time.into()))
    });
    let (length, link) = (message.bytes, message.address);
    let by = link.filter(|link| link.pkttype() != OUTGOING).and_then(|link| {
        ports.iter().position(|port| usize::try_from(*port).is_ok_and(|port| port == link.ifindex()))
    });
    let bytes = &buffer[..length.min(LONGEST)];
    let (Some(by), true) = (by, frames::is_ours_to_record(bytes)) else { return Some(None) };
    let at = stamp.unwrap_or_else(Stamp::now);
    Some(Some(Sent { at, by, bytes: bytes.to_vec(), frame: frames::read(bytes) }))
}

/// A file that tcpdump and tshark read. The classic format: magic number in nanoseconds, version 2.4, LINKTYPE_ETHERNET.
pub fn write_pcap<'a>(file: &Path, sent: impl Iterator<Item = &'a Sent>) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(file)?);
    for word in [0xa1b2_3c4d_u32, 2 | 4 << 16, 0, 0, 65_535, 1] {
        file.write_all(&word.to_le_bytes())?;
    }
    for sent in sent {
        let length = u32::try_from(sent.bytes.len()).expect("frames are short");
        let seconds = u32::try_from(sent.at.0.as_secs()).expect("before 2106");
        for word in [seconds, sent.at.0.subsec_nanos(), length, length] {
            file.write_all(&word.to_le_bytes())?;
        }
        file.write_all(&sent.bytes)?;
    }
    file.flush()
}
