//! Web servers that lie about their bodies, stall in them, or never end them: each is down, with its reason, within
//! the time limit, and a thousand of them at once cost checkd no more memory than its limits say.

#![expect(
    clippy::unwrap_used,
    reason = "clippy does not know that the functions beside the tests are tests, too"
)]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::SockRef;
use support::World;
use support::servers::{Server, endless, read_request, resetting, wait_for_end};
use support::watcher::Watcher;

const LENGTH: &str = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n";
const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

/// `answer`, and nothing more: the connection stays.
fn stalling(answer: &'static str) -> Server {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
        wait_for_end(stream);
    })
}

/// `answer`, then the server's half of the connection ends, and the probe's stays open.
fn half_closing(answer: &'static str) -> Server {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(Shutdown::Write);
        wait_for_end(stream);
    })
}

/// `answer` a byte now and then, which is good but takes for ever.
fn dripping(answer: &'static str) -> Server {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        for byte in answer.bytes().cycle() {
            // A pause that ends early when the peer goes.
            let gone = matches!(stream.read(&mut [0; 16]), Ok(0));
            if gone || stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    })
}

/// Resets the connection at once, or when it has read the request.
fn resetting_before_it_says_anything(reads: bool) -> Server {
    Server::start(move |mut stream: TcpStream| {
        if reads {
            read_request(&mut stream);
        }
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
}

/// What each server's reason begins with, and what else is in it.
fn hostile_servers() -> Vec<(Server, &'static str, &'static str)> {
    let closed = "the server closed the connection too early: ";
    let late = "no answer within 8s: connected, request sent, status 200 and ";
    let reset = "connection reset: request sent, ";
    vec![
        (stalling(LENGTH), late, "0 of 100 bytes of the body received"),
        (stalling(CHUNKED), late, "0 bytes of the chunked body, and not its end, received"),
        (stalling("HTTP/1.1 200 OK\r\n\r\nwell"), late, "4 bytes of the body received"),
        (dripping(LENGTH), "no answer within 8s: connected, request sent, ", "received"),
        (endless(LENGTH, ""), late, "0 of 100 bytes"),
        (endless("HTTP/1.1 200 OK\r\n\r\n", "more "), "the body is longer than body_limit = 1048576", ""),
        (endless(CHUNKED, "5\r\nmore \r\n"), "the body is longer than body_limit = 1048576", ""),
        (endless(CHUNKED, "0"), "more than 16 KiB of chunk extensions", ""),
        (
            endless(CHUNKED, "1;extension=of-a-chunk-that-is-nearly-empty\r\nx\r\n"),
            "more than 16 KiB of chunk",
            "",
        ),
        (
            endless("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", "X: y\r\n"),
            "more than 16 KiB of trailers",
            "",
        ),
        (
            Server::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFFF\r\n"),
            "broken chunked body",
            "2^64",
        ),
        (Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nwell"), closed, "4 of 100 bytes"),
        (
            Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nwell"),
            "the body (2 bytes) does not match",
            "",
        ),
        (
            Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\nwell"),
            "the body has 9999999 bytes",
            "",
        ),
        (
            Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nwell"),
            "broken HTTP",
            "both 4 and 5",
        ),
        (
            Server::answering("HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f"),
            "the body is compressed (gzip)",
            "",
        ),
        (half_closing(""), "the server closed the connection without an answer", ""),
        (
            half_closing("HTTP/1.1 200 OK\r\nX:"),
            "the server closed the connection: request sent, ",
            "2 bytes of headers",
        ),
        (
            half_closing("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nwell"),
            closed,
            "4 of 9 bytes of the body received",
        ),
        (
            half_closing("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwell\r\n"),
            closed,
            "4 bytes of the chunked",
        ),
        (resetting_before_it_says_anything(true), reset, "nothing received"),
        (resetting("HTTP/1.1 2"), reset, ""),
        (resetting("HTTP/1.1 200 OK\r\nX: y\r\n"), reset, ""),
        (resetting(LENGTH), reset, ""),
        (resetting("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;"), reset, ""),
    ]
}

#[test]
fn a_server_whose_body_is_not_what_it_says_is_down_with_the_reason() {
    let world = World::new();
    world.check("web", "type = \"http\"\ninterval = \"10min\"\ntimeout = \"8s\"\nmatches = \"well$\"\nnot_matches = \"sick\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let servers = hostile_servers();
    let targets: Vec<(&str, &str)> = servers.iter().map(|(server, _, _)| ("web", &*server.address)).collect();
    let states = watcher.first_states(&targets);
    for (server, beginning, more) in &servers {
        let (state, reason) = &states[&server.address];
        assert_eq!(state, "down", "{reason}, where {beginning} was expected");
        assert!(
            reason.starts_with(beginning) && reason.contains(more),
            "'{reason}', where '{beginning}' '{more}'"
        );
    }
    // It may have been reset before the request was on its way.
    let server = resetting_before_it_says_anything(false);
    let states = watcher.first_states(&[("web", &server.address)]);
    let (state, reason) = &states[&server.address];
    assert!(state == "down" && reason.starts_with("connection reset"), "{reason}");
}

#[test]
fn a_good_body_passes_in_every_framing_and_several_requests_are_one_answer() {
    let world = World::new();
    let common = "type = \"http\"\ninterval = \"10min\"\ntimeout = \"20s\"\n";
    world.check("web", &format!("{common}matches = \"^all.*well$\"\ncontains = \"is\"\n"));
    world.check("both", &format!("{common}paths = [\"/a\", \"/b\"]\n"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let good = [
        Server::answering("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well"),
        Server::answering("HTTP/1.0 200 OK\r\n\r\nall is well"),
        Server::answering(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n8\r\n is well\r\n0\r\n\r\n",
        ),
        stalling("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\nall is well"),
    ];
    let targets: Vec<(&str, &str)> = good.iter().map(|server| ("web", &*server.address)).collect();
    for (_, (state, reason)) in watcher.first_states(&targets) {
        assert_eq!((state.as_str(), reason.as_str()), ("up", "status 200, body as expected"));
    }
    let half = Server::start(|mut stream| {
        let mut request = [0; 6];
        stream.read_exact(&mut request).unwrap();
        let status = if request == *b"GET /a" { "200 OK" } else { "503 Sick" };
        let _ = stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes());
    });
    let ok = Server::answering("HTTP/1.1 200 OK\r\n\r\n");
    let states = watcher.first_states(&[("both", &half.address), ("both", &ok.address)]);
    let reason = |server: &Server| states[&server.address].clone();
    assert_eq!(reason(&half), ("down".into(), "/b: status 503, expected 200-299".into()));
    let (state, reason) = reason(&ok);
    assert!(
        state == "up" && reason.contains("/a: status 200") && reason.contains("/b: status 200"),
        "{reason}"
    );
    assert_eq!(ok.accepted(), 2, "each request has a connection of its own");
}

/// A thousand targets of one server, which answers each with so much of a body and then stalls: the most memory that
/// checkd had in the end, in KiB.
fn memory_with_a_thousand(expectation: &str, sent: usize) -> u64 {
    let world = World::new();
    world.check("web", &format!("type = \"http\"\ninterval = \"10min\"\ntimeout = \"20s\"\n{expectation}\n"));
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let server = Server::start_at(SocketAddr::from(([0, 0, 0, 0], 0)), move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let _ = stream.write_all(&vec![b'x'; sent]);
        wait_for_end(stream);
    });
    let port = server.address.rsplit(':').next().unwrap();
    let addresses: Vec<String> =
        (0..1000).map(|n| format!("127.1.{}.{}:{port}", n / 250, n % 250 + 1)).collect();
    let targets: Vec<(&str, &str)> = addresses.iter().map(|address| ("web", &**address)).collect();
    let states = watcher.first_states(&targets);
    let received: usize = states.values().map(|(state, reason)| received(state, reason)).sum();
    assert!(received > 900 * sent, "only {received} bytes of a thousand times {sent}");
    checkd.memory_at_most()
}

/// How many bytes of a body it had when its time was over.
fn received(state: &str, reason: &str) -> usize {
    let count = reason.strip_prefix("no answer within 20s: connected, request sent, status 200 and ");
    let count = count.and_then(|rest| rest.strip_suffix(" bytes of the body received"));
    assert_eq!(state, "down", "{reason}");
    count.unwrap_or_else(|| panic!("another reason: {reason}")).parse().unwrap()
}

#[test]
fn a_thousand_stalled_bodies_cost_no_memory_whatever_is_expected_of_them() {
    let digest = "0".repeat(64);
    let expected = format!(
        "contains = \"well\"\nnot_contains = \"sick\"\nmatches = \"well$\"\nnot_matches = \"s[ia]ck\"\n\
         digest = \"sha256:{digest}\""
    );
    let memory = memory_with_a_thousand(&expected, 200_000);
    println!("a thousand bodies of 200,000 bytes: at most {memory} KiB");
    assert!(memory < 40 * 1024, "{memory} KiB");
}
