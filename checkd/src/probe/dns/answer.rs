//! What a DNS message is to our question, and what follows from it.

use domain::base::Message;
use domain::base::iana::{Class, OptRcode, Rtype};
use domain::base::name::ParsedName;
use domain::base::wire::ParseError;
use domain::rdata::ZoneRecordData;

use super::{Matching, Question, Settings};
use crate::probe::Outcome;
use crate::probe::quote::cut;

/// How much of one record, and how many records, a reason quotes.
pub(super) const QUOTED: usize = 60;
const SHOWN: usize = 3;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// Not an answer to the question, and why not.
    Another(&'static str),
    /// It is the answer, but it did not fit.
    Truncated,
    Answer(Outcome),
}

type Data<'a> = ZoneRecordData<&'a [u8], ParsedName<&'a [u8]>>;

impl Question {
    pub(super) fn read(&self, bytes: &[u8]) -> Reading {
        let Ok(message) = Message::from_octets(bytes) else { return Reading::Another("no DNS message") };
        if message.header().id() != self.id {
            return Reading::Another("another id");
        }
        if !message.header().qr() {
            return Reading::Another("a question, no answer");
        }
        match self.is_asked_in(&message) {
            Ok(true) => self.judge(&message),
            Ok(false) => Reading::Another("another name or type"),
            Err(error) => Reading::Answer(broken(&error)),
        }
    }

    /// Whether the message repeats our question. A server that did not understand it need not.
    fn is_asked_in(&self, message: &Message<&[u8]>) -> Result<bool, ParseError> {
        if message.header_counts().qdcount() == 0 {
            return Ok(message.is_error());
        }
        let asked = message.sole_question()?;
        let Settings { name, record, .. } = &*self.settings;
        Ok(asked.qname() == name && asked.qtype() == *record && asked.qclass() == Class::IN)
    }

    fn judge(&self, message: &Message<&[u8]>) -> Reading {
        let settings = &*self.settings;
        // What is cut off need not be well-formed.
        let is_truncated = message.header().tc();
        let rcode = if is_truncated { message.header().rcode().into() } else { message.opt_rcode() };
        if !settings.rcodes.contains(&rcode) {
            let expected: Vec<String> = settings.rcodes.iter().map(ToString::to_string).collect();
            let expected = expected.join(", ");
            return fail(format!("{rcode}{}, expected {expected}", meaning(rcode)));
        }
        if settings.authoritative && !message.header().aa() {
            return fail("the answer is not authoritative".to_owned());
        }
        if !settings.looks_at_records() {
            return Reading::Answer(Outcome::Pass(rcode.to_string()));
        }
        if is_truncated {
            return Reading::Truncated;
        }
        Reading::Answer(match records(message, settings.record) {
            Ok(records) => settings.judge_records(rcode, &records),
            Err(error) => broken(&error),
        })
    }
}

fn fail(reason: String) -> Reading {
    Reading::Answer(Outcome::Fail(reason))
}

/// The records of this type in the answer. All others are read, too, as far as it takes to see that they are there.
fn records<'a>(message: &'a Message<&'a [u8]>, record: Rtype) -> Result<Vec<Data<'a>>, ParseError> {
    let mut records = Vec::new();
    for parsed in message.for_slice_ref().answer()? {
        let parsed = parsed?;
        if parsed.rtype() == record && parsed.class() == Class::IN {
            records.extend(parsed.into_record::<Data<'_>>()?.map(|record| record.into_data()));
        }
    }
    for rest in message.iter() {
        let _ = rest?;
    }
    Ok(records)
}

impl Settings {
    fn judge_records(&self, rcode: OptRcode, records: &[Data<'_>]) -> Outcome {
        let record = self.record;
        if records.len() < usize::from(self.least) {
            return Outcome::Fail(match records.len() {
                0 => format!("{rcode}, but no {record} record in the answer"),
                count => format!("{rcode}, but only {count} of at least {} {record} records", self.least),
            });
        }
        let missing = |wanted: &&super::Wanted| !records.iter().any(|data| wanted.is(data));
        let missing: Vec<_> = self.wanted.iter().filter(missing).collect();
        let is_met = match self.matching {
            Matching::All => missing.is_empty(),
            Matching::Any => missing.len() < self.wanted.len() || self.wanted.is_empty(),
        };
        if let (false, Some(first)) = (is_met, missing.first()) {
            let what = match self.matching {
                Matching::Any if self.wanted.len() > 1 => "none of the expected records".to_owned(),
                Matching::All | Matching::Any => format!("not {}", first.quoted()),
            };
            return Outcome::Fail(format!("{rcode}, but {what} in the answer: {}", shown(records)));
        }
        let plural = if records.len() == 1 { "" } else { "s" };
        Outcome::Pass(format!("{rcode}, {} {record} record{plural}", records.len()))
    }
}

/// The first of them.
fn shown(records: &[Data<'_>]) -> String {
    let first = records.iter().take(SHOWN).map(|data| cut(data.to_string().as_bytes(), QUOTED));
    let dots = if records.len() > SHOWN { ", …" } else { "" };
    let list = first.collect::<Vec<_>>().join(", ");
    if list.is_empty() { "it has none".to_owned() } else { format!("{list}{dots}") }
}

/// Loops, lengths and counts that cannot be.
fn broken(error: &ParseError) -> Outcome {
    Outcome::Fail(format!("broken answer: {error}"))
}

/// RFC 1035 section 4.1.1, in words.
fn meaning(rcode: OptRcode) -> &'static str {
    match rcode {
        OptRcode::FORMERR => " (it does not understand the question)",
        OptRcode::SERVFAIL => " (it failed to find an answer)",
        OptRcode::NXDOMAIN => " (there is no such name)",
        OptRcode::NOTIMP => " (it does not do this)",
        OptRcode::REFUSED => " (it refuses to answer this)",
        OptRcode::NOTAUTH => " (it is not responsible for this name)",
        _ => "",
    }
}
