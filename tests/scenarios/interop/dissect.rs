//! What vrrpd sent in all runs, read by tshark.

use std::path::PathBuf;

use trivet_tests::tap::{Sent, Stamp, write_pcap};
use trivet_tests::tshark::{self, Form};
use trivet_tests::wire::Advert;

use crate::render::Checksum;
use crate::report::Row;

/// Says what was read, and returns what tshark finds wrong.
pub(crate) fn by_tshark(rows: &[Row]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (checksum, form) in [(Checksum::Rfc, Form::MessageOnly), (Checksum::PseudoHeader, Form::PseudoHeader)]
    {
        let sent: Vec<&Sent> =
            rows.iter().filter(|row| row.pairing.checksum() == checksum).flat_map(ours).collect();
        if sent.is_empty() {
            continue;
        }
        let file = directory().join(format!("vrrpd-{}-{form:?}.pcap", std::process::id()));
        write_pcap(&file, sent.iter().copied()).expect("writing what was captured");
        match tshark::judge(&file, form) {
            Ok(right) => println!("tshark finds right, with the checksum {form:?}: {right:?}"),
            Err(errors) => {
                wrong.extend(errors.into_iter().map(|error| format!("{}: {error}", file.display())));
            }
        }
        if wrong.is_empty() && std::env::var_os("TRIVET_PCAP").is_none() {
            let _ = std::fs::remove_file(file);
        }
    }
    wrong
}

fn ours(row: &Row) -> impl Iterator<Item = &Sent> {
    row.sent.iter().filter(|sent| row.pairing.is_ours(sent.by))
}

fn directory() -> PathBuf {
    std::env::var_os("TRIVET_PCAP").map_or_else(std::env::temp_dir, PathBuf::from)
}

/// The judge can say no: to a checksum, to a header and to a packet that ends too early.
#[test]
fn tshark_finds_wrong_what_is_wrong() {
    let right = Advert {
        from: [10, 0, 0, 1].into(),
        ttl: 255,
        version: 2,
        kind: 1,
        vrid: 1,
        priority: 100,
        addresses: vec![[10, 0, 0, 100].into()],
        authentication: 0,
        interval: 1,
        password: [0; 8],
        checksum_error: 0,
    };
    let judge = |packet: &[u8]| {
        let mut bytes = vec![1, 0, 0x5e, 0, 0, 0x12, 2, 0, 0, 0, 0, 1, 8, 0];
        bytes.extend(packet);
        let sent = Sent { at: Stamp::default(), by: 0, bytes, frame: None };
        let file = directory().join(format!("vrrpd-judge-{}.pcap", std::process::id()));
        write_pcap(&file, [&sent].into_iter()).expect("writing a packet");
        let verdict = tshark::judge(&file, Form::MessageOnly);
        let _ = std::fs::remove_file(file);
        verdict
    };
    let found = judge(&right.packet()).expect("nothing is wrong with it");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), [("VRRP version 2 over IPv4".to_owned(), 1)]);
    assert!(judge(&Advert { checksum_error: 1, ..right.clone() }.packet()).is_err(), "its own checksum");
    let mut header = right.packet();
    header[10] ^= 1;
    assert!(judge(&header).is_err(), "the IPv4 header's checksum");
    let mut count = right.packet();
    count[23] = 9;
    assert!(judge(&count).is_err(), "nine addresses, and one is there");
}
