//! Bodies in every framing, in portions of every size: the verdict and its reason are always the same.

use super::*;

/// What becomes of an answer that has nothing after it: an outcome, or `Err` with what the probe then waits for.
/// The same for portions of every size.
pub(super) fn verdict(request: &Request, bytes: &[u8]) -> Result<Outcome, String> {
    let feed = |size: usize| {
        let mut probe = sent(request);
        let outcome = bytes.chunks(size).find_map(|portion| probe.on_received(portion));
        outcome.ok_or_else(|| probe.progress())
    };
    let whole = feed(bytes.len());
    for size in 1..bytes.len() {
        assert_eq!(feed(size), whole, "in portions of {size}: {}", bytes.escape_ascii());
    }
    whole
}

/// As [`verdict`], of a server that then closes the connection.
pub(super) fn closed(request: &Request, bytes: &[u8]) -> Outcome {
    let whole = verdict(request, bytes);
    let Err(_) = whole else { return whole.unwrap() };
    let mut probe = sent(request);
    for byte in bytes {
        assert_eq!(probe.on_received(&[*byte]), None);
    }
    probe.on_closed()
}

pub(super) fn reason(outcome: impl Into<Option<Outcome>>) -> String {
    failure(outcome.into())
}

fn passes() -> Outcome {
    Outcome::Pass("status 200, body as expected".to_owned())
}

fn wanting(body: Expectations) -> Request {
    Request { body, ..Request::default() }
}

pub(super) fn containing(text: &str) -> Request {
    wanting(Expectations { contains: vec![Text::new(text)], ..Expectations::default() })
}

pub(super) fn matching(pattern: &str) -> Request {
    wanting(Expectations { matches: vec![Pattern::new(pattern).unwrap()], ..Expectations::default() })
}

/// An answer of 200 with these header lines, and a body.
fn answer_with(headers: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nServer: x\r\n{headers}\r\n{body}").into_bytes()
}

