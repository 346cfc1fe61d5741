//! Checks with TLS against real servers: openssl's s_server and nginx, and a wire between that stalls or breaks off at
//! any byte of the handshake.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::process::Command;
use std::time::Duration;

use socket2::SockRef;
use support::World;
use support::authority::{Authority, Issued, Leaf};
use support::openssl::{Nginx, SServer, first_flight, respond};
use support::servers::{self, Server};
use support::watcher::Watcher;

const SLOW: &str = "interval = \"10min\"\ntimeout = \"20s\"\nretry_interval = \"1h\"\n";
const NAME: &str = "www.example.com";
const VALID: &str = "TLS 1.3, certificate for www.example.com until 2090-01-01";

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

/// A check that trusts the authority and looks for [`NAME`].
fn trusting(authority: &Authority, more: &str) -> String {
    format!("type = \"tls\"\ntls_name = \"{NAME}\"\n{}{SLOW}{more}", authority.keys())
}

#[test]
fn a_server_with_a_valid_certificate_is_up_and_one_without_tls_is_not() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    world.check("tls", &trusting(&authority, ""));
    let http = trusting(&authority, "tls = true\n").replace("\"tls\"", "\"http\"");
    world.check("web", &http);
    world.check("any", &format!("type = \"tls\"\ninsecure = true\n{SLOW}"));
    world.check("soon", &trusting(&authority, "expires_within = \"365d\"\n"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let leaf = authority.issue(&Leaf::for_name(NAME));
    let server = SServer::start(&leaf, &["-www"]);
    let address = server.address.as_str();
    assert_eq!(probe(&watcher, "tls", address), up(VALID));
    assert_eq!(probe(&watcher, "soon", address), up(VALID));
    assert_eq!(probe(&watcher, "web", address), up("status 200"));
    assert_eq!(probe(&watcher, "any", address), up(&format!("{VALID} (certificate not verified)")));
    let plain = Server::start(|mut stream| {
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        servers::wait_for_end(stream);
    });
    let without = "the server answers without TLS: starts with 'HTTP/1.1 400 Bad Request'";
    assert_eq!(probe(&watcher, "tls", &plain.address), down(without));
    assert_eq!(probe(&watcher, "web", &plain.address), down(without));
    let refused = servers::refusing();
    let aloud = "connection refused (certificate not verified)";
    assert_eq!(probe(&watcher, "any", &refused), down(aloud));
}

/// What a server with this certificate and these options of s_server is called, by a check that trusts the authority.
type Case<'a> = (Issued, &'a [&'a str], (String, String));

fn certificates(authority: &Authority, other: &Authority) -> Vec<Case<'static>> {
    let leaf = Leaf::for_name(NAME);
    let expired = Leaf { until: 2021, ..leaf.clone() };
    let future = Leaf { from: 2080, ..leaf.clone() };
    let many = ["a", "b", "c", "d", "e"].map(|name| format!("{name}.example")).to_vec();
    let client = Leaf { usage: rcgen::ExtendedKeyUsagePurpose::ClientAuth, ..leaf.clone() };
    let not_in = "which is not in /etc/ssl/own-ca.pem";
    vec![
        (authority.issue(&leaf), &["-tls1_2"], up(&VALID.replace("1.3", "1.2"))),
        (authority.issue(&expired), &[], down("certificate expired on 2021-01-01 00:00:00 UTC")),
        (authority.issue(&expired), &["-tls1_2"], down("certificate expired on 2021-01-01 00:00:00 UTC")),
        (authority.issue(&future), &[], down("certificate is not valid before 2080-01-01 00:00:00 UTC")),
        (
            authority.issue(&Leaf::for_name("mail.example.com")),
            &[],
            down("certificate is for mail.example.com, not for www.example.com"),
        ),
        (
            authority.issue(&Leaf { names: many, ..leaf.clone() }),
            &[],
            down("certificate is for a.example, b.example, c.example and 2 more, not for www.example.com"),
        ),
        (
            authority.issue(&Leaf { names: Vec::new(), ..leaf.clone() }),
            &[],
            down("certificate of 'leaf' is for no name at all, not for www.example.com"),
        ),
        (
            authority.issue(&client),
            &[],
            down("certificate of www.example.com is not for servers, but for clients"),
        ),
        (
            authority.self_signed(&leaf),
            &[],
            down("certificate of www.example.com is self-signed, and not in /etc/ssl/own-ca.pem"),
        ),
        (
            other.issue(&leaf),
            &[],
            down(&format!(
                "certificate of www.example.com is signed by 'Other Authority', {not_in}, and no intermediate was sent"
            )),
        ),
        (authority.issue_below(&leaf, &leaf, true), &[], up(VALID)),
        (
            authority.issue_below(&leaf, &leaf, false),
            &[],
            down(&format!(
                "certificate of www.example.com is signed by 'Test Intermediate', {not_in}, and no intermediate was sent"
            )),
        ),
        (
            authority.issue_below(&expired, &leaf, true),
            &[],
            down(
                "certificate of the intermediate authority 'Test Intermediate' expired on 2021-01-01 00:00:00 UTC",
            ),
        ),
        (
            other.issue_below(&leaf, &leaf, true),
            &[],
            down(&format!(
                "certificate of www.example.com is signed by 'Other Authority' in the end, {not_in}"
            )),
        ),
        (
            authority.issue(&leaf),
            &["-tls1_1", "-cipher", "ALL:@SECLEVEL=0"],
            down("the server refuses TLS: it speaks neither TLS 1.2 nor TLS 1.3 (alert protocol_version)"),
        ),
        (
            authority.issue(&leaf),
            &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA"],
            down(
                "the server refuses TLS: no cipher, key exchange or signature in common (alert handshake_failure)",
            ),
        ),
    ]
}

#[test]
fn what_is_wrong_with_a_certificate_or_a_protocol_is_told_exactly() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let other = Authority::named(&world.root, "Other Authority", "/etc/ssl/other-ca.pem");
    world.check("tls", &trusting(&authority, ""));
    world.check("address", &format!("type = \"tls\"\n{}{SLOW}", authority.keys()));
    world.check("any", &format!("type = \"tls\"\ninsecure = true\n{SLOW}"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for (issued, options, expected) in certificates(&authority, &other) {
        let server = SServer::start(&issued, options);
        assert_eq!(probe(&watcher, "tls", &server.address), expected, "{options:?}");
    }
    let server = SServer::start(&authority.issue(&Leaf::for_name(NAME)), &[]);
    let by_address =
        "certificate is for www.example.com, not for 127.0.0.1 (tls_name says which name to look for)";
    assert_eq!(probe(&watcher, "address", &server.address), down(by_address));
    let server = SServer::start(&authority.issue(&Leaf::for_name("127.0.0.1")), &[]);
    assert_eq!(probe(&watcher, "address", &server.address), up(&VALID.replace(NAME, "127.0.0.1")));
    let expired = authority.issue(&Leaf { until: 2021, ..Leaf::for_name(NAME) });
    let server = SServer::start(&expired, &[]);
    let aloud =
        "TLS 1.3, certificate for www.example.com until 2021-01-01 (expired) (certificate not verified)";
    assert_eq!(probe(&watcher, "any", &server.address), up(aloud));
}

#[test]
fn a_self_signed_certificate_that_the_check_names_is_trusted_for_its_name_and_its_time() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let leaf = Leaf::for_name(NAME);
    let [good, expired, other] =
        [leaf.clone(), Leaf { until: 2021, ..leaf }, Leaf::for_name("mail.example.com")];
    let issued = [good, expired, other].map(|leaf| authority.self_signed(&leaf));
    let expected = [
        up(VALID),
        down("certificate expired on 2021-01-01 00:00:00 UTC"),
        down("certificate is for mail.example.com, not for www.example.com"),
    ];
    for (number, issued) in issued.iter().enumerate() {
        world.root.write(&format!("etc/ssl/pinned{number}.pem"), &issued.chain);
        let keys = format!("tls_name = \"{NAME}\"\ntls_ca = \"/etc/ssl/pinned{number}.pem\"\n{SLOW}");
        world.check(&format!("pinned{number}"), &format!("type = \"tls\"\n{keys}"));
    }
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for (number, (issued, expected)) in issued.iter().zip(expected).enumerate() {
        let server = SServer::start(issued, &[]);
        assert_eq!(probe(&watcher, &format!("pinned{number}"), &server.address), expected);
    }
}

#[test]
fn a_server_that_wants_a_client_certificate_gets_the_one_of_the_check() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let other = Authority::named(&world.root, "Other Authority", "/etc/ssl/other-ca.pem");
    for (check, authority_of_client) in [("known", &authority), ("strange", &other)] {
        let usage = rcgen::ExtendedKeyUsagePurpose::ClientAuth;
        let issued = authority_of_client.issue(&Leaf { usage, ..Leaf::for_name("probe") });
        world.root.write(&format!("etc/ssl/{check}.pem"), &format!("{}{}", issued.chain, issued.key));
        let path = format!("/etc/ssl/{check}.pem");
        let keys = format!("tls_certificate = \"{path}\"\ntls_key = \"{path}\"\n");
        world.check(check, &trusting(&authority, &keys));
    }
    world.check("none", &trusting(&authority, ""));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let leaf = authority.issue(&Leaf::for_name(NAME));
    let ca = world.root.path().join("etc/ssl/own-ca.pem").display().to_string();
    let wanted = "tls_certificate, tls_key";
    for (version, missing) in [
        ("-tls1_3", "it wants a client certificate (WANTED) (alert certificate_required)"),
        ("-tls1_2", "it asked for a client certificate (WANTED) (alert handshake_failure)"),
    ] {
        let valid = VALID.replace("1.3", &version.replace("-tls1_", "1."));
        let options = [version, "-CAfile", &ca, "-verify_return_error"];
        let strict = SServer::start(&leaf, &[options.as_slice(), &["-Verify", "1"]].concat());
        let missing = format!("the server refuses TLS: {}", missing.replace("WANTED", wanted));
        assert_eq!(probe(&watcher, "none", &strict.address), down(&missing));
        assert_eq!(probe(&watcher, "known", &strict.address), up(&valid));
        let (state, reason) = probe(&watcher, "strange", &strict.address);
        let refused = "the server refuses TLS: it does not accept our client certificate (alert ";
        assert!(state == "down" && reason.starts_with(refused), "{state}: {reason}");
        let lax = SServer::start(&leaf, &[options.as_slice(), &["-verify", "1"]].concat());
        assert_eq!(probe(&watcher, "none", &lax.address), up(&valid));
        assert_eq!(probe(&watcher, "known", &lax.address), up(&valid));
    }
}

