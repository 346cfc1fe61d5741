//! Regular expressions over bodies as they arrive (`matches`, `not_matches`): a deterministic automaton, built with the
//! configuration. A byte costs one step, whatever the pattern and whatever a hostile server sends, and nothing of the
//! body is kept. The price: a pattern whose automaton is too large is refused.

use std::fmt;
use std::sync::Arc;

use regex_automata::Anchored;
use regex_automata::dfa::{Automaton, StartKind, dense};
use regex_automata::nfa::thompson;
use regex_automata::util::primitives::StateID;
use regex_automata::util::{start, syntax};

use crate::probe::pattern;
use crate::probe::quote::cut;

/// How much of a pattern a reason quotes.
const QUOTE_LIMIT: usize = 60;

/// Over bytes: classes and case are ASCII's, as in keepalived, and `.` is any byte but a line feed.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    automaton: Arc<dense::DFA<Vec<u32>>>,
    start: StateID,
}

impl Pattern {
    /// # Errors
    /// What is wrong with it, as the end of a sentence such as "'matches' is …".
    pub fn new(text: &str) -> Result<Self, String> {
        let parsed = syntax::parse_with(text, &pattern::syntax());
        let parsed = parsed.map_err(|error| pattern::not_a_pattern(&error))?;
        let nfa = thompson::Compiler::new().configure(pattern::thompson()).build_from_hir(&parsed);
        let nfa = nfa.map_err(|_| pattern::too_large())?;
        let config = pattern::dense().start_kind(StartKind::Unanchored);
        let automaton = dense::Builder::new().configure(config).build_from_nfa(&nfa);
        let automaton = automaton.map_err(|_| pattern::too_large())?;
        let start = automaton.start_state(&start::Config::new().anchored(Anchored::No));
        let start = start.map_err(|error| format!("not possible here: {error}"))?;
        Ok(Self { text: text.to_owned(), automaton: Arc::new(automaton), start })
    }

    /// Whether these bytes have a match of it.
    pub fn is_in(&self, bytes: &[u8]) -> bool {
        let mut matching = Matching::new(self);
        matching.on_bytes(self, bytes).unwrap_or_else(|| matching.finish(self))
    }

    pub(super) fn quoted(&self) -> String {
        format!("'{}'", cut(self.text.as_bytes(), QUOTE_LIMIT))
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Pattern {}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.text)
    }
}

/// How far one body has been matched.
#[derive(Clone, Copy, Debug)]
pub(super) enum Matching {
    /// In this state of the automaton.
    Open(StateID),
    /// Whatever follows.
    Decided(bool),
}

impl Matching {
    pub(super) fn new(pattern: &Pattern) -> Self {
        Self::Open(pattern.start)
    }

    /// The next bytes of the body. What it comes to, if that is known now.
    pub(super) fn on_bytes(&mut self, pattern: &Pattern, bytes: &[u8]) -> Option<bool> {
        let mut state = match *self {
            Self::Open(state) => state,
            Self::Decided(matches) => return Some(matches),
        };
        let automaton = &*pattern.automaton;
        let mut at = 0;
        while at < bytes.len() {
            state = automaton.next_state(state, bytes[at]);
            at += 1;
            if automaton.is_special_state(state) {
                if automaton.is_match_state(state) || automaton.is_dead_state(state) {
                    let matches = automaton.is_match_state(state);
                    *self = Self::Decided(matches);
                    return Some(matches);
                }
                // Most bytes lead nowhere from here: look for those that do.
                if automaton.is_accel_state(state) {
                    at += skip(automaton.accelerator(state), &bytes[at..]);
                }
            }
        }
        *self = Self::Open(state);
        None
    }

    /// The body has ended.
    pub(super) fn finish(self, pattern: &Pattern) -> bool {
        match self {
            Self::Open(state) => {
                let automaton = &*pattern.automaton;
                automaton.is_match_state(automaton.next_eoi_state(state))
            }
            Self::Decided(matches) => matches,
        }
    }
}

