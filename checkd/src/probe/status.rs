//! A set of HTTP status codes: `status = [200, "300-399"]`.

use std::fmt;
use std::ops::RangeInclusive;

/// Ranges as they were written, in that order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatusSet(Vec<RangeInclusive<u16>>);

/// All that RFC 9110 section 15 gives a meaning to.
const CODES: RangeInclusive<u16> = 100..=599;

impl StatusSet {
    /// `None` if there is no range at all: nothing could ever pass.
    pub fn new(ranges: Vec<RangeInclusive<u16>>) -> Option<Self> {
        if ranges.is_empty() { None } else { Some(Self(ranges)) }
    }

    pub fn contains(&self, code: u16) -> bool {
        self.0.iter().any(|range| range.contains(&code))
    }

    /// Read `"200"` or `"300-399"`.
    ///
    /// # Errors
    /// What is wrong with the text, as the end of a sentence such as "'3xx' is …".
    pub fn parse_range(text: &str) -> Result<RangeInclusive<u16>, String> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let code = |text: &str| text.trim().parse::<u16>().ok().filter(|code| CODES.contains(code));
        let (Some(first), Some(last)) = (code(first), code(last)) else {
            return Err("not a status code from 100 to 599, nor a range such as \"200-299\"".to_owned());
        };
        if first > last {
            return Err(format!("an empty range (\"{last}-{first}\" was probably meant)"));
        }
        Ok(first..=last)
    }
}

impl Default for StatusSet {
    fn default() -> Self {
        Self(vec![200..=299])
    }
}

/// `200, 300-399`
impl fmt::Display for StatusSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            if range.start() == range.end() {
                write!(f, "{comma}{}", range.start())?;
            } else {
                write!(f, "{comma}{}-{}", range.start(), range.end())?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_ranges_are_read_and_printed() {
        let ranges = ["200", "300-399"].map(|text| StatusSet::parse_range(text).unwrap());
        let set = StatusSet::new(ranges.into()).unwrap();
        assert_eq!(set.to_string(), "200, 300-399");
        for (code, inside) in
            [(199, false), (200, true), (201, false), (300, true), (399, true), (400, false)]
        {
            assert_eq!(set.contains(code), inside, "{code}");
        }
    }

    #[test]
    fn what_is_not_a_code_is_refused_with_the_reason() {
        for text in ["", "2xx", "99", "600", "200-", "-200", "200-299-300", "70000", "+200-"] {
            assert!(StatusSet::parse_range(text).is_err(), "{text}");
        }
        assert!(StatusSet::parse_range("299-200").unwrap_err().contains("200-299"));
        assert_eq!(StatusSet::new(Vec::new()), None);
    }
}
