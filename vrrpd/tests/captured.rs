//! What keepalived 2.2.7 (Debian 12) and 2.3.3 (Debian 13) really send, in every form that has another layout or
//! checksum: read to what it was told to send, and written again to the same bytes. How it was recorded:
//! tests/captured/record.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod pcap;

use std::net::IpAddr;

use vrrpd::packet::{self, Advertisement, Authentication, Body, ChecksumForm, Datagram, Path};
use vrrpd::types::{Centiseconds, Family, Priority, VirtualRouterId};
use vrrpd::{arp, ndp};

/// Of the interface that keepalived had, and of virtual router 1 (RFC 9568, 7.3).
const MAC: [u8; 6] = [0x02, 0x11, 0x22, 0x33, 0x44, 0x55];
const VIRTUAL_MAC: [[u8; 6]; 2] = [[0, 0, 0x5e, 0, 1, 1], [0, 0, 0x5e, 0, 2, 1]];
/// Where in a frame the IP packet begins, and what follows an IPv6 header.
const IP: usize = 14;
const AFTER_IPV6: usize = IP + 40;
const VRRP: u8 = 112;

/// What a capture's name says.
#[derive(Debug, Clone, Copy)]
struct Form<'a> {
    name: &'a str,
    family: Family,
}

impl<'a> Form<'a> {
    fn of(name: &'a str) -> Self {
        Self { name, family: if name.contains("ipv6") { Family::V6 } else { Family::V4 } }
    }

    fn has(&self, word: &str) -> bool {
        self.name.split('-').any(|part| part == word)
    }

    fn source(&self) -> IpAddr {
        let text = match (self.family, self.has("unicast")) {
            (Family::V4, _) => "192.168.100.11",
            (Family::V6, false) => "fe80::11",
            (Family::V6, true) => "fd00::11",
        };
        text.parse().unwrap()
    }

    /// keepalived sends IPv6 unicast with the kernel's own hop limit.
    fn path(&self) -> Path {
        let to = |text: &str, ttl| Path { destination: text.parse().unwrap(), ttl: (ttl, ttl) };
        match (self.family, self.has("unicast")) {
            (family, false) => Path::multicast(family),
            (Family::V4, true) => to("192.168.100.12", 255),
            (Family::V6, true) => to("fd00::12", 64),
        }
    }

    fn addresses(&self) -> Vec<IpAddr> {
        let texts = match self.family {
            Family::V4 => ["192.168.100.10", "10.0.10.50"],
            Family::V6 => ["fe80::10", "fd00::10"],
        };
        texts.map(|text| text.parse().unwrap()).to_vec()
    }

    /// What it was configured to say.
    fn advertisement(&self, priority: u8) -> Advertisement {
        let body = match (self.has("v2"), self.has("pass"), self.family) {
            (true, true, _) => Body::V2(Authentication::Pass(*b"XXX999XX")),
            (true, false, _) => Body::V2(Authentication::None),
            (false, _, Family::V4) if !self.has("rfc") => Body::V3(ChecksumForm::Keepalived),
            (false, _, _) => Body::V3(ChecksumForm::Rfc),
        };
        let interval = Centiseconds(if self.has("v2") { 100 } else { 10 });
        let (vrid, priority) = (VirtualRouterId::new(1).unwrap(), Priority(priority));
        Advertisement { vrid, priority, interval, addresses: self.addresses(), body }
    }

    fn mac(&self) -> [u8; 6] {
        match (self.has("vmac"), self.family) {
            (false, _) => MAC,
            (true, Family::V4) => VIRTUAL_MAC[0],
            (true, Family::V6) => VIRTUAL_MAC[1],
        }
    }
}