/// How many bytes come before the first one of these, of which there are one to three.
fn skip(wanted: &[u8], bytes: &[u8]) -> usize {
    let found = match *wanted {
        [a] => memchr::memchr(a, bytes),
        [a, b] => memchr::memchr2(a, b, bytes),
        [a, b, c] => memchr::memchr3(a, b, c, bytes),
        _ => Some(0),
    };
    found.unwrap_or(bytes.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the pattern is in the text, the same in portions of every size.
    fn matches(pattern: &str, text: &[u8]) -> bool {
        let pattern = Pattern::new(pattern).unwrap();
        let in_portions = |size: usize| {
            let mut matching = Matching::new(&pattern);
            let decided = text.chunks(size).find_map(|portion| matching.on_bytes(&pattern, portion));
            decided.unwrap_or_else(|| matching.finish(&pattern))
        };
        let whole = in_portions(text.len().max(1));
        for size in 1..text.len() {
            assert_eq!(in_portions(size), whole, "{pattern:?} in portions of {size}");
        }
        whole
    }

    #[test]
    fn a_pattern_is_found_as_a_backtracker_would_find_it() {
        for (pattern, text, expected) in [
            ("ok", "all is ok.", true),
            ("ok", "all is o-k", false),
            ("^ok", "ok", true),
            ("^ok", " ok", false),
            ("(?m)^ok$", "no\nok\nno", true),
            ("ok$", "ok", true),
            ("ok$", "ok\n", false),
            (r"ok\s*$", "ok\r\n", true),
            ("^$", "", true),
            ("^$", "x", false),
            ("", "anything", true),
            ("(?i)OK|up", "is Up", true),
            (r"\bup\b", "uptime: up", true),
            (r"\bup\b", "uptime: sup", false),
            (r#""status":\s*"(ok|degraded)""#, "{\"a\": 1, \"status\":  \"degraded\"}", true),
            ("a.c", "a\nc", false),
            ("(?s)a.c", "a\nc", true),
            ("x{3}", "xx", false),
            ("x{3}", "xxxx", true),
        ] {
            assert_eq!(matches(pattern, text.as_bytes()), expected, "{pattern:?} in {text:?}");
        }
        assert!(matches("caf. ok$", b"caf\xe9 ok"), "a byte, not a character");
        assert!(matches("caf\u{e9}", "un caf\u{e9}.".as_bytes()));
    }

    #[test]
    fn it_is_known_as_early_as_it_can_be() {
        let early = |pattern: &str, text: &str| {
            let pattern = Pattern::new(pattern).unwrap();
            // An automaton knows of a match one byte after it.
            Matching::new(&pattern).on_bytes(&pattern, text.as_bytes())
        };
        assert_eq!(early("up", "all up."), Some(true));
        assert_eq!(early("up", "all is well"), None);
        assert_eq!(early("^up", "all up"), Some(false));
        assert_eq!(early("up$", "all up"), None);
    }

    #[test]
    fn a_pattern_that_is_none_or_too_large_is_refused_in_one_line() {
        for (pattern, expected) in [
            ("(ok", "unclosed group"),
            ("a{2,1}", "repetition"),
            ("(?=x)", "look-around"),
            (r"(a)\1", "backreferences"),
            ("[a-z]{1000}{1000}", "too large a pattern"),
            ("a.{0,60}b", "too large a pattern"),
            ("[ab].{60}[ab].{60}", "too large a pattern"),
        ] {
            let reason = Pattern::new(pattern).unwrap_err();
            assert!(reason.contains(expected) && !reason.contains('\n'), "{pattern}: {reason}");
        }
        for pattern in [
            "^ok$",
            "(?i)up|ok",
            r"status:\s+\w+",
            "(?s)^a.{0,500}b",
            "<title>.{1,20}</title>",
            "(?:.?){100}x",
        ] {
            assert!(Pattern::new(pattern).is_ok(), "{pattern}: {:?}", Pattern::new(pattern));
        }
    }

    #[test]
    fn patterns_are_the_same_if_their_words_are() {
        let pattern = |text| Pattern::new(text).unwrap();
        assert_eq!(pattern("a+"), pattern("a+"));
        assert_ne!(pattern("a+"), pattern("a*"));
    }
}
