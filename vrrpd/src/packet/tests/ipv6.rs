//! Over IPv6, and to one peer: what else the checksum covers, and what else may not be.

use super::*;

const FROM: &str = "fe80::1";

/// fe80::1 to ff02::12, VRID 7, priority 200, 1 s; the checksum was added up elsewhere (RFC 8200, 8.1).
const V3_IPV6: [u8; 40] = [
    0x31, 0x07, 0xc8, 0x02, 0x00, 0x64, 0xda, 0x28, // VRRP
    0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // fe80::100
    0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x01, 0x00, // 2001:db8::100
];
/// Of the same to fe80::2.
const TO_ONE: u16 = 0xdaba;

fn from() -> IpAddr {
    FROM.parse().unwrap()
}

fn ours() -> Advertisement {
    Advertisement {
        vrid: VirtualRouterId::new(7).unwrap(),
        priority: Priority(200),
        interval: Centiseconds(100),
        addresses: vec!["fe80::100".parse().unwrap(), "2001:db8::100".parse().unwrap()],
        body: Body::V3(ChecksumForm::Rfc),
    }
}

fn to_group(payload: &[u8]) -> Datagram<'_> {
    Datagram { source: from(), destination: GROUP_V6.into(), ttl: 255, payload }
}

// RFC 9568: +5.2.8-ipv6 +5.2.9-family +7.1-ttl
#[test]
fn an_advertisement_over_ipv6_is_read_and_written_with_the_pseudo_header_in_its_checksum() {
    assert_eq!(decode(&to_group(&V3_IPV6)), Ok(ours()));
    for form in [ChecksumForm::Rfc, ChecksumForm::Keepalived] {
        let ours = Advertisement { body: Body::V3(form), ..ours() };
        assert_eq!(ours.encode(from(), GROUP_V6.into()), V3_IPV6, "there is one form");
    }
}

// RFC 9568: -5.2.8-ipv6 -7.1-checksum
#[test]
fn a_checksum_over_the_message_alone_is_wrong_over_ipv6() {
    let mut bytes = V3_IPV6;
    fix_checksum(&mut bytes);
    assert_eq!(decode(&to_group(&bytes)), Err(Discard::Checksum));
    let elsewhere = Datagram { source: "fe80::2".parse().unwrap(), ..to_group(&V3_IPV6) };
    assert_eq!(decode(&elsewhere), Err(Discard::Checksum), "the source is part of it");
}

// RFC 9568: -7.1-ttl -7.1-version -7.1-length
#[test]
fn over_ipv6_other_hop_limits_other_groups_version_2_and_missing_bytes_are_dropped() {
    for ttl in [1, 64, 254] {
        let result = decode(&Datagram { ttl, ..to_group(&V3_IPV6) });
        assert_eq!(result, Err(Discard::Ttl { ttl, allowed: (255, 255) }));
    }
    let destination: IpAddr = "ff02::1".parse().unwrap();
    let result = decode(&Datagram { destination, ..to_group(&V3_IPV6) });
    assert_eq!(result, Err(Discard::Destination(destination)));
    for length in 0..V3_IPV6.len() {
        assert_eq!(decode(&to_group(&V3_IPV6[..length])), Err(Discard::Length(length)));
    }
    let mut version_2 = V3_IPV6;
    version_2[0] = 0x21;
    assert_eq!(decode(&to_group(&version_2)), Err(Discard::Version(2)));
}

// RFC 9568: +7.1-ttl -7.1-ttl
#[test]
fn to_one_peer_its_address_is_in_the_checksum_and_the_group_is_not_listened_to() {
    let to: IpAddr = "fe80::2".parse().unwrap();
    let bytes = ours().encode(from(), to);
    assert_eq!(bytes[6..8], TO_ONE.to_be_bytes());
    let path = Path { destination: to, ttl: (254, 255) };
    let datagram = Datagram { destination: to, ttl: 254, ..to_group(&bytes) };
    assert_eq!(decode_from(&datagram, &path), Ok(ours()));
    assert_eq!(
        decode(&datagram).map_err(Discard::index),
        Err(Discard::Ttl { ttl: 0, allowed: (0, 0) }.index())
    );
    let result = decode_from(&to_group(&V3_IPV6), &path);
    assert_eq!(result, Err(Discard::Destination(GROUP_V6.into())));
    for (ttl, allowed) in [(253, (254, 255)), (0, (254, 255)), (254, (252, 253)), (255, (254, 254))] {
        let result = decode_from(&Datagram { ttl, ..datagram }, &Path { ttl: allowed, ..path });
        assert_eq!(result, Err(Discard::Ttl { ttl, allowed }));
    }
}

// RFC 9568: +5.2.8-others
#[test]
fn over_ipv4_keepaliveds_checksum_to_one_peer_covers_that_peers_address() {
    let to = IpAddr::from([192, 168, 100, 12]);
    let ours = advertisement(10, Body::V3(ChecksumForm::Keepalived));
    let bytes = ours.encode(SOURCE, to);
    assert_ne!(bytes, V3_PSEUDO_HEADER);
    let path = Path { destination: to, ..Path::multicast(Family::V4) };
    let datagram = Datagram { destination: to, ..datagram(&bytes) };
    assert_eq!(decode_from(&datagram, &path), Ok(ours));
    let overheard = Datagram { payload: &V3_PSEUDO_HEADER, ..datagram };
    assert_eq!(decode_from(&overheard, &path), Err(Discard::Checksum));
}

#[test]
fn a_payload_that_no_packet_can_have_is_dropped() {
    let mut bytes = vec![0; 70_000];
    bytes[..V3_IPV6.len()].copy_from_slice(&V3_IPV6);
    assert_eq!(decode(&to_group(&bytes)), Err(Discard::Length(70_000)));
}
