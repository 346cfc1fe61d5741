//! Conversations by turns over a byte stream: the server says something, we answer, and so on to the end. One engine
//! for all protocols of that shape; what each of them says and understands is a [`Protocol`], one file each below.
//!
//! The peer is not trusted: what it may make us hold is bounded, what is not the protocol is told as soon as it shows,
//! and nothing that came before TLS began counts after it.

mod ber;
mod ftp;
mod imap;
pub mod ldap;
mod lines;
pub mod mysql;
mod nntp;
mod pop3;
pub mod postgresql;
pub mod redis;
mod smtp;
pub mod steps;

use std::fmt;
use std::time::Duration;

use super::quote::words;
use super::secret::Secret;
use super::{Conversation, Outcome, Route};

/// What a server may say before the next turn is ours, in bytes.
const TURN_LIMIT: usize = 16 * 1024;
/// How much of what was understood is kept before what was not, in bytes: one character of UTF-8.
const CONTEXT: usize = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub script: Script,
    /// TLS begins with the connection, before anything is said.
    pub tls: bool,
}

/// Which protocol is spoken, with its settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Script {
    Steps(steps::Settings),
    Smtp { helo: String, starttls: bool },
    Imap { starttls: bool },
    Pop3 { starttls: bool },
    Ftp { starttls: bool },
    Nntp { starttls: bool },
    Redis(redis::Settings),
    Mysql(mysql::Settings),
    Postgresql(postgresql::Settings),
    Ldap(ldap::Settings),
}

impl Settings {
    /// The word after `type =`.
    pub fn as_str(&self) -> &'static str {
        match self.script {
            Script::Steps(_) => "dialog",
            Script::Smtp { .. } => "smtp",
            Script::Imap { .. } => "imap",
            Script::Pop3 { .. } => "pop3",
            Script::Ftp { .. } => "ftp",
            Script::Nntp { .. } => "nntp",
            Script::Redis(_) => "redis",
            Script::Mysql(_) => "mysql",
            Script::Postgresql(_) => "postgresql",
            Script::Ldap(_) => "ldap",
        }
    }

    /// The protocol's own port (IANA's registry), for targets that name none.
    pub fn default_port(&self) -> Option<u16> {
        let (plain, tls) = match self.script {
            Script::Steps(_) => return None,
            Script::Smtp { .. } => (25, 465),
            Script::Imap { .. } => (143, 993),
            Script::Pop3 { .. } => (110, 995),
            Script::Ftp { .. } => (21, 990),
            Script::Nntp { .. } => (119, 563),
            Script::Redis(_) => (6379, 6379),
            Script::Mysql(_) => (3306, 3306),
            Script::Postgresql(_) => (5432, 5432),
            Script::Ldap(_) => (389, 636),
        };
        Some(if self.tls { tls } else { plain })
    }

    /// The time for the whole probe where the check does not say and the kinds' common one will not do.
    pub fn default_timeout(&self) -> Option<Duration> {
        match self.script {
            Script::Smtp { .. } => Some(smtp::TIMEOUT),
            Script::Steps(_)
            | Script::Imap { .. }
            | Script::Pop3 { .. }
            | Script::Ftp { .. }
            | Script::Nntp { .. }
            | Script::Redis(_)
            | Script::Mysql(_)
            | Script::Postgresql(_)
            | Script::Ldap(_) => None,
        }
    }

    /// Whether TLS begins at some time.
    pub fn uses_tls(&self) -> bool {
        self.tls
            || match &self.script {
                Script::Steps(settings) => settings.steps.iter().any(|step| step.starttls),
                Script::Smtp { starttls, .. }
                | Script::Imap { starttls }
                | Script::Pop3 { starttls }
                | Script::Ftp { starttls }
                | Script::Nntp { starttls } => *starttls,
                Script::Redis(_) => false,
                Script::Mysql(settings) => settings.starttls,
                Script::Postgresql(settings) => settings.starttls,
                Script::Ldap(settings) => settings.starttls,
            }
    }

    /// The password that is said, if one is.
    pub fn secret(&self) -> Option<&Secret> {
        match &self.script {
            Script::Steps(_)
            | Script::Smtp { .. }
            | Script::Imap { .. }
            | Script::Pop3 { .. }
            | Script::Ftp { .. }
            | Script::Nntp { .. }
            | Script::Mysql(_)
            | Script::Postgresql(_) => None,
            Script::Redis(settings) => settings.password.as_ref(),
            Script::Ldap(settings) => settings.bind.as_ref().map(|(_, password)| password),
        }
    }

    fn protocol(&self, route: Route) -> Box<dyn Protocol> {
        match &self.script {
            Script::Steps(settings) => Box::new(steps::Steps::new(settings, route)),
            Script::Smtp { helo, starttls } => Box::new(smtp::Smtp::new(helo, *starttls)),
            Script::Imap { starttls } => Box::new(imap::Imap::new(*starttls)),
            Script::Pop3 { starttls } => Box::new(pop3::Pop3::new(*starttls)),
            Script::Ftp { starttls } => Box::new(ftp::Ftp::new(*starttls)),
            Script::Nntp { starttls } => Box::new(nntp::Nntp::new(*starttls)),
            Script::Redis(settings) => Box::new(redis::Redis::new(settings)),
            Script::Mysql(settings) => Box::new(mysql::Mysql::new(settings)),
            Script::Postgresql(settings) => Box::new(postgresql::Postgresql::new(settings)),
            Script::Ldap(settings) => Box::new(ldap::Ldap::new(settings)),
        }
    }
}

