//! Checks by datagram against real sockets: servers that answer, that lose packets, and that misbehave.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::UdpSocket;
use std::time::Duration;

use support::World;
use support::datagrams::{Server, closed};
use support::dns;
use support::servers::{Server as StreamServer, wait_for_end};
use support::watcher::Watcher;

/// One probe of each target: state and reason, as expected.
fn assert_told(watcher: &Watcher, check: &str, targets: &[(&str, &str, &str)]) {
    for (address, state, reason) in targets {
        let (told, told_reason, _) = watcher.probe(check, address).expect("an outcome");
        assert_eq!((told.as_str(), told_reason.as_str()), (*state, *reason), "{check} of {address}");
    }
}

#[test]
fn a_udp_server_is_up_at_a_reply_that_fits_and_down_with_what_came_instead() {
    let world = World::new();
    world.check(
        "echo",
        "type = \"udp\"\nsend = \"hello\"\nexpect_hex = \"68 x5\"\nmax_length = 9\ntimeout = \"3s\"\n",
    );
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let echo = Server::start(|socket, _, request, from| drop(socket.send_to(request, from)));
    let first_another = Server::answering(&[b"trying", b"hello"]);
    let wrong = Server::answering(&[b"\x1b[2Jno"]);
    let huge = Server::start(|socket, _, _, from| drop(socket.send_to(&[b'h'; 60_000], from)));
    let silent = Server::silent();
    let other_place = Server::start(|_, _, request, from| {
        let elsewhere = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = elsewhere.send_to(request, from);
    });
    let times_out = |what: &str| format!("no answer within 3s: 3 requests sent, {what}");
    assert_told(
        &watcher,
        "echo",
        &[
            (&echo.address, "up", "reply received"),
            (&first_another.address, "up", "reply received"),
            (
                &wrong.address,
                "down",
                &times_out(
                    "3 wrong replies received, the last '\\x1b[2Jno' (6 bytes, which do not begin with 'expect_hex')",
                ),
            ),
            (&silent.address, "down", &times_out("nothing received")),
            (&other_place.address, "down", &times_out("nothing received")),
            (&closed(), "down", "port unreachable: nothing listens on it (ICMP from the server)"),
        ],
    );
    assert_eq!((echo.received(), silent.received()), (1, 3), "asked again only where no answer came");
    let (state, reason, _) = watcher.probe("echo", &huge.address).unwrap();
    assert_eq!(state, "down");
    assert!(reason.contains("hhhhh…' (16384 bytes, where 0 to 9 are expected)"), "{reason}");
}

