//! The whole conversation: requests, heads, and how a probe ends. Bodies and hostile bytes have files of their own.

mod bodies;
mod captured;
mod cost;
mod mutated;

use std::time::Duration;

use nix::errno::Errno;

use super::*;
use crate::probe::status::StatusSet;
use crate::probe::{errno, unanswered};

fn target() -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 5], 8080))
}

/// A probe whose request is on its way.
fn sent(request: &Request) -> Probe {
    let mut probe = Probe::new(&Arc::new(request.clone()), target());
    probe.on_sent(probe.unsent().len());
    probe
}

fn answer(bytes: &[u8]) -> Option<Outcome> {
    sent(&Request::default()).on_received(bytes)
}

fn failure(outcome: Option<Outcome>) -> String {
    match outcome {
        Some(Outcome::Fail(reason)) => reason,
        other => panic!("not a failure: {other:?}"),
    }
}

fn pass(code: u16) -> Option<Outcome> {
    Some(Outcome::Pass(format!("status {code}")))
}

#[test]
fn the_request_is_http_1_1_that_closes_and_names_its_host() {
    let request = |request: &Request| {
        String::from_utf8(Probe::new(&Arc::new(request.clone()), target()).request).unwrap()
    };
    assert_eq!(
        request(&Request::default()),
        "GET / HTTP/1.1\r\nHost: 10.0.0.5:8080\r\nConnection: close\r\nUser-Agent: trivet-checkd\r\nAccept: */*\r\n\r\n"
    );
    let settings = Request {
        method: Method::Head,
        path: "/drupal/?q=1".into(),
        host: Some("www.example.com".into()),
        headers: vec![("X-Probe".into(), "yes".into()), ("user-agent".into(), "mine".into())],
        ..Request::default()
    };
    assert_eq!(
        request(&settings),
        "HEAD /drupal/?q=1 HTTP/1.1\r\nHost: www.example.com\r\nConnection: close\r\nAccept: */*\r\nX-Probe: yes\r\n\
         user-agent: mine\r\n\r\n"
    );
}

#[test]
fn an_uncompressed_body_is_asked_for_where_it_matters_and_what_the_user_asks_for_stays() {
    let accepted = |request: Request| {
        let probe = Probe::new(&Arc::new(request), target());
        let text = String::from_utf8(probe.request).unwrap();
        text.lines()
            .filter_map(|line| line.strip_prefix("Accept-Encoding: ").map(str::to_owned))
            .collect::<Vec<_>>()
    };
    let nothing: [&str; 0] = [];
    assert_eq!(accepted(Request::default()), nothing);
    assert_eq!(accepted(bodies::containing("ok")), ["identity"]);
    let headers = vec![("Accept-Encoding".to_owned(), "gzip".to_owned())];
    assert_eq!(accepted(Request { headers, ..bodies::containing("ok") }), ["gzip"]);
}

/// What the request says after "Host: ".
fn host(probe: Probe) -> String {
    let text = String::from_utf8(probe.request).unwrap();
    text.lines().find_map(|line| line.strip_prefix("Host: ")).unwrap().to_owned()
}

#[test]
fn the_host_of_a_target_leaves_out_the_scheme_s_own_port_and_brackets_ipv6() {
    for (target, plain, secured) in [
        ("10.0.0.5:80", "10.0.0.5", "10.0.0.5:80"),
        ("10.0.0.5:443", "10.0.0.5:443", "10.0.0.5"),
        ("[2001:db8::1]:80", "[2001:db8::1]", "[2001:db8::1]:80"),
        ("[2001:db8::1]:443", "[2001:db8::1]:443", "[2001:db8::1]"),
        ("[fe80::1%2]:8080", "[fe80::1]:8080", "[fe80::1]:8080"),
    ] {
        let (target, request) = (target.parse().unwrap(), Arc::new(Request::default()));
        assert_eq!(host(Probe::new(&request, target)), plain);
        assert_eq!(host(Probe::secured(&request, target)), secured);
    }
}

#[test]
fn a_host_that_the_check_names_is_sent_as_it_is_with_any_port() {
    for name in ["www.example.com", "www.example.com:80", "www.example.com:443", "[2001:db8::1]:443"] {
        let request = Arc::new(Request { host: Some(name.to_owned()), ..Request::default() });
        assert_eq!(host(Probe::new(&request, target())), name);
        assert_eq!(host(Probe::secured(&request, target())), name);
    }
}

#[test]
fn the_headers_end_decides_whatever_the_portions_and_whatever_the_body() {
    let response = b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Length: 99999999999999999999999\r\n\r\n";
    for size in 1..response.len() {
        let mut probe = sent(&Request::default());
        let mut outcome = None;
        for (index, portion) in response.chunks(size).enumerate() {
            assert_eq!(outcome, None, "decided before portion {index} of {size} bytes");
            outcome = probe.on_received(portion);
        }
        assert_eq!(outcome, pass(200), "in portions of {size}");
    }
    assert_eq!(answer(b"HTTP/1.0 200 OK\nServer: old\n\nbody"), pass(200));
    assert_eq!(answer(b"HTTP/1.1 204\r\n\r\n"), pass(204));
}

#[test]
fn a_status_outside_the_set_is_down_with_what_was_expected() {
    assert_eq!(failure(answer(b"HTTP/1.1 403 Forbidden\r\n\r\n")), "status 403, expected 200-299");
    let ranges = ["200", "300-399"].map(|text| StatusSet::parse_range(text).unwrap());
    let settings = Request { status: StatusSet::new(ranges.into()).unwrap(), ..Request::default() };
    let answer = |bytes: &[u8]| sent(&settings).on_received(bytes);
    assert_eq!(failure(answer(b"HTTP/1.1 201 Created\r\n\r\n")), "status 201, expected 200, 300-399");
    assert_eq!(answer(b"HTTP/1.1 302 Found\r\nLocation: /elsewhere\r\n\r\n"), pass(302));
}

