//! What checkd and checkd-exec say to each other: frames of a length (four bytes, big-endian) and a body. Pure.
//!
//! Both come from the same package, yet one may be a version older for a moment during an upgrade: a request begins with
//! the version of its form.

use std::time::Duration;

/// The form of the requests; raise it with every change of theirs.
const VERSION: u8 = 1;
/// Longest body of a request: the command with its arguments and environment, bytes.
pub const REQUEST_LIMIT: usize = 64 * 1024;
/// Longest body of a report, bytes: a last line and what goes with it.
pub const REPORT_LIMIT: usize = 8 * 1024;
/// Longest last line or reason, bytes.
pub const LINE_LIMIT: usize = 4 * 1024;
/// The length before each body, bytes.
const HEADER: usize = 4;

/// What to run. Never a shell's words: each argument arrives as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The program's absolute path, and its arguments. At least one, none with a NUL in it.
    pub command: Vec<String>,
    /// Added to the environment that checkd-exec itself has.
    pub environment: Vec<(String, String)>,
    /// After this the command is ended, with all that it started.
    pub limit: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub how: How,
    /// The last line of its output that is not blank; empty: there was none.
    pub last_line: Vec<u8>,
    /// Processes of it that could not be ended.
    pub survivors: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// By itself, with this status.
    Exited(u8),
    /// By this signal, which we did not send.
    Signalled(u8),
    /// It was over its time limit, and was ended.
    TimedOut,
}

/// What checkd-exec tells of a run. Nothing follows an `Ended`, `NotStarted`, `Busy` or `Refused`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// The command runs.
    Started,
    Ended(End),
    /// Why it could not be started, in words.
    NotStarted(String),
    /// So many commands are running that there is no room for another.
    Busy(u32),
    /// The request was not understood, or the caller is nobody who may ask; in words.
    Refused(String),
}

/// A frame that cannot be what it should be; in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken(pub String);

/// The length of the whole frame that `bytes` begin with; `None`: more bytes are needed to tell.
///
/// # Errors
/// Its body is said to be longer than `limit`.
pub fn frame_length(bytes: &[u8], limit: usize) -> Result<Option<usize>, Broken> {
    let Some(header) = bytes.first_chunk::<HEADER>() else { return Ok(None) };
    let length = usize::try_from(u32::from_be_bytes(*header)).unwrap_or(usize::MAX);
    if length > limit {
        return Err(Broken(format!("a frame of {length} bytes, {limit} are allowed")));
    }
    Ok(Some(HEADER + length))
}

/// The body of a whole frame.
pub fn body(frame: &[u8]) -> &[u8] {
    frame.get(HEADER..).unwrap_or_default()
}

fn frame(body: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("bodies are a few kilobytes");
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(body);
    frame
}