#[test]
fn without_a_file_the_system_s_store_is_what_counts_and_an_empty_one_is_told_at_once() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    world.check("tls", &format!("type = \"tls\"\ntls_name = \"{NAME}\"\n{SLOW}"));
    let store = world.root.path().join("etc/ssl/own-ca.pem").display().to_string();
    let _bus = world.start_bus();
    let with_store = format!("export SSL_CERT_FILE={store} SSL_CERT_DIR=/nowhere; exec \"$0\" \"$@\"");
    let _checkd = world.start_checkd_by(&with_store);
    let watcher = Watcher::new(&world);
    let server = SServer::start(&authority.issue(&Leaf::for_name(NAME)), &[]);
    assert_eq!(probe(&watcher, "tls", &server.address), up(VALID));
    let strange = SServer::start(&authority.self_signed(&Leaf::for_name(NAME)), &[]);
    let unknown = "certificate of www.example.com is self-signed, and not in the system's certificate store";
    assert_eq!(probe(&watcher, "tls", &strange.address), down(unknown));
    let check = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_checkd"));
        command.args(["--check", "--root"]).arg(world.root.path()).args(arguments);
        let output =
            command.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", "/nowhere").output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, text) = check(&[]);
    assert!(code == Some(78) && text.contains("the system's certificate store is empty"), "{code:?}: {text}");
    assert!(text.contains("hint: install ca-certificates, or name a file with tls_ca"), "{text}");
    world.check("tls", "type = \"tls\"\ninsecure = true\n");
    let (code, text) = check(&[]);
    assert_eq!(code, Some(0), "who needs no store does not miss it: {text}");
}

