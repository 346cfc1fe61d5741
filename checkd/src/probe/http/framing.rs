//! Where the body of an answer to GET ends (RFC 9112 section 6.3), by that section's precedence.

use super::chunked::Chunked;
use super::head::Head;
use crate::probe::quote::cut;

/// How much of a header's value a reason quotes.
const VALUE_LIMIT: usize = 40;

#[derive(Debug)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    Chunked(Chunked),
    /// When the server closes the connection.
    UntilClose,
}

impl Framing {
    /// # Errors
    /// The reason why nobody can tell where the body ends.
    pub(super) fn of(head: &Head<'_>) -> Result<Self, String> {
        // 1: these have no body, whatever the headers say.
        if matches!(head.code, 100..=199 | 204 | 304) {
            return Ok(Self::Length(0));
        }
        let codings: Vec<&[u8]> = head.list("transfer-encoding").collect();
        if codings.is_empty() {
            return Ok(length(head)?.map_or(Self::UntilClose, Self::Length));
        }
        // 3: "ought to be handled as an error".
        if head.values("content-length").next().is_some() {
            return Err("broken HTTP: the body has both a Transfer-Encoding and a Content-Length".to_owned());
        }
        // Section 6.1: faulty "even if a Content-Length is present".
        if head.is_1_0 {
            return Err("broken HTTP: a Transfer-Encoding in an answer of HTTP/1.0".to_owned());
        }
        // 4: others than chunked need a TE header in the request (RFC 9110 section 10.1.4), which we do not send.
        if codings.len() == 1 && codings[0].eq_ignore_ascii_case(b"chunked") {
            return Ok(Self::Chunked(Chunked::default()));
        }
        let codings = cut(&codings.join(b", ".as_slice()), VALUE_LIMIT);
        Err(format!("the body has the Transfer-Encoding '{codings}', which nobody asked for"))
    }
}

/// 5 and 6. The same length twice is one (section 6.3, last but three).
fn length(head: &Head<'_>) -> Result<Option<u64>, String> {
    let mut length = None;
    for text in head.list("content-length") {
        let Some(value) = number(text) else {
            return Err(format!(
                "broken HTTP: the Content-Length '{}' is not a number of bytes",
                cut(text, VALUE_LIMIT)
            ));
        };
        if let Some(other) = length.filter(|length| *length != value) {
            return Err(format!("broken HTTP: the Content-Length is both {other} and {value}"));
        }
        length = Some(value);
    }
    if length.is_none() && head.values("content-length").next().is_some() {
        return Err("broken HTTP: the Content-Length is empty".to_owned());
    }
    Ok(length)
}

/// Digits only: no sign, no blank.
fn number(text: &[u8]) -> Option<u64> {
    let digits =
        std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}
