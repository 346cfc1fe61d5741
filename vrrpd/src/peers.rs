//! Whom a router hears: a row for each peer, with its counters, what it sends, and what there is to say about it.
//!
//! Pure. The number of rows is bounded, whatever a hostile network sends; the rest is counted in one row.

pub mod status;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::packet::{Advertisement, Body, ChecksumForm};
use crate::receive::Discard;
use crate::remark::Remark;
use crate::types::{Centiseconds, Priority, Version};

/// Rows with an address of their own.
pub const MOST: usize = 16;
/// What has not happened for so long is over: it is no longer shown, and said when it happens again.
const OVER: Duration = Duration::from_secs(60);
/// A peer that was not heard for so long makes room for another.
const FORGOTTEN: Duration = Duration::from_secs(600);

/// What a peer said of itself with its last advertisement that was believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Said {
    pub at: Instant,
    pub version: Version,
    pub priority: Priority,
    pub interval: Centiseconds,
    /// Version 3 only.
    pub checksum: Option<ChecksumForm>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// None: all those that have no row of their own.
    pub address: Option<IpAddr>,
    pub last_seen: Instant,
    pub said: Option<Said>,
    pub received: u64,
    pub discarded: [u64; Discard::COUNT],
    noted: Vec<Noted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Noted {
    remark: Remark,
    first: Instant,
    last: Instant,
    unsaid: u64,
}

impl Peer {
    fn new(now: Instant, address: Option<IpAddr>) -> Self {
        let (discarded, noted) = (Default::default(), Vec::new());
        Self { address, last_seen: now, said: None, received: 0, discarded, noted }
    }

    /// `Some`: it is to be said, and so often it was not.
    fn note(&mut self, now: Instant, remark: Remark) -> Option<u64> {
        let Some(noted) = self.noted.iter_mut().find(|noted| noted.remark.kind() == remark.kind()) else {
            self.noted.push(Noted { remark, first: now, last: now, unsaid: 0 });
            return Some(0);
        };
        // Of one peer it is said once for as long as it goes on; of many in one row, now and then.
        let since = if self.address.is_some() { noted.last } else { noted.first };
        let again = now.saturating_duration_since(since) >= OVER;
        (noted.remark, noted.last) = (remark, now);
        if again {
            noted.first = now;
            return Some(std::mem::take(&mut noted.unsaid));
        }
        noted.unsaid += 1;
        None
    }

    /// What is still so.
    fn remarks(&self, now: Instant) -> impl Iterator<Item = Remark> + '_ {
        let current = move |noted: &&Noted| now.saturating_duration_since(noted.last) < OVER;
        self.noted.iter().filter(current).map(|noted| noted.remark)
    }

    fn absorb(&mut self, other: &Self) {
        self.received += other.received;
        for (sum, count) in self.discarded.iter_mut().zip(other.discarded) {
            *sum += count;
        }
    }
}

#[derive(Clone, Debug, Default)]
pub struct Peers {
    rows: Vec<Peer>,
    /// Something was heard since [`Peers::take_heard`].
    heard: bool,
    others: Option<Box<Peer>>,
    disagreement_said: bool,
}

impl Peers {
    /// An advertisement that was believed.
    pub fn believed(&mut self, now: Instant, from: IpAddr, advertisement: &Advertisement) {
        let row = self.row(now, from, true);
        row.last_seen = now;
        row.received += 1;
        let checksum = match advertisement.body {
            Body::V2(_) => None,
            Body::V3(form) => Some(form),
        };
        row.said = Some(Said {
            at: now,
            version: advertisement.body.version(),
            priority: advertisement.priority,
            interval: advertisement.interval,
            checksum,
        });
    }

    /// A packet that was dropped. The answer is that of [`Peers::note`].
    pub fn discarded(&mut self, now: Instant, from: IpAddr, why: Discard) -> Option<u64> {
        let row = self.row(now, from, false);
        row.last_seen = now;
        row.discarded[why.index()] += 1;
        row.note(now, Remark::Discarded(why))
    }

