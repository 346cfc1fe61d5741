mod ipv6;

use super::{decode as decode_from, *};

const SOURCE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 100, 11));
const ADDRESSES: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::new(10, 0, 10, 50)), IpAddr::V4(Ipv4Addr::new(192, 168, 100, 10))];

/// keepalived 2.2.7, version 2, PASS: a whole IPv4 packet from a raw socket's point of view.
const V2: [u8; 52] = [
    0x45, 0xc0, 0x00, 0x2c, 0x00, 0x01, 0x00, 0x00, 0xff, 0x70, 0xb5, 0xda, 0xc0, 0xa8, 0x64, 0x0b, 0xe0,
    0x00, 0x00, 0x12, // IPv4
    0x21, 0x01, 0x64, 0x02, 0x01, 0x01, 0xfe, 0xf2, 0x0a, 0x00, 0x0a, 0x32, 0xc0, 0xa8, 0x64, 0x0a, 0x58,
    0x58, 0x58, 0x39, 0x39, 0x39, 0x58, 0x58, // VRRP
    0, 0, 0, 0, 0, 0, 0, 0, // beyond the total length: not ours
];
/// The same router, version 3: keepalived's default checksum, with a pseudo-header.
const V3_PSEUDO_HEADER: [u8; 16] =
    [0x31, 0x01, 0x64, 0x02, 0x00, 0x0a, 0x2c, 0xc6, 0x0a, 0x00, 0x0a, 0x32, 0xc0, 0xa8, 0x64, 0x0a];
/// The same with RFC 9568's checksum, added up by hand (2.2.7 cannot send it; later ones can, `v3_checksum_as_v2`).
const V3_MESSAGE_ONLY: [u8; 16] =
    [0x31, 0x01, 0x64, 0x02, 0x00, 0x0a, 0x32, 0x0d, 0x0a, 0x00, 0x0a, 0x32, 0xc0, 0xa8, 0x64, 0x0a];

/// What came to the group.
fn decode(datagram: &Datagram<'_>) -> Result<Advertisement, Discard> {
    decode_from(datagram, &Path::multicast(datagram.family()))
}

fn datagram(payload: &[u8]) -> Datagram<'_> {
    Datagram { source: SOURCE, destination: GROUP.into(), ttl: 255, payload }
}

fn advertisement(interval: u16, body: Body) -> Advertisement {
    Advertisement {
        vrid: VirtualRouterId::new(1).unwrap(),
        priority: Priority(100),
        interval: Centiseconds(interval),
        addresses: ADDRESSES.to_vec(),
        body,
    }
}

#[test]
fn a_captured_version_2_packet_is_read_and_written() {
    let datagram = Datagram::parse(&V2).unwrap();
    assert_eq!((datagram.source, datagram.destination, datagram.ttl), (SOURCE, GROUP.into(), 255));
    let ours = advertisement(100, Body::V2(Authentication::Pass(*b"XXX999XX")));
    assert_eq!(decode(&datagram).unwrap(), ours);
    assert_eq!(ours.encode(SOURCE, GROUP.into()), V2[20..44]);
}

// RFC 9568: +5.2.1 +5.2.8-ipv4 +5.2.8-others +7.1-checksum +7.1-version +7.1-type
#[test]
fn both_checksums_of_version_3_are_read_told_apart_and_written() {
    for (bytes, form) in [(V3_PSEUDO_HEADER, ChecksumForm::Keepalived), (V3_MESSAGE_ONLY, ChecksumForm::Rfc)]
    {
        let ours = advertisement(10, Body::V3(form));
        assert_eq!(decode(&datagram(&bytes)).unwrap(), ours);
        assert_eq!(ours.encode(SOURCE, GROUP.into()), bytes);
    }
}

// RFC 9568: +5.2.6 +5.2.7
#[test]
fn the_longest_interval_fills_twelve_bits_and_reserved_bits_are_ignored() {
    let ours = advertisement(4095, Body::V3(ChecksumForm::Rfc));
    let mut bytes = ours.encode(SOURCE, GROUP.into());
    assert_eq!(bytes[4..6], [0x0f, 0xff]);
    bytes[4] |= 0xf0;
    fix_checksum(&mut bytes);
    assert_eq!(decode(&datagram(&bytes)).unwrap(), ours);
}

// RFC 9568: +5.2.5 +7.1-length +7.1-count
#[test]
fn the_most_addresses_that_fit_come_back() {
    let mut ours = advertisement(100, Body::V3(ChecksumForm::Rfc));
    ours.addresses = (0..255).map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))).collect();
    assert_eq!(decode(&datagram(&ours.encode(SOURCE, GROUP.into()))).unwrap(), ours);
}

