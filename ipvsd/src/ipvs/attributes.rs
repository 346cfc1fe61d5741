//! Netlink attributes as they lie in a datagram: nothing is copied, and a length is believed only if it fits.
//!
//! By hand and not by neli, which makes an allocation of each attribute: DEPENDENCIES.md has the figures.

use super::WireError;

/// `NLA_HEADER`: the length, with itself, and the kind, 16 bits each.
const HEADER: usize = 4;
/// `NLA_TYPE_MASK`: the two highest bits of the kind are flags.
const KIND: u16 = 0x3fff;

/// What a message, or a nest in it, consists of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attributes<'a>(&'a [u8]);

impl<'a> Attributes<'a> {
    /// # Errors
    /// One of them does not fit.
    pub(super) fn new(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut rest = bytes;
        while !rest.is_empty() {
            (_, _, rest) = split(rest).ok_or(WireError::Attributes)?;
        }
        Ok(Self(bytes))
    }

    /// The payload of the first one of this kind.
    pub(super) fn find(self, kind: u16, name: &'static str) -> Result<&'a [u8], WireError> {
        let mut rest = self.0;
        while let Some((found, payload, after)) = split(rest) {
            if found == kind {
                return Ok(payload);
            }
            rest = after;
        }
        Err(WireError::Missing(name))
    }

    /// The first bytes of one that may be longer.
    pub(super) fn fixed<const N: usize>(self, kind: u16, name: &'static str) -> Result<[u8; N], WireError> {
        array(self.find(kind, name)?, 0).ok_or(WireError::Missing(name))
    }

    pub(super) fn number(self, kind: u16, name: &'static str) -> Result<u32, WireError> {
        self.fixed(kind, name).map(u32::from_ne_bytes)
    }

    pub(super) fn nest(self, kind: u16, name: &'static str) -> Result<Self, WireError> {
        Self::new(self.find(kind, name)?)
    }

    /// A string that ends at its NUL, or with the attribute.
    pub(super) fn text(self, kind: u16, name: &'static str) -> Result<String, WireError> {
        let bytes = self.find(kind, name)?;
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        Ok(String::from_utf8_lossy(&bytes[..end]).into_owned())
    }
}

/// The kind and payload of the first one, and those that follow it. `None`: there is no whole one.
fn split(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let length = usize::from(u16::from_ne_bytes(array(bytes, 0)?));
    let kind = u16::from_ne_bytes(array(bytes, 2)?) & KIND;
    let payload = bytes.get(HEADER..length)?;
    // The last one need not be filled up.
    let after = bytes.get(length.next_multiple_of(HEADER)..).unwrap_or_default();
    Some((kind, payload, after))
}

pub(super) fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}
