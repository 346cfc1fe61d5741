use super::*;
use crate::types::VirtualRouterId;

#[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
fn start() -> Instant {
    Instant::now()
}

fn peer(number: u64) -> IpAddr {
    let [.., a, b, c] = number.to_be_bytes();
    IpAddr::from([10, a, b, c])
}

fn advertisement(body: Body) -> Advertisement {
    Advertisement {
        vrid: VirtualRouterId::new(1).unwrap(),
        priority: Priority(100),
        interval: Centiseconds(100),
        addresses: vec![IpAddr::from([10, 0, 0, 100])],
        body,
    }
}

const RFC: Body = Body::V3(ChecksumForm::Rfc);
const KEEPALIVED: Body = Body::V3(ChecksumForm::Keepalived);
const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_flood_from_many_sources_fills_no_more_than_its_rows_and_nothing_goes_uncounted() {
    let now = start();
    let mut peers = Peers::default();
    for number in 0..10_000 {
        peers.discarded(now, peer(number), Discard::Checksum);
        peers.believed(now, peer(number), &advertisement(RFC));
    }
    assert_eq!(peers.rows().count(), MOST + 1);
    assert_eq!(peers.rows().map(|row| row.received).sum::<u64>(), 10_000);
    assert_eq!(peers.rows().map(|row| row.discarded[Discard::Checksum.index()]).sum::<u64>(), 10_000);
    assert_eq!(peers.rows().last().unwrap().address, None);
}

#[test]
fn whoever_is_believed_finds_a_row_although_junk_came_first_and_keeps_it() {
    let now = start();
    let mut peers = Peers::default();
    for number in 0..1_000 {
        peers.discarded(now + SECOND, peer(number), Discard::Version(2));
    }
    peers.believed(now + SECOND, peer(5_000), &advertisement(RFC));
    for number in 0..1_000 {
        peers.discarded(now + 2 * SECOND, peer(10_000 + number), Discard::Version(2));
    }
    let row = peers.rows().find(|row| row.address == Some(peer(5_000))).unwrap();
    assert_eq!(row.received, 1);
    assert_eq!(peers.rows().map(|row| row.discarded[Discard::Version(2).index()]).sum::<u64>(), 2_000);
}

#[test]
fn a_peer_that_has_long_been_silent_makes_room() {
    let now = start();
    let mut peers = Peers::default();
    for number in 0..16 {
        peers.believed(now + u32::try_from(number).unwrap() * SECOND, peer(number), &advertisement(RFC));
    }
    peers.believed(now + FORGOTTEN - SECOND, peer(99), &advertisement(RFC));
    assert!(!peers.rows().any(|row| row.address == Some(peer(99))), "not yet");
    peers.believed(now + FORGOTTEN, peer(99), &advertisement(RFC));
    assert!(peers.rows().any(|row| row.address == Some(peer(99))));
    assert!(!peers.rows().any(|row| row.address == Some(peer(0))), "the one that was silent longest");
}

#[test]
fn the_same_of_one_peer_is_said_once_for_as_long_as_it_goes_on_and_again_when_it_comes_back() {
    let now = start();
    let mut peers = Peers::default();
    let version = |number| Remark::Discarded(Discard::Version(number));
    assert_eq!(peers.note(now, peer(1), version(2)), Some(0));
    for second in 1..600 {
        assert_eq!(peers.note(now + second * SECOND, peer(1), version(2)), None);
    }
    assert_eq!(peers.note(now + 600 * SECOND, peer(1), Remark::Addresses), Some(0), "another thing");
    assert_eq!(peers.note(now + 600 * SECOND, peer(2), version(2)), Some(0), "another peer");
    let current: Vec<_> = peers.remarks(now + 600 * SECOND).collect();
    assert_eq!(current, [(peer(1), version(2)), (peer(1), Remark::Addresses), (peer(2), version(2))]);
    assert_eq!(peers.remarks(now + 660 * SECOND).count(), 0, "over");
    assert_eq!(peers.note(now + 659 * SECOND, peer(1), version(2)), Some(599));
}

#[test]
fn of_those_without_a_row_the_same_is_said_once_a_minute() {
    let now = start();
    let mut peers = Peers::default();
    let mut said = 0;
    for number in 0..120_000_u64 {
        let at = now + Duration::from_millis(number);
        said += usize::from(peers.discarded(at, peer(number), Discard::Checksum).is_some());
    }
    assert_eq!(said, MOST + 2);
}

#[test]
fn the_checksum_is_the_rfcs_until_a_peer_was_heard_and_then_the_peers() {
    let now = start();
    let mut peers = Peers::default();
    assert_eq!(peers.checksum(now), ChecksumForm::Rfc);
    peers.believed(now, peer(1), &advertisement(KEEPALIVED));
    assert_eq!(peers.checksum(now), ChecksumForm::Keepalived);
    let much_later = now + 100 * FORGOTTEN;
    assert_eq!(peers.checksum(much_later), ChecksumForm::Keepalived, "a Backup is not heard");
    peers.believed(much_later, peer(1), &advertisement(RFC));
    assert_eq!(peers.checksum(much_later), ChecksumForm::Rfc, "its configuration was changed");
}

#[test]
fn peers_that_disagree_about_the_checksum_get_the_rfcs_and_it_is_said_once() {
    let now = start();
    let mut peers = Peers::default();
    peers.believed(now, peer(1), &advertisement(KEEPALIVED));
    assert!(!peers.new_disagreement(now));
    peers.believed(now, peer(2), &advertisement(RFC));
    assert_eq!(peers.checksum(now), ChecksumForm::Rfc);
    assert_eq!(peers.disagreement(now), Some((peer(1), peer(2))));
    assert!(peers.new_disagreement(now));
    assert!(!peers.new_disagreement(now));
    let later = now + FORGOTTEN;
    peers.believed(later, peer(1), &advertisement(KEEPALIVED));
    assert_eq!(peers.disagreement(later), None, "the other has not been heard for long");
    assert_eq!(peers.checksum(later), ChecksumForm::Keepalived);
    assert!(!peers.new_disagreement(later));
    peers.believed(later, peer(2), &advertisement(RFC));
    assert!(peers.new_disagreement(later), "again");
}

#[test]
fn a_row_tells_what_the_peer_said_last() {
    let now = start();
    let mut peers = Peers::default();
    peers.discarded(now, peer(1), Discard::Password);
    assert_eq!(peers.rows().next().unwrap().said, None);
    peers.believed(now + SECOND, peer(1), &advertisement(KEEPALIVED));
    peers.discarded(now + 2 * SECOND, peer(1), Discard::Ttl { ttl: 1, allowed: (255, 255) });
    let row = peers.rows().next().unwrap();
    assert_eq!((row.address, row.last_seen, row.received), (Some(peer(1)), now + 2 * SECOND, 1));
    let said = Said {
        at: now + SECOND,
        version: Version::V3,
        priority: Priority(100),
        interval: Centiseconds(100),
        checksum: Some(ChecksumForm::Keepalived),
    };
    assert_eq!(row.said, Some(said));
}
