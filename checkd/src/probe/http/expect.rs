//! What a body must be, and looking at one as it arrives: in passing, so that nothing of it need be kept but a few
//! bytes in which a text may have begun.

use memchr::memmem::Finder;

use super::digest::{self, Digest};
use super::pattern::{Matching, Pattern};
use crate::probe::quote::cut;

/// How much of a text a reason quotes.
const QUOTE_LIMIT: usize = 60;
/// By default, bodies may be this long.
const BODY_LIMIT: u64 = 1024 * 1024;

/// All of it must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expectations {
    pub contains: Vec<Text>,
    pub not_contains: Vec<Text>,
    pub matches: Vec<Pattern>,
    pub not_matches: Vec<Pattern>,
    pub digest: Option<Digest>,
    /// More of a body than this is not read, in bytes.
    pub limit: u64,
}

impl Default for Expectations {
    fn default() -> Self {
        Self {
            contains: Vec::new(),
            not_contains: Vec::new(),
            matches: Vec::new(),
            not_matches: Vec::new(),
            digest: None,
            limit: BODY_LIMIT,
        }
    }
}

impl Expectations {
    /// Any body will do.
    pub fn is_empty(&self) -> bool {
        self.contains.is_empty() && self.matches.is_empty() && !self.needs_whole()
    }

    /// Nothing can be said in its favour before its end.
    pub(super) fn needs_whole(&self) -> bool {
        !self.not_contains.is_empty() || !self.not_matches.is_empty() || self.digest.is_some()
    }

    /// Of the longest text.
    fn longest(&self) -> usize {
        let texts = self.contains.iter().chain(&self.not_contains);
        texts.map(|text| text.0.needle().len()).max().unwrap_or(0)
    }
}

/// A text to look for, byte for byte; never empty.
#[derive(Clone, Debug)]
pub struct Text(Finder<'static>);

impl Text {
    /// # Panics
    /// If it is empty.
    pub fn new(text: &str) -> Self {
        assert!(!text.is_empty(), "every body has an empty text in it");
        Self(Finder::new(text.as_bytes()).into_owned())
    }

    fn quoted(&self) -> String {
        format!("'{}'", cut(self.0.needle(), QUOTE_LIMIT))
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.0.needle() == other.0.needle()
    }
}

impl Eq for Text {}

/// One body under the eyes of its [`Expectations`].
#[derive(Debug)]
pub(super) struct Scan {
    /// Which of `contains` were found, by number.
    found: Vec<bool>,
    /// The last bytes, in which a text may have begun.
    tail: Vec<u8>,
    /// Of `matches` and `not_matches`, by number.
    matches: Vec<Matching>,
    not_matches: Vec<Matching>,
    digest: Option<digest::Running>,
}

impl Scan {
    pub(super) fn new(expected: &Expectations) -> Self {
        let begin = |patterns: &[Pattern]| patterns.iter().map(Matching::new).collect();
        Self {
            found: vec![false; expected.contains.len()],
            tail: Vec::new(),
            matches: begin(&expected.matches),
            not_matches: begin(&expected.not_matches),
            digest: expected.digest.as_ref().map(digest::Running::new),
        }
    }

    /// The next bytes of the body; the caller keeps to the limit. `Some`: that decides it, as [`Scan::finish`].
    pub(super) fn on_bytes(&mut self, expected: &Expectations, bytes: &[u8]) -> Option<Result<(), String>> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        let looked =
            self.look_for_texts(expected, bytes).and_then(|()| self.look_for_patterns(expected, bytes));
        match looked {
            Ok(all_found) => (all_found && !expected.needs_whole()).then_some(Ok(())),
            Err(reason) => Some(Err(reason)),
        }
    }

    fn look_for_texts(&mut self, expected: &Expectations, bytes: &[u8]) -> Result<(), String> {
        let longest = expected.longest();
        if longest == 0 {
            return Ok(());
        }
        // Texts across the seam are found in the tail with what follows it, others in the bytes themselves.
        let mut seam = std::mem::take(&mut self.tail);
        seam.extend_from_slice(&bytes[..bytes.len().min(longest - 1)]);
        self.look(expected, &seam)?;
        self.look(expected, bytes)?;
        self.keep_tail(seam, bytes, longest - 1);
        Ok(())
    }

    /// Keep the last `length` bytes; `seam` has those before `bytes`, and up to `length` of these.
    fn keep_tail(&mut self, mut seam: Vec<u8>, bytes: &[u8], length: usize) {
        if bytes.len() >= length {
            seam.clear();
            seam.extend_from_slice(&bytes[bytes.len() - length..]);
        } else {
            seam.drain(..seam.len().saturating_sub(length));
        }
        self.tail = seam;
    }

    fn look(&mut self, expected: &Expectations, bytes: &[u8]) -> Result<(), String> {
        if let Some(text) = expected.not_contains.iter().find(|text| text.0.find(bytes).is_some()) {
            return Err(format!("the body contains {}", text.quoted()));
        }
        for (found, text) in self.found.iter_mut().zip(&expected.contains) {
            *found = *found || text.0.find(bytes).is_some();
        }
        Ok(())
    }

    /// Whether all that must be there, texts as well, has been found.
    fn look_for_patterns(&mut self, expected: &Expectations, bytes: &[u8]) -> Result<bool, String> {
        for (matching, pattern) in self.not_matches.iter_mut().zip(&expected.not_matches) {
            if matching.on_bytes(pattern, bytes) == Some(true) {
                return Err(matched(pattern));
            }
        }
        let mut all_found = self.found.iter().all(|found| *found);
        for (matching, pattern) in self.matches.iter_mut().zip(&expected.matches) {
            match matching.on_bytes(pattern, bytes) {
                Some(true) => {}
                Some(false) => return Err(format!("the body does not match {}", pattern.quoted())),
                None => all_found = false,
            }
        }
        Ok(all_found)
    }

    /// The body has ended after `length` bytes. Called once.
    ///
    /// # Errors
    /// The reason why it is not as expected.
    pub(super) fn finish(&mut self, expected: &Expectations, length: u64) -> Result<(), String> {
        if let Some(text) = self.missing(expected) {
            return Err(format!("{text} is not in the body ({length} bytes)"));
        }
        let mut matches = self.matches.iter().zip(&expected.matches);
        if let Some((_, pattern)) = matches.find(|(matching, pattern)| !matching.finish(pattern)) {
            return Err(format!("the body ({length} bytes) does not match {}", pattern.quoted()));
        }
        let mut not_matches = self.not_matches.iter().zip(&expected.not_matches);
        if let Some((_, pattern)) = not_matches.find(|(matching, pattern)| matching.finish(pattern)) {
            return Err(matched(pattern));
        }
        match (&expected.digest, self.digest.take().map(digest::Running::finish)) {
            (Some(expected), Some(digest)) if *expected != digest => {
                Err(format!("the digest of the body ({length} bytes) is {digest}, expected {expected}"))
            }
            (_, _) => Ok(()),
        }
    }

    /// How many bytes of the body it holds.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.tail.capacity()
    }

    /// The first text that has not been found.
    pub(super) fn missing(&self, expected: &Expectations) -> Option<String> {
        let mut pairs = self.found.iter().zip(&expected.contains);
        pairs.find(|(found, _)| !**found).map(|(_, text)| text.quoted())
    }
}

fn matched(pattern: &Pattern) -> String {
    format!("the body matches {}", pattern.quoted())
}

#[cfg(test)]
mod tests;