#[test]
fn a_replaced_file_counts_after_a_reload_and_checks_with_the_same_files_are_not_touched() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let second = Authority::named(&world.root, "Second Authority", "/etc/ssl/second-ca.pem");
    world.check("first", &trusting(&authority, ""));
    world.check("second", &trusting(&second, ""));
    let (_bus, checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let of_first = SServer::start(&authority.issue(&Leaf::for_name(NAME)), &[]);
    let of_second = SServer::start(&second.issue(&Leaf::for_name(NAME)), &[]);
    let wire = Wire::to(&of_second.address, usize::MAX, Break::Stall);
    watcher.watch(&[("first", &of_first.address), ("second", &wire.address)]);
    let mut states = std::collections::BTreeSet::new();
    while states.len() < 2 {
        let rows = watcher.next().1;
        states.extend(rows.into_iter().filter(|row| row.2 == "up").map(|row| row.0));
    }
    let probed = wire.accepted();
    let _replaced = Authority::named(&world.root, "New Authority", "/etc/ssl/own-ca.pem");
    checkd.reload();
    checkd.wait_for_log("configuration reloaded");
    let row = watcher.wait_for("first", &of_first.address, "down");
    assert!(row.3.contains("which is not in /etc/ssl/own-ca.pem"), "{}", row.3);
    assert_eq!(wire.accepted(), probed, "the other check was not touched");
    let (_, rows) = watcher.watch(&[("second", &wire.address)]);
    assert_eq!((rows[0].2.as_str(), rows[0].3.as_str()), ("up", VALID));
}