#[test]
fn a_text_is_found_as_soon_as_it_is_there_in_every_framing() {
    for (headers, body) in [
        ("Content-Length: 99\r\n", "all is well"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nall \r\n2;a=b\r\nis\r\n5\r\n well"),
        ("", "all is well"),
        ("Content-Length: 5, 5\r\nContent-Length: 5\r\n", "swell and more"),
    ] {
        assert_eq!(verdict(&containing("well"), &answer_with(headers, body)), Ok(passes()), "{headers}");
    }
}

#[test]
fn a_body_without_the_text_fails_where_it_ends() {
    let request = containing("well");
    for (headers, body) in [
        ("Content-Length: 11\r\n", "all is welwell"),
        ("Transfer-Encoding: chunked\r\n", "b\r\nall is we|l\r\n0\r\nX-Trailer: well\r\n\r\n"),
    ] {
        let outcome = verdict(&request, &answer_with(headers, body)).unwrap();
        assert_eq!(reason(outcome), "'well' is not in the body (11 bytes)");
    }
    assert_eq!(
        reason(closed(&request, &answer_with("", "all is we"))),
        "'well' is not in the body (9 bytes)"
    );
    let empty = verdict(&request, &answer_with("Content-Length: 0\r\n", "well")).unwrap();
    assert_eq!(reason(empty), "'well' is not in the body (0 bytes)");
}

#[test]
fn a_text_that_must_not_be_there_decides_at_once_and_its_absence_at_the_end() {
    let body = Expectations { not_contains: vec![Text::new("sick")], ..Expectations::default() };
    let request = wanting(body);
    let sick = verdict(&request, &answer_with("", "I am sick, I am"));
    assert_eq!(reason(sick.unwrap()), "the body contains 'sick'");
    assert_eq!(
        verdict(&request, &answer_with("", "I am well")),
        Err("request sent, status 200 and 9 bytes of the body received".to_owned())
    );
    assert_eq!(closed(&request, &answer_with("", "I am well")), passes());
    assert_eq!(verdict(&request, &answer_with("Content-Length: 9\r\n", "I am well")), Ok(passes()));
}

#[test]
fn a_pattern_is_judged_as_early_as_it_can_be() {
    let whole = "Transfer-Encoding: chunked\r\n";
    let ok = answer_with(whole, "3\r\nup \r\n2\r\nok\r\n0\r\n\r\n");
    assert_eq!(verdict(&matching("^up *ok$"), &ok), Ok(passes()));
    let more = answer_with(whole, "3\r\nup \r\n3\r\nok!\r\n0\r\n\r\n");
    assert_eq!(reason(verdict(&matching("^up *ok$"), &more).unwrap()), "the body does not match '^up *ok$'");
    let request = matching("up *ok");
    assert_eq!(verdict(&request, &more), Ok(passes()), "whatever follows");
    let body =
        Expectations { not_matches: vec![Pattern::new("(?i)ERR[0-9]+").unwrap()], ..Expectations::default() };
    let request = wanting(body);
    assert_eq!(reason(closed(&request, &answer_with("", "err17"))), "the body matches '(?i)ERR[0-9]+'");
    assert_eq!(closed(&request, &answer_with("", "err")), passes());
    // Bytes that are no UTF-8, as pages of old have them.
    let latin = [answer_with("", ""), b"caf\xe9 ok".to_vec()].concat();
    assert_eq!(closed(&matching("caf. ok$"), &latin), passes());
}

#[test]
fn a_digest_is_that_of_the_decoded_body_and_the_reason_tells_the_real_one() {
    let sha = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    for text in [sha, "md5:900150983cd24fb0d6963f7d28e17f72"] {
        let digest = Some(Digest::parse(text).unwrap());
        let request = wanting(Expectations { digest, ..Expectations::default() });
        let chunked = answer_with("Transfer-Encoding: chunked\r\n", "1\r\na\r\n2\r\nbc\r\n0\r\n\r\n");
        assert_eq!(verdict(&request, &chunked), Ok(passes()));
        assert_eq!(closed(&request, &answer_with("", "abc")), passes());
        let other = reason(verdict(&request, &answer_with("Content-Length: 1\r\n", "a")).unwrap());
        assert!(other.starts_with("the digest of the body (1 bytes) is "), "{other}");
        assert!(other.ends_with(&format!(", expected {text}")), "{other}");
    }
}

#[test]
fn everything_that_is_expected_must_hold() {
    let body = Expectations {
        contains: vec![Text::new("one"), Text::new("two")],
        not_contains: vec![Text::new("three")],
        matches: vec![Pattern::new("^one").unwrap(), Pattern::new("two$").unwrap()],
        ..Expectations::default()
    };
    let request = wanting(body);
    assert_eq!(closed(&request, &answer_with("", "one and two")), passes());
    assert_eq!(reason(closed(&request, &answer_with("", "one"))), "'two' is not in the body (3 bytes)");
    assert!(reason(closed(&request, &answer_with("", "one two."))).contains("does not match 'two$'"));
    assert!(reason(closed(&request, &answer_with("", "one three two"))).contains("contains 'three'"));
}

#[test]
fn a_body_that_is_cut_off_is_never_taken_for_a_whole_one() {
    let request = matching("ok$");
    assert_eq!(
        reason(closed(&request, &answer_with("Content-Length: 100\r\n", "ok, ok"))),
        "the server closed the connection too early: 6 of 100 bytes of the body received"
    );
    for body in ["", "2", "2\r\nok", "2\r\nok\r\n", "2\r\nok\r\n0\r\n", "2\r\nok\r\n0\r\nX: y\r\n"] {
        let told = reason(closed(&request, &answer_with("Transfer-Encoding: chunked\r\n", body)));
        assert!(told.starts_with("the server closed the connection too early: "), "{body:?}: {told}");
        assert!(told.contains("bytes of the chunked body, and not its end"), "{told}");
    }
}

#[test]
fn under_tls_only_its_farewell_makes_the_end_of_the_connection_the_end_of_the_body() {
    let cut = "the connection was closed without TLS's close_notify, and may have been cut off: 2 bytes of the body received";
    let mut probe = sent(&matching("ok$"));
    assert_eq!(probe.on_received(&answer_with("", "ok")), None);
    assert_eq!(failure(Some(probe.on_truncated())), cut);
    let mut probe = sent(&matching("ok$"));
    assert_eq!(probe.on_received(&answer_with("", "ok")), None);
    assert_eq!(probe.on_closed(), passes());
    let mut probe = sent(&matching("ok$"));
    assert!(failure(Some(probe.on_truncated())).contains("without an answer"));
}

#[test]
fn contradictory_framing_is_told_and_matters_only_where_the_body_does() {
    for (headers, expected) in [
        ("Content-Length: 2\r\nContent-Length: 3\r\n", "the Content-Length is both 2 and 3"),
        ("Content-Length: 2, 3\r\n", "the Content-Length is both 2 and 3"),
        ("Content-Length: -2\r\n", "the Content-Length '-2' is not a number"),
        ("Content-Length: +2\r\n", "the Content-Length '+2' is not a number"),
        ("Content-Length: 2 2\r\n", "the Content-Length '2 2' is not a number"),
        ("Content-Length: 99999999999999999999\r\n", "'99999999999999999999' is not a number"),
        ("Content-Length:\r\n", "the Content-Length is empty"),
        (
            "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n",
            "both a Transfer-Encoding and a Content-Length",
        ),
        (
            "Transfer-Encoding: gzip, chunked\r\n",
            "the Transfer-Encoding 'gzip, chunked', which nobody asked for",
        ),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "'chunked, chunked'"),
        ("Transfer-Encoding: \u{e9}\r\n", "'\\xc3\\xa9'"),
        ("Content-Encoding: gzip\r\n", "the body is compressed (gzip), which the request does not accept"),
        ("Content-Encoding: identity, br\r\n", "the body is compressed (br)"),
    ] {
        let bytes = answer_with(headers, "ok");
        let told = reason(verdict(&matching("ok$"), &bytes).unwrap());
        assert!(told.contains(expected), "{headers:?}: {told}");
        assert_eq!(sent(&Request::default()).on_received(&bytes), pass(200), "{headers:?}");
    }
    let old = b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    assert!(reason(verdict(&matching("ok$"), old).unwrap()).contains("in an answer of HTTP/1.0"));
    let identity =
        answer_with("Content-Encoding: identity\r\nTransfer-Encoding: CHUNKED\r\n", "2\r\nok\r\n0\r\n\r\n");
    assert_eq!(verdict(&matching("ok$"), &identity), Ok(passes()));
}

