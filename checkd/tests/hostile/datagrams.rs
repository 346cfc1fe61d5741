//! Servers of datagrams that go wrong, and of DNS over TCP as far as they do other things than every stream may.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};

use socket2::{Domain, Socket, Type};

use crate::support::datagrams::{self, Server};
use crate::support::dns;
use crate::support::servers::{Server as StreamServer, wait_for_end};

/// The checks, without their times.
pub const CHECKS: [(&str, &str); 2] = [
    ("udp", "type = \"udp\"\nsend = \"ping\"\nexpect_hex = \"706f6e67\"\n"),
    ("dns", "type = \"dns\"\nname = \"www.example.test\"\nrecord = \"A\"\nanswer = \"192.0.2.1\"\n"),
];

/// Says what it says to a question.
pub type Say = fn(&UdpSocket, &[u8], SocketAddr);
/// The same over TCP, behind the message's length; then the connection stays.
pub type SayFramed = fn(&[u8]) -> Vec<u8>;

pub enum Peer {
    /// Nothing listens.
    Closed,
    Says(Say),
    /// The same, and nobody listens on its port of TCP.
    SaysAlone(Say),
    /// The answer does not fit a datagram, and this is what comes over TCP.
    Truncates(SayFramed),
    /// Over TCP alone.
    Stream(SayFramed),
}

/// A server that goes wrong, and words of the reason.
pub struct Row {
    /// One of [`CHECKS`], or "dns-tcp".
    pub check: &'static str,
    pub what: &'static str,
    pub peer: Peer,
    pub reason: &'static str,
}

const fn row(check: &'static str, what: &'static str, peer: Peer, reason: &'static str) -> Row {
    Row { check, what, peer, reason }
}

/// What a good server answers each with.
pub fn good(check: &str) -> Say {
    if check == "udp" {
        |socket, _, to| say(socket, to, b"pong")
    } else {
        |s, q, to| say(s, to, &dns::good(q))
    }
}

fn say(socket: &UdpSocket, to: SocketAddr, words: &[u8]) {
    let _ = socket.send_to(words, to);
}

/// More than anybody can want to read.
fn flood(socket: &UdpSocket, to: SocketAddr, words: &[u8]) {
    for _ in 0..10_000 {
        say(socket, to, words);
    }
}

/// With one bit of the id another one.
fn other_id(question: &[u8]) -> Vec<u8> {
    let mut answer = dns::good(question);
    answer[1] ^= 1;
    answer
}

fn other_name(question: &[u8]) -> Vec<u8> {
    let mut answer = dns::good(question);
    answer[13] = b'x';
    answer
}

/// The record's owner is a pointer to itself.
fn looping(question: &[u8]) -> Vec<u8> {
    let mut answer = dns::good(question);
    let owner = u8::try_from(answer.len() - dns::ADDRESS.len()).unwrap();
    answer[usize::from(owner) + 1] = owner;
    answer
}

/// The record says that it is longer than the message.
fn overlong(question: &[u8]) -> Vec<u8> {
    let mut answer = dns::good(question);
    let length = answer.len() - 5;
    answer[length] = 0xff;
    answer
}

/// As many records as there are in 60,000 bytes, none of them the wanted one.
fn oversize(question: &[u8]) -> Vec<u8> {
    let record = [&dns::ADDRESS[..15], &[99]].concat();
    let count = 60_000_u16 / u16::try_from(record.len()).unwrap();
    let mut answer = dns::answer(question, [0x84, 0], 0, &record.repeat(usize::from(count)));
    answer[6..8].copy_from_slice(&count.to_be_bytes());
    answer
}