#[test]
fn interim_responses_are_passed_over_but_not_forever() {
    let interim = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n".as_slice();
    let last = b"HTTP/1.1 200 OK\r\n\r\n".as_slice();
    assert_eq!(answer(&[interim, last].concat()), pass(200));
    assert_eq!(answer(&[&interim.repeat(8), last].concat()), pass(200));
    let reason = failure(answer(&[&interim.repeat(9), last].concat()));
    assert_eq!(reason, "more than 8 interim responses, the last 103");
    let mut probe = sent(&Request::default());
    assert_eq!(probe.on_received(interim), None);
    assert!(probe.progress().contains("1 interim responses received"), "{}", probe.progress());
    assert_eq!(failure(answer(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")), "status 101, expected 200-299");
}

#[test]
fn what_is_not_http_is_told_at_its_first_bytes_and_escaped() {
    assert_eq!(failure(answer(b"SSH-2.0-OpenSSH_9.2\r\n")), "not HTTP/1: starts with 'SSH-2.0-OpenSSH_9.2'");
    assert_eq!(failure(answer(b"\x1b[31m\x00'\xff")), "not HTTP/1: starts with '\\x1b[31m\\x00\\'\\xff'");
    assert!(failure(answer(b"HTTP/2 200\r\n\r\n")).starts_with("not HTTP/1"));
    assert!(failure(answer(b"HTTP/1.7 200 OK\r\n\r\n")).starts_with("broken HTTP"));
    assert!(failure(answer(b"HTTP/1.1 2OO OK\r\n\r\n")).starts_with("broken HTTP"));
    assert!(failure(answer(b"HTTP/1.1\r\n\r\n")).starts_with("broken HTTP"));
    let long = failure(answer(&[b'x'; 5000]));
    assert!(long.len() < 100 && long.ends_with("…'"), "{long}");
}

#[test]
fn endless_headers_and_an_endless_status_line_are_cut_off() {
    let mut probe = sent(&Request::default());
    assert_eq!(probe.on_received(b"HTTP/1.1 200 OK\r\n"), None);
    let mut fed = 0;
    let reason = loop {
        fed += 1;
        assert!(fed < 10_000, "never cut off");
        if let Some(outcome) = probe.on_received(b"X-More: and more\r\n") {
            break failure(Some(outcome));
        }
    };
    assert_eq!(reason, "more than 16 KiB of headers, and no end");
    let endless = [b"HTTP/1.1 200 ".as_slice(), &[b'x'; head::LIMIT * 2]].concat();
    assert_eq!(failure(answer(&endless)), "more than 16 KiB of a status line, and no end");
    let many = [b"HTTP/1.1 200 OK\r\n".as_slice(), &b"a:b\r\n".repeat(300), b"\r\n"].concat();
    assert_eq!(failure(answer(&many)), "more than 256 headers");
}

#[test]
fn an_early_close_tells_what_had_come() {
    let mut probe = sent(&Request::default());
    assert_eq!(failure(Some(probe.on_closed())), "the server closed the connection without an answer");
    assert_eq!(probe.on_received(b"HTTP/1.1 2"), None);
    assert_eq!(
        failure(Some(probe.on_closed())),
        "the server closed the connection: request sent, 10 bytes of the status line received"
    );
}

#[test]
fn odd_headers_do_not_take_a_server_down() {
    for headers in
        ["Bad Name: x\r\n", "X : y\r\n", "Folded: a\r\n b\r\n", "no colon at all\r\n", "X: \u{e9}\r\n"]
    {
        let response = format!("HTTP/1.1 200 OK\r\n{headers}Server: x\r\n\r\n");
        assert_eq!(answer(response.as_bytes()), pass(200), "{headers:?}");
    }
}

#[test]
fn a_timeout_tells_how_far_the_probe_came() {
    let mut probe = Probe::new(&Arc::new(Request::default()), target());
    let reason = |probe: &Probe| match unanswered(Duration::from_secs(3), Some(&probe.progress())) {
        Outcome::Fail(reason) => reason,
        Outcome::Pass(_) | Outcome::PassWithWeight(..) | Outcome::Local(_) => {
            panic!("a timeout is the server's")
        }
    };
    let length = probe.unsent().len();
    probe.on_sent(20);
    assert_eq!(
        reason(&probe),
        format!("no answer within 3s: connected, 20 of {length} bytes of the request sent")
    );
    probe.on_sent(length - 20);
    assert_eq!(reason(&probe), "no answer within 3s: connected, request sent, nothing received");
    assert_eq!(probe.on_received(b"HTTP/1.1 200 OK\r"), None);
    assert_eq!(
        reason(&probe),
        "no answer within 3s: connected, request sent, 16 bytes of the status line received"
    );
    assert_eq!(probe.on_received(b"\nServer: x\r\n"), None);
    assert_eq!(
        reason(&probe),
        "no answer within 3s: connected, request sent, 'HTTP/1.1 200 OK' and 11 bytes of headers received"
    );
}

#[test]
fn a_reset_tells_what_was_being_waited_for() {
    let probe = sent(&Request::default());
    assert_eq!(
        errno::outcome(Errno::ECONNRESET, Some(&probe.progress())),
        Outcome::Fail("connection reset: request sent, nothing received".into())
    );
}
