//! `type = "tls"`: the server is up if it makes a TLS connection with us, and shows a certificate that is its own and
//! valid. keepalived has SSL_GET only, which fetches a page and looks at no certificate.

pub mod certificate;

use std::time::Duration;

use daemon::units::format_duration;

use self::certificate::{Certificate, date};
use super::{Conversation, Outcome};

/// Who is at the other end of a secured stream.
#[derive(Clone, Copy, Debug)]
pub struct Peer<'a> {
    /// Such as "TLS 1.3".
    pub protocol: &'static str,
    /// Its own certificate, DER.
    pub certificate: Option<&'a [u8]>,
    /// Whether it asked for a client certificate.
    pub is_asked: bool,
    /// By the clock that the certificate was verified with, since 1970.
    pub now: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A certificate that ends within this time is told in the reason. No more than that: until it ends it serves
    /// every client, and all servers that share it would go down together.
    pub expires_within: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { expires_within: Duration::from_secs(14 * 24 * 60 * 60) }
    }
}

#[derive(Debug)]
pub struct Probe {
    settings: Settings,
    /// The reason to pass, when only the server's view of our certificate is not known yet.
    accepted_by_us: Option<String>,
}

impl Probe {
    pub fn new(settings: Settings) -> Self {
        Self { settings, accepted_by_us: None }
    }

    /// The server has gone on, or ended, without an alert.
    fn pass(&mut self) -> Option<Outcome> {
        self.accepted_by_us.take().map(Outcome::Pass)
    }
}

impl Conversation for Probe {
    fn wants_tls(&self) -> bool {
        true
    }

    /// In TLS 1.3 the client is done before the server has seen its certificate, or that it has none (RFC 8446 section
    /// 4.4.2.4): then what the server makes of that is waited for. It has to answer when it hears that this was all.
    fn on_secured(&mut self, peer: &Peer<'_>) -> Option<Outcome> {
        let reason = describe(peer, self.settings.expires_within);
        if peer.is_asked && peer.protocol == "TLS 1.3" {
            self.accepted_by_us = Some(reason);
            return None;
        }
        Some(Outcome::Pass(reason))
    }

    fn has_said_all(&self) -> bool {
        self.accepted_by_us.is_some()
    }

    fn unsent(&self) -> &[u8] {
        &[]
    }

    fn on_sent(&mut self, _count: usize) {}

    fn on_received(&mut self, _bytes: &[u8]) -> Option<Outcome> {
        self.pass()
    }

    fn on_closed(&mut self) -> Outcome {
        self.pass().unwrap_or_else(|| Outcome::Fail("the server closed the connection".to_owned()))
    }

    fn progress(&self) -> String {
        "but not whether the server accepts our client certificate".to_owned()
    }
}

/// `TLS 1.3, certificate for www.example.com until 2027-01-02`. Reads the same at every probe until something changes.
fn describe(peer: &Peer<'_>, expires_within: Duration) -> String {
    let protocol = peer.protocol;
    let Some(certificate) = peer.certificate.and_then(Certificate::read) else {
        return format!("{protocol}, certificate that cannot be read");
    };
    let left = certificate.not_after.saturating_sub(peer.now);
    let warning = match left {
        Duration::ZERO => " (expired)".to_owned(),
        left if left < expires_within => format!(": expires within {}", format_duration(expires_within)),
        _ => String::new(),
    };
    let (title, until) = (certificate.title(), date(certificate.not_after));
    format!("{protocol}, certificate for {title} until {until}{warning}")
}

#[cfg(test)]
mod tests;
