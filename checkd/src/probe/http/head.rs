//! The status line and headers of one response (RFC 9112 sections 4 and 5): collected up to a limit, then taken apart.
//! What is not HTTP is told as soon as it shows. Odd headers are passed over: they are not ours to judge.

use httparse::Header;

use crate::probe::quote::quote;

/// One response's status line and headers may be this long, together.
pub(super) const LIMIT: usize = 16 * 1024;
/// Real servers send a few dozen.
const COUNT_LIMIT: usize = 256;

/// A head that is being received.
#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
}

impl Buffer {
    /// Take from `bytes` what belongs to the head. `true`: it is whole.
    ///
    /// # Errors
    /// The reason why there will never be a head of HTTP.
    pub(super) fn take(&mut self, bytes: &mut &[u8]) -> Result<bool, String> {
        let room = LIMIT - self.bytes.len();
        let portion = &bytes[..bytes.len().min(room)];
        // An empty line that spans two portions is found from up to three bytes before the seam.
        let seam = self.bytes.len().saturating_sub(3);
        self.bytes.extend_from_slice(portion);
        if !may_be_http(&self.bytes) {
            return Err(format!("not HTTP/1: starts with '{}'", quote(&self.bytes)));
        }
        let Some(end) = end_of_head(&self.bytes, seam) else {
            *bytes = &bytes[portion.len()..];
            return self.more_may_come().map(|()| false);
        };
        let surplus = self.bytes.len() - end;
        *bytes = &bytes[portion.len() - surplus..];
        self.bytes.truncate(end);
        Ok(true)
    }

    fn more_may_come(&self) -> Result<(), String> {
        if self.bytes.len() < LIMIT {
            return Ok(());
        }
        let what = if line_end(&self.bytes).is_some() { "headers" } else { "a status line" };
        Err(format!("more than {} KiB of {what}, and no end", LIMIT / 1024))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The next head begins.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
    }

    /// What has come of it; `None`: nothing.
    pub(super) fn progress(&self) -> Option<String> {
        if self.bytes.is_empty() {
            return None;
        }
        Some(match line_end(&self.bytes) {
            None => format!("{} bytes of the status line received", self.bytes.len()),
            Some(end) => {
                let headers = self.bytes.len() - end;
                format!("'{}' and {headers} bytes of headers received", quote(&self.bytes))
            }
        })
    }
}

/// Where [`Head::parse`] puts the headers.
pub(super) fn room<'a>() -> [Header<'a>; COUNT_LIMIT] {
    [httparse::EMPTY_HEADER; COUNT_LIMIT]
}

/// A whole head.
#[derive(Debug)]
pub(super) struct Head<'a> {
    pub(super) code: u16,
    /// HTTP/1.0 or later.
    pub(super) is_1_0: bool,
    headers: &'a [Header<'a>],
}

impl<'a> Head<'a> {
    /// # Errors
    /// The reason why this is no head of HTTP.
    pub(super) fn parse(bytes: &'a [u8], room: &'a mut [Header<'a>]) -> Result<Self, String> {
        let mut response = httparse::Response::new(room);
        let mut config = httparse::ParserConfig::default();
        config
            .allow_spaces_after_header_name_in_responses(true)
            .allow_obsolete_multiline_headers_in_responses(true)
            .ignore_invalid_headers_in_responses(true);
        let code = match config.parse_response(&mut response, bytes) {
            Ok(httparse::Status::Complete(_)) => response.code.ok_or(httparse::Error::Status),
            // The empty line is there, so only a status line that is not one can want more.
            Ok(httparse::Status::Partial) => Err(httparse::Error::Status),
            Err(httparse::Error::TooManyHeaders) => return Err(format!("more than {COUNT_LIMIT} headers")),
            Err(error) => Err(error),
        };
        let code = code.map_err(|error| format!("broken HTTP ({error}): starts with '{}'", quote(bytes)))?;
        Ok(Self { code, is_1_0: response.version == Some(0), headers: response.headers })
    }

    /// RFC 9110 section 15.2. 101 is final: nobody asked for an upgrade, so it is a wrong answer.
    pub(super) fn is_interim(&self) -> bool {
        (100..200).contains(&self.code) && self.code != 101
    }

    /// The values of all headers of this name.
    pub(super) fn values(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let same = move |header: &&Header<'_>| header.name.eq_ignore_ascii_case(name);
        self.headers.iter().filter(same).map(|header| header.value)
    }

    /// The members of a header that is a list (RFC 9110 section 5.6.1), from all headers of this name; empty ones
    /// do not count. Folded lines are one.
    pub(super) fn list(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> {
        let members = self.values(name).flat_map(|value| value.split(|byte| *byte == b','));
        members.map(<[u8]>::trim_ascii).filter(|member| !member.is_empty())
    }
}

/// Where the empty line after the headers ends, looking from `from` on. A bare LF counts (RFC 9112 section 2.2).
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    memchr::memchr_iter(b'\n', &head[from..]).map(|index| from + index).find_map(|index| {
        let after = &head[index + 1..];
        let end = if after.starts_with(b"\n") { 1 } else { 2 };
        (end == 1 || after.starts_with(b"\r\n")).then_some(index + 1 + end)
    })
}

/// The length of the first line with its end.
fn line_end(head: &[u8]) -> Option<usize> {
    memchr::memchr(b'\n', head).map(|index| index + 1)
}

/// Whether the bytes are, or may become, the start of an HTTP/1 response.
fn may_be_http(head: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let compared = head.len().min(start.len());
    head[..compared] == start[..compared]
}
