//! `type = "mysql"`: the greeting, perhaps TLS, a login, its answer (MySQL internals, "Connection Phase"; MariaDB too).
//!
//! Who only reads the greeting and goes is counted as a connection error; after max_connect_errors of them (100) the
//! server blocks the whole address: error 1129, for everybody on it. A login that is refused is not counted so. So the
//! probe always logs in, as a user without password, and says goodbye if it was let in.

use super::lines::{GREETING, awaiting, not_the_protocol};
use super::{Heard, Move, Protocol, TURN_LIMIT};
use crate::probe::quote::words;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Has no password. `None`: [`NOBODY`], of whom a refusal is as good an answer as any.
    pub user: Option<String>,
    pub starttls: bool,
}

/// Whom we say we are where the check names nobody.
const NOBODY: &str = "trivet";
const PROTOCOL_10: u8 = 10;

const CLIENT_LONG_PASSWORD: u32 = 1;
const CLIENT_PROTOCOL_41: u32 = 1 << 9;
const CLIENT_SSL: u32 = 1 << 11;
const CLIENT_SECURE_CONNECTION: u32 = 1 << 15;
const CLIENT_PLUGIN_AUTH: u32 = 1 << 19;
const UTF8: u8 = 33;
const LONGEST_PACKET: u32 = 1 << 24;

/// Access denied, without a password, for want of a method or of TLS: the server has judged a user, so it is well.
const REFUSALS: [u16; 4] = [1045, 1698, 1251, 3159];

#[derive(Debug)]
pub(super) struct Mysql {
    settings: Settings,
    state: State,
    greeting: Greeting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Login,
}

/// What matters of the server's first packet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Greeting {
    version: String,
    capabilities: u32,
    /// The server's preferred way to authenticate.
    plugin: Vec<u8>,
}

impl Mysql {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), state: State::Greeting, greeting: Greeting::default() }
    }

    fn on_packet(&mut self, number: u8, payload: &[u8], taken: usize) -> Move {
        match (self.state, payload.split_first()) {
            (_, Some((0xff, error))) => self.on_error(error),
            (State::Greeting, Some((&PROTOCOL_10, greeting))) => {
                let Some(greeting) = parse_greeting(greeting) else { return self.nonsense(payload) };
                self.greeting = greeting;
                self.log_in(taken)
            }
            (State::Login, Some((0, _))) => {
                let user = self.settings.user.as_deref().unwrap_or(NOBODY);
                // COM_QUIT.
                self.pass(&format!("let {user} in"), packet(0, &[1]))
            }
            (State::Login, Some((0xfe, switch))) => {
                Move::Say { taken, text: packet(number.wrapping_add(1), no_password(switch)) }
            }
            // More of the authentication: nothing that a user without password has to answer.
            (State::Login, Some((1, _))) => Move::skip(taken),
            (State::Greeting | State::Login, _) => self.nonsense(payload),
        }
    }

    fn log_in(&mut self, taken: usize) -> Move {
        let offered = |flag| self.greeting.capabilities & flag != 0;
        if !offered(CLIENT_PROTOCOL_41) {
            return Move::Fail(format!("version {}: too old to log in to", self.greeting.version));
        }
        if self.settings.starttls && !offered(CLIENT_SSL) {
            return Move::Fail(format!("version {}: the server does not offer TLS", self.greeting.version));
        }
        self.state = State::Login;
        let mut flags = CLIENT_LONG_PASSWORD | CLIENT_PROTOCOL_41 | CLIENT_SECURE_CONNECTION;
        flags |= self.greeting.capabilities & CLIENT_PLUGIN_AUTH;
        if !self.settings.starttls {
            return Move::Say { taken, text: packet(1, &self.response(flags)) };
        }
        flags |= CLIENT_SSL;
        let request = packet(1, &response_head(flags));
        let login = packet(2, &self.response(flags));
        Move::Secure { taken, request, text: login }
    }

    /// HandshakeResponse41 with an empty password.
    fn response(&self, flags: u32) -> Vec<u8> {
        let mut payload = response_head(flags);
        payload.extend_from_slice(self.settings.user.as_deref().unwrap_or(NOBODY).as_bytes());
        payload.extend_from_slice(&[0, 0]);
        if flags & CLIENT_PLUGIN_AUTH != 0 {
            payload.extend_from_slice(&self.greeting.plugin);
            payload.push(0);
        }
        payload
    }

    /// A code, perhaps '#' and an SQL state of five letters, and a text.
    fn on_error(&self, error: &[u8]) -> Move {
        let Some((code, rest)) = error.split_first_chunk() else { return self.nonsense(error) };
        let code = u16::from_le_bytes(*code);
        let text = if rest.starts_with(b"#") { rest.get(6..).unwrap_or_default() } else { rest };
        let text = words(text);
        if self.state == State::Login && self.settings.user.is_none() && REFUSALS.contains(&code) {
            return self.pass(&format!("refuses {NOBODY} ({code})"), Vec::new());
        }
        Move::Fail(format!("{}: the server said '{code} {text}'", self.turn()))
    }

    fn pass(&self, how: &str, farewell: Vec<u8>) -> Move {
        let tls = if self.settings.starttls { ", TLS" } else { "" };
        Move::Pass { reason: format!("version {}{tls}, {how}", self.greeting.version), farewell }
    }

    fn nonsense(&self, bytes: &[u8]) -> Move {
        match self.state {
            State::Greeting => not_the_protocol("MySQL", bytes),
            State::Login => Move::Fail(format!("login: not understood: '{}'", words(bytes))),
        }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::Login => "the login",
        }
    }
}

