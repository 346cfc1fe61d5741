//! `type = "pop3"`: the greeting, perhaps STLS (RFC 2595), QUIT (RFC 1939). Nobody logs in.

use super::lines::{GREETING, awaiting, line, may_start_with, not_the_protocol, refused, starts_with};
use super::{Heard, Move, Protocol};

#[derive(Debug)]
pub(super) struct Pop3 {
    starttls: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Stls,
    Secured,
}

impl Pop3 {
    pub(super) fn new(starttls: bool) -> Self {
        Self { starttls, state: State::Greeting }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::Stls => "STLS",
            State::Secured => "CAPA under TLS",
        }
    }
}

fn pass(reason: &str) -> Move {
    Move::Pass { reason: reason.to_owned(), farewell: b"QUIT\r\n".to_vec() }
}

impl Protocol for Pop3 {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        let rest = heard.rest();
        if !may_start_with(rest, b"+OK") && !may_start_with(rest, b"-ERR") {
            return not_the_protocol("POP3", rest);
        }
        let Some(line) = line(rest) else { return Move::Wait };
        let (taken, ok) = (line.len(), starts_with(line, b"+OK"));
        match self.state {
            State::Greeting if ok && self.starttls => {
                self.state = State::Stls;
                Move::Say { taken, text: b"STLS\r\n".to_vec() }
            }
            State::Greeting if ok => pass("greeting +OK"),
            State::Stls if ok => {
                self.state = State::Secured;
                Move::Secure { taken, request: Vec::new(), text: b"CAPA\r\n".to_vec() }
            }
            // Known or not (RFC 2449): it has understood, under TLS.
            State::Secured => pass("greeting +OK, STLS"),
            State::Greeting | State::Stls => refused(self.turn(), line),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
