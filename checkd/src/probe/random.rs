//! Numbers that nobody else can foresee: what tells the answer to a question of ours from one that was made up.

use std::hash::{BuildHasher, Hasher, RandomState};

/// Another one for every call. The standard library's hasher has a key from the kernel, and a new one for each state.
pub fn token() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// As [`token`], shorter.
pub fn short_token() -> u16 {
    let [high, low, ..] = token().to_be_bytes();
    u16::from_be_bytes([high, low])
}
