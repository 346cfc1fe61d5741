//! The keys of an http check that look at the body: `contains`, `not_contains`, `matches`, `not_matches`, `digest`
//! and `body_limit`.

use std::ops::RangeInclusive;

use daemon::diagnostic::Location;
use daemon::reader::Reader;

use crate::config::size;
use crate::config::texts::parse_each;
use crate::probe::http::{Digest, Expectations, Pattern, Text};

/// From what a page has at least to what a probe may hold where a pattern is used.
const LIMIT: RangeInclusive<u64> = 1..=64 * 1024 * 1024;
const TEXT_LENGTH: RangeInclusive<usize> = 1..=4096;

/// What the keys say, on top of `default`; and where the first of them stands, if there is any.
pub(super) fn read(reader: &mut Reader<'_>, default: &Expectations) -> (Expectations, Option<Location>) {
    let mut first = None;
    let mut texts = |reader: &mut Reader<'_>, key, default: &Vec<Text>| {
        list(reader, key, parse_text, &mut first).unwrap_or_else(|| default.clone())
    };
    let contains = texts(reader, "contains", &default.contains);
    let not_contains = texts(reader, "not_contains", &default.not_contains);
    let mut patterns = |reader: &mut Reader<'_>, key, default: &Vec<Pattern>| {
        list(reader, key, Pattern::new, &mut first).unwrap_or_else(|| default.clone())
    };
    let matches = patterns(reader, "matches", &default.matches);
    let not_matches = patterns(reader, "not_matches", &default.not_matches);
    let digest = reader.parse("digest", Digest::parse);
    let limit = size::read(reader, "body_limit", LIMIT);
    if let Some(digest) = &digest {
        first.get_or_insert_with(|| digest.at.clone());
    }
    let digest = digest.map(|digest| digest.value).or_else(|| default.digest.clone());
    let limit = limit.map_or(default.limit, |limit| limit.value);
    (Expectations { contains, not_contains, matches, not_matches, digest, limit }, first)
}

/// `None`: the key is not there.
fn list<T>(
    reader: &mut Reader<'_>,
    key: &'static str,
    parse: impl Fn(&str) -> Result<T, String>,
    first: &mut Option<Location>,
) -> Option<Vec<T>> {
    let value = reader.value(key)?;
    first.get_or_insert_with(|| value.at.clone());
    Some(parse_each(key, value, reader.report(), parse))
}

fn parse_text(text: &str) -> Result<Text, String> {
    if !TEXT_LENGTH.contains(&text.len()) {
        return Err(format!("{} bytes long; it must be from 1 to {}", text.len(), TEXT_LENGTH.end()));
    }
    Ok(Text::new(text))
}
