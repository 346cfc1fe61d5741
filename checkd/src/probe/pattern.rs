//! A regular expression over bytes, as a user writes it: linear time whatever the pattern and the text, compared by
//! what was written.

use regex::bytes::{Regex, RegexBuilder};

/// What one pattern may take, compiled, in bytes.
const SIZE_LIMIT: usize = 1 << 20;

/// How much of a pattern a reason shows, in characters.
const SHOWN: usize = 60;

#[derive(Clone, Debug)]
pub struct Pattern(Regex);

impl Pattern {
    /// A pattern for text of lines: `^` and `$` are the beginning and the end of each, with CR LF or LF. A character is
    /// a byte.
    ///
    /// # Errors
    /// What is wrong with it, to follow "'KEY' is ".
    pub fn of_lines(text: &str) -> Result<Self, String> {
        let built = RegexBuilder::new(text)
            .multi_line(true)
            .crlf(true)
            .unicode(false)
            .size_limit(SIZE_LIMIT)
            .dfa_size_limit(SIZE_LIMIT)
            .build();
        match built {
            Ok(regex) if regex.is_match(b"") => {
                Err("a pattern that fits nothing at all: it would match before anything has come".to_owned())
            }
            Ok(regex) => Ok(Self(regex)),
            Err(regex::Error::CompiledTooBig(_)) => Err("too large a regular expression".to_owned()),
            // The last line says what; those before it draw the pattern with a caret, which the report does itself.
            Err(error) => {
                let text = error.to_string();
                let what = text.lines().last().unwrap_or_default().trim_start_matches("error: ").to_owned();
                Err(format!("not a regular expression: {what}"))
            }
        }
    }

    /// Begin and end of the first match in `bytes` that begins at or after `from`. What is before `from` is only
    /// looked at for what `^` and `\b` mean there.
    pub fn find(&self, bytes: &[u8], from: usize) -> Option<(usize, usize)> {
        self.0.find_at(bytes, from).map(|found| (found.start(), found.end()))
    }

    /// As it was written, for a reason: without control characters, and cut.
    pub fn shown(&self) -> String {
        let dots = if self.0.as_str().chars().nth(SHOWN).is_some() { "…" } else { "" };
        let start = self.0.as_str().chars().take(SHOWN);
        let escaped =
            start.map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() });
        escaped.collect::<String>() + dots
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

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
        for nothing in ["", "x*", "^"] {
            assert!(why(nothing).contains("fits nothing at all"));
        }
    }
}
