//! A hash that depends on its seed and on what is hashed only, today and in the next version: the standard library's
//! is another one in every process. FNV-1a, then SplitMix64's end to spread it over all bits. Not for secrets.

use std::hash::{Hash, Hasher};

#[derive(Debug)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }

    fn finish(&self) -> u64 {
        let mut z = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

/// Equal seeds and values give equal numbers, any others unrelated ones.
pub fn mix(seed: u64, value: &impl Hash) -> u64 {
    let mut mixer = Mixer(seed);
    value.hash(&mut mixer);
    mixer.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_are_the_same_in_every_process_and_version() {
        assert_eq!(mix(0, &"tcp"), 0x7373_9b25_18c6_e0a8);
        assert_eq!(mix(1, &"tcp"), 0xd5fd_a80f_b190_f4f0);
        assert_ne!(mix(0, &"tcp"), mix(0, &"tcq"));
    }
}
