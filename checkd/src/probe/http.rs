//! `type = "http"`: an HTTP/1.1 client (RFC 9112) that asks once and decides as soon as the headers are complete.
//! keepalived's HTTP_GET. Redirects are answers like any other; the body is not read.
//!
//! The peer is not trusted: what it may make us hold is bounded, every byte is looked at once or twice, and what is
//! not HTTP is told as soon as it shows.

use std::net::SocketAddr;

use super::status::StatusSet;
use super::{Conversation, Outcome};

/// One response's status line and headers may be this long, together.
const HEAD_LIMIT: usize = 16 * 1024;
/// Real servers send a few dozen.
const HEADER_COUNT_LIMIT: usize = 256;
/// Interim responses (RFC 9110 section 15.2) before the final one.
const INTERIM_LIMIT: u32 = 8;
/// How much of a peer's text a reason quotes.
const QUOTE_LIMIT: usize = 40;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
}

impl Method {
    fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
        }
    }
}

/// Validated by `config.rs`: nothing in here can break out of its line of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub method: Method,
    /// Begins with a slash; may carry a query.
    pub path: String,
    /// The Host header; `None`: the target's address.
    pub host: Option<String>,
    /// More headers, name and value.
    pub headers: Vec<(String, String)>,
    /// Which status codes pass.
    pub status: StatusSet,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            method: Method::Get,
            path: "/".to_owned(),
            host: None,
            headers: Vec::new(),
            status: StatusSet::default(),
        }
    }
}

#[derive(Debug)]
pub struct Probe {
    request: Vec<u8>,
    sent: usize,
    /// The status line and headers of the response that is being received, up to [`HEAD_LIMIT`].
    head: Vec<u8>,
    /// Interim responses so far.
    interim: u32,
    expected: StatusSet,
}

impl Probe {
    pub fn new(settings: &Settings, target: SocketAddr) -> Self {
        Self {
            request: request(settings, target).into_bytes(),
            sent: 0,
            head: Vec::new(),
            interim: 0,
            expected: settings.status.clone(),
        }
    }
}

impl Conversation for Probe {
    fn on_connected(&mut self) -> Option<Outcome> {
        None
    }

    fn unsent(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    /// # Panics
    /// If more is said to be sent than there was.
    fn on_sent(&mut self, count: usize) {
        assert!(count <= self.unsent().len(), "no more can be sent than was there");
        self.sent += count;
    }

    fn on_received(&mut self, mut bytes: &[u8]) -> Option<Outcome> {
        while !bytes.is_empty() {
            let room = HEAD_LIMIT - self.head.len();
            let portion = &bytes[..bytes.len().min(room)];
            // An empty line that spans two portions is found from up to three bytes before the seam.
            let seam = self.head.len().saturating_sub(3);
            self.head.extend_from_slice(portion);
            if !may_be_http(&self.head) {
                return Some(not_http(&self.head));
            }
            let Some(end) = end_of_head(&self.head, seam) else {
                return self.reject_endless_head();
            };
            let surplus = self.head.len() - end;
            bytes = &bytes[portion.len() - surplus..];
            self.head.truncate(end);
            let outcome = self.on_head_complete();
            if outcome.is_some() {
                return outcome;
            }
            self.head.clear();
        }
        None
    }

    /// The peer ended before the headers were complete.
    fn on_closed(&mut self) -> Outcome {
        if self.head.is_empty() && self.interim == 0 {
            return Outcome::Fail("the server closed the connection without an answer".to_owned());
        }
        Outcome::Fail(format!("the server closed the connection: {}", self.progress()))
    }

    fn progress(&self) -> String {
        if !self.unsent().is_empty() && self.head.is_empty() {
            return format!("{} of {} bytes of the request sent", self.sent, self.request.len());
        }
        let received = match line_end(&self.head) {
            None if self.head.is_empty() && self.interim > 0 => {
                format!("{} interim responses received", self.interim)
            }
            None if self.head.is_empty() => "nothing received".to_owned(),
            None => format!("{} bytes of the status line received", self.head.len()),
            Some(end) => {
                let headers = self.head.len() - end;
                format!("'{}' and {headers} bytes of headers received", quote(&self.head))
            }
        };
        format!("request sent, {received}")
    }
}

impl Probe {
    fn reject_endless_head(&self) -> Option<Outcome> {
        if self.head.len() < HEAD_LIMIT {
            return None;
        }
        let what = if line_end(&self.head).is_some() { "headers" } else { "a status line" };
        Some(Outcome::Fail(format!("more than {} KiB of {what}, and no end", HEAD_LIMIT / 1024)))
    }

