//! `type = "imap"`: the greeting, perhaps STARTTLS, CAPABILITY, LOGOUT (RFC 9051). Nobody logs in.

use super::lines::{GREETING, awaiting, line, may_start_with, not_the_protocol, refused, starts_with};
use super::{Heard, Move, Protocol};

#[derive(Debug)]
pub(super) struct Imap {
    starttls: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    StartTls,
    Capability,
}

const STARTTLS: &[u8] = b"a1 STARTTLS\r\n";
const CAPABILITY: &[u8] = b"a2 CAPABILITY\r\n";
const LOGOUT: &[u8] = b"a3 LOGOUT\r\n";

impl Imap {
    pub(super) fn new(starttls: bool) -> Self {
        Self { starttls, state: State::Greeting }
    }

    /// RFC 9051 section 7.1: OK, PREAUTH and BYE are the greetings that there are.
    fn on_greeting(&mut self, line: &[u8]) -> Move {
        let taken = line.len();
        let preauth = starts_with(line, b"* PREAUTH");
        if preauth && self.starttls {
            return Move::Fail(
                "greeting: the server has logged us in (PREAUTH) and knows no STARTTLS then".into(),
            );
        }
        if !preauth && !starts_with(line, b"* OK") {
            return refused(self.turn(), line);
        }
        let (state, text) =
            if self.starttls { (State::StartTls, STARTTLS) } else { (State::Capability, CAPABILITY) };
        self.state = state;
        Move::Say { taken, text: text.to_vec() }
    }

    /// A line after the greeting.
    fn on_line(&mut self, line: &[u8]) -> Move {
        let tag: &[u8] = if self.state == State::StartTls { b"a1 " } else { b"a2 " };
        if starts_with(line, b"* BYE") {
            return refused(self.turn(), line);
        }
        if !starts_with(line, tag) {
            return Move::skip(line.len());
        }
        if !starts_with(&line[tag.len()..], b"OK") {
            return refused(self.turn(), line);
        }
        match self.state {
            State::StartTls => {
                self.state = State::Capability;
                Move::Secure { taken: line.len(), request: Vec::new(), text: CAPABILITY.to_vec() }
            }
            State::Greeting | State::Capability => {
                let more = if self.starttls { ", STARTTLS" } else { "" };
                let reason = format!("greeting OK, CAPABILITY{more}");
                Move::Pass { reason, farewell: LOGOUT.to_vec() }
            }
        }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::StartTls => "STARTTLS",
            State::Capability => "CAPABILITY",
        }
    }
}

impl Protocol for Imap {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        let rest = heard.rest();
        if self.state == State::Greeting && !may_start_with(rest, b"* ") {
            return not_the_protocol("IMAP", rest);
        }
        match line(rest) {
            None => Move::Wait,
            Some(line) if self.state == State::Greeting => self.on_greeting(line),
            Some(line) => self.on_line(line),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}
