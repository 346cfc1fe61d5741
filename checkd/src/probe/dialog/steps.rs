//! `type = "dialog"`: what the administrator wrote, step by step. A step waits for what it expects, begins TLS if it is
//! to, and says what it has to say.

use std::sync::Arc;

use super::{Heard, Move, Protocol};
use crate::probe::Route;
use crate::probe::pattern::Pattern;
use crate::probe::quote::words;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// At least one.
    pub steps: Arc<[Step]>,
    /// Said when all steps have passed.
    pub farewell: Text,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub expect: Option<Expect>,
    /// Ends the probe, where it is found no later than what is expected.
    pub reject: Option<Pattern>,
    /// There is something to expect, too.
    pub starttls: bool,
    pub send: Text,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    Text(Pattern),
    /// Anywhere in what comes; not empty.
    Bytes(Vec<u8>),
}

/// What is said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text {
    /// With placeholders, of which `{host}` has been replaced.
    Words(String),
    Bytes(Vec<u8>),
}

impl Default for Text {
    fn default() -> Self {
        Self::Bytes(Vec::new())
    }
}

/// The words that stand for something in what is said.
pub const PLACEHOLDERS: [&str; 4] = ["{target}", "{address}", "{port}", "{host}"];

impl Text {
    /// With this probe's values in place of the placeholders.
    fn bytes(&self, names: &Names) -> Vec<u8> {
        match self {
            Self::Bytes(bytes) => bytes.clone(),
            Self::Words(words) => {
                let mut rest = words.as_str();
                let mut text = String::new();
                while let Some(at) = rest.find('{') {
                    text.push_str(&rest[..at]);
                    rest = &rest[at..];
                    let known = names.0.iter().find(|(name, _)| rest.starts_with(name));
                    let (value, length) =
                        known.map_or(("{", 1), |(name, value)| (value.as_str(), name.len()));
                    text.push_str(value);
                    rest = &rest[length..];
                }
                text.push_str(rest);
                text.into_bytes()
            }
        }
    }
}

/// Placeholders and what they stand for in one probe.
#[derive(Debug)]
struct Names([(&'static str, String); 3]);

#[derive(Debug)]
pub(super) struct Steps {
    settings: Settings,
    names: Names,
    /// The step that is under way, from 0.
    number: usize,
    /// The command that was last said.
    said: String,
    /// How often this step has looked at what came.
    looks: u32,
}

/// Portions in which a server may give one answer. Each is looked at with all that came before it, so a server that
/// drips would cost more than it sends.
const LOOKS: u32 = 512;

impl Steps {
    pub(super) fn new(settings: &Settings, route: Route) -> Self {
        let target = route.target;
        let names = [
            ("{target}", target.to_string()),
            ("{address}", target.ip().to_string()),
            ("{port}", target.port().to_string()),
        ];
        Self { settings: settings.clone(), names: Names(names), number: 0, said: String::new(), looks: 0 }
    }

    /// The step has what it expected.
    fn finish(&mut self, step: &Step, taken: usize) -> Move {
        self.number += 1;
        self.looks = 0;
        let text = step.send.bytes(&self.names);
        if !text.is_empty() {
            self.said = command(&text);
        }
        if step.starttls {
            return Move::Secure { taken, request: Vec::new(), text };
        }
        Move::Say { taken, text }
    }

    fn rejected(&self, pattern: &Pattern, bytes: &[u8], begin: usize) -> Move {
        let line = bytes[..begin].iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let (number, said) = (self.number + 1, words(&bytes[line..]));
        Move::Fail(format!("step {number} rejects \"{}\": the server said '{said}'", pattern.shown()))
    }
}

impl Expect {
    /// Begin and end of where it is found.
    fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        match self {
            Self::Text(pattern) => pattern.find(bytes, from),
            Self::Bytes(wanted) => {
                let begin = bytes[from..].windows(wanted.len()).position(|window| window == wanted)? + from;
                Some((begin, begin + wanted.len()))
            }
        }
    }
}

impl Protocol for Steps {
    fn read(&mut self, heard: Heard<'_>) -> Move {
        let steps = Arc::clone(&self.settings.steps);
        let Some(step) = steps.get(self.number) else {
            let reason = match self.number {
                1 => "1 step passed".to_owned(),
                count => format!("{count} steps passed"),
            };
            return Move::Pass { reason, farewell: self.settings.farewell.bytes(&self.names) };
        };
        let (bytes, from) = heard.with_context();
        let Some(expect) = &step.expect else { return self.finish(step, 0) };
        self.looks += 1;
        if self.looks > LOOKS {
            return Move::Fail(format!("an answer in more than {LOOKS} pieces: {}", self.awaited()));
        }
        let found = expect.find(bytes, from);
        let rejected = step.reject.as_ref().and_then(|pattern| Some((pattern, pattern.find(bytes, from)?.0)));
        match (found, rejected) {
            (Some((begin, end)), rejected) if rejected.is_none_or(|(_, at)| begin < at) => {
                self.finish(step, end - from)
            }
            (_, Some((pattern, at))) => self.rejected(pattern, bytes, at),
            (_, None) => Move::Wait,
        }
    }

    fn awaited(&self) -> String {
        let number = self.number + 1;
        let expected = match self.settings.steps.get(self.number).and_then(|step| step.expect.as_ref()) {
            Some(Expect::Text(pattern)) => format!("\"{}\"", pattern.shown()),
            Some(Expect::Bytes(bytes)) => format!("the bytes {}", hex(bytes)),
            None => "nothing".to_owned(),
        };
        let after = if self.said.is_empty() { String::new() } else { format!(" after {}", self.said) };
        format!("step {number} waits for {expected}{after}")
    }
}

/// The first word, if it is one of capital letters: what follows it, or is said instead, may be a password.
fn command(text: &[u8]) -> String {
    let word = text.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    if word.len() < text.len() && word.iter().all(u8::is_ascii_uppercase) {
        words(word)
    } else {
        String::new()
    }
}

/// The first bytes, as they are written in a file.
fn hex(bytes: &[u8]) -> String {
    let dots = if bytes.len() > 16 { "…" } else { "" };
    bytes.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>() + dots
}
