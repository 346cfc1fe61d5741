//! What NSD 4.12 answers, as it was sent: to questions of ours with the id 0x1234 and with EDNS.

use super::*;
use crate::probe::Outcome;

const ADDRESSES: &str = "12348500000100020001000203777777076578616d706c6504746573740000010001c00c000100010000003c00040a01\
    0050c00c000100010000003c00040a010051c010000200010000003c0005026e73c010c04e000100010000003c00040a01000200002904d0000000\
    000000";
const MAIL: &str = "123485000001000100010003076578616d706c65047465737400000f0001c00c000f00010000003c0009000a046d61696cc00c\
    c00c000200010000003c0005026e73c00cc02c000100010000003c00040a010019c03f000100010000003c00040a01000200002904d00000000000\
    00";
const AUTHORITY: &str = "123485000001000100010002076578616d706c6504746573740000060001c00c000600010000003c0026026e73c00c0a68\
    6f73746d6173746572c00c0000000700000e1000000258000151800000003cc00c000200010000003c0002c02ac02a000100010000003c00040a01\
    000200002904d0000000000000";
const ALIAS: &str = "12348500000100030001000203776562076578616d706c6504746573740000010001c00c000500010000003c000603777777c0\
    10c02e000100010000003c00040a010050c02e000100010000003c00040a010051c010000200010000003c0005026e73c010c06000010001000000\
    3c00040a01000200002904d0000000000000";
const NO_NAME: &str = "123485030001000000010001046e6f7065076578616d706c6504746573740000010001c011000600010000003c0026026e73\
    c0110a686f73746d6173746572c0110000000700000e1000000258000151800000003c00002904d0000000000000";
const REFUSED: &str =
    "123481050001000000000001076578616d706c65036f7267000006000100002904d0000000000006000f00020014";
const TRUNCATED: &str =
    "12348700000100000000000103626967076578616d706c650474657374000010000100002904d0000000000000";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        hex.bytes().map(|digit| u8::try_from(char::from(digit).to_digit(16).unwrap()).unwrap()).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn read(captured: &str, name: &str, record: Rtype, wanted: &[&str]) -> Reply {
    let wanted = wanted.iter().map(|text| Wanted::parse(record, text).unwrap()).collect();
    let name = name.parse().unwrap();
    let settings = Settings { name, record, wanted, authoritative: true, ..Settings::default() };
    Probe::new(Arc::new(settings), 0x1234).on_received(&bytes(captured))
}

#[test]
fn answers_of_nsd_are_understood() {
    let (address, mail, authority, text) = (Rtype::A, Rtype::MX, Rtype::SOA, Rtype::TXT);
    let soa = "ns.example.test. hostmaster.example.test. 7 3600 600 86400 60";
    for (captured, name, record, wanted, expected) in [
        (ADDRESSES, "WWW.example.test", address, vec!["10.1.0.81", "10.1.0.80"], "NOERROR, 2 A records"),
        (MAIL, "example.test", mail, vec!["10 mail.example.test"], "NOERROR, 1 MX record"),
        (AUTHORITY, "example.test", authority, vec![soa], "NOERROR, 1 SOA record"),
        (ALIAS, "web.example.test", address, vec!["10.1.0.80"], "NOERROR, 2 A records"),
    ] {
        let reply = read(captured, name, record, &wanted);
        assert!(
            matches!(&reply, Reply::Decides(Outcome::Pass(reason)) if reason == expected),
            "{name}: {reply:?}"
        );
    }
    for (captured, name, record, wanted, expected) in [
        (
            ADDRESSES,
            "www.example.test",
            address,
            vec!["10.1.0.9"],
            "not 10.1.0.9 in the answer: 10.1.0.80, 10.1.0.81",
        ),
        (NO_NAME, "nope.example.test", address, vec![], "NXDOMAIN (there is no such name), expected NOERROR"),
        (REFUSED, "example.org", authority, vec![], "REFUSED (it refuses to answer this), expected NOERROR"),
    ] {
        let reply = read(captured, name, record, &wanted);
        let told = matches!(&reply, Reply::Decides(Outcome::Fail(reason)) if reason.ends_with(expected));
        assert!(told, "{name}: {reply:?}");
    }
    assert!(matches!(read(TRUNCATED, "big.example.test", text, &[]), Reply::Continues(_)));
    assert!(matches!(read(ADDRESSES, "www.example.test", Rtype::AAAA, &[]), Reply::Another));
}

#[test]
fn every_cut_and_every_changed_byte_of_them_is_judged_without_a_panic_and_in_words() {
    let mut decided = 0;
    for (captured, name, record) in [
        (ADDRESSES, "www.example.test", Rtype::A),
        (MAIL, "example.test", Rtype::MX),
        (AUTHORITY, "example.test", Rtype::SOA),
        (ALIAS, "web.example.test", Rtype::A),
    ] {
        let good = bytes(captured);
        let settings = Settings { name: name.parse().unwrap(), record, ..Settings::default() };
        let mut probe = Probe::new(Arc::new(settings), 0x1234);
        let mut judge = |message: &[u8]| {
            if let Reply::Decides(Outcome::Pass(reason) | Outcome::Fail(reason)) = probe.on_received(message)
            {
                assert!(reason.is_ascii() && reason.len() < 300, "{reason:?}");
                decided += 1;
            }
            assert!(probe.progress().len() < 100);
        };
        for at in 0..good.len() {
            judge(&good[..at]);
            for change in [0x01, 0x40, 0x80, 0xc0, 0xff] {
                let mut message = good.clone();
                message[at] ^= change;
                judge(&message);
            }
        }
    }
    assert!(decided > 1_000, "{decided}");
}
