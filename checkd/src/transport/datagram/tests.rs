use std::sync::Arc;

use super::*;
use crate::probe::udp;

/// Says so much, and takes any reply.
#[derive(Debug)]
struct Says(Vec<u8>);

impl Exchange for Says {
    fn request(&mut self) -> &[u8] {
        &self.0
    }

    fn on_received(&mut self, _: &[u8]) -> Reply {
        Reply::Decides(Outcome::Pass("reply received".to_owned()))
    }

    fn on_timeout(&mut self) -> Option<Outcome> {
        None
    }

    fn progress(&self) -> String {
        "nothing received".to_owned()
    }
}

const TIMEOUT: Duration = Duration::from_secs(3);

fn server() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn now() -> Instant {
    daemon::event_loop::Clock::new().unwrap().now()
}

fn open(exchange: Box<dyn Exchange>, to: &UdpSocket) -> (Datagram, Instant) {
    let now = now();
    let to = to.local_addr().unwrap();
    let opened = Datagram::open(Carrier::Udp, exchange, to, &Connect::default(), (now, TIMEOUT));
    (opened.unwrap(), now)
}

fn pass() -> Outcome {
    Outcome::Pass("reply received".to_owned())
}

#[test]
fn three_requests_are_sent_evenly_over_the_time_and_no_more() {
    let server = server();
    let (mut datagram, began) = open(Box::new(udp::Probe::new(Arc::default())), &server);
    for number in 1..=2 {
        let due = began + TIMEOUT / 3 * number;
        assert_eq!(datagram.deadline(), Some(due));
        assert_eq!(datagram.on_time(due - Duration::from_nanos(1)), None);
        assert_eq!((datagram.sent, datagram.on_time(due)), (number, None));
    }
    assert_eq!((datagram.sent, datagram.deadline()), (3, None));
    assert_eq!(datagram.on_time(began + TIMEOUT), None);
    assert_eq!(datagram.sent, 3);
}

/// A ping socket is told of everybody's echo replies; here, one that is not connected plays it.
#[test]
fn what_comes_from_another_address_is_no_answer() {
    let (peer, stranger) = (server(), UdpSocket::bind("127.0.0.2:0").unwrap());
    let (mut datagram, _) = open(Box::new(Says(Vec::new())), &peer);
    datagram.socket = server();
    datagram.socket.set_nonblocking(true).unwrap();
    let own = datagram.socket.local_addr().unwrap();
    stranger.send_to(b"here", own).unwrap();
    let step = datagram.receive(&mut [0; 64]);
    assert!(matches!(step, Some(Step::Wait(Interest::Read))), "{step:?}");
    peer.send_to(b"here", own).unwrap();
    let step = datagram.receive(&mut [0; 64]);
    assert!(matches!(&step, Some(Step::Done(outcome)) if *outcome == pass()), "{step:?}");
}

#[test]
fn what_has_arrived_when_the_time_is_over_still_counts() {
    let server = server();
    let (mut datagram, _) = open(Box::new(Says(Vec::new())), &server);
    let silent = "no answer within 3s: 1 request sent, nothing received".to_owned();
    assert_eq!(datagram.on_timeout(&mut [0; 64], TIMEOUT), Outcome::Fail(silent));
    server.send_to(b"here", datagram.socket.local_addr().unwrap()).unwrap();
    assert_eq!(datagram.on_timeout(&mut [0; 64], TIMEOUT), pass());
}

#[test]
fn a_request_that_is_too_long_for_the_way_is_not_the_end_of_it() {
    let server = server();
    // Longer than any datagram: the kernel says the same as where a router told it of a narrow way (EMSGSIZE).
    let (datagram, _) = open(Box::new(Says(vec![0; 70_000])), &server);
    assert_eq!(datagram.sent, 1);
}
