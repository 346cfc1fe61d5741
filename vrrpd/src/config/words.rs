//! What routes and rules have in common: each is a table, or a line as ip-route(8) and ip-rule(8) have it. Both become
//! texts by our keys' names; what a text means is said once.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use daemon::diagnostic::{Location, Report, nearest};
use daemon::document::{Kind, Table, Value};
use daemon::reader::{Located, Reader};

use super::interface_name;
use crate::types::Family;

/// One kind of object in words.
pub(super) struct Grammar {
    /// `a route`
    pub(super) what: &'static str,
    pub(super) example: &'static str,
    /// Our keys. Their values are strings or integers.
    pub(super) keys: &'static [&'static str],
    /// A key of its own, true or false; a word without a value in a line.
    pub(super) flag: Option<&'static str>,
    /// The key of the first word of a line, where that is not another key's name.
    pub(super) first: Option<&'static str>,
    /// Words that are values of the key `type` by themselves.
    pub(super) types: &'static [&'static str],
    /// The words of iproute2 and keepalived for our keys.
    pub(super) aliases: &'static [(&'static str, &'static str)],
    /// Words that we know and do not take, and what to do.
    pub(super) others: &'static [(&'static str, &'static str)],
}

/// What was written.
#[derive(Debug)]
pub(super) struct Words {
    pub(super) at: Location,
    texts: BTreeMap<&'static str, Located<String>>,
    pub(super) flag: Option<Location>,
}

impl Grammar {
    /// `None`: something was wrong, and is reported.
    pub(super) fn read(&self, value: &Value, report: &mut Report) -> Option<Words> {
        match &value.kind {
            Kind::String(text) => self.line(text, &value.at, report),
            Kind::Table(table) => self.table(table, &value.at, report),
            Kind::Integer(_) | Kind::Float(_) | Kind::Boolean(_) | Kind::Datetime(_) | Kind::Array(_) => {
                let message =
                    format!("{} must be a table or a string, not {}", self.what, value.kind.describe());
                report.error(&value.at, message).hint(self.example);
                None
            }
        }
    }

    fn table(&self, table: &Table, at: &Location, report: &mut Report) -> Option<Words> {
        let mut words = Words { at: at.clone(), texts: BTreeMap::new(), flag: None };
        let mut reader = Reader::new(table, report);
        let mut right = true;
        for key in self.keys {
            let Some(value) = reader.value(key) else { continue };
            let text = match &value.kind {
                Kind::String(text) => text.clone(),
                Kind::Integer(Some(number)) => number.to_string(),
                Kind::Integer(None) | Kind::Float(_) | Kind::Boolean(_) | Kind::Datetime(_) => {
                    right = false;
                    let message =
                        format!("'{key}' must be a string or an integer, not {}", value.kind.describe());
                    reader.report().error(&value.at, message);
                    continue;
                }
                Kind::Array(_) | Kind::Table(_) => {
                    right = false;
                    let message = format!("'{key}' must be a string, not {}", value.kind.describe());
                    reader.report().error(&value.at, message);
                    continue;
                }
            };
            words.texts.insert(key, Located { value: text, at: value.at.clone() });
        }
        if let Some(key) = self.flag {
            words.flag = reader.boolean(key).filter(|flag| flag.value).map(|flag| flag.at);
        }
        let hints: Vec<(&str, String)> = self
            .aliases
            .iter()
            .map(|(word, key)| (*word, format!("write {key}")))
            .chain(self.others.iter().map(|(word, hint)| (*word, (*hint).to_owned())))
            .collect();
        let hints: Vec<(&str, &str)> = hints.iter().map(|(word, hint)| (*word, hint.as_str())).collect();
        reader.finish(&hints);
        right.then_some(words)
    }

