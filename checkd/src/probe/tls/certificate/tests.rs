use std::net::IpAddr;

use rcgen::{CertificateParams, DnType, Issuer, KeyPair, SanType, date_time_ymd};

use super::*;

fn params(names: Vec<SanType>) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.subject_alt_names = names;
    params.distinguished_name.push(DnType::CommonName, "A Subject");
    params.not_before = date_time_ymd(1999, 12, 31);
    params.not_after = date_time_ymd(2051, 2, 3);
    params
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn read(params: &CertificateParams) -> Certificate {
    let der = params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().to_vec();
    Certificate::read(&der).unwrap()
}

#[test]
fn names_times_and_signer_are_read() {
    let addresses =
        ["192.0.2.1", "2001:db8::1"].map(|text| SanType::IpAddress(text.parse::<IpAddr>().unwrap()));
    let mail = SanType::Rfc822Name("me@example.com".try_into().unwrap());
    let names = [vec![dns("*.example.com"), mail], addresses.to_vec()].concat();
    let certificate = read(&params(names));
    assert_eq!(certificate.names, ["*.example.com", "192.0.2.1", "2001:db8::1"]);
    assert_eq!((certificate.subject.as_str(), certificate.is_self_issued), ("A Subject", true));
    assert_eq!(date(certificate.not_before), "1999-12-31");
    assert_eq!(date_and_time(certificate.not_after), "2051-02-03 00:00:00 UTC");
    assert_eq!(date(Duration::MAX), "a day that no calendar has");
    let mut above = params(Vec::new());
    above.distinguished_name = rcgen::DistinguishedName::new();
    above.distinguished_name.push(DnType::OrganizationName, "An Organization");
    let issuer = Issuer::new(above, KeyPair::generate().unwrap());
    let signed = params(Vec::new()).signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
    let certificate = Certificate::read(signed.der()).unwrap();
    assert_eq!((certificate.issuer.as_str(), certificate.is_self_issued), ("An Organization", false));
    assert_eq!(certificate.title(), "A Subject");
}

#[test]
fn a_few_names_are_told_and_the_others_counted() {
    let told = |names: &[&str]| read(&params(names.iter().map(|name| dns(name)).collect())).names_in_words();
    assert_eq!(told(&[]), None);
    assert_eq!(told(&["a"]).unwrap(), "a");
    assert_eq!(told(&["a", "b", "c"]).unwrap(), "a, b, c");
    assert_eq!(told(&["a", "b", "c", "d", "e"]).unwrap(), "a, b, c and 2 more");
}

#[test]
fn what_a_peer_wrote_into_its_certificate_is_escaped_and_cut() {
    let mut evil = params(vec![dns("a\u{1b}[31m\n.example"), dns(&"x".repeat(200))]);
    evil.distinguished_name = rcgen::DistinguishedName::new();
    evil.distinguished_name.push(DnType::CommonName, "\u{202e}\u{7}evil");
    let certificate = read(&evil);
    assert_eq!(certificate.names[0], "a\\x1b[31m\\n.example");
    assert_eq!(certificate.names[1], format!("{}…", "x".repeat(64)));
    assert_eq!(certificate.subject, "\\xe2\\x80\\xae\\x07evil");
}

#[test]
fn whatever_the_bytes_are_reading_them_does_no_harm() {
    let der = params(vec![dns("www.example.com")])
        .self_signed(&KeyPair::generate().unwrap())
        .unwrap()
        .der()
        .to_vec();
    for length in 0..der.len() {
        assert_eq!(Certificate::read(&der[..length]), None, "{length} bytes");
    }
    for index in 0..der.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = der.clone();
            changed[index] ^= change;
            if let Some(certificate) = Certificate::read(&changed) {
                let texts =
                    [date_and_time(certificate.not_after), certificate.names_in_words().unwrap_or_default()];
                assert!(texts.iter().all(|text| text.is_ascii() && text.len() < 300), "{texts:?}");
            }
        }
    }
}
