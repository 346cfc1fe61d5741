//! What a router makes of a packet that is for it, and what it sends itself: the checks that compare with its
//! configuration, its counters, and what there is to say about its peers.

use std::net::IpAddr;
use std::time::Instant;

use super::instance::Instance;
use crate::config::protocol::Checksum;
use crate::packet::{self, Advertisement, Body, ChecksumForm, Datagram, Path};
use crate::receive::{Discard, Expected, lacks_link_local, same_addresses};
use crate::remark::Remark;
use crate::router::Event;
use crate::types::{Family, Priority, Version};

/// What came of a packet.
#[derive(Debug, Default)]
pub(super) struct Hearing {
    /// For the state machine; none if it was dropped.
    pub(super) event: Option<Event>,
    /// What is news about the peer, for the log.
    pub(super) news: Vec<News>,
}

/// To be said, of a peer or of two.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) peer: IpAddr,
    /// None: what no single peer is to blame for.
    pub(super) remark: Option<Remark>,
    /// So many times it happened since without a word.
    pub(super) unsaid: u64,
    pub(super) text: String,
}

impl Instance {
    pub(super) fn expected(&self) -> Expected {
        let settings = &self.config.settings;
        let first = settings.addresses.first().map(|address| address.address);
        Expected {
            version: settings.version,
            interval: settings.advert_interval,
            authentication: self.config.authentication,
            link_local_first: self.config.family == Family::V6 && !first.is_some_and(lacks_link_local),
        }
    }

    /// Check a packet, count it, and read it.
    pub(super) fn hear(&mut self, now: Instant, datagram: &Datagram<'_>, path: &Path) -> Hearing {
        let from = datagram.source;
        let decoded = packet::decode(datagram, path);
        match decoded.and_then(|advertisement| self.expected().check(&advertisement).map(|()| advertisement))
        {
            Ok(advertisement) => self.believe(now, from, &advertisement),
            Err(why) => self.drop(now, from, why),
        }
    }

    /// Count a packet that is not to be believed.
    pub(super) fn drop(&mut self, now: Instant, from: IpAddr, why: Discard) -> Hearing {
        self.counters.discard(why);
        let unsaid = self.peers.discarded(now, from, why);
        let remark = Remark::Discarded(why);
        let news = |unsaid| {
            let text = remark.sentence(from, &self.expected()) + "; its advertisements are dropped";
            News { peer: from, remark: Some(remark), unsaid, text }
        };
        Hearing { event: None, news: unsaid.map(news).into_iter().collect() }
    }

    fn believe(&mut self, now: Instant, from: IpAddr, advertisement: &Advertisement) -> Hearing {
        let priority = advertisement.priority;
        self.counters.advertisements_received += 1;
        self.counters.priority_zero_received += u64::from(priority == Priority::RELEASE);
        let keepalived = advertisement.body == Body::V3(ChecksumForm::Keepalived);
        self.counters.checksum_with_pseudo_header += u64::from(keepalived);
        self.peers.believed(now, from, advertisement);
        let mut news = Vec::new();
        for remark in self.remarks(from, advertisement).into_iter().flatten() {
            self.count(remark);
            if let Some(unsaid) = self.peers.note(now, from, remark) {
                let text = remark.sentence(from, &self.expected());
                news.push(News { peer: from, remark: Some(remark), unsaid, text });
            }
        }
        if self.config.checksum == Checksum::Auto && self.peers.new_disagreement(now) {
            let disagreement = self.peers.disagreement(now);
            news.extend(disagreement.map(|two| News {
                peer: two.0,
                remark: None,
                unsaid: 0,
                text: disagree(two),
            }));
        }
        let event = Event::Advertisement { from, priority, interval: advertisement.interval };
        Hearing { event: Some(event), news }
    }

