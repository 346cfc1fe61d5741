//! Taking typed values out of a [`Table`], with every mistake reported where it stands.
//!
//! A reader remembers which keys it was asked for; [`Reader::finish`] reports all others as unknown. A value that
//! is missing or wrong is `None`: the caller reads on, so that one run shows every mistake of the file.

use std::ops::RangeInclusive;
use std::time::Duration;

use crate::diagnostic::{Location, Report, nearest};
use crate::document::{Kind, Table, Value};
use crate::units::{format_duration, parse_duration};

/// A validated value and where it stands, for later messages about it.
#[derive(Clone, Debug)]
pub struct Located<T> {
    pub value: T,
    pub at: Location,
}

impl<T> Located<T> {
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Located<U> {
        Located { value: f(self.value), at: self.at }
    }
}

/// Keys that most tables are asked for.
const KEYS: usize = 24;

/// Reads one table. Drop it only through [`Reader::finish`], or unknown keys go unseen.
#[derive(Debug)]
pub struct Reader<'a> {
    table: &'a Table,
    report: &'a mut Report,
    /// Some of them several times.
    asked: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn new(table: &'a Table, report: &'a mut Report) -> Self {
        Self { table, report, asked: Vec::with_capacity(KEYS) }
    }

    /// For the caller's own checks between two reads.
    pub fn report(&mut self) -> &mut Report {
        self.report
    }

    /// The value of a key as it stands, for forms that no other method reads.
    pub fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.table.entries.get(key).map(|entry| &entry.value)
    }

    pub fn string(&mut self, key: &'static str) -> Option<Located<String>> {
        let value = self.value(key)?;
        let Kind::String(text) = &value.kind else { return self.wrong_type(key, value, "a string") };
        Some(Located { value: text.clone(), at: value.at.clone() })
    }

    pub fn boolean(&mut self, key: &'static str) -> Option<Located<bool>> {
        let value = self.value(key)?;
        let Kind::Boolean(flag) = value.kind else { return self.wrong_type(key, value, "true or false") };
        Some(Located { value: flag, at: value.at.clone() })
    }

    /// An integer within `range`, converted to the caller's type.
    ///
    /// # Panics
    /// If `T` cannot hold the range: a mistake of the caller, found by the first test that reads the key.
    pub fn integer<T: TryFrom<i64>>(
        &mut self,
        key: &'static str,
        range: RangeInclusive<i64>,
    ) -> Option<Located<T>> {
        let value = self.value(key)?;
        let Kind::Integer(number) = value.kind else { return self.wrong_type(key, value, "an integer") };
        let Some(number) = number.filter(|number| range.contains(number)) else {
            let message = format!("'{key}' must be from {} to {}", range.start(), range.end());
            self.report.error(&value.at, message);
            return None;
        };
        let Ok(number) = T::try_from(number) else { panic!("the type of '{key}' does not hold {range:?}") };
        Some(Located { value: number, at: value.at.clone() })
    }

    /// A time span: a string in systemd's form, or a bare number of seconds.
    pub fn duration(
        &mut self,
        key: &'static str,
        range: RangeInclusive<Duration>,
    ) -> Option<Located<Duration>> {
        let value = self.value(key)?;
        let text = match &value.kind {
            Kind::String(text) | Kind::Float(text) => text.clone(),
            Kind::Integer(Some(seconds)) => seconds.to_string(),
            Kind::Integer(None) | Kind::Boolean(_) | Kind::Datetime(_) | Kind::Array(_) | Kind::Table(_) => {
                return self.wrong_type(key, value, "a time span such as \"500ms\" or \"1min 30s\"");
            }
        };
        let duration = match parse_duration(&text) {
            Ok(duration) => duration,
            Err(reason) => {
                self.report.error(&value.at, format!("'{key}' is {reason}"));
                return None;
            }
        };
        if !range.contains(&duration) {
            let (least, most) = (format_duration(*range.start()), format_duration(*range.end()));
            self.report.error(&value.at, format!("'{key}' must be from {least} to {most}"));
            return None;
        }
        Some(Located { value: duration, at: value.at.clone() })
    }

    /// A string that `parse` understands; its error is the end of the sentence "'KEY' is …".
    pub fn parse<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Located<T>> {
        let text = self.string(key)?;
        match parse(&text.value) {
            Ok(value) => Some(Located { value, at: text.at }),
            Err(reason) => {
                self.report.error(&text.at, format!("'{key}' is {reason}"));
                None
            }
        }
    }

    /// One of a fixed set of words. `others` are the words of other programs, with what to write here instead.
    pub fn choice<T: Copy>(
        &mut self,
        key: &'static str,
        words: &[(&str, T)],
        others: &[(&str, &str)],
    ) -> Option<Located<T>> {
        let text = self.string(key)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text.value) {
            return Some(Located { value: *value, at: text.at });
        }
        let known = words.iter().map(|(word, _)| *word);
        let other = others.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text.value));
        let hint = match (other, nearest(&text.value, known.clone())) {
            (Some((_, ours)), _) => format!("write \"{ours}\""),
            (None, Some(word)) => format!("did you mean \"{word}\"?"),
            (None, None) => format!("one of {}", quoted_list(known)),
        };
        self.report.error(&text.at, format!("'{key}' cannot be \"{}\"", text.value)).hint(hint);
        None
    }

    pub fn array(&mut self, key: &'static str) -> Option<Located<&'a [Value]>> {
        let value = self.value(key)?;
        let Kind::Array(values) = &value.kind else {
            return self.wrong_type(key, value, "an array: [ … ]");
        };
        Some(Located { value: values.as_slice(), at: value.at.clone() })
    }

    /// `[key]`, or an inline table.
    pub fn table(&mut self, key: &'static str) -> Option<&'a Table> {
        let value = self.value(key)?;
        let Kind::Table(table) = &value.kind else {
            return self.wrong_type(key, value, &format!("a table: [{key}]"));
        };
        Some(table)
    }

    /// All `[[key]]`, in the file's order.
    pub fn tables(&mut self, key: &'static str) -> Vec<&'a Table> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let wanted = format!("an array of tables: [[{key}]]");
        let Kind::Array(values) = &value.kind else {
            self.wrong_type::<()>(key, value, &wanted);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(values.len());
        for value in values {
            if let Kind::Table(table) = &value.kind {
                tables.push(table);
            } else {
                self.wrong_type::<()>(key, value, &wanted);
            }
        }
        tables
    }

    /// Report `key` as missing, unless it is there (then what is wrong with it has been reported). `example` is a
    /// line that would do.
    pub fn require<T>(&mut self, key: &'static str, value: Option<T>, example: &str) -> Option<T> {
        if value.is_none() && !self.table.entries.contains_key(key) {
            let message = format!("'{key}' is missing");
            self.report.error(&self.table.at, message).hint(format!("for example: {example}"));
        }
        value
    }

    /// Report a mistake of the table as a whole.
    pub fn mistake(&mut self, message: impl Into<String>, hint: &str) {
        self.report.error(&self.table.at, message).hint(hint);
    }

    /// Report every key that nobody asked for. `others` are the keys of other programs, and of people's habits,
    /// with what to write here instead, as the hint's whole text.
    pub fn finish(self, others: &[(&str, &str)]) {
        for (key, entry) in &self.table.entries {
            if self.asked.contains(&key.as_str()) {
                continue;
            }
            let other = others.iter().find(|(word, _)| word.eq_ignore_ascii_case(key));
            let hint = match (other, nearest(key, self.asked.iter().copied())) {
                (Some((_, advice)), _) => (*advice).to_owned(),
                (None, Some(word)) => format!("did you mean '{word}'?"),
                (None, None) => format!("the keys here are {}", self.keys().join(", ")),
            };
            self.report.error(&entry.key_at, format!("unknown key '{key}'")).hint(hint);
        }
    }

    /// Each once, in the order in which they were asked for.
    fn keys(&self) -> Vec<&'static str> {
        let mut keys = Vec::new();
        for key in &self.asked {
            if !keys.contains(key) {
                keys.push(*key);
            }
        }
        keys
    }

    fn wrong_type<T>(&mut self, key: &str, value: &Value, wanted: &str) -> Option<T> {
        let found = value.kind.describe();
        self.report.error(&value.at, format!("'{key}' must be {wanted}, not {found}"));
        None
    }
}

fn quoted_list<'a>(words: impl Iterator<Item = &'a str>) -> String {
    words.map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::Arc;

    use super::*;
    use crate::diagnostic::Source;

    fn read(text: &str, read: impl FnOnce(&mut Reader<'_>)) -> String {
        let source = Arc::new(Source { path: PathBuf::from("x.toml"), text: text.into() });
        let mut report = Report::new();
        let table = Table::parse(&source, &mut report);
        let mut reader = Reader::new(&table, &mut report);
        read(&mut reader);
        reader.finish(&[("advert_int", "write advert_interval = \"1s\"")]);
        report.to_string()
    }

    #[test]
    fn all_mistakes_of_a_file_are_reported_in_one_run() {
        let text = read("priority = 999\npreempt = 'yes'\nadvert_int = 1\nintrface = 'eth0'\n", |reader| {
            assert!(reader.integer::<u8>("priority", 1..=255).is_none());
            assert!(reader.boolean("preempt").is_none());
            let interface = reader.string("interface");
            assert!(reader.require("interface", interface, "interface = \"eth0\"").is_none());
        });
        for expected in [
            "x.toml:1:12: error: 'priority' must be from 1 to 255",
            "x.toml:2:11: error: 'preempt' must be true or false, not a string",
            "x.toml:3:1: error: unknown key 'advert_int'",
            "hint: write advert_interval = \"1s\"",
            "x.toml:4:1: error: unknown key 'intrface'",
            "hint: did you mean 'interface'?",
            "x.toml:1:1: error: 'interface' is missing",
            "5 errors",
        ] {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_key_that_is_there_but_wrong_is_not_also_called_missing() {
        let text = read("interface = 3\n", |reader| {
            let interface = reader.string("interface");
            reader.require("interface", interface, "interface = \"eth0\"");
        });
        assert!(text.contains("must be a string") && !text.contains("missing"), "{text}");
    }

    #[test]
    fn durations_may_be_strings_or_numbers_and_are_checked_against_their_range() {
        let second = Duration::from_secs(1);
        let text = read("a = '1min'\nb = 2\nc = 0.5\nd = '1h'\ne = true\n", |reader| {
            let range = Duration::ZERO..=60 * second;
            assert_eq!(reader.duration("a", range.clone()).unwrap().value, 60 * second);
            assert_eq!(reader.duration("b", range.clone()).unwrap().value, 2 * second);
            assert_eq!(reader.duration("c", range.clone()).unwrap().value, second / 2);
            assert!(reader.duration("d", range.clone()).is_none());
            assert!(reader.duration("e", range).is_none());
        });
        assert!(text.contains("'d' must be from 0s to 1min"), "{text}");
        assert!(text.contains("'e' must be a time span"), "{text}");
    }

    #[test]
    fn a_wrong_word_is_answered_with_the_nearest_or_with_ours_for_theirs() {
        let words = [("nat", 0), ("route", 1), ("tunnel", 2)];
        let text = read("a = 'DR'\nb = 'rout'\nc = 'x'\nd = 'nat'\n", |reader| {
            for key in ["a", "b", "c"] {
                assert!(reader.choice(key, &words, &[("DR", "route")]).is_none());
            }
            assert_eq!(reader.choice("d", &words, &[]).unwrap().value, 0);
        });
        for expected in
            ["write \"route\"", "did you mean \"route\"?", "one of \"nat\", \"route\", \"tunnel\""]
        {
            assert!(text.contains(expected), "{expected:?} is not in:\n{text}");
        }
    }
}
