use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};

use super::*;

fn der(names: &[&str], year: i32) -> Vec<u8> {
    let mut params =
        CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    params.distinguished_name.push(DnType::CommonName, "a subject");
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 2);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec()
}

fn peer(certificate: Option<&[u8]>) -> Peer<'_> {
    // 2026-11-21
    let now = Duration::from_secs(1_795_219_200);
    Peer { protocol: "TLS 1.3", certificate, is_asked: false, now }
}

fn reason(names: &[&str], year: i32, within: u64) -> String {
    let mut probe = Probe::new(Settings { expires_within: Duration::from_secs(within * 24 * 60 * 60) });
    match probe.on_secured(&peer(Some(&der(names, year)))) {
        Some(Outcome::Pass(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_reason_tells_whose_certificate_it_is_and_when_its_end_is_near() {
    let names = &["www.example.com", "example.com"];
    assert_eq!(reason(names, 2030, 14), "TLS 1.3, certificate for www.example.com until 2030-01-02");
    let near = "TLS 1.3, certificate for www.example.com until 2027-01-02";
    assert_eq!(reason(names, 2027, 42), near, "the first day that is not within 42 days");
    assert_eq!(reason(names, 2027, 43), format!("{near}: expires within 43d"));
    assert_eq!(reason(names, 2027, 0), near, "no warning is wanted");
    assert_eq!(reason(names, 2022, 0), "TLS 1.3, certificate for www.example.com until 2022-01-02 (expired)");
    assert_eq!(reason(&[], 2030, 14), "TLS 1.3, certificate for a subject until 2030-01-02");
    let broken = Probe::new(Settings::default()).on_secured(&peer(Some(b"junk")));
    assert_eq!(broken, Some(Outcome::Pass("TLS 1.3, certificate that cannot be read".to_owned())));
}

#[test]
fn what_the_server_makes_of_a_client_certificate_is_waited_for_where_it_comes_last() {
    let der = der(&["www.example.com"], 2030);
    let asked = Peer { is_asked: true, ..peer(Some(&der)) };
    let older = Peer { protocol: "TLS 1.2", ..asked };
    let mut probe = Probe::new(Settings::default());
    assert!(probe.on_secured(&older).is_some(), "in TLS 1.2 the server has the last word of the handshake");
    assert!(!probe.has_said_all());
    assert_eq!(probe.on_secured(&asked), None);
    assert!(probe.has_said_all() && probe.unsent().is_empty());
    let expected = Outcome::Pass("TLS 1.3, certificate for www.example.com until 2030-01-02".to_owned());
    assert_eq!(probe.on_received(b"220 hello"), Some(expected.clone()));
    assert_eq!(probe.on_secured(&asked), None);
    assert_eq!(probe.on_closed(), expected);
}
