//! Regular expressions over bytes, as a user writes them: deterministic automata, built with the configuration. A byte
//! costs one step, whatever the pattern and whatever a hostile server sends. The price: a pattern whose automaton is too
//! large is refused. Those for bodies, which go on from portion to portion, are in `http/pattern.rs`.

use std::fmt;
use std::sync::Arc;

use regex_automata::Input;
use regex_automata::dfa::dense;
use regex_automata::dfa::regex::Regex;
use regex_automata::nfa::thompson::{self, WhichCaptures};
use regex_automata::util::syntax;

/// What an automaton may take, in bytes.
const SIZE_LIMIT: usize = 1024 * 1024;
/// What building it may take, in bytes.
const BUILD_LIMIT: usize = 4 * 1024 * 1024;

/// How much of a pattern a reason shows, in characters.
const SHOWN: usize = 60;

/// A character is a byte; classes and case are ASCII's.
pub(super) fn syntax() -> syntax::Config {
    syntax::Config::new().unicode(false).utf8(false)
}

pub(super) fn thompson() -> thompson::Config {
    let config = thompson::Config::new().utf8(false).which_captures(WhichCaptures::None);
    config.nfa_size_limit(Some(BUILD_LIMIT))
}

pub(super) fn dense() -> dense::Config {
    dense::Config::new().dfa_size_limit(Some(SIZE_LIMIT)).determinize_size_limit(Some(BUILD_LIMIT))
}

/// What is wrong with a pattern, as the end of a sentence such as "'matches' is …". The last line of the library's says
/// what; those before it draw the pattern with a caret, which the report does itself.
pub(super) fn not_a_pattern(error: &dyn fmt::Display) -> String {
    let error = error.to_string();
    let message = error.lines().last().unwrap_or_default().trim_start_matches("error: ");
    format!("not a regular expression: {message}")
}

pub(super) fn too_large() -> String {
    "too large a pattern: a counted repetition that may begin anywhere, such as 'a.{0,60}b', needs a plainer form, such \
     as 'a.*b'"
        .to_owned()
}

/// Compared by what was written.
#[derive(Clone)]
pub struct Pattern {
    text: String,
    regex: Arc<Regex>,
}

impl Pattern {
    /// A pattern for text of lines: `^` and `$` are the beginning and the end of each, with CR LF or LF.
    ///
    /// # Errors
    /// What is wrong with it, to follow "'KEY' is ".
    pub fn of_lines(text: &str) -> Result<Self, String> {
        let syntax = syntax().multi_line(true).crlf(true);
        syntax::parse_with(text, &syntax).map_err(|error| not_a_pattern(&error))?;
        let built = Regex::builder().syntax(syntax).thompson(thompson()).dense(dense()).build(text);
        // It can be parsed: only its size can be wrong with it.
        let pattern = Self { text: text.to_owned(), regex: Arc::new(built.map_err(|_| too_large())?) };
        if pattern.find(b"", 0).is_some() {
            return Err("a pattern that fits nothing at all: it would match before anything has come".into());
        }
        Ok(pattern)
    }

    /// Begin and end of the first match in `bytes` that begins at or after `from`. What is before `from` is only
    /// looked at for what `^` and `\b` mean there.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        let found = self.regex.try_search(&Input::new(bytes).range(from..));
        let found = found.expect("the automaton is whole, and no byte makes it give up");
        found.map(|found| (found.start(), found.end()))
    }

    /// As it was written, for a reason: without control characters, and cut.
    pub fn shown(&self) -> String {
        let dots = if self.text.chars().nth(SHOWN).is_some() { "…" } else { "" };
        let start = self.text.chars().take(SHOWN);
        let escaped =
            start.map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
        escaped.collect::<String>() + dots
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_begins_and_ends_with_cr_lf_too() {
        let pattern = Pattern::of_lines("^250 .*$").unwrap();
        assert_eq!(pattern.find(b"250-a\r\n250 b\r\n", 0), Some((7, 12)));
        assert_eq!(pattern.find(b"x250 b", 1), None, "not at the beginning of a line");
        assert_eq!(pattern.find(b"\xff\r\n250 \xff\r\n", 0), Some((3, 8)), "'.' is any byte");
        assert_eq!(pattern, Pattern::of_lines("^250 .*$").unwrap());
    }

    #[test]
    fn the_first_match_is_found_as_a_backtracker_would_find_it_wherever_the_search_begins() {
        let find = |text: &str, bytes: &[u8], from| Pattern::of_lines(text).unwrap().find(bytes, from);
        assert_eq!(find("a|ab", b"xab", 0), Some((1, 2)), "the first alternative");
        assert_eq!(find("(?:ab|a)b*", b"xabbb", 0), Some((1, 5)));
        assert_eq!(find("a.+?c", b"abcabc", 0), Some((0, 3)), "as little as possible");
        assert_eq!(find("b", b"ab ab", 2), Some((4, 5)));
        assert_eq!(find(r"\bok\b", b"nok ok", 1), Some((4, 6)), "what is before it counts");
        assert_eq!(find("^250 ", b"250-a\r\n250 b", 5), Some((7, 11)));
        assert_eq!(find("(?i)ready$", b"+OK Ready\r\n", 0), Some((4, 9)));
        assert_eq!(find("b", b"ab", 2), None);
    }

    #[test]
    fn a_reason_shows_a_pattern_on_one_line_and_cut() {
        assert_eq!(Pattern::of_lines("^220 \\d\r\n").unwrap().shown(), "^220 \\d\\r\\n");
        assert_eq!(Pattern::of_lines(&"x".repeat(61)).unwrap().shown(), "x".repeat(60) + "…");
    }

    #[test]
    fn a_pattern_that_cannot_be_used_is_refused_with_why() {
        let why = |text: &str| Pattern::of_lines(text).unwrap_err();
        assert!(why("(").contains("not a regular expression: unclosed group"), "{}", why("("));
        assert!(why("(?=x)").contains("look-around"), "{}", why("(?=x)"));
        assert!(why("(\\w{1000}){1000}").contains("too large"), "{}", why("(\\w{1000}){1000}"));
        assert!(why("a.{0,60}b").contains("too large"), "{}", why("a.{0,60}b"));
        for nothing in ["", "x*", "^"] {
            assert!(why(nothing).contains("fits nothing at all"));
        }
    }
}