fn fix_checksum(bytes: &mut [u8]) {
    bytes[6..8].fill(0);
    let sum = checksum(0, bytes).to_be_bytes();
    bytes[6..8].copy_from_slice(&sum);
}

/// Change one byte of a good packet and repair the checksum, so that only the change can be the reason.
fn with(index: usize, value: u8) -> Result<Advertisement, Discard> {
    let mut bytes = V3_MESSAGE_ONLY;
    bytes[index] = value;
    fix_checksum(&mut bytes);
    decode(&datagram(&bytes))
}

// RFC 9568: -7.1-ttl -7.1-version -7.1-type -7.1-checksum -7.1-vrid -7.1-count -7.1-interval -5.2.8-ipv4 -5.2.5
#[test]
fn each_check_of_section_7_1_has_its_own_answer() {
    for ttl in [0, 1, 254] {
        let result = decode(&Datagram { ttl, ..datagram(&V3_MESSAGE_ONLY) });
        assert_eq!(result, Err(Discard::Ttl { ttl, allowed: (255, 255) }));
    }
    let unicast = Datagram { destination: SOURCE, ..datagram(&V3_MESSAGE_ONLY) };
    assert_eq!(decode(&unicast), Err(Discard::Destination(SOURCE)));
    for version in [0, 1, 4, 15] {
        assert_eq!(with(0, version << 4 | 1), Err(Discard::Version(version)));
    }
    for kind in [0, 2, 15] {
        assert_eq!(with(0, 0x30 | kind), Err(Discard::Type(kind)));
    }
    assert_eq!(with(1, 0), Err(Discard::UnknownRouter(0)));
    assert_eq!(with(3, 0), Err(Discard::NoAddresses));
    assert_eq!(with(3, 3), Err(Discard::Length(16)));
    assert_eq!(with(5, 0), Err(Discard::IntervalZero));
    let mut bytes = V3_MESSAGE_ONLY;
    bytes[2] ^= 1;
    assert_eq!(decode(&datagram(&bytes)), Err(Discard::Checksum));
}

// RFC 9568: +7.1-length -7.1-length -5.2.5
#[test]
fn a_packet_short_of_one_byte_is_dropped_and_a_longer_one_is_read() {
    for length in 0..V3_MESSAGE_ONLY.len() {
        let result = decode(&datagram(&V3_MESSAGE_ONLY[..length]));
        assert_eq!(result, Err(Discard::Length(length)), "{length} bytes");
    }
    let version_2 = Datagram::parse(&V2).unwrap().payload;
    assert_eq!(
        decode(&datagram(&version_2[..16])),
        Err(Discard::Length(16)),
        "without the eight bytes of PASS"
    );
    let mut longer = V3_MESSAGE_ONLY.to_vec();
    longer.extend([1, 2, 3, 4]);
    fix_checksum(&mut longer);
    assert!(decode(&datagram(&longer)).is_ok());
}

#[test]
fn version_2_does_not_accept_the_pseudo_header() {
    let ours = advertisement(100, Body::V2(Authentication::None));
    let mut bytes = ours.encode(SOURCE, GROUP.into());
    bytes[6..8].fill(0);
    let sum = checksum(pseudo_header(SOURCE, GROUP.into(), bytes.len()), &bytes).to_be_bytes();
    bytes[6..8].copy_from_slice(&sum);
    assert_eq!(decode(&datagram(&bytes)), Err(Discard::Checksum));
}

#[test]
fn no_bytes_make_the_decoder_panic() {
    let mut random = crate::testing::Random::new(0x5eed);
    let mut buffer = Vec::new();
    for round in 0..200_000_u32 {
        buffer.clear();
        if round % 2 == 0 {
            buffer.extend((0..random.below(1200)).map(|_| random.byte()));
        } else {
            // A good packet, mutated, truncated, its checksum right as often as not.
            buffer.extend(V2);
            for _ in 0..random.below(6) {
                let at = usize::try_from(random.below(52)).unwrap();
                buffer[at] = random.byte();
            }
            buffer.truncate(usize::try_from(random.below(53)).unwrap());
            if buffer.len() > 28 && random.below(2) == 0 {
                fix_checksum(&mut buffer[20..]);
            }
        }
        if let Some(parsed) = Datagram::parse(&buffer) {
            let _ = peek_vrid(parsed.payload);
            let _ = decode(&parsed);
            let _ = decode(&Datagram { ttl: 255, destination: GROUP.into(), ..parsed });
        }
        let _ = decode(&Datagram { ttl: 255, destination: GROUP.into(), ..datagram(&buffer) });
    }
}
