//! A peer's text in a reason: escaped, one line, and cut, since it must not reach a terminal or the bus as it is.

/// How much of a peer's line a reason quotes.
const LIMIT: usize = 40;

/// The first line of `bytes`, escaped and cut.
pub fn quote(bytes: &[u8]) -> String {
    let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    cut(line, LIMIT)
}

/// A server's own words, such as an error: the first line that is not empty, up to 120 bytes of it, escaped; of what is
/// no text less, so that the reason stays readable.
pub fn words(bytes: &[u8]) -> String {
    let line =
        bytes.trim_ascii_start().split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let mut length = 0;
    let fitting = line.iter().take(120).take_while(|byte| {
        length += std::ascii::escape_default(**byte).len();
        length <= 160
    });
    cut(line, fitting.count())
}

/// At most `limit` of these bytes, escaped; an ellipsis says that there were more.
pub fn cut(bytes: &[u8], limit: usize) -> String {
    let shown = bytes.len().min(limit);
    let dots = if shown < bytes.len() { "…" } else { "" };
    format!("{}{dots}", bytes[..shown].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_s_text_is_one_escaped_line_of_bounded_length() {
        assert_eq!(quote(b"HTTP/1.1 200 OK\r\nServer: x"), "HTTP/1.1 200 OK");
        assert_eq!(quote(b"\x1b[31m'\xff\0"), "\\x1b[31m\\'\\xff\\x00");
        assert_eq!(quote(&[b'x'; 41]), format!("{}…", "x".repeat(40)));
        assert_eq!(cut(b"a\r\nb", 3), "a\\r\\n…");
        assert_eq!(quote(b""), "");
        assert_eq!(words(b"\r\n554 no \r\nmore"), "554 no");
        assert_eq!(words(&[b'x'; 121]), format!("{}…", "x".repeat(120)));
        assert_eq!(words(&[0xa5; 121]), format!("{}…", "\\xa5".repeat(40)));
    }
}
