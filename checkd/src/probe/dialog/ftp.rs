//! `type = "ftp"`: the greeting, perhaps AUTH TLS (RFC 4217), QUIT (RFC 959). Nobody logs in.

use super::lines::{GREETING, Reply, Style, awaiting, not_the_protocol, refused, reply};
use super::{Heard, Move, Protocol};

#[derive(Debug)]
pub(super) struct Ftp {
    starttls: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    AuthTls,
    Secured,
}

impl Ftp {
    pub(super) fn new(starttls: bool) -> Self {
        Self { starttls, state: State::Greeting }
    }

    fn on_reply(&mut self, reply: &Reply<'_>) -> Move {
        let taken = reply.text.len();
        match (self.state, reply.code) {
            (State::Greeting, 220) if self.starttls => {
                self.state = State::AuthTls;
                Move::Say { taken, text: b"AUTH TLS\r\n".to_vec() }
            }
            (State::Greeting, 220) => pass("greeting 220"),
            (State::AuthTls, 234) => {
                self.state = State::Secured;
                Move::Secure { taken, request: Vec::new(), text: b"NOOP\r\n".to_vec() }
            }
            // Whether it likes the command or first wants a login (530): it has understood it, under TLS.
            (State::Secured, 200..=299 | 500..=599) => pass("greeting 220, AUTH TLS"),
            (State::Greeting | State::AuthTls | State::Secured, _) => refused(self.turn(), reply.text),
        }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::AuthTls => "AUTH TLS",
            State::Secured => "NOOP under TLS",
        }
    }
}

fn pass(reason: &str) -> Move {
    Move::Pass { reason: reason.to_owned(), farewell: b"QUIT\r\n".to_vec() }
}

impl Protocol for Ftp {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        match reply(heard.rest(), Style::Ftp) {
            Ok(None) => Move::Wait,
            Ok(Some(reply)) => self.on_reply(&reply),
            Err(_) => not_the_protocol("FTP", heard.rest()),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