#[test]
fn an_answer_that_cannot_have_a_body_has_an_empty_one() {
    let status = StatusSet::new(vec![200..=399]).unwrap();
    let request = Request { status, ..matching("^$") };
    for code in [204, 304] {
        let bytes = format!("HTTP/1.1 {code} X\r\nContent-Length: 5\r\n\r\n");
        let expected = Outcome::Pass(format!("status {code}, body as expected"));
        assert_eq!(verdict(&request, bytes.as_bytes()), Ok(expected));
    }
    // HTTP/1.0 without a length: up to the end of the connection.
    assert_eq!(closed(&request, b"HTTP/1.0 200 OK\n\n"), passes());
}

#[test]
fn a_body_beyond_the_limit_never_passes_silently() {
    let limited = |mut request: Request| {
        request.body.limit = 10;
        request
    };
    let long = "0123456789ok";
    let chunks = "6\r\n012345\r\n6\r\n6789ok\r\n0\r\n\r\n";
    for (headers, body) in [("", long), ("Transfer-Encoding: chunked\r\n", chunks)] {
        let bytes = answer_with(headers, body);
        let told = |request| reason(verdict(&limited(request), &bytes).unwrap());
        assert_eq!(told(matching("0$")), "the body is longer than body_limit = 10");
        assert_eq!(told(containing("ok")), "'ok' is not in the body's first 10 bytes (body_limit)");
        assert_eq!(verdict(&limited(containing("89")), &bytes), Ok(passes()));
    }
    // A text may show before the limit, so a length alone decides nothing.
    let bytes = answer_with("Content-Length: 12\r\n", long);
    assert_eq!(verdict(&limited(containing("89")), &bytes), Ok(passes()));
    assert_eq!(
        reason(verdict(&limited(containing("9o")), &bytes).unwrap()),
        "'9o' is not in the body's first 10 bytes (body_limit)"
    );
    // What must not be there may be anywhere, so here it does.
    let absent = Expectations { not_matches: vec![Pattern::new("sick").unwrap()], ..Expectations::default() };
    assert_eq!(
        reason(verdict(&limited(wanting(absent)), &bytes).unwrap()),
        "the body has 12 bytes, more than body_limit = 10"
    );
    // Exactly as long as the limit is not longer.
    assert_eq!(closed(&limited(matching("9$")), &answer_with("", &long[..10])), passes());
}

