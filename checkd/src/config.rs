//! `check.d/NAME.toml` -> [`Check`]; `checkd.toml` -> [`Settings`]. Every mistake of every file is reported.

mod connect;
pub mod exec;
mod http;
mod judgement;
mod size;
mod tls;

use std::path::Path;
use std::sync::Arc;

use daemon::diagnostic::Report;
use daemon::document::{Kind as ValueKind, Table, Value};
use daemon::dropin;
use daemon::reader::Reader;
use log::LevelFilter;

use crate::check::Check;
use crate::probe::Kind;
use crate::registry::Checks;

/// What keepalived and habit call things, and what to write here.
const OTHER_KEYS: &[(&str, &str)] = &[
    ("connect_port", "keepalived's connect_port is port = 8080 here"),
    ("connect_ip", "keepalived's connect_ip is address = \"192.0.2.1\" here"),
    ("bindto", "keepalived's bindto is source = \"192.0.2.9\" here"),
    ("bind_if", "keepalived's bind_if is interface = \"eth1\" here"),
    ("bind_port", "the kernel chooses the port that a probe leaves from"),
    ("fwmark", "keepalived's fwmark is mark = 3 here"),
];

/// The words after `type =`.
const TYPES: &[(&str, Type)] =
    &[("tcp", Type::Tcp), ("tls", Type::Tls), ("http", Type::Http), ("exec", Type::Exec)];
const OTHER_TYPES: &[(&str, &str)] = &[
    ("TCP_CHECK", "tcp"),
    ("HTTP_GET", "http"),
    ("connect", "tcp"),
    ("ssl", "tls"),
    ("MISC_CHECK", "exec"),
    ("external", "exec"),
];
/// What others call an HTTP check with TLS.
const HTTPS_TYPES: &[&str] = &["https", "SSL_GET"];
/// Kinds of probe that are known but not built yet.
const LATER_TYPES: &[&str] = &["ping", "dns", "udp", "dialog", "smtp", "unit"];

#[derive(Clone, Copy)]
enum Type {
    Tcp,
    Tls,
    Http,
    Exec,
}

/// Everything that was configured.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub checks: Checks,
    /// What `type = "exec"` runs.
    pub programs: Vec<exec::Program>,
    pub settings: Settings,
}

/// `checkd.toml`: optional, as is each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub log_level: LevelFilter,
}

impl Default for Settings {
    fn default() -> Self {
        Self { log_level: LevelFilter::Info }
    }
}

/// Read everything below `root`. What is returned is only to be used if the report has no errors.
pub fn load(root: &Path, report: &mut Report) -> Configuration {
    let mut checks = Checks::from([("tcp".to_owned(), Arc::new(Check::with_defaults(Kind::Tcp)))]);
    let mut programs = Vec::new();
    let mut files = tls::Files::new(root);
    for object in dropin::load_directory(root, "check.d", report) {
        if let Some((check, program)) = read_check(&object.name, &object.table, &mut files, report) {
            checks.insert(object.name, Arc::new(check));
            programs.extend(program);
        }
    }
    let settings = dropin::load_file(root, "checkd", report);
    let settings = settings.map_or_else(Settings::default, |object| read_settings(&object.table, report));
    Configuration { checks, programs, settings }
}

fn read_settings(table: &Table, report: &mut Report) -> Settings {
    let mut reader = Reader::new(table, report);
    let log_level = daemon::log::read_level(&mut reader);
    reader.finish(&[]);
    Settings { log_level }
}

/// `None`: there is no type, or a wrong one. Other mistakes are in the report only. With the program that it runs, if
/// it runs one.
fn read_check(
    name: &str,
    table: &Table,
    files: &mut tls::Files<'_>,
    report: &mut Report,
) -> Option<(Check, Option<exec::Program>)> {
    let mut reader = Reader::new(table, report);
    let kind = read_type(&mut reader);
    let judgement = judgement::read(&mut reader);
    let connect = connect::read(&mut reader);
    let mut program = None;
    // Without a type we do not know which keys there may be: let none of them be called unknown.
    let kind = match kind {
        Some(Type::Tcp) => Some(Kind::Tcp),
        Some(Type::Tls) => Some(Kind::Tls(tls::read_kind(&mut reader))),
        Some(Type::Http) => Some(Kind::Http(http::read(&mut reader))),
        Some(Type::Exec) => {
            exec::refuse_network_keys(&mut reader);
            exec::read(&mut reader, name).map(|(settings, runs)| {
                program = Some(runs);
                Kind::Exec(settings)
            })
        }
        None => {
            let _ = http::read(&mut reader);
            tls::pass_over(&mut reader);
            let _ = exec::KEYS.iter().map(|key| reader.value(key)).count();
            None
        }
    };
    let tls = tls::read_for(&mut reader, files, kind.as_ref());
    let of_http = http::KEYS.iter().map(|key| (*key, "this key belongs to type = \"http\""));
    let of_exec = exec::KEYS.iter().map(|key| (*key, "this key belongs to type = \"exec\""));
    let of_tls = tls::KEYS.iter().map(|key| (*key, tls::BELONGS));
    let others: Vec<_> = OTHER_KEYS
        .iter()
        .chain(judgement::OTHER_KEYS)
        .chain(http::OTHER_KEYS)
        .chain(tls::OTHER_KEYS)
        .chain(exec::OTHER_KEYS)
        .copied()
        .chain(of_http)
        .chain(of_tls)
        .chain(of_exec)
        .collect();
    reader.finish(&others);
    let mut check = Check::with_defaults(kind?);
    check.connect = connect;
    check.tls = tls;
    judgement.apply_to(&mut check);
    Some((check, program))
}

fn read_type(reader: &mut Reader<'_>) -> Option<Type> {
    let available = "\"tcp\", \"tls\", \"http\" and \"exec\" are available";
    let value = reader.value("type");
    if let Some(Value { kind: ValueKind::String(word), at }) = value
        && HTTPS_TYPES.contains(&word.as_str())
    {
        let message = format!("'type' cannot be \"{word}\"");
        reader.report().error(at, message).hint("write type = \"http\" and tls = true");
        return None;
    }
    if let Some(Value { kind: ValueKind::String(word), at }) = value
        && LATER_TYPES.contains(&word.as_str())
    {
        let message = format!("checks of type \"{word}\" are not available yet");
        reader.report().error(at, message).hint(available);
        return None;
    }
    let kind = reader.choice("type", TYPES, OTHER_TYPES);
    Some(reader.require("type", kind, "type = \"http\"")?.value)
}

#[cfg(test)]
mod tests;