    /// `head` holds a whole status line with all headers. `None`: it was interim, another one follows.
    fn on_head_complete(&mut self) -> Option<Outcome> {
        let code = match parse_head(&self.head) {
            Ok(code) => code,
            Err(httparse::Error::TooManyHeaders) => {
                return Some(Outcome::Fail(format!("more than {HEADER_COUNT_LIMIT} headers")));
            }
            Err(error) => {
                return Some(Outcome::Fail(format!(
                    "broken HTTP ({error}): starts with '{}'",
                    quote(&self.head)
                )));
            }
        };
        // 101 is final: nobody asked for an upgrade, so it is a wrong answer.
        if (100..200).contains(&code) && code != 101 {
            self.interim += 1;
            return (self.interim > INTERIM_LIMIT).then(|| {
                Outcome::Fail(format!("more than {INTERIM_LIMIT} interim responses, the last {code}"))
            });
        }
        if self.expected.contains(code) {
            return Some(Outcome::Pass(format!("status {code}")));
        }
        Some(Outcome::Fail(format!("status {code}, expected {}", self.expected)))
    }
}

fn request(settings: &Settings, target: SocketAddr) -> String {
    let Settings { method, path, host, headers, status: _ } = settings;
    let host = host.clone().unwrap_or_else(|| host_of(target));
    let mut request = format!("{} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n", method.as_str());
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("user-agent")) {
        request.push_str("User-Agent: trivet-checkd\r\n");
    }
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("accept")) {
        request.push_str("Accept: */*\r\n");
    }
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    request
}

/// RFC 9110 section 7.2: the port is left out when it is the scheme's own. A zone id (RFC 6874) stays at home.
fn host_of(target: SocketAddr) -> String {
    match (target, target.port()) {
        (SocketAddr::V4(v4), 80) => v4.ip().to_string(),
        (SocketAddr::V4(v4), port) => format!("{}:{port}", v4.ip()),
        (SocketAddr::V6(v6), 80) => format!("[{}]", v6.ip()),
        (SocketAddr::V6(v6), port) => format!("[{}]:{port}", v6.ip()),
    }
}

/// Where the empty line after the headers ends, looking from `from` on. A bare LF counts (RFC 9112 section 2.2).
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    let newlines = head.iter().enumerate().skip(from).filter(|(_, byte)| **byte == b'\n');
    for (index, _) in newlines {
        if head[index + 1..].starts_with(b"\n") {
            return Some(index + 2);
        }
        if head[index + 1..].starts_with(b"\r\n") {
            return Some(index + 3);
        }
    }
    None
}

/// The length of the first line with its end.
fn line_end(head: &[u8]) -> Option<usize> {
    head.iter().position(|byte| *byte == b'\n').map(|index| index + 1)
}

/// Whether the bytes are, or may become, the start of an HTTP/1 response.
fn may_be_http(head: &[u8]) -> bool {
    let start = b"HTTP/1.";
    let compared = head.len().min(start.len());
    head[..compared] == start[..compared]
}

/// The status code. The servers' own headers do not matter to us, so odd ones are passed over.
fn parse_head(head: &[u8]) -> Result<u16, httparse::Error> {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_LIMIT];
    let mut response = httparse::Response::new(&mut headers);
    let mut config = httparse::ParserConfig::default();
    config
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    match config.parse_response(&mut response, head)? {
        httparse::Status::Complete(_) => response.code.ok_or(httparse::Error::Status),
        // The empty line is there, so only a status line that is not one can want more.
        httparse::Status::Partial => Err(httparse::Error::Status),
    }
}

fn not_http(head: &[u8]) -> Outcome {
    Outcome::Fail(format!("not HTTP/1: starts with '{}'", quote(head)))
}

/// The first line, escaped and cut: what a peer sends must not reach a terminal or the bus as it is.
fn quote(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let cut = line.len().min(QUOTE_LIMIT);
    let dots = if cut < line.len() { "…" } else { "" };
    format!("{}{dots}", line[..cut].escape_ascii())
}

#[cfg(test)]
mod tests;
