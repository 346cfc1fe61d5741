//! The keys of `type = "http"`. Nothing that is let through here can break out of its line of the request.

mod body;

use std::ops::RangeInclusive;

use daemon::diagnostic::{Location, Report};
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use crate::probe::http::{Method, Request, Settings};
use crate::probe::status::StatusSet;

const METHODS: &[(&str, Method)] = &[("GET", Method::Get), ("HEAD", Method::Head)];

/// Headers that the probe makes itself.
const OWN_HEADERS: &[(&str, &str)] = &[
    ("host", "use the key host = \"www.example.com\""),
    ("connection", "the probe always closes its connection"),
    ("content-length", "a probe has no body"),
    ("transfer-encoding", "a probe has no body"),
];

/// Each is a connection of its own to the server, at the same time.
const REQUEST_LIMIT: usize = 32;
const PATH_LENGTH: usize = 2048;

/// The keys that only this type has.
pub(super) const KEYS: &[&str] = &[
    "method",
    "path",
    "paths",
    "request",
    "host",
    "headers",
    "status",
    "contains",
    "not_contains",
    "matches",
    "not_matches",
    "digest",
    "body_limit",
];

/// What keepalived and ldirectord call things, and what to write here.
pub(super) const OTHER_KEYS: &[(&str, &str)] = &[
    (
        "url",
        "keepalived's url { path … } is path = \"/\" here; several are paths = [ … ], or one [[request]] each",
    ),
    ("status_code", "keepalived's status_code is status = [200, \"300-399\"] here"),
    ("regex", "keepalived's regex is matches = \"…\" here"),
    ("regex_no_match", "keepalived's regex with regex_no_match is not_matches = \"…\" here"),
    ("regex_options", "keepalived's regex_options stand in the pattern here: matches = \"(?i)ok\""),
    ("regex_min_offset", "there are no offsets here; how much of the body is read is body_limit = \"1M\""),
    ("regex_max_offset", "how much of the body is read is body_limit = \"1M\" here"),
    ("regex_stack", "matching takes linear time and no stack here: leave it out"),
    ("http_protocol", "the probe speaks HTTP/1.1, and understands answers of HTTP/1.0: leave it out"),
    ("virtualhost", "keepalived's and ldirectord's virtualhost is host = \"www.example.com\" here"),
    ("enable_sni", "with tls = true the server's name is always sent: leave it out"),
    ("sni_name", "keepalived's sni_name is tls_name = \"www.example.com\" here"),
    ("fast_recovery", "all paths are asked at once here, so there is no recovery to speed up: leave it out"),
    ("receive", "ldirectord's receive is matches = \"…\" here, or contains = \"…\" for a plain text"),
    ("httpmethod", "ldirectord's httpmethod is method = \"GET\" here"),
];

/// Takes all keys of its kind out of `reader`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let common = read_request(reader, &Request::default(), None);
    let path = reader.parse("path", parse_path);
    let paths = reader.array("paths");
    let tables = read_tables(reader);
    let among = [
        path.as_ref().map(|path| &path.at),
        paths.as_ref().map(|paths| &paths.at),
        tables.first().map(|table| &table.at),
    ];
    if let Some(second) = among.into_iter().flatten().nth(1) {
        let message = "only one of 'path', 'paths' and [[request]] can say what is asked";
        reader.report().error(second, message);
    }
    let with_path = |path| Request { path, ..common.request.clone() };
    let mut requests = Vec::new();
    if let Some(paths) = &paths {
        requests.extend(read_paths(paths, reader.report()).into_iter().map(with_path));
        check_count(paths.value.len(), &paths.at, reader.report());
    }
    for table in &tables {
        requests.push(read_table(table, &common, reader.report()));
    }
    if let Some(first) = tables.first() {
        check_count(tables.len(), &first.at, reader.report());
    }
    if requests.is_empty() {
        requests.push(with_path(path.map_or_else(|| common.request.path.clone(), |path| path.value)));
    }
    Settings::new(requests)
}

/// A request's keys other than its path.
struct Read {
    request: Request,
    /// Where it is first said what the body must be.
    body_at: Option<Location>,
}

/// `default`: what holds where a key is missing; `body_at` belongs to it.
fn read_request(reader: &mut Reader<'_>, default: &Request, body_at: Option<&Location>) -> Read {
    let method = reader.choice("method", METHODS, &[("get", "GET"), ("head", "HEAD")]);
    let host = reader.parse("host", parse_host);
    let headers = reader.table("headers").map(|table| read_headers(table, reader.report()));
    let status = reader.value("status").and_then(|value| read_status(value, reader.report()));
    let (body, own_at) = body::read(reader, &default.body);
    let method = method.map_or(default.method, |method| method.value);
    let body_at = own_at.or_else(|| body_at.cloned());
    if let (Method::Head, Some(at)) = (method, &body_at) {
        let message = "the answer to method = \"HEAD\" has no body to look at";
        reader.report().error(at, message).hint("method = \"GET\" is the default");
    }
    let request = Request {
        method,
        path: default.path.clone(),
        host: host.map(|host| host.value).or_else(|| default.host.clone()),
        headers: headers.unwrap_or_else(|| default.headers.clone()),
        status: status.unwrap_or_else(|| default.status.clone()),
        body,
    };
    Read { request, body_at }
}

/// All [[request]]. ldirectord's key of that name is a path.
fn read_tables<'a>(reader: &mut Reader<'a>) -> Vec<&'a Table> {
    if let Some(Value { kind: Kind::String(path), at }) = reader.value("request") {
        let path = path.trim_start_matches('/');
        let message = "'request' must be an array of tables: [[request]]";
        let hint = format!("ldirectord's request is path = \"/{path}\" here");
        reader.report().error(at, message).hint(hint);
        return Vec::new();
    }
    reader.tables("request")
}

/// What the check itself says holds for each of its requests that does not say otherwise.
fn read_table(table: &Table, common: &Read, report: &mut Report) -> Request {
    let mut reader = Reader::new(table, report);
    let path = reader.parse("path", parse_path);
    let path = reader.require("path", path, "path = \"/\"");
    let mut request = read_request(&mut reader, &common.request, common.body_at.as_ref()).request;
    reader.finish(OTHER_KEYS);
    if let Some(path) = path {
        request.path = path.value;
    }
    request
}

fn read_paths(array: &Located<&[Value]>, report: &mut Report) -> Vec<String> {
    let mut paths = Vec::new();
    if array.value.is_empty() {
        report.error(&array.at, "'paths' is empty: nothing would be asked");
    }
    for value in array.value {
        let Kind::String(text) = &value.kind else {
            let found = value.kind.describe();
            report.error(&value.at, format!("'paths' is made of strings, not {found}"));
            continue;
        };
        match parse_path(text) {
            Ok(path) => paths.push(path),
            Err(reason) => {
                report.error(&value.at, format!("what is in 'paths' is {reason}"));
            }
        }
    }
    paths
}

fn check_count(count: usize, at: &Location, report: &mut Report) {
    if count > REQUEST_LIMIT {
        let message = format!("{count} requests: one check can make {REQUEST_LIMIT} at most");
        report.error(at, message).hint("make several checks of it");
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
    if text.len() > PATH_LENGTH {
        return Err(format!("not a path: {} bytes long, and at most {PATH_LENGTH} are possible", text.len()));
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

#[cfg(test)]
mod tests;
