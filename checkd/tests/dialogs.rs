//! Dialogs over real sockets: how they end, and what a server may not do on the way to TLS.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use socket2::SockRef;
use support::servers::{Server, wait_for_end};
use support::watcher::Watcher;
use support::{World, until};

const SMTP: &str = "type = \"smtp\"\nhelo = \"check\"\ninterval = \"10min\"\ntimeout = \"1s\"\n";

/// Reads until this has been said.
fn hear(stream: &mut TcpStream, words: &[u8]) {
    let mut heard = Vec::new();
    let mut byte = [0];
    while !heard.ends_with(words) {
        stream.read_exact(&mut byte).unwrap();
        heard.extend_from_slice(&byte);
    }
}

/// Greets, and answers EHLO.
fn greet(stream: &mut TcpStream) {
    stream.write_all(b"220 mx1 ESMTP\r\n").unwrap();
    hear(stream, b"EHLO check\r\n");
    stream.write_all(b"250-mx1\r\n250 STARTTLS\r\n").unwrap();
}

fn probe(check: &str, server: &Server) -> (String, String, u64) {
    let world = World::new();
    world.check("x", check);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    Watcher::new(&world).probe("x", &server.address).unwrap()
}

#[test]
fn the_farewell_is_said_and_how_that_goes_does_not_matter() {
    let farewells = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&farewells);
    let deaf = Server::start(move |mut stream| {
        greet(&mut stream);
        hear(&mut stream, b"QUIT\r\n");
        count.fetch_add(1, Ordering::SeqCst);
        wait_for_end(stream);
    });
    let (state, reason, took) = probe(SMTP, &deaf);
    assert_eq!((state.as_str(), reason.as_str()), ("up", "greeting 220, EHLO 250"));
    assert!(took >= 1_000_000, "it was given its time, {took} us");
    until("QUIT", || (farewells.load(Ordering::SeqCst) > 0).then_some(()));
    let rude = Server::start(|mut stream| {
        greet(&mut stream);
        hear(&mut stream, b"QUIT\r\n");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    });
    let (state, reason, _) = probe(SMTP, &rude);
    assert_eq!((state.as_str(), reason.as_str()), ("up", "greeting 220, EHLO 250"));
}

#[test]
fn what_was_put_in_before_tls_is_not_taken_for_what_comes_under_it() {
    let injected = Server::start(|mut stream| {
        greet(&mut stream);
        hear(&mut stream, b"STARTTLS\r\n");
        stream.write_all(b"220 go\r\n250 injected\r\n").unwrap();
        wait_for_end(stream);
    });
    let check = format!("{SMTP}starttls = true\ninsecure = true\n");
    let (state, reason, _) = probe(&check, &injected);
    assert_eq!(state, "down", "{reason}");
    assert!(
        reason.starts_with("the server said more before TLS began, in the clear: '250 injected'"),
        "{reason}"
    );
}

#[test]
fn a_server_that_stops_in_the_middle_is_down_with_what_it_owes() {
    let silent = Server::start(|mut stream| {
        stream.write_all(b"220 mx1 ESMTP\r\n").unwrap();
        wait_for_end(stream);
    });
    let (state, reason, _) = probe(SMTP, &silent);
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("down", "no answer within 1s: connected, waiting for the answer to EHLO: nothing received")
    );
    let halting = Server::start(|mut stream| {
        stream.write_all(b"220 mx1 ESMTP\r\n").unwrap();
        hear(&mut stream, b"EHLO check\r\n");
        stream.write_all(b"250-mx").unwrap();
    });
    let (state, reason, _) = probe(SMTP, &halting);
    assert_eq!(state, "down");
    assert_eq!(
        reason,
        "the server closed the connection: waiting for the answer to EHLO: 6 bytes received, '250-mx'"
    );
}

#[test]
fn a_target_without_a_port_is_asked_at_the_protocol_s_own() {
    let world = World::new();
    world.check("x", "type = \"redis\"\n");
    let redis = Server::start_at(SocketAddr::from(([127, 77, 1, 2], 6379)), |mut stream| {
        hear(&mut stream, b"PING\r\n");
        stream.write_all(b"+PONG\r\n").unwrap();
        wait_for_end(stream);
    });
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let (state, reason, _) = Watcher::new(&world).probe("x", "127.77.1.2").unwrap();
    assert_eq!((state.as_str(), reason.as_str(), redis.accepted()), ("up", "PING PONG", 1));
}
