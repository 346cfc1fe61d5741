//! `check.d/NAME.toml` -> [`Check`]; `checkd.toml` -> [`Settings`]. Every mistake of every file is reported.

mod connect;
mod dialog;
mod dns;
pub mod exec;
mod http;
mod judgement;
mod ping;
mod size;
mod texts;
mod tls;
mod udp;
mod unit;

use std::path::Path;
use std::sync::Arc;

use daemon::diagnostic::Report;
use daemon::document::{Kind as ValueKind, Table, Value};
use daemon::dropin;
use daemon::reader::Reader;
use daemon::secret::Purpose;
use log::LevelFilter;

use crate::check::Check;
use crate::probe::Kind;
use crate::probe::ping::Settings as PingSettings;
use crate::registry::Checks;

/// Whom our files may belong to.
const GROUP: &str = "trivet-checkd";

/// What keepalived and habit call things, and what to write here.
const OTHER_KEYS: &[(&str, &str)] = &[
    ("connect_port", "keepalived's connect_port is port = 8080 here"),
    ("connect_ip", "keepalived's connect_ip is address = \"192.0.2.1\" here"),
    ("bindto", "keepalived's bindto is source = \"192.0.2.9\" here"),
    ("bind_if", "keepalived's bind_if is interface = \"eth1\" here"),
    ("bind_port", "the kernel chooses the port that a probe leaves from"),
    ("fwmark", "keepalived's fwmark is mark = 3 here"),
    ("payload", "keepalived's payload is send_hex = \"0001\" here"),
    ("min_reply_length", "keepalived's min_reply_length is min_length = 1 here"),
    ("max_reply_length", "keepalived's max_reply_length is max_length = 512 here"),
];

/// The keys that only some types have.
const KEYS_OF_TYPES: &[(&str, &[&str])] = &[
    ("http", http::KEYS),
    ("udp", udp::KEYS),
    ("ping", ping::KEYS),
    ("dns", dns::KEYS),
    ("exec", exec::KEYS),
    ("unit", unit::KEYS),
];

/// The words after `type =`.
const TYPES: &[(&str, Type)] = &[
    ("tcp", Type::Tcp),
    ("tls", Type::Tls),
    ("http", Type::Http),
    ("udp", Type::Udp),
    ("ping", Type::Ping),
    ("dns", Type::Dns),
    ("exec", Type::Exec),
    ("unit", Type::Unit),
];
const OTHER_TYPES: &[(&str, &str)] = &[
    ("TCP_CHECK", "tcp"),
    ("HTTP_GET", "http"),
    ("UDP_CHECK", "udp"),
    ("PING_CHECK", "ping"),
    ("DNS_CHECK", "dns"),
    ("connect", "tcp"),
    ("ssl", "tls"),
    ("icmp", "ping"),
    ("MISC_CHECK", "exec"),
    ("external", "exec"),
];
/// What others call an HTTP check with TLS.
const HTTPS_TYPES: &[&str] = &["https", "SSL_GET"];

#[derive(Clone, Copy)]
enum Type {
    Tcp,
    Tls,
    Http,
    Udp,
    Ping,
    Dns,
    Exec,
    Dialog(dialog::Word),
    Unit,
}

/// Everything that was configured.
#[derive(Clone, Debug)]
pub struct Configuration {
    pub checks: Checks,
    /// The built-in checks that a link to `/dev/null` disables.
    pub disabled: Vec<&'static str>,
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
    load_for(Purpose { root, only_checked: false, group: GROUP }, report)
}

/// The same, not to be used: it need not be run by systemd, which has the credentials.
pub fn load_to_check(root: &Path, report: &mut Report) -> Configuration {
    load_for(Purpose { root, only_checked: true, group: GROUP }, report)
}

