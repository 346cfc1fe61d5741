//! Every decoder against inputs made from captured ones, on the stable toolchain: the same in each run, for a moment; or
//! for TRIVET_FUZZ_SECONDS each, with other inputs each time (the seed is printed).

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]

#[path = "../pcap/mod.rs"]
mod pcap;
mod targets;

use std::time::{Duration, Instant};

/// Inputs for each decoder where nothing else is asked for.
const INPUTS: u64 = 30_000;
/// Reading files takes longer than reading bytes.
const FILES: u64 = 4_000;
const LONGEST: usize = 4096;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 8
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(limit.max(1)).unwrap()).unwrap()
    }

    fn byte(&mut self) -> u8 {
        // The values at which things break come often.
        let edges = [0, 1, 2, 3, 4, 5, 0x0f, 0x10, 0x20, 0x21, 0x31, 0x7f, 0x80, 0xfe, 0xff];
        if self.below(2) == 0 { edges[self.below(edges.len())] } else { self.next().to_be_bytes()[7] }
    }
}

/// A seed, or two spliced, with a few changes.
fn mutated(random: &mut Random, seeds: &[Vec<u8>], words: &[&str]) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    if random.below(8) == 0 {
        let other = &seeds[random.below(seeds.len())];
        bytes.truncate(random.below(bytes.len() + 1));
        bytes.extend(&other[random.below(other.len() + 1)..]);
    }
    for _ in 0..random.below(6) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, random.byte()),
            2 if at < bytes.len() => _ = bytes.remove(at),
            3 if !words.is_empty() => {
                let word = words[random.below(words.len())].bytes();
                bytes.splice(at..at, word);
            }
            4 => {
                let part: Vec<u8> = bytes[at..].iter().take(random.below(40)).copied().collect();
                bytes.splice(at..at, part);
            }
            _ if at < bytes.len() => bytes[at] = random.byte(),
            _ => bytes.push(random.byte()),
        }
    }
    bytes.truncate(LONGEST);
    bytes
}

#[expect(clippy::disallowed_methods, reason = "how long a run may take, and which inputs it gets")]
fn fuzz(name: &str, seeds: &[Vec<u8>], words: &[&str], inputs: u64, target: impl Fn(&[u8])) {
    assert!(!seeds.is_empty());
    let seconds = std::env::var("TRIVET_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let began = Instant::now();
    let seed = match seconds {
        Some(_) => u64::try_from(std::time::UNIX_EPOCH.elapsed().unwrap().as_micros()).unwrap() | 1,
        None => 0x5eed,
    };
    let mut random = Random(seed);
    let until = seconds.map(Duration::from_secs);
    seeds.iter().for_each(|seed| target(seed));
    let mut done = 0_u64;
    while until.map_or(done < inputs, |until| !done.is_multiple_of(256) || began.elapsed() < until) {
        let input = mutated(&mut random, seeds, words);
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| target(&input)));
        assert!(result.is_ok(), "{name}, seed {seed}, input {done}: {:?}", String::from_utf8_lossy(&input));
        done += 1;
    }
    println!("{name}: {done} inputs from {} seeds, seed {seed}", seeds.len());
}

/// Captured frames of an Ethernet type without `skip` bytes, with the targets' flags before them.
fn captured(kind: [u8; 2], protocol: (usize, u8), skip: usize) -> Vec<Vec<u8>> {
    let frames = pcap::all().into_iter().flat_map(|(_, frames)| frames);
    let wanted = frames.filter(|frame| frame[12..14] == kind && frame[protocol.0] == protocol.1);
    wanted.flat_map(|frame| [0, 1].map(|flags| [&[flags], &frame[skip..]].concat())).collect()
}

#[test]
fn no_ipv4_packet_is_misread() {
    fuzz("IPv4", &captured([8, 0], (23, 112), 14), &[], INPUTS, targets::ipv4);
}

#[test]
fn no_ipv6_packet_is_misread() {
    fuzz("IPv6", &captured([0x86, 0xdd], (20, 112), 54), &[], INPUTS, targets::ipv6);
}

#[test]
fn no_drop_in_is_misread() {
    let examples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/vrrp.d");
    let paths = std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<Vec<u8>> = paths.map(|path| std::fs::read(path).unwrap()).collect();
    let words = [
        "[unicast]\n",
        "[garp]\n",
        "[authentication]\n",
        "[[x]]\n",
        "track = [{ ",
        "}]",
        "= ",
        "\"",
        "\"\"\"",
        "0",
        "-1",
        "256",
        "1e400",
        "nan",
        "true",
        "vmac = true\n",
        "version = 2\n",
        "priority = 255\n",
        "\"10ms\"",
        "\"1y\"",
        "\"fe80::1/64\"",
        "\"0.0.0.0/0\"",
        "\"::/128\"",
        "{ address = ",
        "\u{feff}",
        "\\u0000",
        "😀",
        "\r\n",
    ];
    fuzz("drop-ins", &seeds, &words, FILES, targets::drop_in);
}

#[test]
fn no_record_of_a_former_run_is_misread() {
    let head = "trivet-vrrpd runtime state, version 1\nboot -\nalive 1000000000\n";
    let routers = "router + 12 36000 eth0 IPv4 51 3 eth0:10.0.0.100/24 eth1:10.0.1.100/24 = v\nrouter - 12 3000000 eth0 IPv6 1 3 eth0:fe80::1/64 = w\n";
    let seeds = [
        format!("{head}{routers}end\n"),
        format!("{head}handed over\n{routers}end\n"),
        format!("{head}resumed 900000000\nresumed 950000000\n{routers}end\n"),
        format!("{head}end\n"),
    ];
    let words = [
        "router ",
        "resumed ",
        "end\n",
        " = ",
        "+ ",
        "18446744073709551615",
        "-1",
        "/128",
        "::",
        "\n",
        "eth0:",
    ];
    fuzz("records", &seeds.map(String::into_bytes), &words, FILES, targets::record);
}

#[test]
fn no_event_of_the_kernel_is_misread() {
    fuzz("events", &events(), &[], INPUTS, targets::events);
}

/// Messages as the kernel lays them out: a link "eth0", and addresses on it.
fn events() -> Vec<Vec<u8>> {
    let attribute = |kind: u16, value: &[u8]| {
        let length = u16::try_from(4 + value.len()).unwrap();
        let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
        bytes.extend(value);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let message = |kind: u16, body: &[Vec<u8>]| {
        let body = body.concat();
        let length = u32::try_from(16 + body.len()).unwrap();
        [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], &body].concat()
    };
    let header = [&[0, 0, 1, 0][..], &2_u32.to_ne_bytes(), &0x1_0043_u32.to_ne_bytes(), &[0; 4]].concat();
    let link =
        |kind| message(kind, &[header.clone(), attribute(3, b"eth0\0"), attribute(1, &[2, 0, 0, 0, 0, 1])]);
    let address = |kind: u16, family: u8, bytes: &[u8]| {
        let header = [&[family, 24, 0x80, 0][..], &2_u32.to_ne_bytes()].concat();
        message(kind, &[header, attribute(1, bytes), attribute(2, bytes), attribute(11, &[112])])
    };
    let (v4, v6) = ([10, 0, 0, 1], [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    let each = [link(16), link(17), address(20, 2, &v4), address(20, 10, &v6), address(21, 2, &v4)];
    let together =
        [link(16), address(20, 2, &v4), address(20, 10, &v6), address(21, 10, &v6), link(17)].concat();
    each.into_iter().chain([together]).collect()
}