#[test]
fn broken_chunks_are_told_with_what_was_wrong() {
    let chunked =
        |body: &str| verdict(&matching("ok$"), &answer_with("Transfer-Encoding: chunked\r\n", body));
    for (body, expected) in [
        ("ok", "'o' where the size of a chunk begins"),
        ("\r\n", "'\\r' where the size of a chunk begins"),
        ("-2\r\nok", "'-' where the size of a chunk begins"),
        ("2x\r\nok", "'x' in the size of a chunk"),
        ("2\rok", "'o' where the line with a chunk's size ends"),
        ("2\r\nok!", "'!' where a chunk ends"),
        ("2\r\nok\r\r", "'\\r' where a chunk ends"),
        ("10000000000000000\r\n", "a chunk of more than 2^64 bytes"),
    ] {
        let told = reason(chunked(body).unwrap());
        assert!(told.starts_with("broken chunked body: ") && told.contains(expected), "{body:?}: {told}");
    }
    for body in ["2\nok\n0\n\n", "0002 ;a=\"b\"\r\nok\r\n00\r\nA: b\r\n\r\nmore", "2\r\nok\r\n0;x\r\n\r\n"] {
        assert_eq!(chunked(body), Ok(passes()), "{body:?}");
    }
    assert_eq!(
        chunked("2\r\nok\r\n0\r\nA: b\r\n"),
        Err("request sent, status 200 and 2 bytes of the chunked body, and not its end, received".to_owned())
    );
}

/// Feed `portion` again and again: the reason that ends it, and how many bytes it took.
fn endless(headers: &str, beginning: &str, portion: &str) -> (String, usize) {
    let mut probe = sent(&matching("never"));
    assert_eq!(probe.on_received(&answer_with(headers, beginning)), None);
    let mut fed = 0;
    loop {
        fed += portion.len();
        assert!(fed < 100_000_000, "never cut off");
        if let Some(outcome) = probe.on_received(portion.as_bytes()) {
            return (failure(Some(outcome)), fed);
        }
    }
}

#[test]
fn bodies_without_end_are_cut_off() {
    let chunked = "Transfer-Encoding: chunked\r\n";
    let (reason, fed) = endless("", "", "more and more ");
    assert_eq!(reason, "the body is longer than body_limit = 1048576");
    assert!(fed < 1_048_576 + 100, "{fed}");
    assert_eq!(endless(chunked, "", "1\r\nx\r\n").0, "the body is longer than body_limit = 1048576");
    assert_eq!(
        endless(chunked, "FFFFFFFFFFFFFFFF\r\n", "x").0,
        "the body is longer than body_limit = 1048576"
    );
    assert_eq!(endless(chunked, "5;", "extension").0, "more than 16 KiB of chunk extensions");
    let (reason, fed) = endless(chunked, "", &format!("1;{}\r\nx\r\n", "y".repeat(1000)));
    assert!(reason == "more than 16 KiB of chunk extensions" && fed < 20_000, "{reason} after {fed}");
    assert_eq!(endless(chunked, "", "0").0, "more than 16 KiB of chunk extensions");
    let (reason, fed) = endless(chunked, "0\r\n", "X: y\r\n");
    assert!(reason == "more than 16 KiB of trailers, and no end" && fed < 17_000, "{reason} after {fed}");
}

#[test]
fn of_a_body_only_the_bytes_are_kept_in_which_a_text_may_have_begun() {
    let body = Expectations {
        contains: vec![Text::new("never there")],
        not_contains: vec![Text::new("nor this")],
        matches: vec![Pattern::new("nor.*that$").unwrap()],
        ..Expectations::default()
    };
    let mut scan = expect::Scan::new(&body);
    for _ in 0..100 {
        assert_eq!(scan.on_bytes(&body, "x".repeat(4096).as_bytes()), None);
    }
    assert!(scan.held() < 100, "{} bytes", scan.held());
}

#[test]
fn a_redirect_that_fails_tells_where_it_leads() {
    let long = "x".repeat(200);
    for (location, expected) in [
        ("/login?next=%2F", "status 302 to '/login?next=%2F', expected 200-299"),
        ("/\u{e9}'", "status 302 to '/\\xc3\\xa9\\'', expected 200-299"),
        (&long, &format!("status 302 to '{}…', expected 200-299", "x".repeat(80))),
    ] {
        let bytes = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\n\r\n");
        assert_eq!(failure(answer(bytes.as_bytes())), expected);
    }
    let bytes = b"HTTP/1.1 404 No\r\nLocation: /x\r\n\r\n";
    assert_eq!(failure(answer(bytes)), "status 404, expected 200-299");
}
