//! The keys of `type = "http"`. Nothing that is let through here can break out of its line of the request.

use std::ops::RangeInclusive;

use daemon::diagnostic::Report;
use daemon::document::{Kind, Table, Value};
use daemon::reader::Reader;

use crate::probe::http::{Method, Settings};
use crate::probe::status::StatusSet;

const METHODS: &[(&str, Method)] = &[("GET", Method::Get), ("HEAD", Method::Head)];

/// Headers that the probe makes itself.
const OWN_HEADERS: &[(&str, &str)] = &[
    ("host", "use the key host = \"www.example.com\""),
    ("connection", "the probe always closes its connection"),
    ("content-length", "a probe has no body"),
    ("transfer-encoding", "a probe has no body"),
];

/// Takes all keys of its kind out of `reader`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let default = Settings::default();
    let method = reader.choice("method", METHODS, &[("get", "GET"), ("head", "HEAD")]);
    let path = reader.parse("path", parse_path);
    let host = reader.parse("host", parse_host);
    let headers = reader.table("headers").map(|table| read_headers(table, reader.report()));
    let status = reader.value("status").and_then(|value| read_status(value, reader.report()));
    Settings {
        method: method.map_or(default.method, |method| method.value),
        path: path.map_or(default.path, |path| path.value),
        host: host.map(|host| host.value),
        headers: headers.unwrap_or_default(),
        status: status.unwrap_or(default.status),
    }
}

/// RFC 9112 section 3.2.1, origin-form.
fn parse_path(text: &str) -> Result<String, String> {
    if !text.starts_with('/') {
        return Err(format!("not a path: it must begin with a slash, such as \"/{}\"", text.trim_start()));
    }
    if text.contains('#') {
        return Err("not a path: what follows a '#' is never sent to a server".to_owned());
    }
    match text.chars().find(|c| !c.is_ascii_graphic()) {
        Some(wrong) => Err(format!("not a path: {wrong:?} must be percent-encoded")),
        None => Ok(text.to_owned()),
    }
}

/// A name or address, perhaps with a port, as the Host header has it.
fn parse_host(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("empty; leave the key out for the target's address".to_owned());
    }
    match text.chars().find(|c| !(c.is_ascii_alphanumeric() || "-._:[]~%".contains(*c))) {
        Some(wrong) => Err(format!("not a host name: it has {wrong:?} in it")),
        None => Ok(text.to_owned()),
    }
}

fn read_headers(table: &Table, report: &mut Report) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    for (name, entry) in &table.entries {
        let own = OWN_HEADERS.iter().find(|(own, _)| own.eq_ignore_ascii_case(name));
        if let Some((_, advice)) = own {
            report.error(&entry.key_at, format!("the header '{name}' cannot be set")).hint(*advice);
            continue;
        }
        if !is_token(name) {
            report.error(&entry.key_at, format!("'{name}' is not the name of a header"));
            continue;
        }
        let Kind::String(text) = &entry.value.kind else {
            let found = entry.value.kind.describe();
            report.error(&entry.value.at, format!("the header '{name}' must be a string, not {found}"));
            continue;
        };
        // RFC 9110 section 5.5: visible ASCII, space and tab.
        if let Some(wrong) = text.chars().find(|c| !(c.is_ascii_graphic() || *c == ' ' || *c == '\t')) {
            report.error(&entry.value.at, format!("the header '{name}' has {wrong:?} in it"));
            continue;
        }
        headers.push((name.clone(), text.clone()));
    }
    headers
}

/// RFC 9110 section 5.6.2.
fn is_token(name: &str) -> bool {
    let is_tchar = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    !name.is_empty() && name.chars().all(is_tchar)
}

/// One code or range, or an array of them.
fn read_status(value: &Value, report: &mut Report) -> Option<StatusSet> {
    let ranges: Option<Vec<_>> = match &value.kind {
        Kind::Array(values) => {
            // All of them before any is judged missing: one run shows every mistake.
            let ranges: Vec<_> = values.iter().map(|value| read_status_range(value, report)).collect();
            ranges.into_iter().collect()
        }
        Kind::String(_)
        | Kind::Integer(_)
        | Kind::Float(_)
        | Kind::Boolean(_)
        | Kind::Datetime(_)
        | Kind::Table(_) => read_status_range(value, report).map(|range| vec![range]),
    };
    let set = StatusSet::new(ranges?);
    if set.is_none() {
        report
            .error(&value.at, "'status' is empty: nothing could ever pass")
            .hint("for example: status = [200]");
    }
    set
}

fn read_status_range(value: &Value, report: &mut Report) -> Option<RangeInclusive<u16>> {
    let text = match &value.kind {
        Kind::String(text) => text.clone(),
        Kind::Integer(Some(code)) => code.to_string(),
        Kind::Integer(None)
        | Kind::Float(_)
        | Kind::Boolean(_)
        | Kind::Datetime(_)
        | Kind::Array(_)
        | Kind::Table(_) => {
            report.error(&value.at, "'status' is made of codes and ranges: [200, \"300-399\"]");
            return None;
        }
    };
    match StatusSet::parse_range(&text) {
        Ok(range) => Some(range),
        Err(reason) => {
            report.error(&value.at, format!("'status' is {reason}"));
            None
        }
    }
}
