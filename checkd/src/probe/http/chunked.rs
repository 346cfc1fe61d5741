//! The chunked transfer coding (RFC 9112 section 7.1), decoded as it arrives, in whatever portions.
//!
//! Extensions and trailers are passed over. What may come beside the data is bounded, so that no server keeps a probe
//! busy with a body of nothing but extensions. A bare LF ends a line here, too: nothing of ours can be smuggled past
//! by it, and browsers take it.

/// What a chunk may cost beside its data before that counts as excess, in bytes. One byte a chunk costs 6.
const FREE_PER_CHUNK: u64 = 32;
/// This much excess is too much: Go's `net/http` draws the line here, too.
const EXCESS_LIMIT: u64 = 16 * 1024;
/// Trailers, together: as headers.
const TRAILER_LIMIT: u64 = 16 * 1024;

#[derive(Debug, Default)]
pub(super) struct Chunked {
    state: State,
    /// Bytes beside the data that went beyond what is free.
    excess: u64,
    trailers: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Before the first digit of a size.
    #[default]
    Begin,
    /// The size so far; `line`: bytes of its line so far.
    Size {
        size: u64,
        line: u64,
    },
    /// Blanks or an extension after the size.
    Extension {
        size: u64,
        line: u64,
    },
    /// The CR of that line has come.
    SizeEnd(u64),
    /// This many bytes of data are still to come; never 0.
    Data(u64),
    /// The line end after the data; `true`: its CR has come.
    DataEnd(bool),
    /// At the start of a line after the last chunk; `true`: a CR has come.
    Trailer(bool),
    /// Within a trailer.
    TrailerLine,
    End,
}

impl Chunked {
    /// Append the data in `bytes` to `data`. `true`: the body is complete, and what follows it is not looked at.
    ///
    /// # Errors
    /// What is wrong, as a whole reason. The data before it has been appended.
    pub(super) fn decode(&mut self, mut bytes: &[u8], data: &mut Vec<u8>) -> Result<bool, String> {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::End {
                break;
            }
            if let State::Data(left) = self.state {
                let count = bytes.len().min(usize::try_from(left).unwrap_or(usize::MAX));
                data.extend_from_slice(&bytes[..count]);
                bytes = &bytes[count..];
                let left = left - count as u64;
                self.state = if left == 0 { State::DataEnd(false) } else { State::Data(left) };
            } else {
                self.state = self.on_byte(byte)?;
                bytes = rest;
            }
        }
        Ok(self.state == State::End)
    }

    /// Any byte that is not data.
    fn on_byte(&mut self, byte: u8) -> Result<State, String> {
        match self.state {
            State::Begin => match digit(byte) {
                Some(size) => Ok(State::Size { size, line: 1 }),
                None => Err(unexpected(byte, "where the size of a chunk begins")),
            },
            State::Size { size, line } => match (byte, digit(byte)) {
                (_, Some(digit)) => {
                    let size = size.checked_mul(16).map(|size| size + digit);
                    let size = size.ok_or("broken chunked body: a chunk of more than 2^64 bytes")?;
                    Ok(State::Size { size, line: self.count(line)? })
                }
                (b'\r', None) => Ok(State::SizeEnd(size)),
                (b'\n', None) => Ok(after_size(size)),
                (b' ' | b'\t' | b';', None) => Ok(State::Extension { size, line: self.count(line)? }),
                (_, None) => Err(unexpected(byte, "in the size of a chunk")),
            },
            State::Extension { size, line } => match byte {
                b'\r' => Ok(State::SizeEnd(size)),
                b'\n' => Ok(after_size(size)),
                _ => Ok(State::Extension { size, line: self.count(line)? }),
            },
            State::SizeEnd(size) if byte == b'\n' => Ok(after_size(size)),
            State::SizeEnd(_) => Err(unexpected(byte, "where the line with a chunk's size ends")),
            State::DataEnd(false) if byte == b'\r' => Ok(State::DataEnd(true)),
            State::DataEnd(_) if byte == b'\n' => Ok(State::Begin),
            State::DataEnd(_) => Err(unexpected(byte, "where a chunk ends")),
            State::Trailer(_) | State::TrailerLine => self.on_trailer_byte(byte),
            State::Data(_) | State::End => Ok(self.state),
        }
    }

    /// Another byte of a line that has `line` already.
    fn count(&mut self, line: u64) -> Result<u64, String> {
        if line >= FREE_PER_CHUNK {
            self.excess += 1;
        }
        if self.excess > EXCESS_LIMIT {
            return Err(format!("more than {} KiB of chunk extensions", EXCESS_LIMIT / 1024));
        }
        Ok(line + 1)
    }

    fn on_trailer_byte(&mut self, byte: u8) -> Result<State, String> {
        self.trailers += 1;
        if self.trailers > TRAILER_LIMIT {
            return Err(format!("more than {} KiB of trailers, and no end", TRAILER_LIMIT / 1024));
        }
        let at_start = matches!(self.state, State::Trailer(_));
        Ok(match byte {
            b'\n' if at_start => State::End,
            b'\n' => State::Trailer(false),
            b'\r' if self.state == State::Trailer(false) => State::Trailer(true),
            _ => State::TrailerLine,
        })
    }
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

/// The line with a size is over. 0: that was the last chunk.
fn after_size(size: u64) -> State {
    if size == 0 { State::Trailer(false) } else { State::Data(size) }
}

fn unexpected(byte: u8, place: &str) -> String {
    format!("broken chunked body: '{}' {place}", [byte].escape_ascii())
}
