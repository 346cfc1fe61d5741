//! `type = "http"`: an HTTP/1.1 client (RFC 9112) that asks once and ends as soon as it knows: with the headers,
//! unless something is expected of the body. keepalived's HTTP_GET, ldirectord's http. Redirects are answers like any
//! other.
//!
//! The peer is not trusted: what it may make us hold is bounded, every byte is looked at a few times at most, and
//! what is not HTTP is told as soon as it shows. The outcome never depends on the portions in which bytes arrive.

mod body;
mod chunked;
mod digest;
mod expect;
mod framing;
mod head;
mod pattern;
mod request;
mod settings;

pub use self::digest::Digest;
pub use self::expect::{Expectations, Text};
pub use self::pattern::Pattern;
pub use self::settings::{Method, Request, Settings};

use std::net::SocketAddr;
use std::sync::Arc;

use self::body::Body;
use self::head::Head;
use super::quote::cut;
use super::{Conversation, Outcome};

/// Interim responses (RFC 9110 section 15.2) before the final one.
const INTERIM_LIMIT: u32 = 8;
/// How much of a redirect's Location a reason quotes.
const LOCATION_LIMIT: usize = 80;

/// One request and its answer.
#[derive(Debug)]
pub struct Probe {
    wanted: Arc<Request>,
    /// Empty as soon as all of it is sent.
    request: Vec<u8>,
    sent: usize,
    /// Interim responses so far.
    interim: u32,
    answer: Answer,
    is_secured: bool,
}

#[derive(Debug)]
enum Answer {
    Head(head::Buffer),
    /// After a head with this status, which is an expected one.
    Body(u16, Box<Body>),
}

/// What follows from a whole head.
#[derive(Debug)]
enum Next {
    /// Another head follows one with this status.
    Interim(u16),
    Body(u16, Box<Body>),
    Pass(u16),
}

impl Probe {
    /// `target` is the host where the settings name none.
    pub fn new(wanted: &Arc<Request>, target: SocketAddr) -> Self {
        Self::with_default_port(wanted, target, 80)
    }

    /// The same over TLS.
    pub fn secured(wanted: &Arc<Request>, target: SocketAddr) -> Self {
        Self { is_secured: true, ..Self::with_default_port(wanted, target, 443) }
    }

    fn with_default_port(wanted: &Arc<Request>, target: SocketAddr, port: u16) -> Self {
        Self {
            wanted: Arc::clone(wanted),
            request: request::text(wanted, target, port).into_bytes(),
            sent: 0,
            interim: 0,
            answer: Answer::Head(head::Buffer::default()),
            is_secured: false,
        }
    }

    /// `Err`: the reason of a failure. `Ok(None)`: not decided.
    fn on_bytes(&mut self, mut bytes: &[u8]) -> Result<Option<Outcome>, String> {
        loop {
            match &mut self.answer {
                Answer::Head(buffer) => {
                    if !buffer.take(&mut bytes)? {
                        return Ok(None);
                    }
                    match next(&self.wanted, buffer.bytes())? {
                        Next::Pass(code) => return Ok(Some(Outcome::Pass(format!("status {code}")))),
                        Next::Body(code, body) => self.answer = Answer::Body(code, body),
                        Next::Interim(code) => {
                            buffer.clear();
                            self.count_interim(code)?;
                        }
                    }
                }
                Answer::Body(code, body) => {
                    let verdict = body.on_bytes(bytes);
                    let code = *code;
                    return verdict.map(|verdict| verdict.map(|()| as_expected(code))).transpose();
                }
            }
        }
    }

    fn count_interim(&mut self, code: u16) -> Result<(), String> {
        self.interim += 1;
        if self.interim > INTERIM_LIMIT {
            return Err(format!("more than {INTERIM_LIMIT} interim responses, the last {code}"));
        }
        Ok(())
    }
}

impl Conversation for Probe {
    fn wants_tls(&self) -> bool {
        self.is_secured
    }

    fn unsent(&self) -> &[u8] {
        &self.request
    }

    /// # Panics
    /// If more is said to be sent than there was.
    fn on_sent(&mut self, count: usize) {
        assert!(count <= self.request.len(), "no more can be sent than was there");
        self.sent += count;
        // Nearly always all of it at once: what a probe holds while it waits is small.
        if count == self.request.len() {
            self.request = Vec::new();
        } else {
            self.request.drain(..count);
        }
    }

    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.on_bytes(bytes).unwrap_or_else(|reason| Some(Outcome::Fail(reason)))
    }

    fn on_closed(&mut self) -> Outcome {
        match &mut self.answer {
            Answer::Body(code, body) => match body.on_closed() {
                Ok(()) => as_expected(*code),
                Err(reason) => Outcome::Fail(reason),
            },
            Answer::Head(buffer) if buffer.bytes().is_empty() && self.interim == 0 => {
                Outcome::Fail("the server closed the connection without an answer".to_owned())
            }
            Answer::Head(_) => {
                Outcome::Fail(format!("the server closed the connection: {}", self.progress()))
            }
        }
    }

    fn on_truncated(&mut self) -> Outcome {
        match &mut self.answer {
            Answer::Body(_, body) => Outcome::Fail(body.on_truncated()),
            Answer::Head(_) => self.on_closed(),
        }
    }

    /// The request says `Connection: close`.
    fn peer_closes(&self) -> bool {
        true
    }

    fn progress(&self) -> String {
        let received = match &self.answer {
            Answer::Body(code, body) => format!("status {code} and {} received", body.progress()),
            Answer::Head(buffer) => match buffer.progress() {
                Some(progress) => progress,
                None if !self.request.is_empty() => {
                    return format!(
                        "{} of {} bytes of the request sent",
                        self.sent,
                        self.sent + self.request.len()
                    );
                }
                None if self.interim > 0 => format!("{} interim responses received", self.interim),
                None => "nothing received".to_owned(),
            },
        };
        format!("request sent, {received}")
    }
}

/// # Errors
/// The reason why the answer cannot pass.
fn next(wanted: &Arc<Request>, bytes: &[u8]) -> Result<Next, String> {
    let mut room = head::room();
    let head = Head::parse(bytes, &mut room)?;
    if head.is_interim() {
        return Ok(Next::Interim(head.code));
    }
    if !wanted.status.contains(head.code) {
        return Err(wrong_status(&head, wanted));
    }
    if wanted.body.is_empty() {
        return Ok(Next::Pass(head.code));
    }
    Ok(Next::Body(head.code, Box::new(Body::new(wanted, &head)?)))
}

fn wrong_status(head: &Head<'_>, wanted: &Request) -> String {
    let location = head.values("location").next().filter(|_| (300..400).contains(&head.code));
    let to = location.map(|location| format!(" to '{}'", cut(location, LOCATION_LIMIT))).unwrap_or_default();
    format!("status {}{to}, expected {}", head.code, wanted.status)
}

/// Nothing of the body itself: it may differ from probe to probe, and the reason should not.
fn as_expected(code: u16) -> Outcome {
    Outcome::Pass(format!("status {code}, body as expected"))
}

#[cfg(test)]
mod tests;
