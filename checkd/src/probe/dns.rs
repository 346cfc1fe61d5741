//! `type = "dns"`: a DNS client (RFC 1035) that asks one question and judges the answer. keepalived's DNS_CHECK.
//!
//! Over UDP, and again over TCP where the answer comes truncated (RFC 7766), or over TCP at once. An answer counts only
//! if its id and its question are ours; the address and the ports were compared by the kernel. Messages are read by the
//! crate `domain`; this file and its parts decide what follows.

mod answer;
mod stream;
mod wanted;

use std::sync::Arc;

use domain::base::{MessageBuilder, Name};

pub use domain::base::iana::{OptRcode, Rtype};

pub use self::stream::Stream;
pub use self::wanted::Wanted;

use self::answer::Reading;
use super::misfits::Misfits;
use super::{Exchange, Reply};

/// RFC 1035 section 4.2.
pub const PORT: u16 = 53;

pub type OwnedName = Name<Vec<u8>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Udp,
    Tcp,
}

/// Which of the wanted records must be in the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matching {
    All,
    Any,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub name: OwnedName,
    pub record: Rtype,
    /// Any of these passes; never empty.
    pub rcodes: Vec<OptRcode>,
    pub wanted: Vec<Wanted>,
    pub matching: Matching,
    /// Records of the type that the answer has at least.
    pub least: u16,
    pub recursion: bool,
    pub authoritative: bool,
    /// The largest answer over UDP that is asked for (RFC 6891), bytes; 0: asked without EDNS.
    pub edns_size: u16,
    pub protocol: Protocol,
}

impl Settings {
    /// Whether anything is expected of the records.
    fn looks_at_records(&self) -> bool {
        self.least > 0 || !self.wanted.is_empty()
    }
}

impl Default for Settings {
    /// keepalived's question.
    fn default() -> Self {
        Self {
            name: Name::root_vec(),
            record: Rtype::SOA,
            rcodes: vec![OptRcode::NOERROR],
            wanted: Vec::new(),
            matching: Matching::All,
            least: 1,
            recursion: true,
            authoritative: false,
            edns_size: 1232,
            protocol: Protocol::Udp,
        }
    }
}

/// The question as it is sent.
#[derive(Clone, Debug)]
struct Question {
    settings: Arc<Settings>,
    id: u16,
}

impl Question {
    fn message(&self) -> Vec<u8> {
        let Settings { name, record, edns_size, recursion, .. } = &*self.settings;
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_id(self.id);
        message.header_mut().set_rd(*recursion);
        let mut question = message.question();
        question.push((name, *record)).expect("one question fits a message");
        let mut additional = question.additional();
        if *edns_size > 0 {
            let sized = additional.opt(|opt| {
                opt.set_udp_payload_size(*edns_size);
                Ok(())
            });
            sized.expect("an empty OPT record fits a message");
        }
        additional.finish()
    }
}

/// One probe over UDP.
#[derive(Debug)]
pub struct Probe {
    question: Question,
    message: Vec<u8>,
    misfits: Misfits<&'static str>,
}

impl Probe {
    /// `id` is one that nobody can foresee.
    pub fn new(settings: Arc<Settings>, id: u16) -> Self {
        let question = Question { settings, id };
        Self { message: question.message(), question, misfits: Misfits::default() }
    }
}

impl Exchange for Probe {
    fn request(&mut self) -> &[u8] {
        &self.message
    }

    fn on_received(&mut self, datagram: &[u8]) -> Reply {
        match self.question.read(datagram) {
            Reading::Answer(outcome) => Reply::Decides(outcome),
            Reading::Truncated => Reply::Continues(Box::new(Stream::of(self.question.clone()))),
            Reading::Another(fault) => self.misfits.add(fault),
        }
    }

    fn progress(&self) -> String {
        self.misfits.progress(
            |fault| format!("an answer to another question received ({fault})"),
            |count, fault| format!("{count} answers to another question received (the last: {fault})"),
        )
    }
}

#[cfg(test)]
mod captured;
#[cfg(test)]
mod tests;