fn load_for(purpose: Purpose<'_>, report: &mut Report) -> Configuration {
    let root = purpose.root;
    let built_in = [("tcp", Kind::Tcp), ("ping", Kind::Ping(PingSettings::default()))];
    let (disabled, built_in): (Vec<_>, Vec<_>) =
        built_in.into_iter().partition(|(name, _)| dropin::is_masked(root, "check.d", name));
    let built_in =
        built_in.into_iter().map(|(name, kind)| (name.to_owned(), Arc::new(Check::with_defaults(kind))));
    let mut checks: Checks = built_in.collect();
    let mut programs = Vec::new();
    let mut files = tls::Files::new(root);
    for object in dropin::load_directory(root, "check.d", report) {
        let read = read_check(&object.name, &object.table, purpose, &mut files, report);
        if let Some((check, program)) = read {
            checks.insert(object.name, Arc::new(check));
            programs.extend(program);
        }
    }
    let settings = dropin::load_file(root, "checkd", report);
    let settings = settings.map_or_else(Settings::default, |object| read_settings(&object.table, report));
    let disabled = disabled.into_iter().map(|(name, _)| name).collect();
    Configuration { checks, disabled, programs, settings }
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
    purpose: Purpose<'_>,
    files: &mut tls::Files<'_>,
    report: &mut Report,
) -> Option<(Check, Option<exec::Program>)> {
    let mut reader = Reader::new(table, report);
    let kind = read_type(&mut reader);
    let judgement = judgement::read(&mut reader);
    let connect = connect::read(&mut reader);
    // Without a type we do not know which keys there may be: then none is called unknown.
    let mut program = None;
    let word = kind?;
    let kind = match word {
        Type::Tcp => Some(Kind::Tcp),
        Type::Tls => Some(Kind::Tls(tls::read_kind(&mut reader))),
        Type::Http => Some(Kind::Http(http::read(&mut reader))),
        Type::Dialog(word) => Some(Kind::Dialog(dialog::read(&mut reader, table, word, purpose))),
        Type::Udp => Some(Kind::Udp(Arc::new(udp::read(&mut reader)))),
        Type::Ping => Some(Kind::Ping(ping::read(&mut reader))),
        Type::Dns => Some(Kind::Dns(Arc::new(dns::read(&mut reader)))),
        Type::Exec => {
            connect::refuse(&mut reader, &exec::NOT_FOR_COMMANDS);
            let (settings, runs) = exec::read(&mut reader, name).unzip();
            program = runs;
            settings.map(Kind::Exec)
        }
        Type::Unit => {
            connect::refuse(&mut reader, &unit::NOT_FOR_UNITS);
            unit::read(&mut reader).map(Kind::Unit)
        }
    };
    let tls = tls::read_for(&mut reader, files, kind.as_ref());
    let others = other_keys(word);
    let others: Vec<(&str, &str)> = others.iter().map(|(key, advice)| (*key, advice.as_str())).collect();
    reader.finish(&others);
    let mut check = Check::with_defaults(kind?);
    check.connect = connect;
    check.tls = tls;
    judgement.apply_to(&mut check);
    Some((check, program))
}

/// What is said of keys that the type at hand does not have.
fn other_keys(word: Type) -> Vec<(&'static str, String)> {
    let of_commands = if let Type::Exec = word { exec::OTHERS_OF_COMMANDS } else { &[] };
    let theirs = OTHER_KEYS
        .iter()
        .chain(of_commands)
        .chain(judgement::OTHER_KEYS)
        .chain(http::OTHER_KEYS)
        .chain(exec::OTHER_KEYS)
        .chain(unit::OTHER_KEYS)
        .chain(tls::OTHER_KEYS)
        .chain(dialog::OTHER_KEYS)
        .map(|(key, advice)| (*key, (*advice).to_owned()));
    let mut others: Vec<(&str, String)> = theirs.collect();
    others.extend(tls::KEYS.iter().map(|key| (*key, tls::BELONGS.to_owned())));
    let of_types = || KEYS_OF_TYPES.iter().chain(dialog::KEYS);
    let all = of_types().flat_map(|(_, keys)| keys.iter().copied());
    for key in all {
        let types = of_types().filter(|(_, keys)| keys.contains(&key));
        let types: Vec<String> = types.map(|(word, _)| format!("type = \"{word}\"")).collect();
        others.push((key, format!("this key belongs to {}", types.join(", "))));
    }
    others
}

fn read_type(reader: &mut Reader<'_>) -> Option<Type> {
    let dialogs = dialog::WORDS.iter().map(|(word, kind)| (*word, Type::Dialog(*kind)));
    let types: Vec<_> = TYPES.iter().copied().chain(dialogs).collect();
    let value = reader.value("type");
    if let Some(Value { kind: ValueKind::String(word), at }) = value
        && HTTPS_TYPES.contains(&word.as_str())
    {
        let message = format!("'type' cannot be \"{word}\"");
        reader.report().error(at, message).hint("write type = \"http\" and tls = true");
        return None;
    }
    let others: Vec<_> = OTHER_TYPES.iter().chain(dialog::OTHER_WORDS).copied().collect();
    let kind = reader.choice("type", &types, &others);
    Some(reader.require("type", kind, "type = \"http\"")?.value)
}

#[cfg(test)]
mod tests;
