//! `type = "redis"`: perhaps AUTH, PING, perhaps ROLE (RESP2, which every server speaks to a new connection).
//!
//! A server that loads its data (-LOADING), has lost its master (-MASTERDOWN), cannot save (-MISCONF) or is busy (-BUSY)
//! says so to PING and is down with that text. One that asks for a password (-NOAUTH) when we have none is up: it
//! answers, and to ask is its right. But it says so before it would say any of the above, so the reason tells that.

use super::lines::{awaiting, line, not_the_protocol, refused, starts_with};
use super::{Heard, Move, Protocol};
use crate::probe::secret::Secret;

/// What a server is in its replication, as ROLE tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Master,
    Replica,
    Sentinel,
}

impl Role {
    /// The protocol's word.
    fn as_str(self) -> &'static str {
        match self {
            Self::Master => "master",
            Self::Replica => "slave",
            Self::Sentinel => "sentinel",
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Whom the password belongs to (Redis 6); `None`: the default user.
    pub user: Option<String>,
    pub password: Option<Secret>,
    /// Any other role is a failure.
    pub role: Option<Role>,
}

#[derive(Debug)]
pub(super) struct Redis {
    settings: Settings,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    Auth,
    Ping,
    /// An array's head, the length of its first element, that element.
    Role,
    RoleLength,
    RoleName,
}

impl Redis {
    pub(super) fn new(settings: &Settings) -> Self {
        Self { settings: settings.clone(), state: State::Start }
    }

    fn start(&mut self) -> Move {
        let (state, text) = match &self.settings.password {
            None => (State::Ping, command(&[b"PING"])),
            Some(password) => {
                let user = self.settings.user.as_deref().map(str::as_bytes);
                let words: Vec<&[u8]> =
                    [&b"AUTH"[..]].into_iter().chain(user).chain([password.bytes()]).collect();
                (State::Auth, command(&words))
            }
        };
        self.state = state;
        Move::Say { taken: 0, text }
    }

    fn on_line(&mut self, line: &[u8]) -> Move {
        let taken = line.len();
        let (state, text) = match self.state {
            State::Auth if starts_with(line, b"+OK") => (State::Ping, command(&[b"PING"])),
            State::Ping if starts_with(line, b"-NOAUTH") && self.settings.password.is_none() => {
                return self.without_password();
            }
            State::Ping if starts_with(line, b"+PONG") => match self.settings.role {
                None => return pass("PING PONG".to_owned()),
                Some(_) => (State::Role, command(&[b"ROLE"])),
            },
            State::Role if line.starts_with(b"*") => (State::RoleLength, Vec::new()),
            State::RoleLength if line.starts_with(b"$") => (State::RoleName, Vec::new()),
            State::RoleName => return self.on_role(line),
            State::Auth => return self.refused_password(line),
            State::Start | State::Ping | State::Role | State::RoleLength => {
                return refused(self.turn(), line.strip_prefix(b"-").unwrap_or(line));
            }
        };
        self.state = state;
        Move::Say { taken, text }
    }

    /// Redis repeats the words of a command that it does not know: the password among them.
    fn refused_password(&self, line: &[u8]) -> Move {
        let said = line.strip_prefix(b"-").unwrap_or(line);
        let password = self.settings.password.as_ref().map_or(&b""[..], |password| password.bytes());
        let secrets = [&b", with args"[..], password].into_iter().filter(|text| !text.is_empty());
        let end = secrets.filter_map(|text| memchr::memmem::find(said, text)).min();
        refused(self.turn(), &said[..end.unwrap_or(said.len())])
    }

    fn without_password(&self) -> Move {
        match self.settings.role {
            None => {
                pass("answers, but asks for a password (NOAUTH): more is not known without one".to_owned())
            }
            Some(_) => {
                Move::Fail("asks for a password (NOAUTH): its role is not known without one".to_owned())
            }
        }
    }

    fn on_role(&self, line: &[u8]) -> Move {
        let name = line.trim_ascii_end();
        match self.settings.role {
            Some(role) if name != role.as_str().as_bytes() => {
                refused(&format!("ROLE, where '{}' is wanted", role.as_str()), name)
            }
            Some(_) | None => pass(format!("PING PONG, role {}", name.escape_ascii())),
        }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Auth => "AUTH",
            State::Start | State::Ping => "PING",
            State::Role | State::RoleLength | State::RoleName => "ROLE",
        }
    }
}

/// A connection that ends between two commands is nothing that Redis would write of: no farewell.
fn pass(reason: String) -> Move {
    Move::Pass { reason, farewell: Vec::new() }
}

/// An array of bulk strings: nothing in a password can break out of its place.
fn command(words: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
        bytes.extend_from_slice(word);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

impl Protocol for Redis {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        if self.state == State::Start {
            return self.start();
        }
        let rest = heard.rest();
        if rest.first().is_some_and(|first| !b"+-$*:".contains(first)) && self.state != State::RoleName {
            return not_the_protocol("Redis", rest);
        }
        line(rest).map_or(Move::Wait, |line| self.on_line(line))
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
