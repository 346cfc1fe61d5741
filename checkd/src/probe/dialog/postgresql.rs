//! `type = "postgresql"`: perhaps SSLRequest, then a startup message (PostgreSQL documentation, "Message Formats").
//! A server that would let somebody in asks who they are: that is enough, and to leave then is nothing it would log.
//!
//! Its listener answers an SSLRequest while the database still starts up or has no connection left, so that alone says
//! nothing: the startup message does (57P03, 53300).

use super::lines::{awaiting, not_the_protocol};
use super::{Heard, Move, Protocol, TURN_LIMIT};
use crate::probe::quote::words;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `None`: [`NOBODY`], of whom a refusal is as good an answer as any.
    pub user: Option<String>,
    pub database: Option<String>,
    pub starttls: bool,
}

/// Whom we say we are where the check names nobody.
const NOBODY: &str = "trivet";
const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];
const PROTOCOL_3_0: u32 = 3 << 16;
const TERMINATE: [u8; 5] = [b'X', 0, 0, 0, 4];

#[derive(Debug)]
pub(super) struct Postgresql {
    settings: Settings,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    SslRequest,
    Startup,
    /// It let us in without a password, and prepares.
    LetIn,
}

impl Postgresql {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), state: State::Start }
    }

    fn start(&mut self) -> Move {
        let (state, text) = if self.settings.starttls {
            (State::SslRequest, SSL_REQUEST.to_vec())
        } else {
            (State::Startup, self.startup())
        };
        self.state = state;
        Move::Say { taken: 0, text }
    }

    fn startup(&self) -> Vec<u8> {
        let mut body = PROTOCOL_3_0.to_be_bytes().to_vec();
        let user = self.settings.user.as_deref().unwrap_or(NOBODY);
        let database = self.settings.database.as_deref().map(|name| ("database", name));
        for (name, value) in
            [("user", user)].into_iter().chain(database).chain([("application_name", "checkd")])
        {
            body.extend_from_slice(name.as_bytes());
            body.push(0);
            body.extend_from_slice(value.as_bytes());
            body.push(0);
        }
        body.push(0);
        let length = u32::try_from(body.len() + 4).expect("names from a configuration are short");
        [&length.to_be_bytes()[..], &body].concat()
    }

    fn on_ssl_answer(&mut self, rest: &[u8]) -> Move {
        match rest {
            [] => Move::Wait,
            [b'S', ..] => {
                self.state = State::Startup;
                Move::Secure { taken: 1, request: Vec::new(), text: self.startup() }
            }
            [b'N', ..] => Move::Fail("SSLRequest: the server does not offer TLS (ssl = off)".to_owned()),
            [b'E', ..] => self.on_bytes(rest),
            _ => not_the_protocol("PostgreSQL", rest),
        }
    }

    fn on_bytes(&mut self, rest: &[u8]) -> Move {
        let Some((kind, head)) = rest.split_first() else { return Move::Wait };
        if !b"RENvSKZ".contains(kind) {
            return not_the_protocol("PostgreSQL", rest);
        }
        let Some(length) = head.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) else {
            return Move::Wait;
        };
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(4..TURN_LIMIT).contains(&length) {
            return not_the_protocol("PostgreSQL", rest);
        }
        match head.get(4..length) {
            None => Move::Wait,
            Some(body) => self.on_message(*kind, body, length + 1),
        }
    }

    fn on_message(&mut self, kind: u8, body: &[u8], taken: usize) -> Move {
        match kind {
            b'E' => self.on_error(body),
            b'Z' => self.pass("let us in", TERMINATE.to_vec()),
            b'R' => match body.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)) {
                None => not_the_protocol("PostgreSQL", body),
                // It may still find that there is no such user, or no room for them.
                Some(0) => {
                    self.state = State::LetIn;
                    Move::skip(taken)
                }
                // Whoever has no password to give leaves here, as psql does. No farewell: the server waits for a
                // password and would complain about anything else.
                Some(_) => self.pass("asks for a password", Vec::new()),
            },
            // A notice, a parameter, a key, another version of the protocol.
            _ => Move::skip(taken),
        }
    }

    /// Fields of one letter and a text each, ended by zeros.
    fn on_error(&self, body: &[u8]) -> Move {
        let field = |letter: u8| {
            let mut fields = body.split(|byte| *byte == 0);
            fields.find_map(|field| field.strip_prefix(&[letter])).unwrap_or_default()
        };
        let (code, message) = (words(field(b'C')), words(field(b'M')));
        // Invalid authorization (28), invalid database (3D): it knows its users, and has room.
        // Not before TLS, where it is to be: anybody on the way can say that.
        let judged = self.state != State::SslRequest && self.settings.user.is_none();
        if judged && (code.starts_with("28") || code.starts_with("3D")) {
            return self.pass(&format!("refuses user {NOBODY} ({code} {message})"), Vec::new());
        }
        Move::Fail(format!("{}: the server said '{code} {message}'", self.turn()))
    }

    fn pass(&self, how: &str, farewell: Vec<u8>) -> Move {
        let tls = if self.settings.starttls { ", TLS" } else { "" };
        Move::Pass { reason: format!("accepts connections{tls}, {how}"), farewell }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::SslRequest => "SSLRequest",
            State::Start | State::Startup | State::LetIn => "the startup message",
        }
    }
}

impl Protocol for Postgresql {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        match self.state {
            State::Start => self.start(),
            State::SslRequest => self.on_ssl_answer(heard.rest()),
            State::Startup | State::LetIn => self.on_bytes(heard.rest()),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