    /// `Some`: it is news and to be said, and so many times it happened without a word.
    pub fn note(&mut self, now: Instant, from: IpAddr, remark: Remark) -> Option<u64> {
        self.row(now, from, false).note(now, remark)
    }

    /// All rows, that of the others last.
    pub fn rows(&self) -> impl Iterator<Item = &Peer> {
        self.rows.iter().chain(self.others.as_deref())
    }

    /// What there is to say about them now. Of the others there is nothing to be said that would be of use.
    pub fn remarks(&self, now: Instant) -> impl Iterator<Item = (IpAddr, Remark)> + '_ {
        self.rows.iter().flat_map(move |row| {
            let address = row.address.expect("only the others' row is without an address");
            row.remarks(now).map(move |remark| (address, remark))
        })
    }

    /// The form of the checksum to send where none is configured: the peers', if they agree. As long as nobody was
    /// heard, and where they do not agree, that of the RFC.
    pub fn checksum(&self, now: Instant) -> ChecksumForm {
        match self.forms(now) {
            (Some(_), None) => ChecksumForm::Keepalived,
            (Some(_) | None, Some(_)) | (None, None) => ChecksumForm::Rfc,
        }
    }

    /// One that sends keepalived's checksum and one that sends the RFC's, while both do.
    pub fn disagreement(&self, now: Instant) -> Option<(IpAddr, IpAddr)> {
        let (keepalived, rfc) = self.forms(now);
        keepalived.zip(rfc)
    }

    /// Whether a disagreement is to be said now: once, until they have agreed again.
    pub fn new_disagreement(&mut self, now: Instant) -> bool {
        let is = self.disagreement(now).is_some();
        let is_new = is && !self.disagreement_said;
        self.disagreement_said = is;
        is_new
    }

    /// Somebody that sends keepalived's form, and somebody that sends the RFC's, of those heard lately. A Backup is not
    /// heard at all: if nobody was heard lately, he counts who was heard last.
    fn forms(&self, now: Instant) -> (Option<IpAddr>, Option<IpAddr>) {
        let said = || {
            let rows = self.rows.iter();
            rows.filter_map(|row| Some((row.address?, row.said?.at, row.said?.checksum?)))
        };
        let latest = said().map(|(_, at, _)| at).max();
        let fresh = |at: &Instant| Some(*at) == latest || now.saturating_duration_since(*at) < FORGOTTEN;
        let one = |wanted: ChecksumForm| {
            said().find(|(_, at, form)| *form == wanted && fresh(at)).map(|(address, ..)| address)
        };
        (one(ChecksumForm::Keepalived), one(ChecksumForm::Rfc))
    }

    /// Whether something was heard since the last call.
    pub fn take_heard(&mut self) -> bool {
        std::mem::take(&mut self.heard)
    }

    /// The row of `from`, or the others'. Whoever is believed takes the place of one that never was.
    fn row(&mut self, now: Instant, from: IpAddr, believed: bool) -> &mut Peer {
        self.heard = true;
        let known = self.rows.iter().position(|row| row.address == Some(from));
        if let Some(index) = known.or_else(|| self.make_row(now, from, believed)) {
            return &mut self.rows[index];
        }
        self.others.get_or_insert_with(|| Box::new(Peer::new(now, None)))
    }

    fn make_row(&mut self, now: Instant, from: IpAddr, believed: bool) -> Option<usize> {
        let row = Peer::new(now, Some(from));
        if self.rows.len() < MOST {
            self.rows.push(row);
            return Some(self.rows.len() - 1);
        }
        let gone = |peer: &Peer| {
            let silent = now.saturating_duration_since(peer.last_seen) >= FORGOTTEN;
            silent || (believed && peer.said.is_none())
        };
        let candidates = self.rows.iter().enumerate().filter(|(_, peer)| gone(peer));
        let (index, _) = candidates.min_by_key(|(_, peer)| peer.last_seen)?;
        let former = std::mem::replace(&mut self.rows[index], row);
        self.others.get_or_insert_with(|| Box::new(Peer::new(now, None))).absorb(&former);
        Some(index)
    }
}

#[cfg(test)]
mod tests;
