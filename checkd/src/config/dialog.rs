//! The keys of `type = "dialog"` and of the protocols that are ready-made: one conversation over a stream each.

mod steps;

use daemon::document::Table;
use daemon::reader::{Located, Reader};
use daemon::secret::{self, Purpose};
use nix::unistd::gethostname;

use crate::probe::dialog::redis::Role;
use crate::probe::dialog::{Script, Settings, ldap, mysql, postgresql, redis};
use crate::probe::secret::Secret;

/// The words after `type =` of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Dialog,
    Smtp,
    Imap,
    Pop3,
    Ftp,
    Nntp,
    Redis,
    Mysql,
    Postgresql,
    Ldap,
}

pub(super) const WORDS: &[(&str, Word)] = &[
    ("dialog", Word::Dialog),
    ("smtp", Word::Smtp),
    ("imap", Word::Imap),
    ("pop3", Word::Pop3),
    ("ftp", Word::Ftp),
    ("nntp", Word::Nntp),
    ("redis", Word::Redis),
    ("mysql", Word::Mysql),
    ("postgresql", Word::Postgresql),
    ("ldap", Word::Ldap),
];

/// What keepalived and ldirectord call them, or people do.
pub(super) const OTHER_WORDS: &[(&str, &str)] = &[
    ("SMTP_CHECK", "smtp"),
    ("submission", "smtp\" with starttls = true and port = 587; or \"dialog"),
    ("smtps", "smtp\" with \"tls = true"),
    ("imaps", "imap\" with \"tls = true"),
    ("pop", "pop3"),
    ("pops", "pop3\" with \"tls = true"),
    ("pop3s", "pop3\" with \"tls = true"),
    ("ftps", "ftp\" with \"tls = true"),
    ("nntps", "nntp\" with \"tls = true"),
    ("valkey", "redis"),
    ("mariadb", "mysql"),
    ("pgsql", "postgresql"),
    ("postgres", "postgresql"),
    ("ldaps", "ldap\" with \"tls = true"),
    ("simpletcp", "dialog"),
    ("sip", "dialog\", or \"udp"),
    ("radius", "udp\", or \"exec"),
    ("oracle", "dialog\", or \"exec"),
    ("http_proxy", "dialog"),
];

/// The keys that only some types have, by type.
pub(super) const KEYS: &[(&str, &[&str])] = &[
    ("dialog", &["step", "farewell"]),
    ("smtp", &["helo", "starttls"]),
    ("imap", &["starttls"]),
    ("pop3", &["starttls"]),
    ("ftp", &["starttls"]),
    ("nntp", &["starttls"]),
    ("redis", &["role", "user", "password_credential", "password_file", "password"]),
    ("mysql", &["user", "starttls"]),
    ("postgresql", &["user", "database", "starttls"]),
    ("ldap", &["base", "bind_dn", "password_credential", "password_file", "password", "starttls"]),
];

/// What keepalived and ldirectord call the keys, and what to write here.
pub(super) const OTHER_KEYS: &[(&str, &str)] = &[
    ("helo_name", "keepalived's helo_name is helo = \"check.example.com\" here"),
    ("login", "ldirectord's login is user = \"…\" here, where a type has it"),
    ("passwd", "ldirectord's passwd is password_file = \"…\" here, where a type has it"),
    ("expect", "what to expect belongs to a step of type = \"dialog\": [[step]]"),
    ("send", "what to send belongs to a step of type = \"dialog\": [[step]]"),
    ("steps", "each step is a table of its own: [[step]]"),
];

/// A user's or an entry's name, in bytes.
const NAME_LENGTH: usize = 256;

