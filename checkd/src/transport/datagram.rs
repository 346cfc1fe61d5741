//! The socket of one exchange of datagrams: UDP, or ICMP echo where the kernel lets an ordinary user send it (ping
//! sockets). Sends the request, again where no answer comes, and tells what is received to the [`Exchange`], whose
//! outcome comes back. What routers and the server say by ICMP ends it at once.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use daemon::event_loop::Interest;
use daemon::units::format_duration;
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::connect::Connect;
use super::{Step, errno_of, icmp};
use crate::probe::{Exchange, Outcome, Reply, errno};

/// How often the request is sent if no answer comes, evenly over the probe's time: at its start, after a third of it
/// and after two thirds. Any one packet may be lost, the request or the answer, and even of any two requests both
/// answers: that is the network, which datagrams do not promise anything of, and no failure of the server. Not more,
/// because the last one must leave the server a fair part of the time. A server that answers is asked once.
const REQUESTS: u32 = 3;
/// Datagrams that are still looked at when the time is over.
const READS_AT_TIMEOUT: usize = 16;

/// What the datagrams are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    Udp,
    /// ICMP and ICMPv6 echo.
    Echo,
}

#[derive(Debug)]
pub struct Datagram {
    /// A connected socket, of whichever [`Carrier`].
    socket: UdpSocket,
    endpoint: SocketAddr,
    exchange: Box<dyn Exchange>,
    /// Whether the loop watches the socket by now.
    is_watched: bool,
    sent: u32,
    /// When the next request goes, unless an answer comes before.
    next: Option<Instant>,
    spacing: Duration,
}

impl Datagram {
    /// Send the first request. `timeout`: the time of the whole probe, which begins `now`.
    ///
    /// # Errors
    /// The outcome, if it is known at once: no route, or no socket to be had here.
    pub fn open(
        carrier: Carrier,
        exchange: Box<dyn Exchange>,
        endpoint: SocketAddr,
        connect: &Connect,
        (now, timeout): (Instant, Duration),
    ) -> Result<Self, Outcome> {
        let failed = |error: &io::Error| errno::outcome(errno_of(error), None);
        let protocol = match (carrier, endpoint) {
            (Carrier::Udp, _) => Protocol::UDP,
            (Carrier::Echo, SocketAddr::V4(_)) => Protocol::ICMPV4,
            (Carrier::Echo, SocketAddr::V6(_)) => Protocol::ICMPV6,
        };
        let flags = Type::DGRAM.nonblocking().cloexec();
        let socket = Socket::new(Domain::for_address(endpoint), flags, Some(protocol));
        let socket = socket.map_err(|error| refused(carrier, &error))?;
        connect.prepare(&socket, endpoint)?;
        // Without it the kernel keeps most of what ICMP says to itself: udp(7), IP_RECVERR.
        let told = match endpoint {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4RecvErr, &true),
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvErr, &true),
        };
        told.map_err(|errno| errno::outcome(errno, None))?;
        socket.connect(&SockAddr::from(endpoint)).map_err(|error| failed(&error))?;
        let socket = UdpSocket::from(socket);
        let spacing = timeout / REQUESTS;
        let mut datagram =
            Self { socket, endpoint, exchange, is_watched: false, sent: 0, next: Some(now), spacing };
        datagram.on_time(now).map_or(Ok(datagram), Err)
    }

    /// When [`Datagram::on_time`] has a request to send.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// Send another request if it is time. `Some`: that ended it.
    pub fn on_time(&mut self, now: Instant) -> Option<Outcome> {
        let due = self.next.filter(|next| *next <= now)?;
        let sent = self.socket.send(self.exchange.request());
        self.sent += 1;
        self.next = (self.sent < REQUESTS).then(|| due + self.spacing);
        self.on_error(&sent.err()?)
    }

    /// Read one datagram, if there is one.
    pub fn advance(&mut self, buffer: &mut [u8]) -> Step {
        // The request has just left.
        if !std::mem::replace(&mut self.is_watched, true) {
            return Step::Wait(Interest::Read);
        }
        self.receive(buffer).unwrap_or(Step::Wait(Interest::Read))
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, buffer: &mut [u8], timeout: Duration) -> Outcome {
        let timeout = format_duration(timeout);
        for _ in 0..READS_AT_TIMEOUT {
            match self.receive(buffer) {
                // Also a message that is no reason to give up, behind which the answer may lie.
                None => {}
                Some(Step::Wait(_) | Step::Rest(_)) => {}
                Some(Step::Done(outcome)) => return outcome,
                Some(Step::GoOn(_)) => {
                    return Outcome::Fail(format!(
                        "the answer did not fit a datagram, and {timeout} were over"
                    ));
                }
            }
        }
        self.exchange.on_timeout().unwrap_or_else(|| {
            let plural = if self.sent == 1 { "" } else { "s" };
            let progress = self.exchange.progress();
            Outcome::Fail(format!(
                "no answer within {timeout}: {} request{plural} sent, {progress}",
                self.sent
            ))
        })
    }

    /// `None`: nothing has arrived.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Step> {
        let (count, from) = match self.socket.recv_from(buffer) {
            Ok(received) => received,
            // Perhaps the kernel has only the ICMP message left to tell, the error that went with it is taken.
            Err(error) => return self.on_error(&error).map(Step::Done),
        };
        // The kernel does not look at where an echo reply comes from.
        if from.ip() != self.endpoint.ip() {
            return Some(Step::Wait(Interest::Read));
        }
        Some(match self.exchange.on_received(&buffer[..count]) {
            Reply::Another => Step::Wait(Interest::Read),
            Reply::Decides(outcome) => Step::Done(outcome),
            Reply::Continues(conversation) => Step::GoOn(conversation),
        })
    }

    /// What the kernel says of a request, or of the wait for an answer. `None`: go on.
    fn on_error(&self, error: &io::Error) -> Option<Outcome> {
        if let Some(message) = icmp::take(&self.socket, self.endpoint) {
            let own = self.socket.local_addr().ok().map(|own| own.ip());
            return message.describe(self.endpoint.ip(), own).map(Outcome::Fail);
        }
        let errno = errno_of(error);
        // A request that was too long for the way: the kernel knows now, and the next one goes in fragments.
        let goes_on = matches!(errno, Errno::EAGAIN | Errno::EINTR | Errno::EMSGSIZE);
        (!goes_on).then(|| errno::outcome(errno, None))
    }

    /// The loop could not watch the socket.
    pub fn on_watch_error(&self, error: &io::Error) -> Outcome {
        errno::outcome(errno_of(error), None)
    }
}

impl AsFd for Datagram {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// There is no such socket for us.
fn refused(carrier: Carrier, error: &io::Error) -> Outcome {
    let errno = errno_of(error);
    match carrier {
        Carrier::Echo if errno == Errno::EACCES => Outcome::Local(ping_group_range()),
        Carrier::Echo | Carrier::Udp => errno::outcome(errno, None),
    }
}

/// What an administrator must do so that checkd may ping.
fn ping_group_range() -> String {
    let group = nix::unistd::getegid();
    format!(
        "checkd's group ({group}) may not ping here: net.ipv4.ping_group_range leaves it out. Put \
         'net.ipv4.ping_group_range = 0 2147483647' (every group, systemd's own default) or '{group} {group}' in its \
         place (checkd alone) into /etc/sysctl.d/90-ping.conf, then run: sysctl --system"
    )
}

#[cfg(test)]
mod tests;
