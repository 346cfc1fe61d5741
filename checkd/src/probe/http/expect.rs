//! What a body must be, and looking at one as it arrives. Texts and digests are taken in passing; only a pattern
//! needs the body kept, since what it says of a beginning may be wrong of the whole.

use memchr::memmem::Finder;
use regex::bytes::{Regex, RegexBuilder};

use super::digest::{self, Digest};
use crate::probe::quote::cut;

/// How much of a text or pattern a reason quotes.
const QUOTE_LIMIT: usize = 60;
/// A compiled pattern may be this large. It bounds what a byte of a body can cost in the worst case, too.
const PATTERN_LIMIT: usize = 64 * 1024;
/// What matching may take for a cache, per pattern, not per probe.
const CACHE_LIMIT: usize = 512 * 1024;
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
        self.contains.is_empty() && !self.needs_whole()
    }

    /// Nothing can be said in its favour before its end.
    pub(super) fn needs_whole(&self) -> bool {
        !self.not_contains.is_empty() || self.digest.is_some() || self.has_patterns()
    }

    fn has_patterns(&self) -> bool {
        !self.matches.is_empty() || !self.not_matches.is_empty()
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

/// A regular expression over bytes, matched in linear time. Classes and case are ASCII's, as in keepalived.
#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// # Errors
    /// What is wrong with it, as the end of a sentence such as "'matches' is …".
    pub fn new(text: &str) -> Result<Self, String> {
        let mut builder = RegexBuilder::new(text);
        builder.unicode(false).size_limit(PATTERN_LIMIT).dfa_size_limit(CACHE_LIMIT);
        match builder.build() {
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(limit)) => {
                Err(format!("too large a pattern: compiled, it takes more than {} KiB", limit / 1024))
            }
            Err(error) => {
                // Several lines with the pattern and a caret, then the message.
                let text = error.to_string();
                let message = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
                Err(format!("not a regular expression: {message}"))
            }
        }
    }

    fn quoted(&self) -> String {
        format!("'{}'", cut(self.0.as_str().as_bytes(), QUOTE_LIMIT))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

/// One body under the eyes of its [`Expectations`].
#[derive(Debug)]
pub(super) struct Scan {
    /// Which of `contains` were found, by number.
    found: Vec<bool>,
    /// The last bytes, in which a text may have begun.
    tail: Vec<u8>,
    /// All of it, if a pattern needs that.
    kept: Vec<u8>,
    digest: Option<digest::Running>,
}

impl Scan {
    pub(super) fn new(expected: &Expectations) -> Self {
        Self {
            found: vec![false; expected.contains.len()],
            tail: Vec::new(),
            kept: Vec::new(),
            digest: expected.digest.as_ref().map(digest::Running::new),
        }
    }

    /// The next bytes of the body; the caller keeps to the limit. `Some`: that decides it, as [`Scan::finish`].
    pub(super) fn on_bytes(&mut self, expected: &Expectations, bytes: &[u8]) -> Option<Result<(), String>> {
        if let Some(digest) = &mut self.digest {
            digest.update(bytes);
        }
        if expected.has_patterns() {
            self.keep(expected, bytes);
        }
        let longest = expected.longest();
        if longest > 0 {
            // Texts across the seam are found in the tail with what follows it, others in the bytes themselves.
            let mut seam = std::mem::take(&mut self.tail);
            seam.extend_from_slice(&bytes[..bytes.len().min(longest - 1)]);
            if let Err(reason) = self.look(expected, &seam).and_then(|()| self.look(expected, bytes)) {
                return Some(Err(reason));
            }
            self.keep_tail(seam, bytes, longest - 1);
        }
        let done = !expected.needs_whole() && self.found.iter().all(|found| *found);
        done.then_some(Ok(()))
    }

    /// Never takes room for more than the limit.
    fn keep(&mut self, expected: &Expectations, bytes: &[u8]) {
        let needed = self.kept.len() + bytes.len();
        if needed > self.kept.capacity() {
            let limit = usize::try_from(expected.limit).unwrap_or(usize::MAX);
            let room = needed.max(self.kept.capacity() * 2).min(limit.max(needed));
            self.kept.reserve_exact(room - self.kept.len());
        }
        self.kept.extend_from_slice(bytes);
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

    /// The body has ended after `length` bytes. Called once.
    ///
    /// # Errors
    /// The reason why it is not as expected.
    pub(super) fn finish(&mut self, expected: &Expectations, length: u64) -> Result<(), String> {
        if let Some(text) = self.missing(expected) {
            return Err(format!("{text} is not in the body ({length} bytes)"));
        }
        let kept = std::mem::take(&mut self.kept);
        if let Some(pattern) = expected.matches.iter().find(|pattern| !pattern.0.is_match(&kept)) {
            return Err(format!("the body ({length} bytes) does not match {}", pattern.quoted()));
        }
        if let Some(pattern) = expected.not_matches.iter().find(|pattern| pattern.0.is_match(&kept)) {
            return Err(format!("the body matches {}", pattern.quoted()));
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
        self.tail.capacity() + self.kept.capacity()
    }

    /// The first text that has not been found.
    pub(super) fn missing(&self, expected: &Expectations) -> Option<String> {
        let mut pairs = self.found.iter().zip(&expected.contains);
        pairs.find(|(found, _)| !**found).map(|(_, text)| text.quoted())
    }
}

#[cfg(test)]
mod tests;