/// Takes all keys of this type out of `reader`, which reads `table`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>, table: &Table, word: Word, purpose: Purpose<'_>) -> Settings {
    let tls = reader.boolean("tls");
    let starttls =
        if word == Word::Dialog || word == Word::Redis { None } else { reader.boolean("starttls") };
    let is_set = |flag: &Option<Located<bool>>| flag.as_ref().is_some_and(|flag| flag.value);
    if let (true, Some(at)) = (is_set(&tls) && is_set(&starttls), starttls.as_ref()) {
        let message = "TLS cannot begin with the connection and once more later";
        reader.report().error(&at.at, message).hint("either tls = true or starttls = true");
    }
    if let (Word::Mysql | Word::Postgresql, Some(Located { value: true, at })) = (word, &tls) {
        let message = "this protocol begins TLS after a few words in the clear";
        reader.report().error(at, message).hint("write starttls = true");
    }
    let starttls = is_set(&starttls);
    let script = match word {
        Word::Dialog => Script::Steps(steps::read(reader)),
        Word::Smtp => Script::Smtp { helo: read_helo(reader), starttls },
        Word::Imap => Script::Imap { starttls },
        Word::Pop3 => Script::Pop3 { starttls },
        Word::Ftp => Script::Ftp { starttls },
        Word::Nntp => Script::Nntp { starttls },
        Word::Redis => Script::Redis(read_redis(reader, table, purpose)),
        Word::Mysql => Script::Mysql(mysql::Settings { user: read_name(reader, "user"), starttls }),
        Word::Postgresql => Script::Postgresql(postgresql::Settings {
            user: read_name(reader, "user"),
            database: read_name(reader, "database"),
            starttls,
        }),
        Word::Ldap => Script::Ldap(read_ldap(reader, table, purpose, starttls)),
    };
    Settings { script, tls: is_set(&tls) }
}

fn read_helo(reader: &mut Reader<'_>) -> String {
    let helo = reader.parse("helo", |text| match text.chars().find(|c| !c.is_ascii_graphic()) {
        _ if text.is_empty() => Err("empty; leave the key out for this machine's name".to_owned()),
        Some(wrong) => Err(format!("not the name of a host: it has {wrong:?} in it")),
        None if text.len() > 255 => Err("longer than a host's name can be, 255 bytes".to_owned()),
        None => Ok(text.to_owned()),
    });
    helo.map_or_else(own_name, |helo| helo.value)
}

/// This machine's name, or `localhost` where it has none that could be said.
fn own_name() -> String {
    let fits = |name: &String| {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
    };
    let name = gethostname().ok().and_then(|name| name.into_string().ok());
    name.filter(fits).unwrap_or_else(|| "localhost".to_owned())
}

fn read_name(reader: &mut Reader<'_>, key: &'static str) -> Option<String> {
    let name = reader.parse(key, |text| {
        if text.is_empty() || text.len() > NAME_LENGTH || text.contains('\0') {
            return Err(format!("not a name: 1 to {NAME_LENGTH} bytes, none of them zero"));
        }
        Ok(text.to_owned())
    });
    name.map(|name| name.value)
}

fn read_password(
    reader: &mut Reader<'_>,
    table: &Table,
    purpose: Purpose<'_>,
    is_required: bool,
) -> Option<Secret> {
    // Also where none is there: so that its keys are known.
    if !is_required && !secret::is_given(table) {
        for key in secret::KEYS {
            let _ = reader.value(key);
        }
        return None;
    }
    secret::read(reader, table, purpose).map(|password| Secret::new(password.value))
}

fn read_redis(reader: &mut Reader<'_>, table: &Table, purpose: Purpose<'_>) -> redis::Settings {
    let roles = &[("master", Role::Master), ("replica", Role::Replica), ("sentinel", Role::Sentinel)];
    let role = reader.choice("role", roles, &[("slave", "replica"), ("primary", "master")]);
    let user = read_name(reader, "user");
    let password = read_password(reader, table, purpose, user.is_some());
    redis::Settings { user, password, role: role.map(|role| role.value) }
}

fn read_ldap(reader: &mut Reader<'_>, table: &Table, purpose: Purpose<'_>, starttls: bool) -> ldap::Settings {
    let base = read_name(reader, "base");
    let name = read_name(reader, "bind_dn");
    let password = read_password(reader, table, purpose, name.is_some());
    if name.is_none() && password.is_some() {
        let message = "there is a password, but nobody whose it is: 'bind_dn' is missing";
        reader
            .report()
            .error(&table.at, message)
            .hint("for example: bind_dn = \"cn=check,dc=example,dc=com\"");
    }
    ldap::Settings { bind: name.zip(password), base, starttls }
}

#[cfg(test)]
mod tests;
