//! `type = "udp"`: a datagram is sent. Where a reply is wanted, the server is up at the first one that fits; where none
//! is, it is up unless ICMP says before the time is over that nobody takes it. keepalived's UDP_CHECK.
//!
//! Without a wanted reply, silence is up: a host that is gone without anybody saying so, or a packet filter that
//! swallows, cannot be told from a server that does not answer. Whoever can should expect a reply.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::http::Pattern;
use super::misfits::Misfits;
use super::quote::cut;
use super::{Exchange, Outcome, Reply};

/// How much of a reply a reason quotes, bytes.
const QUOTED: usize = 40;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// The content of the request; may be empty.
    pub send: Vec<u8>,
    /// `None`: no reply is wanted.
    pub expected: Option<Expected>,
}

/// Which replies pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expected {
    pub content: Content,
    /// Bytes.
    pub length: RangeInclusive<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    Any,
    /// It has a match of this.
    Text(Pattern),
    /// It begins with this.
    Bytes(BytePattern),
}

/// Bytes of which some half ones do not matter: `0102xx4x`. keepalived's `require_reply`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BytePattern(Vec<(u8, u8)>);

impl BytePattern {
    /// Hexadecimal digits, an `x` for any, blanks between bytes.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence such as "'0g' is …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pattern = Vec::new();
        for word in text.split_ascii_whitespace() {
            let halves: Vec<(u8, u8)> = word.chars().map(half).collect::<Result<_, _>>()?;
            let (pairs, []) = halves.as_chunks::<2>() else {
                return Err(format!("cut off within a byte: \"{word}\" has an odd number of digits"));
            };
            pattern.extend(pairs.iter().map(|[high, low]| (high.0 << 4 | low.0, high.1 << 4 | low.1)));
        }
        if pattern.is_empty() { Err("empty".to_owned()) } else { Ok(Self(pattern)) }
    }

    fn is_start_of(&self, bytes: &[u8]) -> bool {
        let fits = |((value, mask), byte): (&(u8, u8), &u8)| byte & mask == *value;
        bytes.len() >= self.0.len() && self.0.iter().zip(bytes).all(fits)
    }

    /// The bytes, if there is no `x` among them.
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        self.0.into_iter().map(|(value, mask)| (mask == 0xff).then_some(value)).collect()
    }
}

/// Value and mask of half a byte.
fn half(digit: char) -> Result<(u8, u8), String> {
    if digit.eq_ignore_ascii_case(&'x') {
        return Ok((0, 0));
    }
    let value = digit.to_digit(16).and_then(|value| u8::try_from(value).ok());
    value.map(|value| (value, 0xf)).ok_or_else(|| format!("not hexadecimal: {digit:?} is no digit"))
}

/// What is wrong with a reply.
enum Fault {
    Length(RangeInclusive<usize>),
    Text,
    Bytes,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(range) if *range.end() == usize::MAX => {
                write!(f, "where at least {} are expected", range.start())
            }
            Self::Length(range) => write!(f, "where {} to {} are expected", range.start(), range.end()),
            Self::Text => f.write_str("which 'expect' does not match"),
            Self::Bytes => f.write_str("which do not begin with 'expect_hex'"),
        }
    }
}

impl Expected {
    fn fault_of(&self, reply: &[u8]) -> Option<Fault> {
        if !self.length.contains(&reply.len()) {
            return Some(Fault::Length(self.length.clone()));
        }
        match &self.content {
            Content::Any => None,
            Content::Text(pattern) => (!pattern.is_in(reply)).then_some(Fault::Text),
            Content::Bytes(pattern) => (!pattern.is_start_of(reply)).then_some(Fault::Bytes),
        }
    }
}

#[derive(Debug)]
pub struct Probe {
    settings: Arc<Settings>,
    misfits: Misfits<String>,
}

impl Probe {
    pub fn new(settings: Arc<Settings>) -> Self {
        Self { settings, misfits: Misfits::default() }
    }
}

impl Exchange for Probe {
    fn request(&mut self) -> &[u8] {
        &self.settings.send
    }

    /// A reply that does not fit decides nothing: many protocols send others first ("trying"), and the request is
    /// repeated. What came is told if nothing better does.
    fn on_received(&mut self, datagram: &[u8]) -> Reply {
        let fault = self.settings.expected.as_ref().and_then(|expected| expected.fault_of(datagram));
        let Some(fault) = fault else {
            return Reply::Decides(Outcome::Pass("reply received".to_owned()));
        };
        self.misfits.add(format!("'{}' ({} bytes, {fault})", cut(datagram, QUOTED), datagram.len()))
    }

    fn on_timeout(&mut self) -> Option<Outcome> {
        let is_enough = self.settings.expected.is_none();
        is_enough.then(|| Outcome::Pass("sent, and no ICMP error came back".to_owned()))
    }

    fn progress(&self) -> String {
        self.misfits.progress(
            |last| format!("a wrong reply received: {last}"),
            |count, last| format!("{count} wrong replies received, the last {last}"),
        )
    }
}

#[cfg(test)]
mod tests;
