//! One answer's body: found by its framing, looked at by its expectations, and read no further than the limit.

use std::sync::Arc;

use super::expect::Scan;
use super::framing::Framing;
use super::head::Head;
use super::settings::Request;
use crate::probe::quote::cut;

/// How much of a header's value a reason quotes.
const VALUE_LIMIT: usize = 40;

/// `Err`: the reason why it is not as expected.
pub(super) type Verdict = Result<(), String>;

#[derive(Debug)]
pub(super) struct Body {
    wanted: Arc<Request>,
    framing: Framing,
    /// Bytes so far, decoded.
    received: u64,
    scan: Scan,
}

impl Body {
    /// # Errors
    /// The reason why it cannot be looked at.
    pub(super) fn new(wanted: &Arc<Request>, head: &Head<'_>) -> Result<Self, String> {
        let framing = Framing::of(head)?;
        let coding = head.list("content-encoding").find(|coding| !coding.eq_ignore_ascii_case(b"identity"));
        if let Some(coding) = coding {
            let coding = cut(coding, VALUE_LIMIT);
            return Err(format!("the body is compressed ({coding}), which the request does not accept"));
        }
        let limit = wanted.body.limit;
        if let Framing::Length(length) = framing
            && length > limit
            && wanted.body.needs_whole()
        {
            return Err(format!("the body has {length} bytes, more than body_limit = {limit}"));
        }
        Ok(Self { wanted: Arc::clone(wanted), framing, received: 0, scan: Scan::new(&wanted.body) })
    }

    /// The next bytes after the head, perhaps none. `Some`: that was enough. What follows the body is not looked at.
    pub(super) fn on_bytes(&mut self, bytes: &[u8]) -> Option<Verdict> {
        match &mut self.framing {
            Framing::Length(length) => {
                let length = *length;
                let left = usize::try_from(length - self.received).unwrap_or(usize::MAX);
                let verdict = self.take(&bytes[..bytes.len().min(left)]);
                verdict.or_else(|| (self.received == length).then(|| self.finish()))
            }
            Framing::Chunked(decoder) => {
                let mut data = Vec::with_capacity(bytes.len());
                let decoded = decoder.decode(bytes, &mut data);
                // What came before a mistake counts, so that portions make no difference.
                self.take(&data).or_else(|| match decoded {
                    Ok(true) => Some(self.finish()),
                    Ok(false) => None,
                    Err(reason) => Some(Err(reason)),
                })
            }
            Framing::UntilClose => self.take(bytes),
        }
    }

    fn take(&mut self, data: &[u8]) -> Option<Verdict> {
        let limit = self.wanted.body.limit;
        let room = usize::try_from(limit - self.received).unwrap_or(usize::MAX);
        let portion = &data[..data.len().min(room)];
        self.received += portion.len() as u64;
        let verdict = self.scan.on_bytes(&self.wanted.body, portion);
        verdict.or_else(|| {
            (portion.len() < data.len()).then(|| match self.scan.missing(&self.wanted.body) {
                Some(text) => Err(format!("{text} is not in the body's first {limit} bytes (body_limit)")),
                None => Err(format!("the body is longer than body_limit = {limit}")),
            })
        })
    }

    fn finish(&mut self) -> Verdict {
        self.scan.finish(&self.wanted.body, self.received)
    }

    /// The server will send no more.
    pub(super) fn on_closed(&mut self) -> Verdict {
        match &self.framing {
            Framing::UntilClose => self.finish(),
            Framing::Length(_) | Framing::Chunked(_) => {
                Err(format!("the server closed the connection too early: {} received", self.progress()))
            }
        }
    }

    /// The server will send no more, or somebody on the way has cut it off (RFC 9112 section 9.8): the reason of a
    /// failure.
    pub(super) fn on_truncated(&self) -> String {
        format!(
            "the connection was closed without TLS's close_notify, and may have been cut off: {} received",
            self.progress()
        )
    }

    /// `5 of 100 bytes of the body`
    pub(super) fn progress(&self) -> String {
        let received = self.received;
        match &self.framing {
            Framing::Length(length) => format!("{received} of {length} bytes of the body"),
            Framing::Chunked(_) => format!("{received} bytes of the chunked body, and not its end,"),
            Framing::UntilClose => format!("{received} bytes of the body"),
        }
    }
}
