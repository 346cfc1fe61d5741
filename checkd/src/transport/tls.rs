//! TLS over a [`super::stream::Stream`] (RFC 8446, RFC 5246), without the socket: bytes of the peer go in, bytes for it
//! and what it said come out. rustls does the protocol; what it found wrong is put in words by `reason.rs`.

pub mod identity;
mod reason;
pub mod settings;
pub mod store;
mod verifier;

use std::io::{self, BufRead as _, Write as _};
use std::sync::Arc;

use rustls::ClientConnection;
use rustls::pki_types::ServerName;

use crate::probe::Outcome;
use crate::probe::tls::Peer;

pub use self::settings::Settings;

/// The types of records (RFC 8446 section 5.1) and the first byte of their version: how every answer begins.
const RECORD_TYPES: std::ops::RangeInclusive<u8> = 20..=24;
const RECORD_VERSION: u8 = 3;

/// One connection's TLS, from the ClientHello on.
#[derive(Debug)]
pub struct Session {
    settings: Arc<Settings>,
    name: ServerName<'static>,
    connection: ClientConnection,
    /// Bytes of the peer, as long as the handshake lasts.
    received: usize,
    /// Whether the peer asked for a client certificate.
    is_asked: bool,
    is_closed: bool,
}

impl Session {
    /// Begin: [`Session::write`] has a ClientHello to send.
    ///
    /// # Errors
    /// The outcome: this machine cannot.
    pub fn begin(settings: Arc<Settings>, name: ServerName<'static>) -> Result<Self, Outcome> {
        let connection = ClientConnection::new(Arc::clone(&settings.config), name.clone())
            .map_err(|error| Outcome::Local(format!("cannot begin TLS: {error}")))?;
        Ok(Self { settings, name, connection, received: 0, is_asked: false, is_closed: false })
    }

    pub fn is_handshaking(&self) -> bool {
        self.connection.is_handshaking()
    }

    /// Whether [`Session::write`] has something to send.
    pub fn wants_write(&self) -> bool {
        self.connection.wants_write()
    }

    /// Send some of what there is to send.
    ///
    /// # Errors
    /// The writer's.
    pub fn write(&mut self, to: &mut dyn io::Write) -> io::Result<()> {
        self.connection.write_tls(to).map(|_| ())
    }

    /// Take some of what is to be said to the peer, encrypted, to be sent by [`Session::write`]; how much.
    pub fn say(&mut self, text: &[u8]) -> usize {
        self.connection.writer().write(text).expect("it writes to memory")
    }

    /// Say that nothing more will be said. `false`: that was said.
    pub fn close(&mut self) -> bool {
        self.connection.send_close_notify();
        !std::mem::replace(&mut self.is_closed, true)
    }

    /// Take in a portion of what the peer sent, from the front of `bytes`: call it until none is left. Between two
    /// calls take out what [`Session::heard`] has.
    ///
    /// # Errors
    /// The outcome. An alert that tells the peer may be there to be sent.
    pub fn take_in(&mut self, bytes: &mut &[u8]) -> Result<(), Outcome> {
        if self.received == 0 && !may_be_tls(bytes) {
            return Err(Outcome::Fail(reason::plain_text(bytes)));
        }
        let length = bytes.len();
        let taken = self.connection.read_tls(bytes);
        taken.map_err(|error| Outcome::Fail(format!("broken TLS: {error}: {}", self.progress())))?;
        if self.is_handshaking() {
            self.received += length - bytes.len();
        }
        let asked = self.settings.resolver.asked();
        let processed = self.connection.process_new_packets();
        self.is_asked |= self.settings.resolver.asked() != asked;
        match processed {
            Ok(_) => Ok(()),
            Err(error) => Err(Outcome::Fail(self.describe(&error))),
        }
    }

    /// What the peer has said and nobody has taken yet; empty: nothing.
    pub fn heard(&mut self) -> &[u8] {
        let reader = self.connection.reader();
        reader.into_first_chunk().unwrap_or_default()
    }

    /// The first `count` bytes of [`Session::heard`] are taken.
    pub fn forget(&mut self, count: usize) {
        self.connection.reader().consume(count);
    }

    /// Whether the peer has said that it will say no more (close_notify, RFC 8446 section 6.1).
    pub fn has_ended(&mut self) -> bool {
        matches!(self.connection.reader().fill_buf(), Ok([]))
    }

    /// Who the peer is, once the handshake is over.
    pub fn peer(&self) -> Peer<'_> {
        let certificates = self.connection.peer_certificates().unwrap_or_default();
        Peer {
            protocol: reason::version(self.connection.protocol_version()),
            certificate: certificates.first().map(AsRef::as_ref),
            now: self.settings.config.time_provider.current_time().map_or_else(Default::default, since_epoch),
            is_asked: self.is_asked,
        }
    }

    /// How far the handshake came and what it waits for, or what was agreed on.
    pub fn progress(&self) -> String {
        let version = self.connection.protocol_version();
        let received = self.received;
        if !self.is_handshaking() {
            return format!("{} agreed on", reason::version(version));
        }
        match (version, self.connection.peer_certificates()) {
            (None, _) if received == 0 && self.wants_write() => "TLS begun, ClientHello not sent".to_owned(),
            (None, _) if received == 0 => "TLS begun, no answer to the ClientHello".to_owned(),
            (None, _) => format!("TLS begun, {received} bytes of an answer to the ClientHello"),
            (Some(_), None) => format!(
                "{} agreed on, {received} bytes of the handshake received, the server's certificate not complete",
                reason::version(version)
            ),
            (Some(_), Some(_)) => {
                format!(
                    "{} agreed on, certificate accepted, the server's Finished missing",
                    reason::version(version)
                )
            }
        }
    }

    fn describe(&self, error: &rustls::Error) -> String {
        if let Some(refusal) = self.settings.verifier.take_refusal() {
            return refusal;
        }
        let has_identity = self.settings.resolver.identity.is_some();
        reason::failed(error, &reason::Facts { name: &self.name, is_asked: self.is_asked, has_identity })
    }
}

/// Whether the bytes are, or may become, the start of a record.
fn may_be_tls(bytes: &[u8]) -> bool {
    bytes.first().is_none_or(|first| RECORD_TYPES.contains(first))
        && bytes.get(1).is_none_or(|second| *second == RECORD_VERSION)
}

fn since_epoch(time: rustls::pki_types::UnixTime) -> std::time::Duration {
    std::time::Duration::from_secs(time.as_secs())
}

#[cfg(test)]
mod tests;
