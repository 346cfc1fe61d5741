//! One probe of one server, as a state machine without sockets: what happened on the connection goes in, an
//! outcome comes out. One file per kind; `connection.rs` holds the socket.
//!
//! To add a kind: a file here, an arm in [`Kind`] and [`Probe`], its keys in `config.rs`.

pub mod http;
pub mod status;
pub mod tcp;

use std::net::SocketAddr;
use std::time::Duration;

use nix::errno::Errno;

/// How a probe ended, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass(String),
    Fail(String),
    /// The probe could not run for reasons of this machine: says nothing about the server.
    Local(String),
}

/// What kind of probe a check makes, with that kind's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Http(http::Settings),
}

impl Kind {
    /// The word after `type =`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http(_) => "http",
        }
    }
}

/// A probe under way.
#[derive(Debug)]
pub enum Probe {
    Tcp(tcp::Probe),
    Http(http::Probe),
}

impl Probe {
    pub fn new(kind: &Kind, target: SocketAddr) -> Self {
        match kind {
            Kind::Tcp => Self::Tcp(tcp::Probe),
            Kind::Http(settings) => Self::Http(http::Probe::new(settings, target)),
        }
    }

    /// The connection is established. `Some`: that was all.
    pub fn on_connected(&mut self) -> Option<Outcome> {
        match self {
            Self::Tcp(probe) => Some(probe.on_connected()),
            Self::Http(_) => None,
        }
    }

    /// Bytes that are still to be sent; empty: wait for the peer's.
    pub fn unsent(&self) -> &[u8] {
        match self {
            Self::Tcp(_) => &[],
            Self::Http(probe) => probe.unsent(),
        }
    }

    /// The first `count` bytes of [`Probe::unsent`] are on their way.
    pub fn on_sent(&mut self, count: usize) {
        match self {
            Self::Tcp(_) => {}
            Self::Http(probe) => probe.on_sent(count),
        }
    }

    /// Bytes from the peer, in whatever portions. `Some`: that was enough.
    pub fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        match self {
            Self::Tcp(_) => None,
            Self::Http(probe) => probe.on_received(bytes),
        }
    }

    /// The peer will send no more.
    pub fn on_closed(&self) -> Outcome {
        match self {
            Self::Tcp(_) => Outcome::Fail("the server closed the connection".to_owned()),
            Self::Http(probe) => probe.on_closed(),
        }
    }

    /// What the connected probe has got so far and what it waits for, to follow "connected, ".
    fn progress(&self) -> String {
        match self {
            Self::Tcp(_) => "nothing to wait for".to_owned(),
            Self::Http(probe) => probe.progress(),
        }
    }

    /// The time for the whole probe is over.
    pub fn on_timeout(&self, timeout: Duration, connected: bool) -> Outcome {
        let timeout = daemon::units::format_duration(timeout);
        Outcome::Fail(if connected {
            format!("no answer within {timeout}: connected, {}", self.progress())
        } else {
            format!("no answer within {timeout}: not connected")
        })
    }

    /// The connection failed with `errno`.
    pub fn on_error(&self, errno: Errno, connected: bool) -> Outcome {
        if let Some(reason) = local_reason(errno) {
            return Outcome::Local(reason);
        }
        let text = describe(errno);
        Outcome::Fail(if connected { format!("{text}: {}", self.progress()) } else { text })
    }
}

/// The failures that this machine's own limits and rules cause: they say nothing about the server.
const LOCAL: &[(Errno, &str)] = &[
    (Errno::EMFILE, "too many open files in checkd (raise LimitNOFILE=)"),
    (Errno::ENFILE, "too many open files on this machine (raise fs.file-max)"),
    (Errno::ENOBUFS, "no memory for another socket on this machine"),
    (Errno::ENOMEM, "no memory for another socket on this machine"),
    (Errno::ENOSPC, "too many watched files on this machine (raise fs.epoll.max_user_watches)"),
    (Errno::EADDRNOTAVAIL, "no local address or port left for another connection"),
    (Errno::EAGAIN, "the kernel has no resources for another connection"),
    (Errno::EAFNOSUPPORT, "this machine does not have the target's address family"),
    (Errno::EPERM, "a rule of this machine forbids checkd to connect"),
];

/// The failures that the server or the way to it causes.
const REMOTE: &[(Errno, &str)] = &[
    (Errno::ECONNREFUSED, "connection refused"),
    (Errno::ECONNRESET, "connection reset"),
    (Errno::EPIPE, "connection reset"),
    (Errno::ETIMEDOUT, "connection timed out in the kernel"),
    (Errno::EHOSTUNREACH, "no route to host"),
    (Errno::ENETUNREACH, "network is unreachable"),
    (Errno::ENETDOWN, "network is down"),
    (Errno::EACCES, "prohibited on the way (a route or a packet filter)"),
];

fn local_reason(errno: Errno) -> Option<String> {
    LOCAL.iter().find(|(known, _)| *known == errno).map(|(_, text)| (*text).to_owned())
}

/// A failed connection in words.
fn describe(errno: Errno) -> String {
    let known = REMOTE.iter().find(|(known, _)| *known == errno);
    known.map_or_else(|| format!("connection failed: {}", errno.desc()), |(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http() -> Probe {
        Probe::new(&Kind::Http(http::Settings::default()), SocketAddr::from(([10, 0, 0, 5], 80)))
    }

    #[test]
    fn a_refused_connection_is_the_servers_and_a_lack_of_files_is_ours() {
        let probe = Probe::new(&Kind::Tcp, SocketAddr::from(([10, 0, 0, 5], 80)));
        assert_eq!(probe.on_error(Errno::ECONNREFUSED, false), Outcome::Fail("connection refused".into()));
        assert_eq!(probe.on_error(Errno::EHOSTUNREACH, false), Outcome::Fail("no route to host".into()));
        for errno in
            [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRNOTAVAIL, Errno::EPERM]
        {
            assert!(matches!(probe.on_error(errno, false), Outcome::Local(_)), "{errno}");
        }
    }

    #[test]
    fn a_timeout_tells_how_far_the_probe_came() {
        let three = Duration::from_secs(3);
        let mut probe = http();
        let reason = |probe: &Probe, connected| match probe.on_timeout(three, connected) {
            Outcome::Fail(reason) => reason,
            Outcome::Pass(_) | Outcome::Local(_) => panic!("a timeout is the server's"),
        };
        assert_eq!(reason(&probe, false), "no answer within 3s: not connected");
        let length = probe.unsent().len();
        probe.on_sent(20);
        assert_eq!(
            reason(&probe, true),
            format!("no answer within 3s: connected, 20 of {length} bytes of the request sent")
        );
        probe.on_sent(length - 20);
        assert_eq!(reason(&probe, true), "no answer within 3s: connected, request sent, nothing received");
        assert_eq!(probe.on_received(b"HTTP/1.1 200 OK\r"), None);
        assert_eq!(
            reason(&probe, true),
            "no answer within 3s: connected, request sent, 16 bytes of the status line received"
        );
        assert_eq!(probe.on_received(b"\nServer: x\r\n"), None);
        assert_eq!(
            reason(&probe, true),
            "no answer within 3s: connected, request sent, 'HTTP/1.1 200 OK' and 11 bytes of headers received"
        );
    }

    #[test]
    fn a_reset_tells_what_was_being_waited_for() {
        let mut probe = http();
        let length = probe.unsent().len();
        probe.on_sent(length);
        assert_eq!(
            probe.on_error(Errno::ECONNRESET, true),
            Outcome::Fail("connection reset: request sent, nothing received".into())
        );
    }
}