/// What the wire does when it has passed so many bytes of the server on.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Break {
    Stall,
    Close,
    Reset,
    /// The rest comes, a byte each 50 ms.
    Drip,
}

struct Wire;

impl Wire {
    /// Between checkd and the server at `address`: passes on all that checkd says, and the first `bytes` of what the
    /// server says.
    fn to(address: &str, bytes: usize, then: Break) -> Server {
        let address = address.to_owned();
        Server::start(move |near| {
            let Ok(far) = TcpStream::connect(&address) else { return };
            let (mut from, mut to) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
            });
            pass_on(far, near, bytes, then);
        })
    }
}

fn pass_on(mut far: TcpStream, mut near: TcpStream, mut bytes: usize, then: Break) {
    let mut buffer = [0; 4096];
    loop {
        let Ok(count @ 1..) = far.read(&mut buffer) else { return drop(near.shutdown(Shutdown::Both)) };
        let now = count.min(bytes);
        if near.write_all(&buffer[..now]).is_err() {
            return;
        }
        bytes -= now;
        if now == count {
            continue;
        }
        match then {
            Break::Stall => {}
            Break::Close => return drop(near.shutdown(Shutdown::Both)),
            Break::Reset => {
                SockRef::from(&near).set_linger(Some(Duration::ZERO)).unwrap();
                // The other thread's copy of it goes, too, when the server's side ends.
                let _ = near.shutdown(Shutdown::Read);
                return;
            }
            Break::Drip => {
                near.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
                for byte in &buffer[now..count] {
                    if near.write_all(&[*byte]).is_err() || matches!(near.read(&mut [0; 16]), Ok(0)) {
                        return;
                    }
                }
            }
        }
        // Until checkd goes.
        return servers::wait_for_end(near);
    }
}

/// The places at which the server's first flight is cut, as the number of its bytes, with the words for that.
fn places(version: &str) -> Vec<(usize, &'static str)> {
    let mut places = vec![
        (0, "TLS begun, no answer to the ClientHello"),
        (3, "TLS begun, 3 bytes of an answer to the ClientHello"),
    ];
    places.extend(if version == "-tls1_3" {
        [(
            300,
            "TLS 1.3 agreed on, 300 bytes of the handshake received, the server's certificate not complete",
        )]
    } else {
        [(
            300,
            "TLS 1.2 agreed on, 300 bytes of the handshake received, the server's certificate not complete",
        )]
    });
    places
}