pub const ROWS: &[Row] = &[
    row("udp", "ICMP unreachable", Peer::Closed, "port unreachable: nothing listens on it"),
    row("udp", "silence", Peer::Says(|_, _, _| {}), "3 requests sent, nothing received"),
    row(
        "udp",
        "an empty reply",
        Peer::Says(|socket, _, to| say(socket, to, b"")),
        "wrong replies received, the last '' (0 bytes, which do not begin with 'expect_hex')",
    ),
    row(
        "udp",
        "the reply in pieces",
        Peer::Says(|socket, _, to| b"pong".iter().for_each(|byte| say(socket, to, &[*byte]))),
        "12 wrong replies received, the last 'g' (1 bytes, ",
    ),
    row(
        "udp",
        "a flood",
        Peer::Says(|socket, _, to| flood(socket, to, &[b'x'; 1000])),
        "wrong replies received, the last 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…' (1000 bytes, ",
    ),
    row(
        "udp",
        "a reply of 60,000 bytes",
        Peer::Says(|socket, _, to| say(socket, to, &[b'x'; 60_000])),
        "xxx…' (",
    ),
    row(
        "udp",
        "a terminal's commands",
        Peer::Says(|socket, _, to| say(socket, to, b"\x1b[2J\r\n\0")),
        "the last '\\x1b[2J\\r\\n\\x00' (7 bytes, ",
    ),
    row(
        "udp",
        "the reply from another port",
        Peer::Says(|_, _, to| say(&UdpSocket::bind("127.0.0.1:0").unwrap(), to, b"pong")),
        "3 requests sent, nothing received",
    ),
    row(
        "udp",
        "the reply from another address",
        Peer::Says(|socket, _, to| {
            let port = socket.local_addr().unwrap().port();
            if let Ok(socket) = UdpSocket::bind(("127.0.0.2", port)) {
                say(&socket, to, b"pong");
            }
        }),
        "3 requests sent, nothing received",
    ),
    row("dns", "ICMP unreachable", Peer::Closed, "port unreachable: nothing listens on it"),
    row("dns", "silence", Peer::Says(|_, _, _| {}), "3 requests sent, nothing received"),
    row(
        "dns",
        "an empty datagram",
        Peer::Says(|socket, _, to| say(socket, to, b"")),
        "3 answers to another question received (the last: no DNS message)",
    ),
    row(
        "dns",
        "another id",
        Peer::Says(|socket, question, to| say(socket, to, &other_id(question))),
        "3 answers to another question received (the last: another id)",
    ),
    row(
        "dns",
        "a flood of other ids",
        Peer::Says(|socket, question, to| flood(socket, to, &other_id(question))),
        "answers to another question received (the last: another id)",
    ),
    row(
        "dns",
        "another name",
        Peer::Says(|socket, question, to| say(socket, to, &other_name(question))),
        "3 answers to another question received (the last: another name or type)",
    ),
    row(
        "dns",
        "the question",
        Peer::Says(|socket, question, to| say(socket, to, question)),
        "3 answers to another question received (the last: a question, no answer)",
    ),
    row(
        "dns",
        "the answer from another port",
        Peer::Says(|_, question, to| say(&UdpSocket::bind("127.0.0.1:0").unwrap(), to, &dns::good(question))),
        "3 requests sent, nothing received",
    ),
    row(
        "dns",
        "a compression loop",
        Peer::Says(|socket, question, to| say(socket, to, &looping(question))),
        "broken answer: ",
    ),
    row(
        "dns",
        "a record's length that is none",
        Peer::Says(|socket, question, to| say(socket, to, &overlong(question))),
        "broken answer: ",
    ),
    row(
        "dns",
        "more records than there are",
        Peer::Says(|socket, question, to| {
            say(socket, to, &dns::answer(question, [0x84, 0], 9, dns::ADDRESS));
        }),
        "broken answer: ",
    ),
    row(
        "dns",
        "an answer of 60,000 bytes",
        Peer::Says(|socket, question, to| say(socket, to, &oversize(question))),
        "broken answer: ",
    ),
    row(
        "dns",
        "truncated, and silence over TCP",
        Peer::Truncates(|_| Vec::new()),
        "connected, question sent, nothing received",
    ),
    row(
        "dns",
        "truncated, and half an answer over TCP",
        Peer::Truncates(|question| dns::framed(&dns::good(question))[..20].to_vec()),
        "connected, question sent, 18 of ",
    ),
    row(
        "dns",
        "truncated, over TCP too",
        Peer::Truncates(|question| dns::framed(&dns::truncated(question))),
        "the answer is truncated, and that over TCP",
    ),
    row(
        "dns",
        "truncated, and nothing listens on TCP",
        Peer::SaysAlone(|socket, question, to| say(socket, to, &dns::truncated(question))),
        "connection refused",
    ),
    row("dns-tcp", "a length of nothing", Peer::Stream(|_| vec![0, 0]), "another question: no DNS message"),
    row(
        "dns-tcp",
        "a length that is too long",
        Peer::Stream(|question| [&[0xff, 0xff], dns::good(question).as_slice()].concat()),
        "of 65535 bytes of the answer received",
    ),
    row(
        "dns-tcp",
        "a length that is too short",
        Peer::Stream(|question| {
            let mut framed = dns::framed(&dns::good(question));
            framed[1] -= 1;
            framed
        }),
        "broken answer: ",
    ),
    row(
        "dns-tcp",
        "another id",
        Peer::Stream(|question| dns::framed(&other_id(question))),
        "an answer to another question: another id",
    ),
    row(
        "dns-tcp",
        "a compression loop",
        Peer::Stream(|question| dns::framed(&looping(question))),
        "broken answer: ",
    ),
    row(
        "dns-tcp",
        "more records than there are",
        Peer::Stream(|question| dns::framed(&dns::answer(question, [0x84, 0], 9, dns::ADDRESS))),
        "broken answer: ",
    ),
    row(
        "dns-tcp",
        "four thousand other records",
        Peer::Stream(|question| dns::framed(&oversize(question))),
        "NOERROR, but not 192.0.2.1 in the answer: 192.0.2.99, 192.0.2.99, 192.0.2.99, …",
    ),
];

/// The address of a server that does so.
pub fn start(peer: &Peer) -> String {
    match *peer {
        Peer::Closed => datagrams::closed(),
        Peer::Says(says) => {
            Server::start(move |socket, _, question, from| says(socket, question, from)).address
        }
        Peer::SaysAlone(says) => loop {
            let server = start(&Peer::Says(says));
            // Bound, so that nobody else has it, and no listener.
            let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
            let address: SocketAddr = server.parse().unwrap();
            if socket.bind(&address.into()).is_ok() {
                std::mem::forget(socket);
                return server;
            }
        },
        Peer::Stream(says) => stream(says),
        Peer::Truncates(says) => loop {
            // Somebody else may have the same port of the other protocol.
            let address = stream(says);
            if UdpSocket::bind(&address).is_ok() {
                let truncates: Say = |socket, question, to| say(socket, to, &dns::truncated(question));
                return Server::start_at(&address, move |socket, _, question, from| {
                    truncates(socket, question, from);
                })
                .address;
            }
        },
    }
}

fn stream(says: SayFramed) -> String {
    StreamServer::start(move |mut stream| {
        if let Ok(question) = hear(&mut stream) {
            let _ = stream.write_all(&says(&question));
        }
        wait_for_end(stream);
    })
    .address
}

fn hear(stream: &mut TcpStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut question = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut question)?;
    Ok(question)
}
