//! `type = "smtp"`: greeting, EHLO, perhaps STARTTLS and EHLO again, QUIT (RFC 5321, RFC 3207). keepalived's SMTP_CHECK
//! says HELO; so do we where EHLO is not known. No mail is begun.

use std::time::Duration;

use super::lines::{GREETING, Reply, Style, awaiting, may_start_with, not_the_protocol, refused, reply};
use super::{Heard, Move, Protocol};

/// Postfix's postscreen begins its greeting at once and ends it after six seconds (postscreen_greet_wait), to find out
/// who does not wait for that. It remembers for a day who did; whoever leaves before that never gets through.
pub(super) const TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Smtp {
    helo: String,
    starttls: bool,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    StartTls,
    SecuredEhlo,
}

impl Smtp {
    pub(super) fn new(helo: &str, starttls: bool) -> Self {
        Self { helo: helo.to_owned(), starttls, state: State::Greeting }
    }

    fn on_reply(&mut self, reply: &Reply<'_>) -> Move {
        let taken = reply.text.len();
        let (state, text) = match (self.state, reply.code) {
            (State::Greeting, 220) => (State::Ehlo, format!("EHLO {}\r\n", self.helo)),
            (State::Ehlo, 250) if self.starttls => {
                if !offers_starttls(reply.text) {
                    return Move::Fail("EHLO: the server does not offer STARTTLS".to_owned());
                }
                (State::StartTls, "STARTTLS\r\n".to_owned())
            }
            (State::StartTls, 220) => {
                self.state = State::SecuredEhlo;
                return Move::Secure {
                    taken,
                    request: Vec::new(),
                    text: format!("EHLO {}\r\n", self.helo).into_bytes(),
                };
            }
            // RFC 5321 section 3.2: a server that does not know EHLO may know HELO.
            (State::Ehlo, 500 | 502) if !self.starttls => (State::Helo, format!("HELO {}\r\n", self.helo)),
            (State::Ehlo | State::Helo, 250) => return self.pass(""),
            (State::SecuredEhlo, 250) => return self.pass(", STARTTLS"),
            (State::Greeting | State::Ehlo | State::Helo | State::StartTls | State::SecuredEhlo, _) => {
                return refused(self.turn(), reply.text);
            }
        };
        self.state = state;
        Move::Say { taken, text: text.into_bytes() }
    }

    fn pass(&self, more: &str) -> Move {
        let word = if self.state == State::Helo { "HELO" } else { "EHLO" };
        Move::Pass { reason: format!("greeting 220, {word} 250{more}"), farewell: b"QUIT\r\n".to_vec() }
    }

    fn turn(&self) -> &'static str {
        match self.state {
            State::Greeting => GREETING,
            State::Ehlo => "EHLO",
            State::Helo => "HELO",
            State::StartTls => "STARTTLS",
            State::SecuredEhlo => "EHLO under TLS",
        }
    }
}

impl Protocol for Smtp {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        match reply(heard.rest(), Style::Smtp) {
            Ok(None) => Move::Wait,
            Ok(Some(reply)) => self.on_reply(&reply),
            Err(_) => not_the_protocol("SMTP", heard.rest()),
        }
    }

    fn awaited(&self) -> String {
        awaiting(self.turn())
    }
}

fn offers_starttls(reply: &[u8]) -> bool {
    let mut keywords = reply.split(|byte| *byte == b'\n').filter_map(|line| line.get(4..));
    keywords.any(|keyword| {
        let keyword = keyword.trim_ascii_end();
        keyword.len() == 8 && may_start_with(keyword, b"STARTTLS")
    })
}
