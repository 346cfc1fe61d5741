use super::*;

fn wanting(content: Content, length: RangeInclusive<usize>) -> Probe {
    let expected = Some(Expected { content, length });
    Probe::new(Arc::new(Settings { send: b"ping".to_vec(), expected }))
}

fn bytes(text: &str) -> Content {
    Content::Bytes(BytePattern::parse(text).unwrap())
}

fn passes(probe: &mut Probe, reply: &[u8]) -> bool {
    match probe.on_received(reply) {
        Reply::Decides(outcome) => {
            assert_eq!(outcome, Outcome::Pass("reply received".into()));
            true
        }
        Reply::Another => false,
        Reply::Continues(_) => panic!("this kind has no streams"),
    }
}

#[test]
fn where_no_reply_is_wanted_silence_passes_and_so_does_any_reply() {
    let mut probe = Probe::new(Arc::default());
    assert_eq!(probe.request(), b"");
    assert_eq!(probe.on_timeout(), Some(Outcome::Pass("sent, and no ICMP error came back".into())));
    assert!(passes(&mut probe, b"") && passes(&mut probe, b"whatever"));
}

#[test]
fn where_one_is_wanted_silence_does_not_pass() {
    let mut probe = wanting(Content::Any, 0..=usize::MAX);
    assert_eq!(probe.request(), b"ping");
    assert_eq!((probe.on_timeout(), probe.progress().as_str()), (None, "nothing received"));
    assert!(passes(&mut probe, b""));
}

#[test]
fn a_reply_begins_with_the_expected_bytes_and_an_x_stands_for_any_half_of_one() {
    let mut probe = wanting(bytes("01 fx x3 XX"), 0..=usize::MAX);
    for (reply, fits) in [
        (b"\x01\xf7\x03\x00".as_slice(), true),
        (b"\x01\xf0\xf3\xff and more", true),
        (b"\x01\xe7\x03\x00", false),
        (b"\x01\xf7\x04\x00", false),
        (b"\x00\xf7\x03\x00", false),
        (b"\x01\xf7\x03", false),
        (b"", false),
    ] {
        assert_eq!(passes(&mut probe, reply), fits, "{reply:?}");
    }
}

#[test]
fn a_reply_has_a_match_of_the_expected_pattern() {
    let mut probe =
        wanting(Content::Text(Pattern::new("(?i-u)^SIP/2.0 2[0-9]{2} |\\xff").unwrap()), 0..=usize::MAX);
    assert!(!passes(&mut probe, b"SIP/2.0 503 No\r\n"));
    let told = "a wrong reply received: 'SIP/2.0 503 No\\r\\n' (16 bytes, which 'expect' does not match)";
    assert_eq!(probe.progress(), told);
    assert!(passes(&mut probe, b"sip/2.0 200 OK\r\n") && passes(&mut probe, b"\0\xff"));
}

#[test]
fn a_wrong_reply_is_passed_over_and_named_escaped_and_cut() {
    let mut probe = wanting(bytes("00"), 2..=50);
    assert!(!passes(&mut probe, b"\x1b[31m'"));
    assert_eq!(
        probe.progress(),
        "a wrong reply received: '\\x1b[31m\\'' (6 bytes, which do not begin with 'expect_hex')"
    );
    assert!(!passes(&mut probe, b"\0"));
    assert_eq!(
        probe.progress(),
        "2 wrong replies received, the last '\\x00' (1 bytes, where 2 to 50 are expected)"
    );
    assert!(!passes(&mut probe, &[0; 9000]));
    assert!(
        probe.progress().len() < 300 && probe.progress().contains("…' (9000 bytes"),
        "{}",
        probe.progress()
    );
    assert!(passes(&mut probe, b"\0\0"), "the right one still counts");
    let mut probe = wanting(Content::Any, 10..=usize::MAX);
    assert!(!passes(&mut probe, b"short"));
    assert_eq!(probe.progress(), "a wrong reply received: 'short' (5 bytes, where at least 10 are expected)");
}

#[test]
fn a_pattern_of_bytes_that_is_none_is_answered() {
    for (text, expected) in [
        ("", "empty"),
        ("  ", "empty"),
        ("012", "odd number of digits"),
        ("0 1", "odd number of digits"),
        ("0g", "'g' is no digit"),
        ("0x01 ü", "'ü' is no digit"),
    ] {
        let error = BytePattern::parse(text).unwrap_err();
        assert!(error.contains(expected), "{text:?}: {error}");
    }
    assert_eq!(BytePattern::parse("0aFf").unwrap().into_bytes(), Some(vec![0x0a, 0xff]));
    assert_eq!(BytePattern::parse("0x").unwrap().into_bytes(), None);
}