    /// What is odd about an advertisement that is believed all the same.
    fn remarks(&self, from: IpAddr, advertisement: &Advertisement) -> [Option<Remark>; 6] {
        let settings = &self.config.settings;
        let ours = settings.addresses.iter().map(|address| address.address);
        let odd_addresses = !same_addresses(ours, &advertisement.addresses);
        let first = advertisement.addresses.first().copied().filter(|first| lacks_link_local(*first));
        let odd_interval =
            settings.version == Version::V3 && advertisement.interval != settings.advert_interval;
        let own_address = from == self.router.source();
        let second_owner = !own_address && settings.is_owner() && advertisement.priority == Priority::OWNER;
        [
            odd_addresses.then_some(Remark::Addresses),
            first.map(Remark::FirstAddress),
            odd_interval.then_some(Remark::Interval(advertisement.interval)),
            self.odd_checksum(advertisement).map(Remark::Checksum),
            second_owner.then_some(Remark::SecondOwner),
            own_address.then_some(Remark::OwnAddress),
        ]
    }

    fn odd_checksum(&self, advertisement: &Advertisement) -> Option<ChecksumForm> {
        match (self.config.checksum, advertisement.body) {
            (Checksum::Fixed(ours), Body::V3(theirs))
                if self.config.family == Family::V4 && ours != theirs =>
            {
                Some(theirs)
            }
            (Checksum::Fixed(_) | Checksum::Auto, Body::V3(_) | Body::V2(_)) => None,
        }
    }

    fn count(&mut self, remark: Remark) {
        match remark {
            Remark::Addresses => self.counters.address_list_mismatch += 1,
            Remark::FirstAddress(_) => self.counters.first_address_not_link_local += 1,
            // These have counters of their own, where the router answers them.
            Remark::Discarded(_)
            | Remark::Interval(_)
            | Remark::Checksum(_)
            | Remark::SecondOwner
            | Remark::OwnAddress => {}
        }
    }

    /// Whether there are other remarks about the peers now than those that are shown.
    pub(super) fn renew_remarks(&mut self, now: Instant) -> bool {
        let disagreement = match self.config.checksum {
            Checksum::Auto => self.peers.disagreement(now),
            Checksum::Fixed(_) => None,
        };
        let shown = &self.shown_remarks;
        if shown.disagreement == disagreement && self.peers.remarks(now).eq(shown.remarks.iter().copied()) {
            return false;
        }
        self.shown_remarks = ShownRemarks { remarks: self.peers.remarks(now).collect(), disagreement };
        true
    }

    /// What there is to say about the peers, a sentence each.
    pub(super) fn remark_sentences(&self) -> Vec<String> {
        let ShownRemarks { remarks, disagreement } = &self.shown_remarks;
        let expected = self.expected();
        let sentences = remarks.iter().map(|(peer, remark)| remark.sentence(*peer, &expected));
        sentences.chain(disagreement.map(disagree)).collect()
    }

    /// What we send to `destination`, in bytes.
    pub(super) fn advertisement(
        &self,
        now: Instant,
        priority: Priority,
        source: IpAddr,
        destination: IpAddr,
    ) -> Vec<u8> {
        let settings = &self.config.settings;
        let body = match settings.version {
            Version::V2 => Body::V2(self.config.authentication),
            Version::V3 => Body::V3(self.checksum(now)),
        };
        let addresses = settings.addresses.iter().map(|address| address.address).collect();
        let interval = settings.advert_interval;
        let advertisement = Advertisement { vrid: self.config.vrid, priority, interval, addresses, body };
        advertisement.encode(source, destination)
    }

    fn checksum(&self, now: Instant) -> ChecksumForm {
        match self.config.checksum {
            Checksum::Fixed(form) => form,
            Checksum::Auto => self.peers.checksum(now),
        }
    }
}

/// What is shown about the peers.
#[derive(Debug, Default)]
pub(super) struct ShownRemarks {
    remarks: Vec<(IpAddr, Remark)>,
    disagreement: Option<(IpAddr, IpAddr)>,
}

fn disagree((keepalived, rfc): (IpAddr, IpAddr)) -> String {
    format!(
        "peer {keepalived} sends the checksum with a pseudo-header, as keepalived does, and peer {rfc} the RFC's: this \
         router sends the RFC's, and {keepalived} may not hear it (key 'checksum')"
    )
}

#[cfg(test)]
mod tests;
