//! Checks by datagram against real sockets: servers that answer, that lose packets, and that misbehave.

mod support;

use std::net::UdpSocket;
use std::time::Duration;

use support::World;
use support::datagrams::{Server, closed};
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
        "type = \"udp\"\nsend = \"hello\"\nexpect_hex = \"68 x5\"\nmax_length = 9\ntimeout = \"900ms\"\n",
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
    let times_out = |what: &str| format!("no answer within 900ms: 3 requests sent, {what}");
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
    world.check("any", "type = \"udp\"\ntimeout = \"300ms\"\ninterval = \"10min\"\n");
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
