//! Text of lines: one line, and the numbered replies of SMTP, FTP and NNTP, which may take several.

use super::Move;
use crate::probe::quote::words;

/// What a server says first, unasked.
pub(super) const GREETING: &str = "greeting";

/// What is waited for, by what it answers.
pub(super) fn awaiting(turn: &str) -> String {
    if turn == GREETING {
        format!("waiting for the {turn}")
    } else {
        format!("waiting for the answer to {turn}")
    }
}

/// The first line with its end, if it has come. A bare LF ends a line, too.
pub(super) fn line(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|byte| *byte == b'\n')?;
    Some(&bytes[..=end])
}

/// Whether `bytes` begin with `word`, in any case, or are the beginning of it.
pub(super) fn may_start_with(bytes: &[u8], word: &[u8]) -> bool {
    let compared = bytes.len().min(word.len());
    bytes[..compared].eq_ignore_ascii_case(&word[..compared])
}

/// Whether `bytes` begin with `word`, in any case.
pub(super) fn starts_with(bytes: &[u8], word: &[u8]) -> bool {
    bytes.len() >= word.len() && may_start_with(bytes, word)
}

/// The server spoke, but not as it should have. `turn`: what it answered, such as "EHLO".
pub(super) fn refused(turn: &str, said: &[u8]) -> Move {
    Move::Fail(format!("{turn}: the server said '{}'", words(said)))
}

/// What came is not the protocol of this name.
pub(super) fn not_the_protocol(name: &str, said: &[u8]) -> Move {
    Move::Fail(format!("not {name}: starts with '{}'", words(said)))
}

/// A whole reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply<'a> {
    pub(super) code: u16,
    /// All of its lines.
    pub(super) text: &'a [u8],
}

/// How the lines of a reply but the first one look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// RFC 5321 section 4.2.1: each begins with the code and a hyphen, the last one with the code and a space.
    Smtp,
    /// RFC 959 section 4.2: anything, up to one that begins with the code and a space.
    Ftp,
    /// RFC 3977 section 3.2: there are none.
    Nntp,
}

/// What came is no reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAReply;

/// The first reply, if all of it has come.
pub(super) fn reply(bytes: &[u8], style: Style) -> Result<Option<Reply<'_>>, NotAReply> {
    let mut length = 0;
    let mut first: Option<u16> = None;
    loop {
        let rest = &bytes[length..];
        let end = line(rest);
        let head = match (code_of(end.unwrap_or(rest)), first) {
            (Err(NotAReply), Some(_)) if style == Style::Ftp => None,
            (head, _) => head?,
        };
        let Some(end) = end else { return Ok(None) };
        length += end.len();
        let code = match (head, first) {
            (Some((code, true)), None) if style != Style::Nntp => *first.insert(code),
            (Some((code, _)), None) => return Ok(Some(Reply { code, text: &bytes[..length] })),
            (Some((code, false)), Some(first)) if code == first => {
                return Ok(Some(Reply { code, text: &bytes[..length] }));
            }
            (_, Some(first)) => first,
            (None, None) => return Err(NotAReply),
        };
        let same = head.is_some_and(|(other, _)| other == code);
        if style == Style::Smtp && !same {
            return Err(NotAReply);
        }
    }
}

/// The code that a line begins with, and whether more lines follow; `None`: the line has not come that far.
fn code_of(line: &[u8]) -> Result<Option<(u16, bool)>, NotAReply> {
    let digits = line.iter().take(3).take_while(|byte| byte.is_ascii_digit()).count();
    if digits < line.len().min(3) || line.first().is_some_and(|first| !(b'1'..=b'5').contains(first)) {
        return Err(NotAReply);
    }
    let Some(next) = line.get(3) else { return Ok(None) };
    let code = line[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match next {
        b'-' => Ok(Some((code, true))),
        b' ' | b'\r' | b'\n' => Ok(Some((code, false))),
        _ => Err(NotAReply),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(bytes: &[u8], style: Style) -> Option<(u16, usize)> {
        reply(bytes, style).unwrap().map(|reply| (reply.code, reply.text.len()))
    }

    #[test]
    fn a_reply_is_whole_at_its_last_line_and_not_before() {
        let smtp = b"250-mx1\r\n250-STARTTLS\r\n250\r\n220 next";
        let ftp = b"220-Welcome\r\n 220 is no end\r\n500 nor is this\n220 ready\r\n";
        for (text, style, expected) in [
            (&smtp[..], Style::Smtp, (250, smtp.len() - 8)),
            (&ftp[..], Style::Ftp, (220, ftp.len())),
            (b"200 news ready\r\n", Style::Nntp, (200, 16)),
        ] {
            for length in 0..expected.1 {
                assert_eq!(whole(&text[..length], style), None, "{length} bytes of {}", text.escape_ascii());
            }
            assert_eq!(whole(text, style), Some(expected));
        }
    }

    #[test]
    fn what_is_no_reply_is_told_at_its_first_wrong_byte() {
        for (text, style) in [
            (&b"S"[..], Style::Smtp),
            (b"2x", Style::Ftp),
            (b"720 ", Style::Smtp),
            (b"220_", Style::Nntp),
            (b"22\n", Style::Smtp),
            (b"250-a\r\n251 b\r\n", Style::Smtp),
            (b"250-a\r\nb", Style::Smtp),
            (b"\r", Style::Smtp),
        ] {
            assert_eq!(reply(text, style), Err(NotAReply), "{}", text.escape_ascii());
        }
    }
}