#[test]
fn without_a_wanted_reply_a_udp_server_is_up_unless_its_port_is_closed() {
    let world = World::new();
    world.check("any", "type = \"udp\"\ntimeout = \"3s\"\ninterval = \"10min\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let silent = Server::silent();
    let talking = Server::answering(&[b"hm?"]);
    assert_told(
        &watcher,
        "any",
        &[
            (&silent.address, "up", "sent, and no ICMP error came back"),
            (&talking.address, "up", "reply received"),
            (&closed(), "down", "port unreachable: nothing listens on it (ICMP from the server)"),
        ],
    );
    assert_eq!(silent.received(), 3);
}

#[test]
fn one_lost_packet_of_each_kind_is_no_failure() {
    let world = World::new();
    world.check("echo", "type = \"udp\"\nrequire_reply = true\ntimeout = \"3s\"\n");
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    for lost in [1, 2] {
        let server = Server::start(move |socket, number, request, from| {
            if number > lost {
                let _ = socket.send_to(request, from);
            }
        });
        let (state, reason, duration) = watcher.probe("echo", &server.address).unwrap();
        assert_eq!((state.as_str(), reason.as_str()), ("up", "reply received"));
        assert_eq!(server.received(), lost + 1);
        let duration = Duration::from_micros(duration);
        // Asked again after a third and after two thirds of the time.
        assert!(
            duration >= Duration::from_secs(1) * lost && duration < Duration::from_secs(3),
            "{duration:?}"
        );
    }
}

#[test]
fn dns_servers_that_misbehave_are_down_with_what_they_did_and_late_or_doubled_answers_are_good_ones() {
    let world = World::new();
    let check = "type = \"dns\"\nname = \"www.example.test\"\nrecord = \"A\"\nanswer = \"192.0.2.1\"\ntimeout = \"3s\"\n";
    world.check("www", check);
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let serve = |answers: fn(&[u8]) -> Vec<Vec<u8>>| {
        Server::start(move |socket, _, question, from| {
            for answer in answers(question) {
                let _ = socket.send_to(&answer, from);
            }
        })
    };
    let honest = serve(|question| vec![dns::good(question); 2]);
    let confused_at_first = serve(|question| {
        let good = dns::good(question);
        let mut other_id = good.clone();
        other_id[1] ^= 0xff;
        vec![b"junk".to_vec(), other_id, question.to_vec(), good]
    });
    let late = Server::start(|socket, number, question, from| {
        if number == 3 {
            let _ = socket.send_to(&dns::good(question), from);
        }
    });
    let another = serve(|question| {
        let mut answer = dns::good(question);
        answer[0] ^= 1;
        vec![answer]
    });
    let looping = serve(|question| vec![dns::answer(question, [0x84, 0], 1, b"\xc0\x22\x00\x01\x00\x01")]);
    let lying = serve(|question| vec![dns::answer(question, [0x84, 0], 7, dns::ADDRESS)]);
    let failing = serve(|question| vec![dns::answer(question, [0x80, 2], 0, b"")]);
    let elsewhere = Server::start(|_, _, question, from| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let _ = socket.send_to(&dns::good(question), from);
    });
    let another_told = "3 answers to another question received (the last: another id)";
    assert_told(
        &watcher,
        "www",
        &[
            (&honest.address, "up", "NOERROR, 1 A record"),
            (&confused_at_first.address, "up", "NOERROR, 1 A record"),
            (&late.address, "up", "NOERROR, 1 A record"),
            (&another.address, "down", &format!("no answer within 3s: 3 requests sent, {another_told}")),
            (&failing.address, "down", "SERVFAIL (it failed to find an answer), expected NOERROR"),
            (&elsewhere.address, "down", "no answer within 3s: 3 requests sent, nothing received"),
            (&closed(), "down", "port unreachable: nothing listens on it (ICMP from the server)"),
        ],
    );
    for broken in [looping, lying] {
        let (state, reason, _) = watcher.probe("www", &broken.address).unwrap();
        assert!(state == "down" && reason.starts_with("broken answer: "), "{reason}");
    }
}

#[test]
fn an_answer_that_does_not_fit_a_datagram_is_fetched_over_tcp() {
    let world = World::new();
    let check = "type = \"dns\"\nname = \"www.example.test\"\nrecord = \"A\"\n";
    world.check("www", check);
    world.check("stream", &format!("{check}protocol = \"tcp\"\n"));
    let (_bus, _checkd) = (world.start_bus(), world.start_checkd());
    let watcher = Watcher::new(&world);
    let stream = StreamServer::start(|mut stream| {
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut question).unwrap();
        for byte in dns::framed(&dns::good(&question)) {
            stream.write_all(&[byte]).unwrap();
        }
        wait_for_end(stream);
    });
    let truncating = Server::start_at(&stream.address, |socket, _, question, from| {
        let _ = socket.send_to(&dns::truncated(question), from);
    });
    assert_told(&watcher, "www", &[(&truncating.address, "up", "NOERROR, 1 A record")]);
    assert_eq!((truncating.received(), stream.accepted()), (1, 1));
    assert_told(&watcher, "stream", &[(&truncating.address, "up", "NOERROR, 1 A record")]);
    assert_eq!((truncating.received(), stream.accepted()), (1, 2));
    let alone = Server::start(|socket, _, question, from| {
        let _ = socket.send_to(&dns::truncated(question), from);
    });
    assert_told(&watcher, "www", &[(&alone.address, "down", "connection refused")]);
}
