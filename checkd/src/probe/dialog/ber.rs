//! As much of the Basic Encoding Rules (X.690) as LDAP takes: tags of one byte, definite lengths (RFC 4511 section 5.1).

use super::TURN_LIMIT;

/// What came is not BER, or longer than an answer may be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotBer;

/// One tag with its content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    /// With tag and length.
    pub(super) length: usize,
}

/// The first element of `bytes`, if all of it is there.
pub(super) fn element(bytes: &[u8]) -> Result<Option<Element<'_>>, NotBer> {
    let [tag, first, rest @ ..] = bytes else { return Ok(None) };
    let (length, head) = match first {
        0..=0x7f => (usize::from(*first), 2),
        0x81..=0x84 => {
            let count = usize::from(first & 0x7f);
            let Some(bytes) = rest.get(..count) else { return Ok(None) };
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), 2 + count)
        }
        _ => return Err(NotBer),
    };
    if length > TURN_LIMIT {
        return Err(NotBer);
    }
    let content = bytes.get(head..head + length);
    Ok(content.map(|content| Element { tag: *tag, content, length: head + length }))
}

/// The elements that `bytes` consist of, up to the first that is none.
pub(super) fn elements(mut bytes: &[u8]) -> impl Iterator<Item = Element<'_>> {
    std::iter::from_fn(move || {
        let next = element(bytes).ok().flatten()?;
        bytes = &bytes[next.length..];
        Some(next)
    })
}

/// An element's bytes.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![tag];
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => bytes.push(length),
        Ok(length) => bytes.extend_from_slice(&[0x81, length]),
        Err(_) => {
            let length = u32::try_from(content.len()).expect("names from a configuration are short");
            bytes.push(0x84);
            bytes.extend_from_slice(&length.to_be_bytes());
        }
    }
    bytes.extend_from_slice(content);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again_whole_and_not_before() {
        for length in [0, 1, 0x7f, 0x80, 0xff, 0x100, 5000] {
            let content = vec![7; length];
            let bytes = encode(0x04, &content);
            for part in 0..bytes.len() {
                assert_eq!(element(&bytes[..part]), Ok(None), "{part} of {length}");
            }
            let read = element(&bytes).unwrap().unwrap();
            assert_eq!((read.tag, read.content, read.length), (0x04, &content[..], bytes.len()));
        }
    }

    #[test]
    fn lengths_without_end_or_without_measure_are_refused() {
        for bytes in [
            &[0x30, 0x80][..],
            &[0x30, 0x85, 0, 0, 0, 0, 1],
            &[0x30, 0x84, 0xff, 0xff, 0xff, 0xff],
            &[0x30, 0xff],
        ] {
            assert_eq!(element(bytes), Err(NotBer), "{bytes:?}");
        }
    }
}
