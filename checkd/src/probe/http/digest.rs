//! The digest of a body: `digest = "sha256:…"`, and `"md5:…"` for those who come from keepalived's genhash.

use std::fmt;

use md5::Md5;
use sha2::{Digest as _, Sha256};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Sha256,
    Md5,
}

/// What the digest of a body must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    algorithm: Algorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// Read `"sha256:…"` or `"md5:…"`, hexadecimal.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence such as "'digest' is …".
    pub fn parse(text: &str) -> Result<Self, String> {
        let Some((name, hex)) = text.split_once(':') else { return Err(without_name(text)) };
        let (algorithm, length) = match name {
            "sha256" => (Algorithm::Sha256, 32),
            "md5" => (Algorithm::Md5, 16),
            _ => return Err("neither \"sha256:…\" nor \"md5:…\"".to_owned()),
        };
        match parse_hex(hex) {
            Some(bytes) if bytes.len() == length => Ok(Self { algorithm, bytes }),
            Some(_) | None => Err(format!("not a digest: {name} has {} hexadecimal digits", length * 2)),
        }
    }
}

/// What is to be written for a digest that does not say how it was made.
fn without_name(text: &str) -> String {
    match parse_hex(text).map(|bytes| bytes.len()) {
        Some(16) => format!("without the name of its kind: write \"md5:{text}\""),
        Some(32) => format!("without the name of its kind: write \"sha256:{text}\""),
        Some(_) | None => "neither \"sha256:…\" nor \"md5:…\"".to_owned(),
    }
}

fn parse_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        text.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect();
    let digits = digits.filter(|digits| digits.len().is_multiple_of(2))?;
    Some(digits.chunks(2).map(|pair| pair[0] * 16 + pair[1]).collect())
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.algorithm {
            Algorithm::Sha256 => "sha256:",
            Algorithm::Md5 => "md5:",
        })?;
        self.bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A digest in the making.
#[derive(Clone, Debug)]
pub(super) enum Running {
    Sha256(Sha256),
    Md5(Md5),
}

impl Running {
    /// As the expected one was made.
    pub(super) fn new(expected: &Digest) -> Self {
        match expected.algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::new()),
            Algorithm::Md5 => Self::Md5(Md5::new()),
        }
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Md5(hash) => hash.update(bytes),
        }
    }

    pub(super) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest { algorithm: Algorithm::Sha256, bytes: hash.finalize().to_vec() },
            Self::Md5(hash) => Digest { algorithm: Algorithm::Md5, bytes: hash.finalize().to_vec() },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of "abc": RFC 1321, appendix A.5; FIPS 180-2, appendix B.1.
    const MD5: &str = "md5:900150983cd24fb0d6963f7d28e17f72";
    const SHA256: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn the_digests_are_those_of_the_standards_in_whatever_portions() {
        for text in [MD5, SHA256] {
            let expected = Digest::parse(text).unwrap();
            assert_eq!(expected.to_string(), text);
            let mut running = Running::new(&expected);
            running.update(b"a");
            running.update(b"");
            running.update(b"bc");
            assert_eq!(running.finish(), expected);
        }
    }

    #[test]
    fn capital_digits_are_digits() {
        let capital = format!("md5:{}", MD5[4..].to_uppercase());
        assert_eq!(Digest::parse(&capital), Digest::parse(MD5));
    }

    #[test]
    fn what_is_no_digest_is_answered_with_what_would_be_one() {
        let reason = |text: &str| Digest::parse(text).unwrap_err();
        assert!(reason(&MD5[4..]).contains(&format!("write \"{MD5}\"")));
        assert!(reason(&SHA256[7..]).contains(&format!("write \"{SHA256}\"")));
        assert!(reason("md5:abc").contains("md5 has 32 hexadecimal digits"));
        assert!(reason(&SHA256[..SHA256.len() - 2]).contains("sha256 has 64"));
        assert!(reason("sha256:äb").contains("sha256 has 64"));
        assert!(reason("sha1:00").contains("neither"));
        assert!(reason("").contains("neither"));
    }
}