/// The advertisement in a frame, if it is one.
fn datagram(frame: &[u8]) -> Option<Datagram<'_>> {
    match (&frame[12..14], frame.get(23), frame.get(20)) {
        ([0x08, 0x00], Some(&VRRP), _) => Datagram::parse(&frame[IP..]),
        ([0x86, 0xdd], _, Some(&VRRP)) => Some(Datagram {
            source: ipv6(frame, IP + 8),
            destination: ipv6(frame, IP + 24),
            ttl: frame[IP + 7],
            payload: &frame[AFTER_IPV6..],
        }),
        _ => None,
    }
}

fn ipv6(frame: &[u8], at: usize) -> IpAddr {
    <[u8; 16]>::try_from(&frame[at..at + 16]).unwrap().into()
}

// RFC 9568: +5.2.1 +5.2.8-ipv4 +5.2.8-ipv6 +5.2.8-others
#[test]
fn each_captured_advertisement_is_read_and_written_again_to_the_same_bytes() {
    for (name, frames) in pcap::all() {
        let form = Form::of(&name);
        let adverts: Vec<Datagram<'_>> = frames.iter().filter_map(|frame| datagram(frame)).collect();
        assert_eq!(adverts.len(), 2, "{name}: the first one and the last");
        for (advert, priority) in adverts.iter().zip([100, 0]) {
            let wanted = form.advertisement(priority);
            assert_eq!(advert.source, form.source(), "{name}");
            assert_eq!(packet::decode(advert, &form.path()).as_ref(), Ok(&wanted), "{name}");
            assert_eq!(wanted.encode(advert.source, advert.destination), advert.payload, "{name}");
        }
    }
}

#[test]
fn what_was_sent_to_one_is_not_taken_for_what_was_sent_to_all() {
    for (name, frames) in pcap::all() {
        let form = Form::of(&name);
        let advert = frames.iter().find_map(|frame| datagram(frame)).unwrap();
        let other = if form.has("unicast") {
            Path::multicast(form.family)
        } else {
            Path { destination: form.source(), ..form.path() }
        };
        assert!(packet::decode(&advert, &other).is_err(), "{name}");
    }
}

// RFC 9568: +6.4.1-garp
#[test]
fn each_captured_gratuitous_arp_is_the_one_that_we_send() {
    let mut seen = 0;
    for (name, frames) in pcap::all() {
        let form = Form::of(&name);
        // Sender and target are the same: an announcement, not a question for a peer's MAC address.
        for frame in frames.iter().filter(|frame| frame[12..14] == [8, 6] && frame[28..32] == frame[38..42]) {
            let address: [u8; 4] = frame[28..32].try_into().unwrap();
            assert!(form.addresses().contains(&address.into()), "{name}");
            assert_eq!(arp::gratuitous(form.mac(), address.into())[..], frame[..arp::FRAME], "{name}");
            seen += 1;
        }
    }
    assert!(seen > 50, "{seen}");
}

/// But for the Router flag, and the checksum that goes with it: RFC 9568 sets it, keepalived only where the kernel
/// forwards. ndp.rs says why we do.
#[test]
fn each_captured_neighbour_advertisement_is_the_one_that_we_send_but_for_the_router_flag() {
    const ALL_NODES: [u8; 6] = [0x33, 0x33, 0, 0, 0, 1];
    const CHECKSUM: usize = AFTER_IPV6 + 2;
    const FLAGS: usize = AFTER_IPV6 + 4;
    let mut seen = 0;
    for (name, frames) in pcap::all() {
        let form = Form::of(&name);
        for frame in frames.iter().filter(|frame| frame[..6] == ALL_NODES && frame[AFTER_IPV6] == 136) {
            let IpAddr::V6(address) = ipv6(frame, AFTER_IPV6 + 8) else { unreachable!("it reads IPv6") };
            let mut ours = ndp::unsolicited(form.mac(), address);
            assert_eq!((ours[FLAGS], frame[FLAGS]), (0xa0, 0x20), "{name}: R and O, and O");
            ours[FLAGS] = 0x20;
            ours[CHECKSUM..FLAGS].copy_from_slice(&frame[CHECKSUM..FLAGS]);
            assert_eq!(ours[..], frame[..], "{name}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
