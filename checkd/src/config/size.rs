//! Sizes in bytes, as systemd writes them: `4096`, `"64K"`, `"1M"`, with powers of 1024.

use std::ops::RangeInclusive;

use daemon::document::{Kind, Value};
use daemon::reader::{Located, Reader};

const UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
];

/// A size within `range`.
pub(super) fn read(
    reader: &mut Reader<'_>,
    key: &'static str,
    range: RangeInclusive<u64>,
) -> Option<Located<u64>> {
    let value = reader.value(key)?;
    match parse_value(value) {
        Some(size) if range.contains(&size) => Some(Located { value: size, at: value.at.clone() }),
        Some(_) => {
            let (least, most) = (format(*range.start()), format(*range.end()));
            reader.report().error(&value.at, format!("'{key}' must be from {least} to {most}"));
            None
        }
        None => {
            let message = format!("'{key}' is not a size: bytes, or \"64K\", \"1M\"");
            reader.report().error(&value.at, message);
            None
        }
    }
}

fn parse_value(value: &Value) -> Option<u64> {
    match &value.kind {
        Kind::Integer(Some(bytes)) => u64::try_from(*bytes).ok(),
        Kind::String(text) => parse(text),
        Kind::Integer(None)
        | Kind::Float(_)
        | Kind::Boolean(_)
        | Kind::Datetime(_)
        | Kind::Array(_)
        | Kind::Table(_) => None,
    }
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let (_, scale) = UNITS.iter().find(|(name, _)| *name == unit.trim_start())?;
    number.parse::<u64>().ok()?.checked_mul(*scale)
}

/// In the largest unit that fits.
fn format(bytes: u64) -> String {
    let units = [("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)];
    let unit = units.iter().find(|(_, scale)| bytes > 0 && bytes.is_multiple_of(*scale));
    unit.map_or_else(|| bytes.to_string(), |(name, scale)| format!("\"{}{name}\"", bytes / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_numbers_with_systemd_s_units() {
        for (text, bytes) in [("4096", 4096), ("64K", 65_536), ("1 MiB", 1 << 20), ("2G", 2 << 30), ("7B", 7)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for text in ["", "K", "1.5M", "-1", "1 m", "1TB", "99999999999G"] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(
            (format(1 << 20), format(65_536), format(1500)),
            ("\"1M\"".into(), "\"64K\"".into(), "1500".into())
        );
    }
}
