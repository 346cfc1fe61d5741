//! Keys whose value is a string or an array of strings.

use daemon::diagnostic::{Location, Report};
use daemon::document::{Kind, Value};

/// Each string and where it stands; what is none is reported and left out.
pub(super) fn texts<'a>(key: &str, value: &'a Value, report: &mut Report) -> Vec<(&'a str, &'a Location)> {
    let values = match &value.kind {
        Kind::Array(values) => values.as_slice(),
        Kind::String(_)
        | Kind::Integer(_)
        | Kind::Float(_)
        | Kind::Boolean(_)
        | Kind::Datetime(_)
        | Kind::Table(_) => std::slice::from_ref(value),
    };
    let mut texts = Vec::new();
    for value in values {
        if let Kind::String(text) = &value.kind {
            texts.push((text.as_str(), &value.at));
        } else {
            let found = value.kind.describe();
            let message = format!("'{key}' must be a string or an array of strings, not {found}");
            report.error(&value.at, message);
        }
    }
    texts
}

/// The same, each as `parse` has it; its error ends the sentence "'KEY' is …".
pub(super) fn parse_each<T>(
    key: &str,
    value: &Value,
    report: &mut Report,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Vec<T> {
    let mut parsed = Vec::new();
    for (text, at) in texts(key, value, report) {
        match parse(text) {
            Ok(one) => parsed.push(one),
            Err(reason) => drop(report.error(at, format!("'{key}' is {reason}"))),
        }
    }
    parsed
}
