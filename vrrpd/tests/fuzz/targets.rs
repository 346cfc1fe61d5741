//! One function for each decoder: any bytes in, no panic, and what was understood makes sense. Run by `cargo fuzz`
//! (vrrpd/fuzz) for long, and by the test beside this file for a moment in every run of the tests.
//!
//! There is none for arp.rs and ndp.rs: they write frames and read none.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use daemon::diagnostic::Report;
use daemon::testing::TempRoot;
use netlink_packet_core::NetlinkPayload;
use vrrpd::interfaces::{Changes, Interfaces};
use vrrpd::packet::{self, Advertisement, Datagram, Path};
use vrrpd::past::{Held, Past};
use vrrpd::record::Record;
use vrrpd::types::{Centiseconds, Family};
use vrrpd::{config, netlink};

/// A packet as an IPv4 raw socket delivers it. Odd first byte: the checksum is made right, or hardly any gets far.
pub(crate) fn ipv4(bytes: &[u8]) {
    let Some((flags, packet)) = bytes.split_first() else { return };
    let mut packet = packet.to_vec();
    if flags & 1 == 1 {
        let header = usize::from(packet.first().copied().unwrap_or_default() & 0x0f) * 4;
        let claimed =
            packet.get(2..4).map_or(0, |bytes| usize::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        let end = claimed.clamp(header.min(packet.len()), packet.len());
        repair(packet.get_mut(header..end).unwrap_or_default(), 0);
    }
    let Some(datagram) = Datagram::parse(&packet) else { return };
    advertisement(&datagram, &Path::multicast(Family::V4));
    advertisement(&datagram, &Path { destination: datagram.destination, ttl: (0, 255) });
    let raw = Datagram { payload: &packet, ..datagram };
    advertisement(&raw, &Path { destination: datagram.destination, ttl: (0, 255) });
}

/// What an IPv6 raw socket delivers, and the header's fields beside it. Odd first byte: see [`ipv4`].
pub(crate) fn ipv6(bytes: &[u8]) {
    let Some((flags, payload)) = bytes.split_first() else { return };
    let (source, destination) = (Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0x11), packet::GROUP_V6);
    let mut payload = payload.to_vec();
    if flags & 1 == 1 {
        let length = u32::try_from(payload.len()).expect("a short payload");
        let pseudo = sum(&source.octets()) + sum(&destination.octets()) + 112 + length;
        repair(&mut payload, pseudo);
    }
    let ttl = if flags & 2 == 2 { 64 } else { 255 };
    let datagram =
        Datagram { source: IpAddr::V6(source), destination: IpAddr::V6(destination), ttl, payload: &payload };
    advertisement(&datagram, &Path::multicast(Family::V6));
    advertisement(&datagram, &Path { ttl: (60, 64), ..Path::multicast(Family::V6) });
}

/// What was understood is written and understood again.
fn advertisement(datagram: &Datagram<'_>, path: &Path) {
    let _ = packet::peek_vrid(datagram.payload);
    match packet::decode(datagram, path) {
        Ok(understood) => written_and_read_again(datagram, path, &understood),
        Err(why) => assert!(!why.to_string().is_empty()),
    }
}

fn written_and_read_again(datagram: &Datagram<'_>, path: &Path, understood: &Advertisement) {
    assert!((path.ttl.0..=path.ttl.1).contains(&datagram.ttl) && datagram.destination == path.destination);
    assert!(!understood.addresses.is_empty() && understood.interval > Centiseconds(0));
    assert!(understood.addresses.iter().all(|address| Family::of(*address) == datagram.family()));
    let bytes = understood.encode(datagram.source, datagram.destination);
    let again = Datagram { payload: &bytes, ..*datagram };
    assert_eq!(packet::decode(&again, path).as_ref(), Ok(understood));
}

/// A drop-in of a router.
pub(crate) fn drop_in(bytes: &[u8]) {
    thread_local!(static ROOT: TempRoot = TempRoot::new());
    ROOT.with(|root| {
        root.write("etc/trivet/vrrp.d/fuzz.toml", &String::from_utf8_lossy(bytes));
        let mut report = Report::new();
        let configuration = config::load(root.path(), None, &mut report);
        let said = report.to_string();
        assert_eq!(said.is_empty(), report.is_empty(), "what is reported is told");
        if report.has_errors() {
            return;
        }
        for router in configuration.routers.values() {
            assert!(router.settings.addresses.len() <= 255 && router.settings.priority.0 > 0);
            assert!((Centiseconds(1)..=Centiseconds(25_500)).contains(&router.settings.advert_interval));
        }
    });
}

/// A datagram of rtnetlink events.
pub(crate) fn events(bytes: &[u8]) {
    let mut interfaces = Interfaces::default();
    for message in netlink::messages(bytes) {
        if let NetlinkPayload::InnerMessage(message) = message.payload {
            interfaces.apply(&message, &mut Changes::default());
        }
    }
    let any = Ipv4Addr::UNSPECIFIED;
    let _ = (interfaces.by_name("eth0"), interfaces.tagged().filter(|tagged| tagged.address == any).count());
}

/// What a former daemon left: whatever it is, it is read, weighed and written again, or refused.
pub(crate) fn record(bytes: &[u8]) {
    thread_local!(static ROOT: TempRoot = TempRoot::new());
    ROOT.with(|root| {
        root.write("run/trivet-vrrpd/state", &String::from_utf8_lossy(bytes));
        let Ok(Some(past)) = Past::read(root.path()) else { return };
        for now in
            [past.alive, Duration::ZERO, Duration::MAX, past.alive.saturating_add(Duration::from_millis(20))]
        {
            let resumable = past.resumable(&past.boot, now).len();
            assert!(resumable <= past.routers.len());
            assert!(
                past.leases(&past.boot, now).len()
                    <= past.routers.iter().map(|held| held.addresses.len()).sum()
            );
        }
        // No interface, and no file's stem, has one.
        let odd =
            |held: &Held| held.name.contains(char::is_control) || held.interface.contains(char::is_control);
        if past.boot.contains(char::is_control) || past.routers.iter().any(odd) {
            return;
        }
        Record::new(root.path()).rewrite(&past).expect("the directory is there");
        let again = Past::read(root.path());
        assert_eq!(again.expect("we wrote it").as_ref(), Some(&past));
    });
}

fn repair(message: &mut [u8], pseudo: u32) {
    let Some(checksum) = message.get_mut(6..8) else { return };
    checksum.fill(0);
    let mut total = pseudo + sum(message);
    while total > 0xffff {
        total = (total & 0xffff) + (total >> 16);
    }
    let right = !u16::try_from(total).expect("folded to 16 bits");
    message[6..8].copy_from_slice(&right.to_be_bytes());
}

fn sum(bytes: &[u8]) -> u32 {
    bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0))).sum()
}
