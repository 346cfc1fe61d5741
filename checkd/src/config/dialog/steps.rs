//! The steps of `type = "dialog"`.

use daemon::diagnostic::nearest;
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use super::own_name;
use crate::probe::dialog::steps::{Expect, PLACEHOLDERS, Settings, Step, Text};
use crate::probe::pattern::Pattern;

const STEP_LIMIT: usize = 100;
/// What one step may say or expect, in bytes.
const LENGTH: usize = 16 * 1024;

const OTHER_KEYS: &[(&str, &str)] = &[
    ("receive", "ldirectord's receive is expect = \"…\" here"),
    ("request", "ldirectord's request is send = \"…\" here"),
    ("tls", "TLS that begins with the connection is tls = true of the whole check"),
];

pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let tables = reader.tables("step");
    let farewell = read_text(reader, "farewell", None);
    reader.require("step", tables.first(), "[[step]] with expect = \"^220 \"");
    if let Some(Value { kind: Kind::Array(values), at }) = reader.value("step")
        && values.is_empty()
    {
        reader.report().error(at, "'step' is empty: nothing would be said, and everything would pass");
    }
    if let Some(first) = tables.get(STEP_LIMIT) {
        reader.report().error(&first.at, format!("more than {STEP_LIMIT} steps"));
    }
    let steps = tables.iter().map(|table| read_step(table, reader)).collect();
    Settings { steps, farewell }
}

fn read_step(table: &Table, outer: &mut Reader<'_>) -> Step {
    let mut reader = Reader::new(table, outer.report());
    let pattern = reader.parse("expect", Pattern::of_lines);
    let bytes = reader.parse("expect_hex", parse_hex);
    let reject = reader.parse("reject", Pattern::of_lines);
    let starttls = reader.boolean("starttls");
    let send = read_text(&mut reader, "send", Some("send_hex"));
    let has = |key: &str| table.entries.contains_key(key);
    if let (Some(_), Some(bytes)) = (&pattern, &bytes) {
        let message = "'expect' and 'expect_hex' are both given";
        reader.report().error(&bytes.at, message).hint("give one of the two, or one step each");
    }
    let expects = has("expect") || has("expect_hex");
    if let (Some(reject), false) = (&reject, expects) {
        let message = "'reject' without 'expect': nothing is waited for in this step";
        reader.report().error(&reject.at, message).hint("add what a good server says: expect = \"^250 \"");
    }
    if let (Some(Located { value: true, at }), false) = (&starttls, expects) {
        let message = "'starttls' without 'expect': the server first agrees to it";
        reader.report().error(at, message).hint("for example: expect = \"^220 .*\\r\\n\"");
    }
    if !expects && !has("send") && !has("send_hex") {
        let message = "this step neither expects nor sends anything";
        reader.report().error(&table.at, message).hint("for example: expect = \"^220 \"");
    }
    reader.finish(OTHER_KEYS);
    Step {
        expect: pattern
            .map(|pattern| Expect::Text(pattern.value))
            .or(bytes.map(|at| Expect::Bytes(at.value))),
        reject: reject.map(|reject| reject.value),
        starttls: starttls.is_some_and(|flag| flag.value),
        send,
    }
}

fn read_text(reader: &mut Reader<'_>, key: &'static str, hex_key: Option<&'static str>) -> Text {
    let words = reader.parse(key, parse_words);
    let bytes = hex_key.and_then(|key| reader.parse(key, parse_hex));
    if let (Some(_), Some(bytes)) = (&words, &bytes) {
        let message = format!("'{key}' and '{}' are both given", hex_key.unwrap_or_default());
        reader.report().error(&bytes.at, message).hint("give one of the two, or one step each");
    }
    if let Some(words) = &words
        && (words.value.contains("\\r") || words.value.contains("\\n"))
    {
        let message = format!("'{key}' says a backslash and a letter, not the end of a line");
        reader
            .report()
            .warning(&words.at, message)
            .hint("in TOML \"QUIT\\r\\n\" ends a line, 'QUIT\\r\\n' does not");
    }
    let words = words.map(|words| Text::Words(words.value.replace("{host}", &own_name())));
    words.or(bytes.map(|bytes| Text::Bytes(bytes.value))).unwrap_or_default()
}

/// Text with placeholders. A word of letters in braces that is none of them is a mistake.
fn parse_words(text: &str) -> Result<String, String> {
    if text.is_empty() || text.len() > LENGTH {
        return Err(format!("not of 1 to {LENGTH} bytes"));
    }
    let words = text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word);
    let is_word = |word: &&str| !word.is_empty() && word.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    for word in words.filter(is_word) {
        let placeholder = format!("{{{word}}}");
        if !PLACEHOLDERS.contains(&placeholder.as_str()) {
            let near = nearest(&placeholder, PLACEHOLDERS.iter().copied());
            let near = near.map_or(String::new(), |near| format!("did you mean {near}? "));
            return Err(format!(
                "not clear: what is {placeholder}? {near}There are {}; send_hex says anything",
                PLACEHOLDERS.join(", ")
            ));
        }
    }
    Ok(text.to_owned())
}

/// Pairs of hexadecimal digits, with blanks between them or not.
fn parse_hex(text: &str) -> Result<Vec<u8>, String> {
    let wrong = |c: &char| !c.is_ascii_hexdigit() && !c.is_ascii_whitespace();
    if let Some(wrong) = text.chars().find(wrong) {
        return Err(format!("not hexadecimal: it has {wrong:?} in it"));
    }
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    if digits.is_empty() || !digits.len().is_multiple_of(2) || digits.len() > 2 * LENGTH {
        return Err(format!("not 1 to {LENGTH} bytes of two digits each, such as \"0d0a\""));
    }
    let byte = |pair: &[u32]| u8::try_from(pair[0] << 4 | pair[1]).expect("two digits are a byte");
    Ok(digits.chunks(2).map(byte).collect())
}