/// Flags, longest packet, character set, and 23 bytes of nothing: also the whole request for TLS.
fn response_head(flags: u32) -> Vec<u8> {
    let mut head = flags.to_le_bytes().to_vec();
    head.extend_from_slice(&LONGEST_PACKET.to_le_bytes());
    head.push(UTF8);
    head.extend_from_slice(&[0; 23]);
    head
}

/// What each method calls an empty password, by the method that the server wants: nothing, or a zero.
fn no_password(switch: &[u8]) -> &'static [u8] {
    let plugin = switch.split(|byte| *byte == 0).next().unwrap_or_default();
    if plugin == b"caching_sha2_password" || plugin == b"sha256_password" { &[0] } else { &[] }
}

/// Length (three bytes, little endian), number, payload.
fn packet(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a login is short").to_le_bytes();
    [&length[..3], &[number], payload].concat()
}

/// A greeting after its protocol version.
fn parse_greeting(bytes: &[u8]) -> Option<Greeting> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    let (version, rest) = (&bytes[..end], &bytes[end + 1..]);
    // Connection number (4), part of a challenge (8), a zero; flags, character set, status, more flags.
    let low = rest.get(13..15)?;
    let high = rest.get(18..20).unwrap_or(&[0, 0]);
    let capabilities = u32::from_le_bytes([low[0], low[1], high[0], high[1]]);
    // The challenge's length, ten bytes of nothing, the rest of the challenge, the method's name.
    let challenge = rest.get(20).map_or(0, |length| usize::from(*length));
    let plugin = rest.get(31 + challenge.saturating_sub(8).max(13)..).unwrap_or_default();
    let plugin = plugin.split(|byte| *byte == 0).next().unwrap_or_default();
    // MariaDB 10 says it is MySQL 5.5.5, for old replicas' sake.
    let version = words(version);
    let version = version.strip_prefix("5.5.5-").filter(|rest| rest.contains("MariaDB")).unwrap_or(&version);
    Some(Greeting { version: version.to_owned(), capabilities, plugin: plugin.to_vec() })
}

impl Protocol for Mysql {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        let rest = heard.rest();
        let Some((&[a, b, c, number], body)) = rest.split_first_chunk() else { return Move::Wait };
        let length = usize::from(a) | usize::from(b) << 8 | usize::from(c) << 16;
        if !(1..TURN_LIMIT).contains(&length) || self.state == State::Greeting && number != 0 {
            return self.nonsense(rest);
        }
        match body.get(..length) {
            None => Move::Wait,
            Some(payload) => self.on_packet(number, payload, length + 4),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
