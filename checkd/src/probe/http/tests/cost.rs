//! What a probe costs in processor time, without its sockets. To be had again:
//! `cargo test --release -p checkd --lib -- --ignored --nocapture what_a_body_costs`

use std::hint::black_box;

use nix::time::{ClockId, clock_gettime};

use super::bodies::{containing, matching};
use super::*;

const ROUNDS: u32 = 5_000;
/// What one read of a socket takes at most: `daemon.rs`.
const PORTION: usize = 16 * 1024;

fn processor() -> Duration {
    Duration::from(clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).unwrap())
}

/// Processor time of one probe.
fn cost(request: &Request, answer: &[u8], rounds: u32) -> Duration {
    let request = Arc::new(request.clone());
    let before = processor();
    for _ in 0..rounds {
        let mut probe = Probe::new(&request, target());
        probe.on_sent(probe.unsent().len());
        let outcome = black_box(answer).chunks(PORTION).find_map(|portion| probe.on_received(portion));
        assert!(matches!(black_box(outcome), Some(Outcome::Pass(_))));
    }
    (processor() - before) / rounds
}

/// A page of text, of about so many bytes, that ends in "all is well".
fn page(length: usize) -> String {
    let line = "<p>The quick brown fox jumps over the lazy dog; status: 0 errors, 17 warnings.</p>\n";
    line.repeat(length / line.len()) + "all is well"
}

fn chunked(page: &str, size: usize) -> Vec<u8> {
    let mut bytes = b"HTTP/1.1 200 OK\r\nServer: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
    for chunk in page.as_bytes().chunks(size) {
        bytes.extend([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
    }
    [bytes, b"0\r\n\r\n".to_vec()].concat()
}

fn with_length(page: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: {}\r\n\r\n{page}", page.len()).into_bytes()
}

fn with_digest(page: &str, algorithm: &str, digits: usize) -> Request {
    let wrong = Digest::parse(&format!("{algorithm}:{}", "0".repeat(digits))).unwrap();
    let mut digest = digest::Running::new(&wrong);
    digest.update(page.as_bytes());
    let body = Expectations { digest: Some(digest.finish()), ..Expectations::default() };
    Request { body, ..Request::default() }
}

#[test]
#[ignore = "a measurement: figures, not a verdict"]
fn what_a_body_costs() {
    let page = page(10 * 1024);
    let without = Expectations { not_contains: vec![Text::new("panic")], ..Expectations::default() };
    for (name, request) in [
        ("the head only", Request::default()),
        ("contains", containing("all is well")),
        ("not_contains", Request { body: without, ..Request::default() }),
        ("matches a word", matching("all is w[a-z]+l$")),
        ("matches, no word in it", matching("[a-z]+ [a-z]{2} [^x]{4}$")),
        ("digest, SHA-256", with_digest(&page, "sha256", 64)),
        ("digest, MD5", with_digest(&page, "md5", 32)),
    ] {
        let (length, chunks) = (with_length(&page), chunked(&page, 4096));
        let tiny = chunked(&page, 8);
        let [length, chunks, tiny] = [length, chunks, tiny].map(|answer| cost(&request, &answer, ROUNDS));
        println!(
            "10 KiB, {name:24} {length:?} with a length, {chunks:?} in chunks of 4 KiB, {tiny:?} of 8 bytes"
        );
    }
}

#[test]
#[ignore = "a measurement: figures, not a verdict"]
fn what_the_worst_pattern_costs() {
    // Letters at random: no two places look alike.
    let mut random = mutated::Random(4);
    let hard: String = (0..1_000_000).map(|_| if random.below(2) == 0 { 'a' } else { 'b' }).collect();
    for text in [
        "[ab]*[xy]",
        "[ab].{60}[ab].{60}[xy]",
        "(a.{0,60}b){3}[xy]",
        "([ab]{1,30}c?){8}[xy]",
        "(?:.?){200}[xy]",
    ] {
        match Pattern::new(text) {
            Ok(pattern) => {
                let body = Expectations { not_matches: vec![pattern], ..Expectations::default() };
                let request = Request { body, ..Request::default() };
                println!("1 MB, {text:30} {:?}", cost(&request, &with_length(&hard), 1));
            }
            Err(reason) => println!("1 MB, {text:30} refused: {reason}"),
        }
    }
    let built = |text: &str| {
        let before = processor();
        let pattern = Pattern::new(text);
        let reason = pattern.err().unwrap_or_default();
        println!("building {text:30} {:?} {}", processor() - before, &reason[..reason.len().min(20)]);
    };
    for text in
        ["all is well", "a.{8}[xy]", "a.{10}[xy]", "a.{60}[xy]", "[a-z]{1000}{1000}", "(?:.?){200}[xy]"]
    {
        built(text);
    }
    println!("a probe takes {} bytes, its body {} more", size_of::<Probe>(), size_of::<Body>());
}
