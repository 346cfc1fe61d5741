//! One probe of one server, as a state machine without sockets: what happened on the connection goes in, an
//! outcome comes out. One file per kind; `transport/` holds the sockets, `attempt.rs` puts both together.
//!
//! To add a kind: a file here, an arm in [`Kind`], its keys in `config/`.

pub mod dialog;
pub mod dns;
pub mod errno;
pub mod exec;
pub mod http;
mod misfits;
pub mod pattern;
pub mod ping;
pub mod quote;
pub mod random;
pub mod secret;
pub mod status;
pub mod tcp;
pub mod tls;
pub mod udp;
pub mod unit;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

/// How a probe ended, with the reason in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pass(String),
    /// As `Pass`, and the server is to have this weight with whoever balances load over it.
    PassWithWeight(String, u16),
    Fail(String),
    /// The probe could not run for reasons of this machine: says nothing about the server.
    Local(String),
}

impl Outcome {
    /// The same outcome, its reason behind a label: one of several questions' outcomes.
    #[must_use]
    pub fn labelled(self, label: &str) -> Self {
        let with_label = |reason| format!("{label}: {reason}");
        match self {
            Self::Pass(reason) => Self::Pass(with_label(reason)),
            Self::PassWithWeight(reason, weight) => Self::PassWithWeight(with_label(reason), weight),
            Self::Fail(reason) => Self::Fail(with_label(reason)),
            Self::Local(reason) => Self::Local(with_label(reason)),
        }
    }

    /// The same outcome, with a note after its reason if that is about the server.
    #[must_use]
    pub fn noted(self, note: &str) -> Self {
        match self {
            Self::Pass(reason) => Self::Pass(format!("{reason} ({note})")),
            Self::PassWithWeight(reason, weight) => {
                Self::PassWithWeight(format!("{reason} ({note})"), weight)
            }
            Self::Fail(reason) => Self::Fail(format!("{reason} ({note})")),
            Self::Local(reason) => Self::Local(reason),
        }
    }
}

/// What kind of probe a check makes, with that kind's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Tcp,
    Tls(tls::Settings),
    Http(http::Settings),
    Exec(exec::Settings),
    Unit(unit::Settings),
    Udp(Arc<udp::Settings>),
    Ping(ping::Settings),
    /// All that speak by turns, ready-made or written by the administrator.
    Dialog(dialog::Settings),
    Dns(Arc<dns::Settings>),
}

impl Kind {
    /// The word after `type =`.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls(_) => "tls",
            Self::Http(_) => "http",
            Self::Exec(_) => "exec",
            Self::Unit(_) => "unit",
            Self::Udp(_) => "udp",
            Self::Ping(_) => "ping",
            Self::Dialog(settings) => settings.as_str(),
            Self::Dns(_) => "dns",
        }
    }

    /// Whether a target of this kind must name a port. Others ignore the port that it has.
    pub fn needs_port(&self) -> bool {
        self.profile().needs_port
    }

    /// Where a target that names no port is probed.
    pub fn default_port(&self) -> Option<u16> {
        self.profile().default_port
    }

    /// The time for the whole probe where the check does not say.
    pub fn default_timeout(&self) -> Duration {
        self.profile().default_timeout
    }

    /// Whether it is about this machine, and a target need not name an address.
    pub fn is_local(&self) -> bool {
        self.profile().is_local
    }

    /// How much longer than its time limit a probe may take until checkd ends it: where another process keeps the
    /// limit, and has something to end and to tell.
    pub fn grace(&self) -> Duration {
        self.profile().grace
    }

    fn profile(&self) -> Profile {
        match self {
            Self::Tcp | Self::Tls(_) | Self::Http(_) => Profile::SERVER,
            // It waits for what should not come, every time.
            Self::Udp(settings) if settings.expected.is_none() => {
                Profile { default_timeout: Duration::from_secs(1), ..Profile::SERVER }
            }
            Self::Udp(_) => Profile::SERVER,
            Self::Ping(_) => Profile { needs_port: false, ..Profile::SERVER },
            Self::Dns(_) => Profile { needs_port: false, default_port: Some(dns::PORT), ..Profile::SERVER },
            Self::Dialog(settings) => {
                let default_port = settings.default_port();
                let default_timeout = settings.default_timeout().unwrap_or(Profile::SERVER.default_timeout);
                Profile {
                    needs_port: default_port.is_none(),
                    default_port,
                    default_timeout,
                    ..Profile::SERVER
                }
            }
            Self::Exec(settings) => Profile {
                needs_port: settings.needs_port(),
                is_local: !settings.needs_address(),
                grace: exec::GRACE,
                ..Profile::SERVER
            },
            Self::Unit(_) => Profile { needs_port: false, is_local: true, ..Profile::SERVER },
        }
    }

    /// How long a probe that was given up may still be at work: where another process has to end it.
    pub fn parting(&self) -> Duration {
        match self {
            Self::Tcp
            | Self::Tls(_)
            | Self::Dns(_)
            | Self::Dialog(_)
            | Self::Unit(_)
            | Self::Http(_)
            | Self::Udp(_)
            | Self::Ping(_) => Duration::ZERO,
            Self::Exec(_) => exec::PARTING,
        }
    }

    /// How many questions are asked at once, each on a connection of its own; at least 1.
    pub fn parts(&self) -> usize {
        self.http().map_or(1, |http| http.requests().len())
    }

    /// The host that question `part` is asked of, perhaps with a port, where the check names one.
    pub fn host(&self, part: usize) -> Option<&str> {
        self.http()?.requests()[part].host.as_deref()
    }

    /// The password that a probe says, if it says one.
    pub fn secret(&self) -> Option<&secret::Secret> {
        match self {
            Self::Tcp
            | Self::Tls(_)
            | Self::Dns(_)
            | Self::Unit(_)
            | Self::Http(_)
            | Self::Udp(_)
            | Self::Ping(_)
            | Self::Exec(_) => None,
            Self::Dialog(settings) => settings.secret(),
        }
    }

    /// What names question `part` in a reason, where there are several.
    pub fn label(&self, part: usize) -> &str {
        self.http().map_or("", |http| http.label(part))
    }

    /// The one kind that may ask several questions.
    fn http(&self) -> Option<&http::Settings> {
        match self {
            Self::Http(settings) => Some(settings),
            Self::Tcp
            | Self::Tls(_)
            | Self::Exec(_)
            | Self::Unit(_)
            | Self::Udp(_)
            | Self::Ping(_)
            | Self::Dialog(_)
            | Self::Dns(_) => None,
        }
    }
}

