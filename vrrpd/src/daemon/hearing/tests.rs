use std::time::Duration;

use daemon::diagnostic::Report;
use daemon::testing::TempRoot;

use super::*;
use crate::config;
use crate::types::{Centiseconds, VirtualRouterId};

const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));
const SECOND: Duration = Duration::from_secs(1);

#[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn instance(now: Instant, lines: &str) -> Instance {
    let root = TempRoot::new();
    let text = format!("interface = 'lo'\nvirtual_router_id = 1\naddresses = ['10.0.0.9/24']\n{lines}\n");
    root.write("etc/trivet/vrrp.d/gateway.toml", &text);
    let mut report = Report::new();
    let config = config::load(root.path(), None, &mut report).routers.remove("gateway");
    let mut instance = Instance::new(now, 0, config.unwrap_or_else(|| panic!("{report}")));
    let _ = instance.router.on_event(now, Event::Ready { source: [10, 0, 0, 1].into() });
    instance
}

fn good(body: Body) -> Advertisement {
    Advertisement {
        vrid: VirtualRouterId::new(1).unwrap(),
        priority: Priority(100),
        interval: Centiseconds(100),
        addresses: vec![IpAddr::from([10, 0, 0, 9])],
        body,
    }
}

const RFC: Body = Body::V3(ChecksumForm::Rfc);
const KEEPALIVED: Body = Body::V3(ChecksumForm::Keepalived);

fn hear(instance: &mut Instance, now: Instant, from: IpAddr, advertisement: &Advertisement) -> Hearing {
    let path = Path::multicast(Family::V4);
    let payload = advertisement.encode(from, path.destination);
    let datagram = Datagram { source: from, destination: path.destination, ttl: 255, payload: &payload };
    instance.hear(now, &datagram, &path)
}

fn texts(hearing: &Hearing) -> Vec<&str> {
    hearing.news.iter().map(|news| news.text.as_str()).collect()
}

/// The form in which the instance's own advertisement can be read.
fn sends(instance: &Instance, now: Instant) -> Body {
    let path = Path::multicast(Family::V4);
    let source = instance.router.source();
    let payload = instance.advertisement(now, Priority(100), source, path.destination);
    packet::decode(&Datagram { source, destination: path.destination, ttl: 255, payload: &payload }, &path)
        .unwrap()
        .body
}

// RFC 9568: +7.1-checksum +7.1-count +7.1-interval
#[test]
fn a_good_advertisement_is_an_event_and_nothing_to_speak_of() {
    let now = start();
    let mut instance = instance(now, "");
    let hearing = hear(&mut instance, now, PEER, &good(RFC));
    let event = Event::Advertisement { from: PEER, priority: Priority(100), interval: Centiseconds(100) };
    assert_eq!((hearing.event, hearing.news), (Some(event), Vec::new()));
    assert!(!instance.renew_remarks(now));
    assert_eq!(instance.counters.advertisements_received, 1);
}

// RFC 9568: -7.1-version +7.1-counters
#[test]
fn a_peer_of_another_version_is_explained_once_counted_always_and_shown_until_it_is_over() {
    let now = start();
    let mut instance = instance(now, "");
    let version_2 = good(Body::V2(packet::Authentication::None));
    let hearing = hear(&mut instance, now, PEER, &version_2);
    let sentence = "peer 10.0.0.2 sends version 2; this router speaks 3";
    assert_eq!(hearing.event, None);
    assert_eq!(texts(&hearing), [format!("{sentence}; its advertisements are dropped")]);
    assert!(instance.renew_remarks(now));
    assert_eq!(instance.remark_sentences(), [sentence]);
    for second in 1..=100 {
        assert!(hear(&mut instance, now + second * SECOND, PEER, &version_2).news.is_empty());
        assert!(!instance.renew_remarks(now + second * SECOND));
    }
    assert_eq!(instance.counters.discarded[Discard::Version(2).index()], 101);
    let row = instance.peers.rows().next().unwrap();
    assert_eq!(row.discarded[Discard::Version(2).index()], 101);
    assert!(instance.renew_remarks(now + 160 * SECOND));
    assert_eq!(instance.remark_sentences(), [""; 0]);
}