/// What the server has said and the protocol has not understood yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Heard<'a> {
    bytes: &'a [u8],
    from: usize,
}

impl<'a> Heard<'a> {
    pub(crate) fn rest(self) -> &'a [u8] {
        &self.bytes[self.from..]
    }

    /// The same with up to [`CONTEXT`] bytes of what was understood last, and where the rest begins.
    pub(crate) fn with_context(self) -> (&'a [u8], usize) {
        (self.bytes, self.from)
    }
}

/// Whose turn it is, and what follows.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Move {
    /// The server has not said all of its answer.
    Wait,
    /// The first `taken` bytes are understood: say this (or nothing), and look at the rest.
    Say {
        taken: usize,
        text: Vec<u8>,
    },
    /// The first `taken` bytes are understood, and more cannot have come: say `request` in the clear (or nothing), begin
    /// TLS, and say `text` under it.
    Secure {
        taken: usize,
        request: Vec<u8>,
        text: Vec<u8>,
    },
    /// The server is well. The farewell spares it a connection that is lost in the middle; how that goes does not
    /// matter any more.
    Pass {
        reason: String,
        farewell: Vec<u8>,
    },
    Fail(String),
}

impl Move {
    /// Understood, and nothing to say.
    pub(crate) fn skip(taken: usize) -> Self {
        Self::Say { taken, text: Vec::new() }
    }
}

/// The part of a conversation that one protocol knows. Looked at after the connection, after each portion, and as long
/// as it moves on: every move but [`Move::Wait`] takes bytes or goes to another state.
pub(crate) trait Protocol: fmt::Debug {
    fn read(&mut self, heard: Heard<'_>) -> Move;

    /// What the server is to say next, such as "waiting for the greeting".
    fn awaited(&self) -> String;
}

#[derive(Debug, PartialEq, Eq)]
enum Tls {
    /// Not yet, or not at all.
    No,
    /// When all is sent; then say this.
    AfterRequest(Vec<u8>),
    /// It begins now, or has begun.
    Begins,
}

#[derive(Debug)]
pub struct Probe {
    protocol: Box<dyn Protocol>,
    tls: Tls,
    /// Up to [`CONTEXT`] bytes that were understood, then up to [`TURN_LIMIT`] that were not.
    heard: Vec<u8>,
    /// How many of `heard` were understood.
    understood: usize,
    text: Vec<u8>,
    sent: usize,
    /// The outcome, while the farewell is under way.
    decided: Option<Outcome>,
}

impl Probe {
    pub fn new(settings: &Settings, route: Route) -> Self {
        Self {
            protocol: settings.protocol(route),
            tls: if settings.tls { Tls::Begins } else { Tls::No },
            heard: Vec::new(),
            understood: 0,
            text: Vec::new(),
            sent: 0,
            decided: None,
        }
    }

