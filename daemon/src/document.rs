//! A TOML file as a tree in which every key and value knows where it stands.
//!
//! serde's derive stops at the first mistake of a file; a user wants all of them at once. So files become this
//! tree, drop-ins are merged into it key by key, and `reader.rs` takes typed values out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use crate::diagnostic::{Location, Report, Source};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct Value {
    pub kind: Kind,
    pub at: Location,
}

/// What TOML can hold. Dates are not used in our files and are kept as their text.
#[derive(Clone, Debug)]
pub enum Kind {
    String(String),
    /// `None`: an integer that does not fit in 64 bits.
    Integer(Option<i64>),
    /// The text of the number, so that a duration such as `0.5` is read exactly.
    Float(String),
    Boolean(bool),
    Datetime(String),
    Array(Vec<Value>),
    Table(Table),
}

impl Kind {
    /// The kind's name with its article, for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::String(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number with a fraction",
            Self::Boolean(_) => "true or false",
            Self::Datetime(_) => "a date",
            Self::Array(_) => "an array",
            Self::Table(_) => "a table",
        }
    }
}

/// A key's place and its value.
#[derive(Clone, Debug)]
pub struct Entry {
    pub key_at: Location,
    pub value: Value,
}

/// A table: the root of a file, `[name]`, an element of `[[name]]`, or an inline table.
#[derive(Clone, Debug)]
pub struct Table {
    pub at: Location,
    pub entries: BTreeMap<String, Entry>,
}

impl Table {
    /// Parse a file. Syntax errors, all of them, go to the report; what could be read is returned.
    pub fn parse(source: &Arc<Source>, report: &mut Report) -> Self {
        let (table, errors) = DeTable::parse_recoverable(&source.text);
        for error in errors {
            let at = Location::new(source, error.span().unwrap_or(0..0));
            report.error(&at, format!("not TOML: {}", error.message().trim_end()));
        }
        // A location for "a key is missing in this file": its first line.
        table_from(source, 0..0, table.into_inner())
    }

    /// Lay `other` over this one: its keys win, tables in both are merged, arrays are replaced.
    pub fn merge(&mut self, other: Self) {
        for (key, entry) in other.entries {
            let Some(own) = self.entries.get_mut(&key) else {
                self.entries.insert(key, entry);
                continue;
            };
            match (&mut own.value.kind, entry) {
                (Kind::Table(own), Entry { value: Value { kind: Kind::Table(other), .. }, .. }) => {
                    own.merge(other);
                }
                (_, entry) => *own = entry,
            }
        }
    }
}

fn table_from(source: &Arc<Source>, span: std::ops::Range<usize>, table: DeTable<'_>) -> Table {
    let entries = table
        .into_iter()
        .map(|(key, value)| {
            let key_at = Location::new(source, key.span());
            let span = value.span();
            (
                key.into_inner().into_owned(),
                Entry { key_at, value: value_from(source, span, value.into_inner()) },
            )
        })
        .collect();
    Table { at: Location::new(source, span), entries }
}

fn value_from(source: &Arc<Source>, span: std::ops::Range<usize>, value: DeValue<'_>) -> Value {
    let kind = match value {
        DeValue::String(text) => Kind::String(text.into_owned()),
        DeValue::Integer(number) => Kind::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()),
        DeValue::Float(number) => Kind::Float(number.as_str().to_owned()),
        DeValue::Boolean(value) => Kind::Boolean(value),
        DeValue::Datetime(value) => Kind::Datetime(value.to_string()),
        DeValue::Array(values) => Kind::Array(
            values
                .into_iter()
                .map(|value| {
                    let span = value.span();
                    value_from(source, span, value.into_inner())
                })
                .collect(),
        ),
        DeValue::Table(table) => Kind::Table(table_from(source, span.clone(), table)),
    };
    Value { kind, at: Location::new(source, span) }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn parse(name: &str, text: &str) -> (Table, Report) {
        let source = Arc::new(Source { path: PathBuf::from(name), text: text.into() });
        let mut report = Report::new();
        (Table::parse(&source, &mut report), report)
    }

    #[test]
    fn every_syntax_error_of_a_file_is_reported_with_its_place() {
        let (_, report) = parse("a.toml", "a = \nb = 1\nc = = 2\n");
        let text = report.to_string();
        assert!(text.contains("a.toml:1:") && text.contains("a.toml:3:"), "{text}");
    }

    #[test]
    fn a_drop_in_replaces_keys_merges_tables_and_keeps_both_places() {
        let (mut base, _) = parse("base.toml", "a = 1\nlist = [1]\n[t]\nx = 1\ny = 2\n");
        let (over, report) = parse("over.toml", "a = 2\nlist = []\n[t]\ny = 3\n");
        assert!(report.is_empty());
        base.merge(over);
        assert!(matches!(base.entries["a"].value.kind, Kind::Integer(Some(2))));
        assert_eq!(base.entries["a"].value.at.source.path, PathBuf::from("over.toml"));
        assert!(matches!(&base.entries["list"].value.kind, Kind::Array(list) if list.is_empty()));
        let Kind::Table(t) = &base.entries["t"].value.kind else { panic!("t is a table") };
        assert!(matches!(t.entries["x"].value.kind, Kind::Integer(Some(1))));
        assert!(matches!(t.entries["y"].value.kind, Kind::Integer(Some(3))));
    }
}
