//! A decoder against inputs made from good ones, on the stable toolchain: the same in each run, for a moment; or for
//! TRIVET_FUZZ_SECONDS each, with other inputs each time (the seed is printed). cargo-fuzz, with coverage, is for long.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// No input is longer, bytes.
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
        let limit = u64::try_from(limit.max(1)).expect("a length fits");
        usize::try_from(self.next() % limit).expect("less than a length")
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

/// Run `target` on every seed, then on `inputs` others (or for TRIVET_FUZZ_SECONDS), made from them and from `words`.
///
/// # Panics
/// If the target does, with the input and the seed that make it do so again; or if there are no seeds.
#[expect(clippy::disallowed_methods, reason = "how long a run may take, and which inputs it gets")]
pub fn fuzz(name: &str, seeds: &[Vec<u8>], words: &[&str], inputs: u64, target: impl Fn(&[u8])) {
    assert!(!seeds.is_empty(), "{name}: inputs are made from seeds");
    let seconds = std::env::var("TRIVET_FUZZ_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let began = Instant::now();
    let seed = match seconds {
        Some(_) => std::time::UNIX_EPOCH.elapsed().map_or(1, |time| u64::from(time.subsec_nanos())) | 1,
        None => 0x5eed,
    };
    let mut random = Random(seed);
    let until = seconds.map(Duration::from_secs);
    seeds.iter().for_each(|seed| target(seed));
    let mut done = 0_u64;
    while until.map_or(done < inputs, |until| !done.is_multiple_of(256) || began.elapsed() < until) {
        let input = mutated(&mut random, seeds, words);
        let result = catch_unwind(AssertUnwindSafe(|| target(&input)));
        assert!(result.is_ok(), "{name}, seed {seed}, input {done}: \"{}\"", input.escape_ascii());
        done += 1;
    }
    println!("{name}: {done} inputs from {} seeds, seed {seed}", seeds.len());
}
