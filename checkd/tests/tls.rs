//! Checks with TLS against real servers: openssl's s_server, and scripted ones that stall or break off in each phase.

mod support;

use std::io::Write as _;

use support::World;
use support::authority::{Authority, Leaf};
use support::openssl::SServer;
use support::servers::{self, Server};
use support::watcher::Watcher;

const SLOW: &str = "interval = \"10min\"\ntimeout = \"5s\"\n";

/// The state and reason after one probe of `check`.
fn probe(watcher: &Watcher, check: &str, address: &str) -> (String, String) {
    let (state, reason, _) = watcher.probe(check, address).expect("checkd answers");
    (state, reason)
}

fn up(reason: &str) -> (String, String) {
    ("up".to_owned(), reason.to_owned())
}

fn down(reason: &str) -> (String, String) {
    ("down".to_owned(), reason.to_owned())
}

#[test]
fn a_server_with_a_valid_certificate_is_up_and_one_without_tls_is_not() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let tls = format!("type = \"tls\"\ntls_name = \"www.example.com\"\n{}{SLOW}", authority.keys());
    world.check("tls", &tls);
    world.check("web", &tls.replace("type = \"tls\"", "type = \"http\"\ntls = true"));
    world.check("any", &format!("type = \"tls\"\ninsecure = true\n{SLOW}"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let leaf = authority.issue(&Leaf::for_name("www.example.com"));
    let server = SServer::start(&leaf, &["-www"]);
    let address = server.address.as_str();
    let valid = "TLS 1.3, certificate for www.example.com until 2090-01-01";
    assert_eq!(probe(&watcher, "tls", address), up(valid));
    assert_eq!(probe(&watcher, "web", address), up("status 200"));
    assert_eq!(probe(&watcher, "any", address), up(&format!("{valid} (certificate not verified)")));
    let unknown = "certificate of www.example.com is self-signed, and not in /etc/ssl/own-ca.pem";
    let server = SServer::start(&authority.self_signed(&Leaf::for_name("www.example.com")), &[]);
    assert_eq!(probe(&watcher, "tls", &server.address), down(unknown));
    let plain = Server::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        servers::wait_for_end(stream);
    });
    let without = "the server answers without TLS: starts with 'HTTP/1.1 400 Bad Request'";
    assert_eq!(probe(&watcher, "tls", &plain.address), down(without));
    assert_eq!(probe(&watcher, "web", &plain.address), down(without));
}