    /// Let the protocol move as far as it goes with what has been heard.
    fn go_on(&mut self) -> Option<Outcome> {
        loop {
            match self.protocol.read(Heard { bytes: &self.heard, from: self.understood }) {
                Move::Wait => return self.reject_endless(),
                Move::Say { taken, text } => {
                    self.take(taken);
                    self.say(&text);
                }
                Move::Secure { taken, request, text } => {
                    self.take(taken);
                    if let Some(outcome) = self.reject_untimely() {
                        return Some(outcome);
                    }
                    self.say(&request);
                    self.tls = Tls::AfterRequest(text);
                    self.begin_tls();
                }
                Move::Pass { reason, farewell } if farewell.is_empty() => return Some(Outcome::Pass(reason)),
                Move::Pass { reason, farewell } => {
                    self.say(&farewell);
                    self.decided = Some(Outcome::Pass(reason));
                    return None;
                }
                Move::Fail(reason) => return Some(Outcome::Fail(reason)),
            }
        }
    }

    fn take(&mut self, count: usize) {
        self.understood += count;
        let surplus = self.understood.saturating_sub(CONTEXT);
        self.heard.drain(..surplus);
        self.understood -= surplus;
    }

    fn say(&mut self, text: &[u8]) {
        if self.unsent().is_empty() {
            self.text.clear();
            self.sent = 0;
        }
        self.text.extend_from_slice(text);
    }

    /// If it is time for it.
    fn begin_tls(&mut self) {
        if !self.unsent().is_empty() {
            return;
        }
        if let Tls::AfterRequest(text) = std::mem::replace(&mut self.tls, Tls::Begins) {
            self.say(&text);
        }
    }

    fn reject_endless(&self) -> Option<Outcome> {
        let length = self.heard.len() - self.understood;
        (length >= TURN_LIMIT).then(|| {
            let (limit, awaited) = (TURN_LIMIT / 1024, self.protocol.awaited());
            Outcome::Fail(format!("more than {limit} KiB of answer and no end of it: {awaited}"))
        })
    }

    /// Between the agreement on TLS and its beginning nobody says anything: what is there was put in by somebody else,
    /// to be taken for what is said under TLS (CVE-2011-0411, CVE-2021-23222).
    fn reject_untimely(&self) -> Option<Outcome> {
        if !self.unsent().is_empty() {
            return Some(Outcome::Fail("the server agreed to TLS before it was asked".to_owned()));
        }
        let rest = &self.heard[self.understood..];
        (!rest.is_empty()).then(|| said_before_tls(rest))
    }
}

fn said_before_tls(rest: &[u8]) -> Outcome {
    Outcome::Fail(format!("the server said more before TLS began, in the clear: '{}'", words(rest)))
}

impl Conversation for Probe {
    fn on_connected(&mut self) -> Option<Outcome> {
        self.go_on()
    }

    fn wants_tls(&self) -> bool {
        self.tls == Tls::Begins
    }

    fn unsent(&self) -> &[u8] {
        &self.text[self.sent..]
    }

    /// # Panics
    /// If more is said to be sent than there was.
    fn on_sent(&mut self, count: usize) {
        assert!(count <= self.unsent().len(), "no more can be sent than was there");
        self.sent += count;
        if let Tls::AfterRequest(_) = self.tls {
            self.begin_tls();
        }
    }

    fn on_received(&mut self, mut bytes: &[u8]) -> Option<Outcome> {
        while !bytes.is_empty() {
            if self.decided.is_some() {
                return self.decided.clone();
            }
            let room = TURN_LIMIT - (self.heard.len() - self.understood);
            let portion = &bytes[..bytes.len().min(room)];
            bytes = &bytes[portion.len()..];
            self.heard.extend_from_slice(portion);
            let was_clear = self.tls == Tls::No;
            let outcome = self.go_on();
            if outcome.is_some() {
                return outcome;
            }
            // What had no room with the agreement was said in the clear, too.
            if was_clear && self.tls != Tls::No && !bytes.is_empty() {
                return Some(said_before_tls(bytes));
            }
        }
        None
    }

    fn on_closed(&mut self) -> Outcome {
        self.decided.clone().unwrap_or_else(|| {
            Outcome::Fail(format!("the server closed the connection: {}", self.progress()))
        })
    }

    fn decided(&self) -> Option<Outcome> {
        self.decided.clone()
    }

    fn progress(&self) -> String {
        let awaited = self.protocol.awaited();
        if !self.unsent().is_empty() {
            return format!("{awaited}: {} of {} bytes sent", self.sent, self.text.len());
        }
        match &self.heard[self.understood..] {
            [] => format!("{awaited}: nothing received"),
            rest => format!("{awaited}: {} bytes received, '{}'", rest.len(), words(rest)),
        }
    }
}

#[cfg(test)]
mod tests;
