//! What a router counts. The names are those of the bus property `Counters`.

use std::net::IpAddr;

use crate::receive::Discard;

/// All start at 0 with the daemon, and are never cleared while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub advertisements_sent: u64,
    pub advertisements_received: u64,
    pub priority_zero_sent: u64,
    pub priority_zero_received: u64,
    pub became_active: u64,
    pub gratuitous_arps_sent: u64,
    pub neighbour_advertisements_sent: u64,
    /// Found no room in an interface's queue, and were sent later.
    pub announcements_deferred: u64,
    pub send_errors: u64,
    /// Version 3 advertisements whose checksum covers a pseudo-header (keepalived's and FRR's default).
    pub checksum_with_pseudo_header: u64,
    /// Believed all the same.
    pub address_list_mismatch: u64,
    /// IPv6: the first address was not link-local, nor is ours; believed all the same.
    pub first_address_not_link_local: u64,
    /// Version 3: another interval than ours, learned.
    pub interval_learned: u64,
    /// Advertisements of a lesser Active router, heard while Active: two were active at once.
    pub conflicts: u64,
    /// Addresses that somebody else deleted, and that were put back.
    pub addresses_restored: u64,
    pub discarded: [u64; Discard::COUNT],
}

impl Counters {
    pub fn discard(&mut self, why: Discard) {
        self.discarded[why.index()] += 1;
    }

    pub fn announced(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(_) => self.gratuitous_arps_sent += 1,
            IpAddr::V6(_) => self.neighbour_advertisements_sent += 1,
        }
    }

    /// Names and values, for the bus.
    pub fn rows(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let named = [
            ("AdvertisementsSent", self.advertisements_sent),
            ("AdvertisementsReceived", self.advertisements_received),
            ("PriorityZeroSent", self.priority_zero_sent),
            ("PriorityZeroReceived", self.priority_zero_received),
            ("BecameActive", self.became_active),
            ("GratuitousArpsSent", self.gratuitous_arps_sent),
            ("NeighbourAdvertisementsSent", self.neighbour_advertisements_sent),
            ("AnnouncementsDeferred", self.announcements_deferred),
            ("SendErrors", self.send_errors),
            ("ChecksumWithPseudoHeader", self.checksum_with_pseudo_header),
            ("AddressListMismatch", self.address_list_mismatch),
            ("FirstAddressNotLinkLocal", self.first_address_not_link_local),
            ("IntervalLearned", self.interval_learned),
            ("Conflicts", self.conflicts),
            ("AddressesRestored", self.addresses_restored),
        ];
        named.into_iter().chain(Discard::NAMES.into_iter().zip(self.discarded))
    }
}
