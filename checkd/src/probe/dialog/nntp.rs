//! `type = "nntp"`: the greeting, perhaps STARTTLS (RFC 4642), QUIT (RFC 3977).

use super::lines::{GREETING, Reply, Style, awaiting, not_the_protocol, refused, reply};
use super::{Heard, Move, Protocol};

#[derive(Debug)]
pub(super) struct Nntp {
    starttls: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    StartTls { greeting: u16 },
    Secured { greeting: u16 },
}

impl Nntp {
    pub(super) fn new(starttls: bool) -> Self {
        Self { starttls, state: State::Greeting }
    }

    fn on_reply(&mut self, reply: &Reply<'_>) -> Move {
        let taken = reply.text.len();
        match (self.state, reply.code) {
            // RFC 3977 section 5.1.1: posting allowed, posting not allowed.
            (State::Greeting, greeting @ (200 | 201)) if self.starttls => {
                self.state = State::StartTls { greeting };
                Move::Say { taken, text: b"STARTTLS\r\n".to_vec() }
            }
            (State::Greeting, greeting @ (200 | 201)) => pass(format!("greeting {greeting}")),
            (State::StartTls { greeting }, 382) => {
                self.state = State::Secured { greeting };
                Move::Secure { taken, request: Vec::new(), text: b"DATE\r\n".to_vec() }
            }
            // Every server knows DATE, but may first want a login (480): it has understood, under TLS.
            (State::Secured { greeting }, 111 | 480 | 500..=502) => {
                pass(format!("greeting {greeting}, STARTTLS"))
            }
            (State::Greeting | State::StartTls { .. } | State::Secured { .. }, _) => {
                refused(self.turn(), reply.text)
            }
        }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::StartTls { .. } => "STARTTLS",
            State::Secured { .. } => "DATE under TLS",
        }
    }
}

fn pass(reason: String) -> Move {
    Move::Pass { reason, farewell: b"QUIT\r\n".to_vec() }
}

impl Protocol for Nntp {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        match reply(heard.rest(), Style::Nntp) {
            Ok(None) => Move::Wait,
            Ok(Some(reply)) => self.on_reply(&reply),
            Err(_) => not_the_protocol("NNTP", heard.rest()),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
