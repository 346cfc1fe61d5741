//! Value types that configuration, wire and bus share: systemd's time spans, with their text forms.

use std::time::Duration;

/// Units of systemd.time(7) and their length in nanoseconds. Months and years make no sense for our settings.
const UNITS: &[(&str, u128)] = &[
    ("us", 1_000),
    ("usec", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("msec", 1_000_000),
    ("s", 1_000_000_000),
    ("sec", 1_000_000_000),
    ("second", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("minute", 60_000_000_000),
    ("minutes", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("hr", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("hours", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("day", 86_400_000_000_000),
    ("days", 86_400_000_000_000),
];

/// Read a time span in systemd's form: `"10ms"`, `"1min 30s"`, `"1.5s"`; a bare number is seconds.
///
/// # Errors
/// What is wrong with the text, as the end of a sentence such as "'5x' is …".
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err("not a time span: it is empty".into());
    }
    let mut nanoseconds: u128 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let after = after.trim_start();
        let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at(letters);
        let Some((_, scale)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(format!("not a time span: there is no unit '{unit}' (us, ms, s, min, h, d)"));
        };
        let part = decimal(number, *scale).ok_or("not a time span such as \"10ms\" or \"1min 30s\"")?;
        nanoseconds = nanoseconds.checked_add(part).ok_or("too long a time span")?;
        rest = after.trim_start();
    }
    u64::try_from(nanoseconds).map(Duration::from_nanos).map_err(|_| "too long a time span".into())
}

/// A decimal number times `scale`, exactly; `None` if it is not one or is absurdly large.
fn decimal(number: &str, scale: u128) -> Option<u128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let all_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let mut value = whole.parse::<u128>().ok()?.checked_mul(scale)?;
    if !fraction.is_empty() {
        let ten_to = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
        value = value.checked_add(fraction.parse::<u128>().ok()? * scale / ten_to)?;
    }
    Some(value)
}

/// A time span as a person would write it: `10ms`, `1.5s`, `1min 30s`.
pub fn format_duration(duration: Duration) -> String {
    let nanoseconds = duration.as_nanos();
    if nanoseconds == 0 {
        return "0s".to_owned();
    }
    if nanoseconds < 1_000_000 {
        return format!("{}us", nanoseconds / 1_000);
    }
    if nanoseconds < 1_000_000_000 {
        return with_fraction(nanoseconds, 1_000_000, "ms");
    }
    let seconds = nanoseconds / 1_000_000_000;
    if seconds < 60 {
        return with_fraction(nanoseconds, 1_000_000_000, "s");
    }
    let parts = [
        (seconds / 86_400, "d"),
        (seconds / 3_600 % 24, "h"),
        (seconds / 60 % 60, "min"),
        (seconds % 60, "s"),
    ];
    let shown: Vec<String> =
        parts.iter().filter(|(value, _)| *value > 0).map(|(value, unit)| format!("{value}{unit}")).collect();
    shown.join(" ")
}

/// At most three places, without trailing zeros.
fn with_fraction(nanoseconds: u128, unit: u128, name: &str) -> String {
    let thousandths = nanoseconds * 1_000 / unit;
    let text = format!("{}.{:03}", thousandths / 1_000, thousandths % 1_000);
    format!("{}{name}", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_spans_are_read_as_systemd_reads_them() {
        for (text, milliseconds) in [
            ("10ms", 10),
            ("1s", 1_000),
            ("1min 30s", 90_000),
            ("1.5s", 1_500),
            ("3", 3_000),
            ("0.01", 10),
            ("2h", 7_200_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse_duration("1min30s"), Ok(Duration::from_secs(90)));
    }

    #[test]
    fn what_is_not_a_time_span_is_refused_with_the_reason() {
        for text in ["", "fast", "10 lightyears", "-1s", "1..5s", ".5s", "99999999999999999999d"] {
            let result = parse_duration(text);
            assert!(result.is_err(), "{text}: {result:?}");
        }
        assert!(parse_duration("5 parsecs").unwrap_err().contains("'parsecs'"));
    }

    #[test]
    fn time_spans_are_printed_shortly_and_read_back() {
        for text in ["0s", "10ms", "1s", "1.5s", "1min 30s", "1h", "250us", "3.609s", "1d 2h"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }
}