// RFC 9568: +7.1-other-interval +7.1-addresses +7.1-owner +8.3.2
#[test]
fn what_is_odd_but_believed_is_said_counted_and_shown() {
    let now = start();
    for (lines, odd, expected) in [
        ("", Advertisement { addresses: vec![PEER], ..good(RFC) }, "advertises other addresses"),
        ("", Advertisement { interval: Centiseconds(10), ..good(RFC) }, "has the interval 100ms"),
        ("checksum = 'rfc'", good(KEEPALIVED), "sends the checksum with a pseudo-header"),
        ("checksum = 'keepalived'", good(RFC), "sends the RFC's checksum"),
        ("priority = 255", Advertisement { priority: Priority(255), ..good(RFC) }, "says that it owns"),
    ] {
        let mut instance = instance(now, lines);
        let hearing = hear(&mut instance, now, PEER, &odd);
        assert!(hearing.event.is_some(), "{expected}: it is believed");
        assert_eq!(hearing.news.len(), 1, "{:?}", hearing.news);
        assert!(hearing.news[0].text.contains(expected), "{:?}", hearing.news);
        assert!(instance.renew_remarks(now));
        assert_eq!(instance.remark_sentences(), texts(&hearing));
        assert!(hear(&mut instance, now, PEER, &odd).news.is_empty());
        let mismatches = u64::from(odd.addresses == [PEER]) * 2;
        assert_eq!(instance.counters.address_list_mismatch, mismatches);
    }
    let mut instance = instance(now, "");
    let hearing = hear(&mut instance, now, [10, 0, 0, 1].into(), &good(RFC));
    assert!(hearing.news[0].text.contains("has the address of this router"), "{:?}", hearing.news);
}

// RFC 9568: +5.2.8-others
#[test]
fn with_checksum_auto_the_form_follows_the_peers_and_their_disagreement_is_said() {
    let now = start();
    let mut instance = instance(now, "");
    assert_eq!(sends(&instance, now), RFC);
    assert!(hear(&mut instance, now, PEER, &good(KEEPALIVED)).news.is_empty());
    assert_eq!(sends(&instance, now), KEEPALIVED);
    let news = hear(&mut instance, now, OTHER, &good(RFC)).news;
    assert!(news[0].text.starts_with("peer 10.0.0.2 sends the checksum with a pseudo-header"), "{news:?}");
    assert!(news[0].text.contains("and peer 10.0.0.3 the RFC's"), "{news:?}");
    assert_eq!(sends(&instance, now), RFC);
    assert!(instance.renew_remarks(now));
    assert_eq!(instance.remark_sentences(), [news[0].text.as_str()]);
    assert!(hear(&mut instance, now, PEER, &good(KEEPALIVED)).news.is_empty());
}

#[test]
fn a_configured_checksum_is_sent_whatever_the_peers_send() {
    let now = start();
    for (word, sent, heard) in [("rfc", RFC, KEEPALIVED), ("keepalived", KEEPALIVED, RFC)] {
        let mut instance = instance(now, &format!("checksum = '{word}'"));
        hear(&mut instance, now, PEER, &good(heard));
        assert_eq!(sends(&instance, now), sent);
        let counted = instance.counters.checksum_with_pseudo_header;
        assert_eq!(counted, u64::from(heard == KEEPALIVED));
    }
}

#[test]
fn an_owner_that_is_heard_by_anybody_else_is_nothing_to_speak_of() {
    let now = start();
    let mut instance = instance(now, "");
    let owner = Advertisement { priority: Priority(255), ..good(RFC) };
    assert_eq!(hear(&mut instance, now, PEER, &owner).news, []);
}

#[test]
fn peers_that_disagree_about_the_checksum_are_each_told_of_where_one_form_is_configured() {
    let now = start();
    let mut instance = instance(now, "checksum = 'rfc'");
    let news = hear(&mut instance, now, PEER, &good(KEEPALIVED)).news;
    assert_eq!((news.len(), news[0].remark), (1, Some(Remark::Checksum(ChecksumForm::Keepalived))));
    assert_eq!(hear(&mut instance, now, OTHER, &good(RFC)).news, []);
    instance.renew_remarks(now);
    assert_eq!(instance.remark_sentences().len(), 1);
}

// RFC 9568: +7.1-first -7.1-first
#[test]
fn an_ipv6_router_asks_for_a_link_local_address_first_if_it_has_one_and_else_only_counts() {
    let now = start();
    let peer: IpAddr = "fe80::2".parse().unwrap();
    let theirs = vec!["2001:db8::9".parse().unwrap()];
    let path = Path::multicast(Family::V6);
    let payload = Advertisement { addresses: theirs, ..good(RFC) }.encode(peer, path.destination);
    let datagram = Datagram { source: peer, destination: path.destination, ttl: 255, payload: &payload };
    for (ours, believed) in [("'fe80::9/64', '2001:db8::9/64'", false), ("'2001:db8::9/64'", true)] {
        let root = TempRoot::new();
        let text = format!("interface = 'lo'\nvirtual_router_id = 1\naddresses = [{ours}]\n");
        root.write("etc/trivet/vrrp.d/six.toml", &text);
        let mut report = Report::new();
        let config = config::load(root.path(), None, &mut report).routers.remove("six");
        let mut instance = Instance::new(now, 0, config.unwrap_or_else(|| panic!("{report}")));
        let hearing = instance.hear(now, &datagram, &path);
        assert_eq!(hearing.event.is_some(), believed, "{ours}");
        let said = if believed { "wants a link-local one there" } else { "must its peers" };
        assert!(hearing.news.iter().any(|news| news.text.contains(said)), "{:?}", hearing.news);
        assert_eq!(instance.counters.first_address_not_link_local, u64::from(believed));
    }
}
