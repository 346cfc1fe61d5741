//! The keys of `type = "dns"`.

use super::{errors, good};
use crate::probe::Kind;
use crate::probe::dns::{Matching, OptRcode, Protocol, Rtype, Settings, Wanted};

fn dns(keys: &str) -> Settings {
    let check = good(&format!("type = \"dns\"\n{keys}"));
    let Kind::Dns(settings) = &check.kind else { panic!("not dns: {check:?}") };
    Settings::clone(settings)
}

#[test]
fn without_a_key_the_root_is_asked_for_as_keepalived_does_it() {
    let settings = dns("");
    assert_eq!(settings, Settings::default());
    assert_eq!((settings.name.to_string(), settings.record), (".".to_owned(), Rtype::SOA));
    let check = good("type = \"dns\"\n");
    assert!(!check.kind.needs_port() && check.kind.default_port() == Some(53));
    assert!(errors("type = \"DNS_CHECK\"\n").contains("write \"dns\""));
}

#[test]
fn every_key_is_read() {
    let settings = dns("name = \"www.example.com\"\nrecord = \"A\"\nrcode = [\"NOERROR\", \"nxdomain\"]\n\
         answer = [\"192.0.2.1\", \"192.0.2.2\"]\nanswer_match = \"any\"\nmin_answers = 2\nrecursion = false\n\
         authoritative = true\nedns_size = 4096\nprotocol = \"tcp\"\n");
    let wanted = ["192.0.2.1", "192.0.2.2"].map(|text| Wanted::parse(Rtype::A, text).unwrap());
    let expected = Settings {
        name: "www.example.com".parse().unwrap(),
        record: Rtype::A,
        rcodes: vec![OptRcode::NOERROR, OptRcode::NXDOMAIN],
        wanted: wanted.into(),
        matching: Matching::Any,
        least: 2,
        recursion: false,
        authoritative: true,
        edns_size: 4096,
        protocol: Protocol::Tcp,
    };
    assert_eq!(settings, expected);
    assert_eq!(dns("rcode = \"REFUSED\"\n").least, 0, "an error has no records");
    assert_eq!(dns("record = \"TXT\"\nanswer = \"v=spf1 -all\"\n").wanted.len(), 1);
    assert_eq!(dns("record = \"TYPE65280\"\nedns_size = 0\n").edns_size, 0);
}

#[test]
fn mistakes_are_told_where_they_stand() {
    for (keys, expected) in [
        ("name = \"\"\n", "web.toml:2:8: error: 'name' is not a domain name"),
        ("name = \"a..b\"\n", "'name' is not a domain name"),
        ("name = \"m\u{fc}nchen.example\"\n", "xn--"),
        ("record = \"ANY\"\n", "'record' is not the type of one kind of record: ANY"),
        ("record = \"Address\"\n", "'record' is not the type of a record"),
        ("rcode = [\"NOERROR\", \"NX\"]\n", "web.toml:2:21: error: 'rcode' cannot be \"NX\""),
        ("rcode = []\n", "'rcode' is empty"),
        ("answer = \"192.0.2.1\"\n", "'answer' is no SOA record as a zone file has it"),
        (
            "record = \"A\"\nanswer = [\"192.0.2.1\", 5]\n",
            "web.toml:3:24: error: 'answer' must be a string or an array of strings, not",
        ),
        ("record = \"A\"\nanswer = \"192.0.2.1 192.0.2.2\"\n", "'answer' is more than one A record"),
        ("edns_size = 100\n", "'edns_size' is less than 512"),
        ("edns_size = 9000\n", "'edns_size' must be from 0 to 4096"),
        ("min_answers = -1\n", "'min_answers' must be from 0 to 1000"),
        ("answer_match = \"each\"\n", "write \"all\""),
        ("protocol = \"tls\"\n", "'protocol' cannot be \"tls\""),
        ("require_reply = true\n", "this key belongs to type = \"udp\""),
    ] {
        let report = errors(&format!("type = \"dns\"\n{keys}"));
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
}
