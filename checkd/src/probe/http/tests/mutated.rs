//! Answers with random faults, and noise: nothing panics, nothing is held beyond the limits, and the verdict does not
//! depend on the portions.

use super::*;

/// SplitMix64: the same bytes on every run.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((z ^ (z >> 31)) >> 33).unwrap() % bound
    }
}

/// Feed `bytes` in random portions; the outcome, if any, and the probe.
fn feed(random: &mut Random, request: &Request, mut bytes: &[u8]) -> (Option<Outcome>, Probe) {
    let mut probe = sent(request);
    while !bytes.is_empty() {
        let (portion, rest) = bytes.split_at(1 + random.below(bytes.len()));
        bytes = rest;
        let outcome = probe.on_received(portion);
        if let Answer::Head(buffer) = &probe.answer {
            assert!(buffer.bytes().len() <= head::LIMIT);
        }
        if outcome.is_some() {
            return (outcome, probe);
        }
    }
    (None, probe)
}

/// One to three bytes changed, dropped or added, or the end cut off.
fn mutate(random: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..random.below(4) {
        let at = random.below(bytes.len());
        match random.below(4) {
            0 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
            1 => drop(bytes.drain(at..=at)),
            2 => bytes.insert(at, b"\r\n: \0HT9"[random.below(8)]),
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            bytes.push(b'H');
        }
    }
}

/// How often a mutation of one of the seeds passed, failed, and left the probe waiting.
fn try_mutations(seed: u64, request: &Request, seeds: &[&[u8]]) -> [u32; 3] {
    let mut random = Random(seed);
    let mut counts = [0; 3];
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].to_vec();
        mutate(&mut random, &mut bytes);
        let text = bytes.escape_ascii().to_string();
        let mut whole_probe = sent(request);
        let whole = whole_probe.on_received(&bytes);
        let (portions, mut probe) = feed(&mut random, request, &bytes);
        counts[match &whole {
            Some(Outcome::Pass(_)) => 0,
            Some(_) => 1,
            None => 2,
        }] += 1;
        // What is not HTTP quotes as much as had come: its text depends on the portions, its verdict does not.
        if whole != portions {
            let is_quote = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Fail(text)) if text.contains("starts with"));
            assert!(is_quote(&whole) && is_quote(&portions), "{text:?}: {whole:?} {portions:?}");
        }
        if whole.is_none() {
            assert_eq!(whole_probe.progress(), probe.progress(), "{text:?}");
            let closed = probe.on_closed();
            assert_eq!(whole_probe.on_closed(), closed, "{text:?}");
            let (Outcome::Fail(reason) | Outcome::Pass(reason)) = &closed else { panic!("{closed:?}") };
            assert!(reason.len() < 400 && (reason.is_ascii() || reason.contains('…')), "{reason}");
        }
    }
    counts
}

#[test]
fn mutated_heads_never_panic_and_do_not_depend_on_their_portions() {
    let seeds: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: text/html\r\n\r\n<html>",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.0 503 Unavailable\r\nRetry-After: 5\r\n\r\n",
        b"HTTP/1.1 301 Moved\nLocation: /x\n\n",
    ];
    let counts = try_mutations(568, &Request::default(), &seeds);
    assert!(counts.iter().all(|count| *count > 1_000), "{counts:?}");
}

#[test]
fn mutated_bodies_never_panic_and_do_not_depend_on_their_portions() {
    let seeds: [&[u8]; 4] = [
        b"HTTP/1.1 200 OK\r\nContent-Length: 14\r\n\r\nall is well up",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n6;x=y\r\nall is\r\n8\r\n well up\r\n0\r\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nServer: x\r\n\r\nall is well up",
        b"HTTP/1.1 103 Early\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ne\r\nall is well up\r\n0\r\n\r\n",
    ];
    let text = |text: &str| vec![Text::new(text)];
    let pattern = |text: &str| vec![Pattern::new(text).unwrap()];
    let digest = "sha256:54b4959c7ac9b05e82a156c08b46b8ced7c5c77054195dbe8d93d6a5e178a2d6";
    let found = Expectations { contains: text("s well"), ..Expectations::default() };
    let absent = Expectations { not_contains: text("sick"), limit: 14, ..Expectations::default() };
    let matching = Expectations { matches: pattern("^all .* up$"), limit: 20, ..Expectations::default() };
    let exact = Expectations { digest: Some(Digest::parse(digest).unwrap()), ..Expectations::default() };
    for (seed, body, least) in [
        (1, found, [1_000, 1_000, 1_000]),
        (2, absent, [1_000, 1_000, 1_000]),
        (3, matching, [1_000, 1_000, 1_000]),
        (4, exact, [1_000, 1_000, 1_000]),
    ] {
        let request = Request { body, ..Request::default() };
        let counts = try_mutations(seed, &request, &seeds);
        assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{seed}: {counts:?}");
    }
}

#[test]
fn pure_noise_never_panics_and_never_passes() {
    let mut random = Random(9568);
    let mut noise = |length: usize| -> Vec<u8> {
        (0..1 + random.below(length)).map(|_| u8::try_from(random.below(256)).unwrap()).collect()
    };
    let heads: [&[u8]; 2] = [b"", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"];
    let body = Expectations { matches: vec![Pattern::new("ok").unwrap()], ..Expectations::default() };
    let request = Request { body, ..Request::default() };
    let mut portions = Random(1);
    for round in 0..5_000 {
        let bytes = [heads[round % 2], &noise(600)].concat();
        let (outcome, _) = feed(&mut portions, &request, &bytes);
        assert!(!matches!(outcome, Some(Outcome::Pass(_))), "{:?}", bytes.escape_ascii().to_string());
    }
}