#[test]
fn a_handshake_that_stalls_or_breaks_off_tells_how_far_it_came() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let hasty = trusting(&authority, "").replace("20s", "1s");
    world.check("tls", &hasty);
    world.check("web", &hasty.replace("\"tls\"", "\"http\"\ntls = true"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let leaf = authority.issue(&Leaf::for_name(NAME));
    for version in ["-tls1_3", "-tls1_2"] {
        let server = SServer::start(&leaf, &[version, "-www"]);
        for (bytes, progress) in places(version) {
            for (then, before) in [
                (Break::Stall, "no answer within 1s: connected, "),
                (Break::Close, "the server closed the connection: "),
                (Break::Reset, "connection reset: "),
            ] {
                let wire = Wire::to(&server.address, bytes, then);
                let expected = down(&format!("{before}{progress}"));
                assert_eq!(probe(&watcher, "tls", &wire.address), expected, "{version} {then:?}");
                assert_eq!(probe(&watcher, "web", &wire.address), expected, "{version} {then:?}");
            }
        }
        let wire = Wire::to(&server.address, 10, Break::Drip);
        let (state, reason) = probe(&watcher, "tls", &wire.address);
        assert!(state == "down" && reason.contains("bytes of an answer to the ClientHello"), "{reason}");
    }
    // Closing with something unread is a reset, unless the end was announced before.
    let deaf = Server::start(|mut stream| drop(stream.read(&mut [0; 10])));
    let polite = Server::start(|mut stream| {
        let _ = (stream.read(&mut [0; 10]), stream.shutdown(Shutdown::Write));
    });
    for check in ["tls", "web"] {
        let progress = "TLS begun, no answer to the ClientHello";
        assert_eq!(probe(&watcher, check, &deaf.address), down(&format!("connection reset: {progress}")));
        let closed = format!("the server closed the connection: {progress}");
        assert_eq!(probe(&watcher, check, &polite.address), down(&closed));
    }
    let server = SServer::start(&leaf, &["-www", "-num_tickets", "0"]);
    // A signature of ECDSA is some bytes longer or shorter each time, and the Finished at the end much longer than that.
    let length = first_flight(&server.address, NAME);
    let wire = Wire::to(&server.address, length - 10, Break::Stall);
    let finished = "no answer within 1s: connected, TLS 1.3 agreed on, certificate accepted, the server's Finished missing";
    assert_eq!(probe(&watcher, "tls", &wire.address), down(finished));
    let wire = Wire::to(&server.address, length + 10, Break::Stall);
    assert_eq!(probe(&watcher, "tls", &wire.address), up(VALID));
    let silent = "no answer within 1s: connected, TLS 1.3 agreed on, request sent, nothing received";
    assert_eq!(probe(&watcher, "web", &wire.address), down(silent));
}

#[test]
fn a_body_without_a_length_ends_with_close_notify_and_not_with_a_cut() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    let http = trusting(&authority, "tls = true\nnot_contains = \"bad\"\n").replace("\"tls\"", "\"http\"");
    world.check("web", &http);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let leaf = authority.issue(&Leaf::for_name(NAME));
    let open = "HTTP/1.1 200 OK\r\n\r\ngood";
    let whole = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ngood";
    let cut = "the connection was closed without TLS's close_notify, and may have been cut off: 4 bytes of the body received";
    for (answer, says_so, expected) in [
        (open, true, up("status 200, body as expected")),
        (open, false, down(cut)),
        (whole, false, up("status 200, body as expected")),
    ] {
        let config = leaf.server_config();
        let server = Server::start(move |stream| respond(stream, &config, answer, says_so));
        assert_eq!(probe(&watcher, "web", &server.address), expected, "{answer:?}, close_notify: {says_so}");
    }
}

#[test]
fn nginx_is_up_and_finds_nothing_to_complain_about() {
    let world = World::new();
    let authority = Authority::new(&world.root);
    world.check("tls", &trusting(&authority, ""));
    world.check("web", &trusting(&authority, "tls = true\n").replace("\"tls\"", "\"http\""));
    world.check("plain", &format!("type = \"http\"\n{SLOW}"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for versions in ["TLSv1.3", "TLSv1.2"] {
        let leaf = authority.issue(&Leaf::for_name(NAME));
        let nginx = Nginx::start(&world.root, &leaf, versions);
        let valid = VALID.replace("TLS 1.3", &versions.replace("TLSv", "TLS "));
        for _ in 0..5 {
            assert_eq!(probe(&watcher, "tls", &nginx.address), up(&valid));
            assert_eq!(probe(&watcher, "web", &nginx.address), up("status 200"));
        }
        assert_eq!(probe(&watcher, "plain", &nginx.address), down("status 400, expected 200-299"));
        let complaints = nginx.complaints();
        assert_eq!(complaints, "", "{versions}");
    }
}
