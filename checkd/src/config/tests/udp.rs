//! The keys of the kinds that send datagrams.

use super::{errors, good};
use crate::check::Check;
use crate::probe::Kind;
use crate::probe::http::Pattern;
use crate::probe::udp::{BytePattern, Content, Settings};
use std::time::Duration;

fn udp(keys: &str) -> (Check, Settings) {
    let check = good(&format!("type = \"udp\"\n{keys}"));
    let Kind::Udp(settings) = &check.kind else { panic!("not udp: {check:?}") };
    let settings = Settings::clone(settings);
    (check, settings)
}

#[test]
fn without_a_key_nothing_is_sent_and_nothing_wanted_and_the_time_is_short() {
    let (check, settings) = udp("");
    assert_eq!(settings, Settings::default());
    assert_eq!(check.timeout, Duration::from_secs(1));
    assert_eq!(udp("timeout = 3\n").0.timeout, Duration::from_secs(3));
    assert_eq!(udp("require_reply = true\n").0.timeout, Duration::from_secs(5));
    assert_eq!(udp("require_reply = false\n").1.expected, None);
}

#[test]
fn what_is_sent_and_what_is_expected_are_read() {
    let (_, settings) = udp("send = \"ping\\n\"\nexpect_hex = \"70 6f x6\"\nmax_length = 20\n");
    assert_eq!(settings.send, b"ping\n");
    let expected = settings.expected.unwrap();
    assert_eq!(expected.content, Content::Bytes(BytePattern::parse("706fx6").unwrap()));
    assert_eq!(expected.length, 0..=20);
    let content = udp("expect = \"^OK\"\n").1.expected.unwrap().content;
    assert_eq!(content, Content::Text(Pattern::new("^OK").unwrap()));
    let (_, settings) = udp("send_hex = \"00 ffFE\"\nmin_length = 3\n");
    assert_eq!(settings.send, [0, 0xff, 0xfe]);
    let expected = settings.expected.unwrap();
    assert_eq!((expected.content, expected.length), (Content::Any, 3..=usize::MAX));
}

#[test]
fn mistakes_are_told_where_they_stand() {
    for (keys, expected) in [
        ("send = \"a\"\nsend_hex = \"00\"\n", "web.toml:3:12: error: 'send' and 'send_hex' are both given"),
        ("send_hex = \"0\"\n", "web.toml:2:12: error: 'send_hex' is cut off within a byte"),
        ("send_hex = \"0x\"\n", "'send_hex' is made of digits that are known"),
        ("send_hex = \"\"\n", "'send_hex' is empty"),
        ("expect = \"(\"\n", "'expect' is not a regular expression: unclosed group"),
        (
            "expect = \"a\"\nexpect_hex = \"00\"\n",
            "web.toml:3:14: error: 'expect' and 'expect_hex' are both given",
        ),
        ("expect_hex = \"0g\"\n", "'expect_hex' is not hexadecimal: 'g'"),
        (
            "min_length = 5\nmax_length = 4\n",
            "web.toml:3:14: error: 'max_length' is less than 'min_length', 5",
        ),
        ("min_length = -1\n", "'min_length' must be from 0 to 16000"),
        ("require_reply = false\nmin_length = 1\n", "web.toml:2:17: error: no reply is required, and yet"),
        ("require_reply = \"00\"\n", "'require_reply' must be true or false, not a string"),
        ("payload = \"00\"\n", "hint: keepalived's payload is send_hex"),
        ("min_reply_length = 1\n", "hint: keepalived's min_reply_length is min_length"),
        ("size = 5\n", "hint: this key belongs to type = \"ping\""),
        ("path = \"/\"\n", "hint: this key belongs to type = \"http\""),
    ] {
        let report = errors(&format!("type = \"udp\"\n{keys}"));
        assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
    }
    let long = format!("type = \"udp\"\nsend = \"{}\"\n", "x".repeat(8193));
    assert!(errors(&long).contains("'send' is too long: 8193 bytes"));
}

#[test]
fn a_ping_may_be_large() {
    let Kind::Ping(settings) = good("type = \"ping\"\nsize = 1400\n").kind else { panic!("no ping") };
    assert_eq!(settings.size, 1400);
    for size in [7, 16_001] {
        let report = errors(&format!("type = \"ping\"\nsize = {size}\n"));
        assert!(report.contains("'size' must be from 8 to 16000"), "{report}");
    }
    assert!(errors("type = \"PING_CHECK\"\n").contains("write \"ping\""));
    assert!(errors("type = \"ping\"\nport = 7\n").contains("a ping has no port"));
}
