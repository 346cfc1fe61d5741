//! The keys of `type = "udp"`.

use daemon::reader::{Located, Reader};

use crate::probe::http::Pattern;
use crate::probe::udp::{BytePattern, Content, Expected, Settings};

pub(super) const KEYS: &[&str] =
    &["send", "send_hex", "require_reply", "expect", "expect_hex", "min_length", "max_length"];

/// What fits every way without fragments is 1,232 bytes (IPv6) and 1,472 (IPv4); this is for local networks.
const SEND_LIMIT: usize = 8_192;
/// One read takes 16 KiB: of a longer reply it is known that it is longer.
const LENGTHS: std::ops::RangeInclusive<i64> = 0..=16_000;

/// Takes all keys of its kind out of `reader`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let text = reader.parse("send", |text| bounded(text.as_bytes().to_vec()));
    let bytes = reader.parse("send_hex", parse_bytes);
    if let (Some(_), Some(bytes)) = (&text, &bytes) {
        reader.report().error(&bytes.at, "'send' and 'send_hex' are both given").hint("give one of the two");
    }
    let send = text.or(bytes).map(|send| send.value).unwrap_or_default();
    Settings { send, expected: read_expected(reader) }
}

/// `None`: no reply is wanted.
fn read_expected(reader: &mut Reader<'_>) -> Option<Expected> {
    let is_required = reader.boolean("require_reply");
    let text = reader.parse("expect", Pattern::new).map(|pattern| pattern.map(Content::Text));
    let bytes = reader.parse("expect_hex", BytePattern::parse).map(|pattern| pattern.map(Content::Bytes));
    if let (Some(_), Some(bytes)) = (&text, &bytes) {
        let message = "'expect' and 'expect_hex' are both given";
        reader.report().error(&bytes.at, message).hint("give one of the two");
    }
    let content = text.or(bytes);
    let least = reader.integer::<u16>("min_length", LENGTHS);
    let most = reader.integer::<u16>("max_length", LENGTHS);
    if let (Some(least), Some(most)) = (&least, &most)
        && least.value > most.value
    {
        let message = format!("'max_length' is less than 'min_length', {}", least.value);
        reader.report().error(&most.at, message).hint("no reply could ever pass");
    }
    let is_expected = content.is_some() || least.is_some() || most.is_some();
    if let Some(Located { value: false, at }) = &is_required
        && is_expected
    {
        let message = "no reply is required, and yet something is expected of it";
        reader.report().error(at, message).hint("leave 'require_reply' out");
    }
    let is_wanted = is_expected || is_required.is_some_and(|flag| flag.value);
    let length =
        |located: Option<Located<u16>>, otherwise| located.map_or(otherwise, |at| usize::from(at.value));
    is_wanted.then(|| Expected {
        content: content.map_or(Content::Any, |content| content.value),
        length: length(least, 0)..=length(most, usize::MAX),
    })
}

fn parse_bytes(text: &str) -> Result<Vec<u8>, String> {
    match BytePattern::parse(text)?.into_bytes() {
        Some(bytes) => bounded(bytes),
        None => Err("made of digits that are known: an 'x' belongs to 'expect_hex'".to_owned()),
    }
}

fn bounded(bytes: Vec<u8>) -> Result<Vec<u8>, String> {
    if bytes.len() > SEND_LIMIT {
        return Err(format!("too long: {} bytes, and at most {SEND_LIMIT} are sent", bytes.len()));
    }
    Ok(bytes)
}