    fn line(&self, line: &str, at: &Location, report: &mut Report) -> Option<Words> {
        let mut words = Words { at: at.clone(), texts: BTreeMap::new(), flag: None };
        let mut rest = line.split_whitespace();
        let mut right = true;
        let mut wrong = |message: String, hint: &str| {
            report.error(at, message).hint(hint);
            right = false;
        };
        while let Some(word) = rest.next() {
            let key = self.aliases.iter().find(|(alias, _)| *alias == word).map_or(word, |(_, key)| key);
            let (key, value) = if let Some(kind) = self.types.iter().find(|kind| **kind == word) {
                ("type", Some(*kind))
            } else if self.flag == Some(key) {
                words.flag = Some(at.clone());
                continue;
            } else if let Some(key) = self.keys.iter().find(|known| **known == key) {
                (*key, rest.next())
            } else if let Some((_, hint)) = self.others.iter().find(|(other, _)| *other == word) {
                wrong(format!("'{word}' is not for {}", self.what), hint);
                rest.next();
                continue;
            } else if let Some(first) = self.first.filter(|first| !words.texts.contains_key(first)) {
                (first, Some(word))
            } else {
                let known = self.keys.iter().copied().chain(self.aliases.iter().map(|(word, _)| *word));
                let hint = nearest(word, known).map(|near| format!("did you mean '{near}'?"));
                wrong(
                    format!("unknown word '{word}' in {}", self.what),
                    hint.as_deref().unwrap_or(self.example),
                );
                continue;
            };
            let Some(value) = value else {
                wrong(format!("'{word}' ends {} without its value", self.what), self.example);
                continue;
            };
            let text = Located { value: value.to_owned(), at: at.clone() };
            if words.texts.insert(key, text).is_some() {
                wrong(format!("'{key}' is said twice in {}", self.what), "once is enough");
            }
        }
        right.then_some(words)
    }
}

impl Words {
    /// What `key` says, understood by `parse`, whose error is the end of the sentence "'KEY' is …". `Err`: it was wrong,
    /// and is reported.
    pub(super) fn get<T>(
        &self,
        key: &'static str,
        report: &mut Report,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, ()> {
        let Some(text) = self.texts.get(key) else { return Ok(None) };
        parse(&text.value).map(Some).map_err(|reason| {
            report.error(&text.at, format!("'{key}' is {reason}"));
        })
    }

    /// Where the value of a key stands; of all of it if there is none.
    pub(super) fn at(&self, key: &str) -> &Location {
        self.texts.get(key).map_or(&self.at, |text| &text.at)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.texts.contains_key(key)
    }
}

/// A prefix: `default`, `all`, an address, or one with `/len`. `None`: everything, of whichever family.
pub(super) fn prefix(text: &str) -> Result<Option<(IpAddr, u8)>, String> {
    if matches!(text, "default" | "all" | "any") {
        return Ok(None);
    }
    let (address, length) = text.split_once('/').map_or((text, None), |(address, len)| (address, Some(len)));
    let address = self::address(address)?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let digits = |length: &&str| length.bytes().all(|byte| byte.is_ascii_digit());
    let length = match length {
        None => longest,
        Some(length) => Some(length)
            .filter(digits)
            .and_then(|length| length.parse().ok())
            .filter(|length| *length <= longest)
            .ok_or_else(|| format!("not a prefix: its length is 0 to {longest}, not '{length}'"))?,
    };
    let network = network(address, length);
    if network != address {
        return Err(format!(
            "no prefix: \"{text}\" has bits behind its length; it would be {network}/{length}"
        ));
    }
    Ok(Some((address, length)))
}

fn network(address: IpAddr, length: u8) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let host = u32::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            Ipv4Addr::from_bits(address.to_bits() & !host).into()
        }
        IpAddr::V6(address) => {
            let host = u128::MAX.checked_shr(u32::from(length)).unwrap_or(0);
            Ipv6Addr::from_bits(address.to_bits() & !host).into()
        }
    }
}

/// Everything of a family.
pub(super) fn everything(family: Family) -> (IpAddr, u8) {
    match family {
        Family::V4 => (Ipv4Addr::UNSPECIFIED.into(), 0),
        Family::V6 => (Ipv6Addr::UNSPECIFIED.into(), 0),
    }
}

pub(super) fn address(text: &str) -> Result<IpAddr, String> {
    text.parse().map_err(|_| format!("not an IP address: \"{text}\""))
}

/// Decimal, or hexadecimal with 0x.
pub(super) fn number(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    parsed.ok_or_else(|| format!("not a number from 0 to {}: \"{text}\"", u32::MAX))
}

/// A routing table by its number, or one of the kernel's own by its name.
pub(super) fn table(text: &str) -> Result<u32, String> {
    match text {
        "main" => Ok(254),
        "default" => Ok(253),
        "local" => Ok(255),
        "0" => Err("0, which is no table".to_owned()),
        _ => number(text).map_err(|_| {
            format!("neither a table's number nor main, default or local: \"{text}\" (numbers of names: /etc/iproute2/rt_tables)")
        }),
    }
}

pub(super) fn interface(text: &str) -> Result<Arc<str>, String> {
    interface_name(text)
}
