//! The last line of a command's output that is not blank, however much output there is: a few kilobytes are held, every
//! byte is looked at once. Pure.

use super::frame::LINE_LIMIT;

/// What is kept of an output that goes by.
#[derive(Debug, Default)]
pub struct LastLine {
    /// The last whole line that is not blank.
    whole: Vec<u8>,
    /// The line that has not ended yet.
    partial: Vec<u8>,
}

/// A carriage return ends a line, too: what follows it is what a terminal would show.
fn is_end(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl LastLine {
    /// Some more of the output.
    pub fn add(&mut self, bytes: &[u8]) {
        let Some(end) = bytes.iter().rposition(is_end) else { return append(&mut self.partial, bytes) };
        let (lines, rest) = (&bytes[..end], &bytes[end + 1..]);
        let (first, others) = match lines.iter().position(is_end) {
            Some(first) => (&lines[..first], &lines[first + 1..]),
            None => (lines, [].as_slice()),
        };
        append(&mut self.partial, first);
        let last = others.rsplit(is_end).find(|line| !is_blank(line));
        if let Some(last) = last {
            self.whole.clear();
            append(&mut self.whole, last);
        } else if !is_blank(&self.partial) {
            std::mem::swap(&mut self.whole, &mut self.partial);
        }
        self.partial.clear();
        append(&mut self.partial, rest);
    }

    /// The line, without blanks around it; at most [`LINE_LIMIT`] bytes. Empty: there was none.
    pub fn get(&self) -> &[u8] {
        let line = if is_blank(&self.partial) { &self.whole } else { &self.partial };
        line.trim_ascii()
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.trim_ascii().is_empty()
}

fn append(line: &mut Vec<u8>, bytes: &[u8]) {
    // Leading blanks must not fill a line up.
    let bytes = if line.is_empty() { bytes.trim_ascii_start() } else { bytes };
    let room = LINE_LIMIT - line.len();
    line.extend(&bytes[..bytes.len().min(room)]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The last line of an output that arrives in portions of `size` bytes.
    fn of(output: &[u8], size: usize) -> Vec<u8> {
        let mut line = LastLine::default();
        for portion in output.chunks(size) {
            line.add(portion);
        }
        line.get().to_vec()
    }

    #[test]
    fn it_is_the_last_that_is_not_blank_whatever_the_portions() {
        for (output, line) in [
            ("", ""),
            ("OK", "OK"),
            ("one\ntwo\n", "two"),
            ("one\ntwo", "two"),
            ("one\n\n \t\n", "one"),
            ("one\r\ntwo\r\n", "two"),
            ("10%\r50%\r100%", "100%"),
            ("10%\r50%\r", "50%"),
            ("\n\n", ""),
            ("  a  b  \n", "a  b"),
            ("one\n   ", "one"),
        ] {
            for size in 1..=output.len().max(1) {
                let found = of(output.as_bytes(), size);
                assert_eq!(String::from_utf8(found).unwrap(), line, "{output:?} in portions of {size}");
            }
        }
    }

    #[test]
    fn bytes_that_are_no_text_are_kept_as_they_are() {
        assert_eq!(of(b"\xff\xfe\0x\n", 2), b"\xff\xfe\0x");
    }

    #[test]
    fn a_flood_is_held_in_a_few_kilobytes_and_its_beginning_of_a_line_is_what_stays() {
        let mut line = LastLine::default();
        for _ in 0..1000 {
            line.add(&[b'y'; 64 * 1024]);
        }
        assert_eq!(line.get(), vec![b'y'; LINE_LIMIT]);
        line.add(&b"y\n".repeat(40_000));
        assert_eq!(line.get(), b"y");
        line.add(b"\nthe end");
        assert_eq!(line.get(), b"the end");
        assert!(line.whole.capacity() + line.partial.capacity() < 16 * LINE_LIMIT);
    }

    #[test]
    fn blanks_before_a_line_do_not_fill_it_up() {
        let output = [" ".repeat(2 * LINE_LIMIT).as_bytes(), b"x\n"].concat();
        assert_eq!(of(&output, 1000), b"x");
    }
}