/// In what kinds differ beside what they ask: see the methods of [`Kind`].
#[derive(Clone, Copy, Debug)]
struct Profile {
    needs_port: bool,
    default_port: Option<u16>,
    default_timeout: Duration,
    is_local: bool,
    grace: Duration,
}

impl Profile {
    /// What listens at an address and a port, as most do.
    const SERVER: Self = Self {
        needs_port: true,
        default_port: None,
        default_timeout: Duration::from_secs(5),
        is_local: false,
        grace: Duration::ZERO,
    };
}

/// Where a probe goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// As its watchers name it; what they do not name is the endpoint's. Port 0: nobody named one; 0.0.0.0 with it: nor
    /// an address.
    pub target: SocketAddr,
    /// Where the probe connects: the target, unless the check says otherwise.
    pub endpoint: SocketAddr,
}

/// The time for the whole probe is over. `progress`: how far it had come, if it was connected.
pub fn unanswered(timeout: Duration, progress: Option<&str>) -> Outcome {
    let timeout = daemon::units::format_duration(timeout);
    Outcome::Fail(match progress {
        Some(progress) => format!("no answer within {timeout}: connected, {progress}"),
        None => format!("no answer within {timeout}: not connected"),
    })
}

/// What is said over one byte stream, without the stream.
pub trait Conversation: fmt::Debug {
    /// The stream is there (and secured, if [`Conversation::wants_tls`] held when it was connected). `Some`: that was
    /// all.
    fn on_connected(&mut self) -> Option<Outcome> {
        None
    }

    /// Whether TLS is to begin now, before anything else is said. Asked when the stream is connected and after every
    /// portion that was received or sent, until it has begun. Whoever turns it on later must have looked at all that it
    /// received: what the peer said in the clear after the point where TLS begins is not the peer's (CVE-2011-0411).
    fn wants_tls(&self) -> bool {
        false
    }

    /// TLS has begun, and the certificate was verified if it is to be. `Some`: that was all.
    fn on_secured(&mut self, _peer: &tls::Peer<'_>) -> Option<Outcome> {
        None
    }

    /// Whether nothing more will be said, and the peer is to know that. Under TLS only; asked when all is sent.
    fn has_said_all(&self) -> bool {
        false
    }

    /// Bytes that are still to be sent; empty: wait for the peer's.
    fn unsent(&self) -> &[u8];

    /// The first `count` bytes of [`Conversation::unsent`] are on their way.
    fn on_sent(&mut self, count: usize);

    /// Bytes from the peer, in whatever portions. `Some`: that was enough.
    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome>;

    /// The peer will send no more.
    fn on_closed(&mut self) -> Outcome;

    /// As [`Conversation::on_closed`], but under TLS and without its farewell (close_notify): anybody on the way may have
    /// cut off the rest. To be told apart where only the end of the stream says that an answer is complete.
    fn on_truncated(&mut self) -> Outcome {
        self.on_closed()
    }

    /// Whether the peer closes the connection by itself when it has said all: then it is waited for, after the
    /// outcome, so that it can (`farewell.rs`).
    fn peer_closes(&self) -> bool {
        false
    }

    /// How far it came and what it waits for, to follow "connected, ".
    fn progress(&self) -> String;

    /// The outcome, where it is known and only a farewell is under way: what fails from here on does not change it.
    fn decided(&self) -> Option<Outcome> {
        None
    }

    /// The stream could not be opened.
    fn on_unreachable(&self, errno: Errno) -> Outcome {
        errno::outcome(errno, None)
    }

    /// The stream broke after it was connected.
    fn on_error(&self, errno: Errno) -> Outcome {
        errno::outcome(errno, Some(&self.progress()))
    }

    /// The probe's time is over, and the stream is connected.
    fn on_timeout(&self, timeout: Duration) -> Outcome {
        unanswered(timeout, Some(&self.progress()))
    }
}

/// What is said in datagrams, without the socket: one question, and answers that may be lost, late, doubled or
/// somebody else's.
pub trait Exchange: fmt::Debug {
    /// The request, to be sent now: for the first time, or again because nothing that decides has come.
    fn request(&mut self) -> &[u8];

    /// A datagram from the peer's address.
    fn on_received(&mut self, datagram: &[u8]) -> Reply;

    /// The time is over, and nothing decided. `None`: then there was no answer.
    fn on_timeout(&mut self) -> Option<Outcome> {
        None
    }

    /// What has come that did not decide, to follow "3 requests sent, ".
    fn progress(&self) -> String;
}

/// What a datagram is to an [`Exchange`].
#[derive(Debug)]
pub enum Reply {
    /// Not the answer: wait on.
    Another,
    Decides(Outcome),
    /// The answer is to be had over a stream only.
    Continues(Box<dyn Conversation>),
}