impl Request {
    /// The whole frame. `None`: it would be longer than [`REQUEST_LIMIT`].
    pub fn encode(&self) -> Option<Vec<u8>> {
        let limit = u32::try_from(self.limit.as_millis()).unwrap_or(u32::MAX);
        let mut bytes = vec![VERSION];
        bytes.extend(limit.to_be_bytes());
        put_count(&mut bytes, self.command.len())?;
        for argument in &self.command {
            put(&mut bytes, argument.as_bytes())?;
        }
        put_count(&mut bytes, self.environment.len())?;
        for (name, value) in &self.environment {
            put(&mut bytes, name.as_bytes())?;
            put(&mut bytes, value.as_bytes())?;
        }
        (bytes.len() <= REQUEST_LIMIT).then(|| frame(bytes))
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// What is wrong with it, for the journal.
    pub fn decode(body: &[u8]) -> Result<Self, Broken> {
        let mut cursor = Cursor(body);
        let version = cursor.byte()?;
        if version != VERSION {
            return Err(Broken(format!(
                "a request of form {version}, this checkd-exec knows form {VERSION}: it is not of checkd's version"
            )));
        }
        let limit = Duration::from_millis(u64::from(cursor.number()?));
        let command = (0..cursor.count()?).map(|_| cursor.text()).collect::<Result<Vec<_>, _>>()?;
        let environment = (0..cursor.count()?).map(|_| Ok((cursor.text()?, cursor.text()?)));
        let environment = environment.collect::<Result<Vec<_>, _>>()?;
        cursor.end()?;
        if command.is_empty() {
            return Err(Broken("a request without a command".to_owned()));
        }
        Ok(Self { command, environment, limit })
    }
}

impl Report {
    /// The whole frame.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        match self {
            Self::Started => bytes.push(b'S'),
            Self::Ended(End { how, last_line, survivors }) => {
                bytes.push(b'E');
                bytes.extend(match how {
                    How::Exited(status) => [b'e', *status],
                    How::Signalled(signal) => [b's', *signal],
                    How::TimedOut => [b't', 0],
                });
                bytes.extend(survivors.to_be_bytes());
                bytes.extend(last_line.iter().take(LINE_LIMIT));
            }
            Self::NotStarted(reason) => put_text(&mut bytes, b'N', reason),
            Self::Busy(running) => {
                bytes.push(b'B');
                bytes.extend(running.to_be_bytes());
            }
            Self::Refused(reason) => put_text(&mut bytes, b'R', reason),
        }
        frame(bytes)
    }

    /// From a frame's body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(body: &[u8]) -> Result<Self, Broken> {
        let mut cursor = Cursor(body);
        Ok(match cursor.byte()? {
            b'S' => Self::Started,
            b'E' => {
                let how = match (cursor.byte()?, cursor.byte()?) {
                    (b'e', status) => How::Exited(status),
                    (b's', signal) => How::Signalled(signal),
                    (b't', _) => How::TimedOut,
                    (other, _) => return Err(unknown("end", other)),
                };
                let survivors = u16::from_be_bytes(*cursor.take()?);
                Self::Ended(End { how, last_line: cursor.0.to_vec(), survivors })
            }
            b'N' => Self::NotStarted(cursor.rest()),
            b'B' => Self::Busy(cursor.number()?),
            b'R' => Self::Refused(cursor.rest()),
            other => return Err(unknown("report", other)),
        })
    }
}

fn unknown(what: &str, kind: u8) -> Broken {
    Broken(format!("an unknown kind of {what}: {kind:#04x}"))
}

fn put_count(bytes: &mut Vec<u8>, count: usize) -> Option<()> {
    bytes.extend(u16::try_from(count).ok()?.to_be_bytes());
    Some(())
}

fn put(bytes: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    bytes.extend(u32::try_from(text.len()).ok()?.to_be_bytes());
    bytes.extend(text);
    Some(())
}

fn put_text(bytes: &mut Vec<u8>, kind: u8, text: &str) {
    bytes.push(kind);
    bytes.extend(text.bytes().take(LINE_LIMIT));
}

/// Takes a body apart from its front.
struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take<const N: usize>(&mut self) -> Result<&'a [u8; N], Broken> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or_else(short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Broken> {
        self.take::<1>().map(|[byte]| *byte)
    }

    fn count(&mut self) -> Result<u16, Broken> {
        self.take().map(|bytes| u16::from_be_bytes(*bytes))
    }

    fn number(&mut self) -> Result<u32, Broken> {
        self.take().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn text(&mut self) -> Result<String, Broken> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        let (text, rest) = self.0.split_at_checked(length).ok_or_else(short)?;
        self.0 = rest;
        let text = String::from_utf8(text.to_vec()).map_err(|_| Broken("not UTF-8".to_owned()))?;
        if text.contains('\0') { Err(Broken("a NUL in a text".to_owned())) } else { Ok(text) }
    }

    fn rest(&self) -> String {
        String::from_utf8_lossy(self.0).into_owned()
    }

    fn end(&self) -> Result<(), Broken> {
        if self.0.is_empty() { Ok(()) } else { Err(Broken(format!("{} bytes too many", self.0.len()))) }
    }
}

fn short() -> Broken {
    Broken("it ends too early".to_owned())
}

#[cfg(test)]
mod tests;
