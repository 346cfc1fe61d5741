//! `type = "ldap"`: perhaps StartTLS, a simple bind (anonymous, or with a name and a password), perhaps a look at one
//! entry, unbind (RFC 4511). ldirectord's `request` is the entry's name.
//!
//! A server that wants more than an anonymous bind (8, 48) is up: it answers, and to want that is its right.

use super::ber::{Element, NotBer, element, elements, encode};
use super::lines::{awaiting, not_the_protocol};
use super::{Heard, Move, Protocol};
use crate::probe::quote::words;
use crate::probe::secret::Secret;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whom to bind as; `None`: anonymously.
    pub bind: Option<(String, Secret)>,
    /// The entry to look at.
    pub base: Option<String>,
    pub starttls: bool,
}

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const OCTET_STRING: u8 = 0x04;
const ENUMERATED: u8 = 0x0a;
const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const UNBIND_REQUEST: u8 = 0x42;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_DONE: u8 = 0x65;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED_REQUEST: u8 = 0x77;
const EXTENDED_RESPONSE: u8 = 0x78;
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const STRONGER_AUTH_REQUIRED: u8 = 8;
const INAPPROPRIATE_AUTHENTICATION: u8 = 48;

#[derive(Debug)]
pub(super) struct Ldap {
    settings: Settings,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    StartTls,
    Bind,
    Search { found: bool },
}

/// The response of an operation.
#[derive(Debug)]
struct Answer {
    code: u8,
    /// "49 (Invalid Credentials)" or so, as the server says it.
    text: String,
}

impl Ldap {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), state: State::Start }
    }

    fn start(&mut self) -> Move {
        let (state, text) = if self.settings.starttls {
            (State::StartTls, message(1, EXTENDED_REQUEST, &encode(0x80, START_TLS)))
        } else {
            (State::Bind, self.bind())
        };
        self.state = state;
        Move::Say { taken: 0, text }
    }

    fn bind(&self) -> Vec<u8> {
        let (name, password) = match &self.settings.bind {
            Some((name, password)) => (name.as_bytes(), password.bytes()),
            None => (&b""[..], &b""[..]),
        };
        let version = encode(INTEGER, &[3]);
        message(2, BIND_REQUEST, &[version, encode(OCTET_STRING, name), encode(0x80, password)].concat())
    }

    /// The base object alone, whatever it is, without its attributes (RFC 4511 section 4.5.1.8: "1.1"), in at most 5 s.
    fn search(base: &str) -> Vec<u8> {
        let parts = [
            encode(OCTET_STRING, base.as_bytes()),
            encode(ENUMERATED, &[0]),
            encode(ENUMERATED, &[0]),
            encode(INTEGER, &[1]),
            encode(INTEGER, &[5]),
            encode(0x01, &[0]),
            encode(0x87, b"objectClass"),
            encode(SEQUENCE, &encode(OCTET_STRING, b"1.1")),
        ];
        message(3, SEARCH_REQUEST, &parts.concat())
    }

    fn on_message(&mut self, envelope: Element<'_>) -> Move {
        let taken = envelope.length;
        let mut parts = elements(envelope.content);
        let (Some(_id), Some(operation)) = (parts.next(), parts.next()) else {
            return not_the_protocol("LDAP", envelope.content);
        };
        match (self.state, operation.tag) {
            (State::Search { .. }, SEARCH_ENTRY) => {
                self.state = State::Search { found: true };
                return Move::skip(taken);
            }
            (State::Search { .. }, SEARCH_REFERENCE) => return Move::skip(taken),
            _ => {}
        }
        let Some(answer) = answer(operation.content) else {
            return not_the_protocol("LDAP", envelope.content);
        };
        match (self.state, operation.tag, answer.code) {
            (State::StartTls, EXTENDED_RESPONSE, 0) => {
                self.state = State::Bind;
                Move::Secure { taken, request: Vec::new(), text: self.bind() }
            }
            (State::Bind, BIND_RESPONSE, 0) => self.on_bound(taken),
            (State::Bind, BIND_RESPONSE, STRONGER_AUTH_REQUIRED | INAPPROPRIATE_AUTHENTICATION)
                if self.settings.bind.is_none() && self.settings.base.is_none() =>
            {
                self.pass(&format!("refuses an anonymous bind ({})", answer.text))
            }
            (State::Search { found: true }, SEARCH_DONE, 0) => self.pass("bind, entry found"),
            (State::Search { found: false }, SEARCH_DONE, 0) => {
                Move::Fail("search: the server shows no such entry".to_owned())
            }
            // A notice of disconnection, too: an extended response that nobody asked for.
            _ => Move::Fail(format!("{}: the server said {}", self.turn(), answer.text)),
        }
    }

    fn on_bound(&mut self, taken: usize) -> Move {
        let Some(base) = &self.settings.base else { return self.pass("bind") };
        self.state = State::Search { found: false };
        Move::Say { taken, text: Self::search(base) }
    }

    fn pass(&self, how: &str) -> Move {
        let tls = if self.settings.starttls { "StartTLS, " } else { "" };
        Move::Pass { reason: format!("{tls}{how}"), farewell: message(4, UNBIND_REQUEST, &[]) }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::StartTls => "StartTLS",
            State::Start | State::Bind => "bind",
            State::Search { .. } => "search",
        }
    }
}

/// LDAPMessage. An unbind has no content at all, which makes it NULL.
fn message(number: u8, operation: u8, content: &[u8]) -> Vec<u8> {
    encode(SEQUENCE, &[encode(INTEGER, &[number]), encode(operation, content)].concat())
}

/// LDAPResult: code, matched name, message.
fn answer(content: &[u8]) -> Option<Answer> {
    let mut parts = elements(content);
    let (code, _matched, text) = (parts.next()?, parts.next()?, parts.next()?);
    let [code] = *Some(code).filter(|code| code.tag == ENUMERATED)?.content else { return None };
    let name = NAMES.iter().find(|(number, _)| *number == code).map_or("", |(_, name)| *name);
    let said = words(text.content);
    let text = [name, &said].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(": ");
    Some(Answer { code, text: format!("'{code} {text}'") })
}

/// The result codes (RFC 4511 section 4.1.9) that a check may meet.
const NAMES: &[(u8, &str)] = &[
    (1, "operationsError"),
    (2, "protocolError"),
    (3, "timeLimitExceeded"),
    (8, "strongerAuthRequired"),
    (10, "referral"),
    (13, "confidentialityRequired"),
    (32, "noSuchObject"),
    (34, "invalidDNSyntax"),
    (48, "inappropriateAuthentication"),
    (49, "invalidCredentials"),
    (50, "insufficientAccessRights"),
    (51, "busy"),
    (52, "unavailable"),
    (53, "unwillingToPerform"),
    (80, "other"),
];

impl Protocol for Ldap {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        if self.state == State::Start {
            return self.start();
        }
        let rest = heard.rest();
        if rest.first().is_some_and(|first| *first != SEQUENCE) {
            return not_the_protocol("LDAP", rest);
        }
        match element(rest) {
            Ok(None) => Move::Wait,
            Ok(Some(envelope)) => self.on_message(envelope),
            Err(NotBer) => not_the_protocol("LDAP", rest),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
