//! The question over TCP: each message behind its length in two bytes (RFC 1035 section 4.2.2).

use std::sync::Arc;

use super::answer::Reading;
use super::{Question, Settings};
use crate::probe::{Conversation, Outcome};

/// The length before each message.
const PREFIX: usize = 2;

#[derive(Debug)]
pub struct Stream {
    question: Question,
    request: Vec<u8>,
    sent: usize,
    /// With its length; at most 64 KiB.
    pub(super) answer: Vec<u8>,
}

impl Stream {
    /// `id` is one that nobody can foresee.
    pub fn new(settings: Arc<Settings>, id: u16) -> Self {
        Self::of(Question { settings, id })
    }

    pub(super) fn of(question: Question) -> Self {
        let message = question.message();
        let length = u16::try_from(message.len()).expect("one question is short");
        let request = [&length.to_be_bytes(), message.as_slice()].concat();
        Self { question, request, sent: 0, answer: Vec::new() }
    }

    /// The length that the answer says it has.
    fn length(&self) -> Option<usize> {
        self.answer.first_chunk::<PREFIX>().map(|prefix| usize::from(u16::from_be_bytes(*prefix)))
    }
}

impl Conversation for Stream {
    fn unsent(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    fn on_sent(&mut self, count: usize) {
        self.sent += count;
    }

    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        // First the length, then no more than it says.
        let wanting = PREFIX.saturating_sub(self.answer.len()).min(bytes.len());
        let (prefix, bytes) = bytes.split_at(wanting);
        self.answer.extend_from_slice(prefix);
        let whole = PREFIX + self.length()?;
        let room = whole.saturating_sub(self.answer.len()).min(bytes.len());
        self.answer.extend_from_slice(&bytes[..room]);
        if self.answer.len() < whole {
            return None;
        }
        Some(match self.question.read(&self.answer[PREFIX..]) {
            Reading::Answer(outcome) => outcome,
            Reading::Truncated => Outcome::Fail("the answer is truncated, and that over TCP".to_owned()),
            Reading::Another(fault) => Outcome::Fail(format!("an answer to another question: {fault}")),
        })
    }

    fn on_closed(&mut self) -> Outcome {
        Outcome::Fail(format!("the server closed the connection: {}", self.progress()))
    }

    fn progress(&self) -> String {
        if !self.unsent().is_empty() {
            return "the question is not sent yet".to_owned();
        }
        match self.length() {
            None if self.answer.is_empty() => "question sent, nothing received".to_owned(),
            None => "question sent, half of the answer's length received".to_owned(),
            Some(length) => {
                format!(
                    "question sent, {} of {length} bytes of the answer received",
                    self.answer.len() - PREFIX
                )
            }
        }
    }
}
