//! What TLS costs us: `cargo test --release -p checkd --lib -- --ignored --nocapture what_tls_costs`.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use rustls::client::Resumption;

use super::*;

const HANDSHAKES: u32 = 500;
const WAITING: usize = 10_000;

fn processor_time() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

/// Memory of this process, bytes.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

/// Our side's processor time for one handshake, its first word and its last.
fn handshake(pair: &mut Pair) -> Duration {
    let mut ours = Duration::ZERO;
    let mut theirs = Vec::new();
    for turn in 0.. {
        let began = processor_time();
        pair.hear(&theirs, usize::MAX).unwrap();
        if turn > 0 && !pair.session.is_handshaking() && !pair.session.wants_write() {
            pair.session.close();
        }
        let mut said = Vec::new();
        while pair.session.wants_write() {
            pair.session.write(&mut said).unwrap();
        }
        ours += processor_time() - began;
        let mut said = said.as_slice();
        while !said.is_empty() {
            pair.server.read_tls(&mut said).unwrap();
            pair.server.process_new_packets().unwrap();
        }
        theirs.clear();
        while pair.server.wants_write() {
            pair.server.write_tls(&mut theirs).unwrap();
        }
        if theirs.is_empty() && !pair.session.is_handshaking() {
            return ours;
        }
    }
    unreachable!("the loop has no end")
}

/// Of one handshake, on average. With `resumption`: as if all were probes of one server, which knows us.
fn average(version: &'static SupportedProtocolVersion, resumption: bool) -> Duration {
    let first = Pair::new(&[version]);
    let server_config = Arc::clone(&first.config);
    let mut settings = Settings::new(None, Some(Arc::clone(&first.store)), None);
    if resumption {
        let mut config = rustls::ClientConfig::clone(&settings.config);
        config.resumption = Resumption::in_memory_sessions(16);
        settings.config = Arc::new(config);
    }
    let settings = Arc::new(settings);
    let mut total = Duration::ZERO;
    for _ in 0..HANDSHAKES {
        let name = ServerName::try_from("x.example").unwrap();
        let began = processor_time();
        let session = Session::begin(Arc::clone(&settings), name).unwrap();
        total += processor_time() - began;
        let server = ServerConnection::new(Arc::clone(&server_config)).unwrap();
        let mut pair =
            Pair { server, session, config: Arc::clone(&server_config), store: Arc::clone(&first.store) };
        total += handshake(&mut pair);
    }
    total / HANDSHAKES
}

/// Bytes that one session holds when the server has said so much of its first flight.
fn held(said: usize) -> usize {
    let first = Pair::new(&[&version::TLS12]);
    let settings = Arc::new(Settings::new(None, Some(Arc::clone(&first.store)), None));
    let before = resident();
    let mut waiting = Vec::with_capacity(WAITING);
    for _ in 0..WAITING {
        let name = ServerName::try_from("x.example").unwrap();
        let session = Box::new(Session::begin(Arc::clone(&settings), name).unwrap());
        let server = ServerConnection::new(Arc::clone(&first.config)).unwrap();
        let mut pair = Pair {
            server,
            session: *session,
            config: Arc::clone(&first.config),
            store: Arc::clone(&first.store),
        };
        let theirs = pair.turn();
        pair.hear(&theirs[..said], usize::MAX).unwrap();
        waiting.push(Box::new(pair.session));
    }
    let each = (resident() - before) / WAITING;
    // The next measurement is not to find their memory free.
    std::mem::forget(waiting);
    each
}

#[test]
#[ignore = "a measurement"]
fn what_tls_costs() {
    for (name, version) in [("TLS 1.3", &version::TLS13), ("TLS 1.2", &version::TLS12)] {
        let (full, resumed) = (average(version, false), average(version, true));
        println!("{name}, ECDSA P-256, one certificate: {full:?} of processor time, resumed {resumed:?}");
    }
    for said in [0, 3, 500] {
        println!("{WAITING} handshakes, {said} bytes of the answer: {} bytes each", held(said));
    }
}
