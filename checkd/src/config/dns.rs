//! The keys of `type = "dns"`.

use std::ops::RangeInclusive;

use daemon::diagnostic::Report;
use daemon::document::{Kind, Value};
use daemon::reader::Reader;
use domain::base::iana::{OptRcode, Rtype};

use super::texts::{parse_each, texts};
use crate::probe::dns::{Matching, OwnedName, Protocol, Settings, Wanted};

pub(super) const KEYS: &[&str] = &[
    "name",
    "record",
    "rcode",
    "answer",
    "answer_match",
    "min_answers",
    "recursion",
    "authoritative",
    "edns_size",
    "protocol",
];

const RECORDS: RangeInclusive<i64> = 0..=1000;
/// RFC 6891 section 6.2.3: less than 512 is as 512. Beyond 4096 no server goes.
const EDNS_SIZES: RangeInclusive<i64> = 0..=4096;
const LEAST_EDNS_SIZE: u16 = 512;
const MATCHINGS: &[(&str, Matching)] = &[("all", Matching::All), ("any", Matching::Any)];
const PROTOCOLS: &[(&str, Protocol)] = &[("udp", Protocol::Udp), ("tcp", Protocol::Tcp)];
const RCODES: &[(&str, OptRcode)] = &[
    ("NOERROR", OptRcode::NOERROR),
    ("FORMERR", OptRcode::FORMERR),
    ("SERVFAIL", OptRcode::SERVFAIL),
    ("NXDOMAIN", OptRcode::NXDOMAIN),
    ("NOTIMP", OptRcode::NOTIMP),
    ("REFUSED", OptRcode::REFUSED),
    ("NOTAUTH", OptRcode::NOTAUTH),
];

/// Takes all keys of its kind out of `reader`; a mistake leaves its key's default.
pub(super) fn read(reader: &mut Reader<'_>) -> Settings {
    let default = Settings::default();
    let name = reader.parse("name", parse_name);
    let record = reader.parse("record", parse_record).map_or(default.record, |record| record.value);
    let rcodes = reader.value("rcode").and_then(|value| read_rcodes(value, reader.report()));
    let rcodes = rcodes.unwrap_or(default.rcodes);
    let wanted = reader.value("answer").map(|value| read_wanted(record, value, reader.report()));
    let matching = reader.choice("answer_match", MATCHINGS, &[("one", "any"), ("each", "all")]);
    let least = reader.integer::<u16>("min_answers", RECORDS);
    let recursion = reader.boolean("recursion");
    let authoritative = reader.boolean("authoritative");
    let edns_size = reader.integer::<u16>("edns_size", EDNS_SIZES);
    if let Some(size) = edns_size.as_ref().filter(|size| (1..LEAST_EDNS_SIZE).contains(&size.value)) {
        let message = format!("'edns_size' is less than {LEAST_EDNS_SIZE}, which every answer may have");
        reader.report().error(&size.at, message).hint("0 asks without EDNS");
    }
    let protocol = reader.choice("protocol", PROTOCOLS, &[]);
    // An error has no records.
    let otherwise = if rcodes.contains(&OptRcode::NOERROR) && rcodes.len() == 1 { default.least } else { 0 };
    Settings {
        name: name.map_or(default.name, |name| name.value),
        record,
        rcodes,
        wanted: wanted.unwrap_or_default(),
        matching: matching.map_or(default.matching, |matching| matching.value),
        least: least.map_or(otherwise, |least| least.value),
        recursion: recursion.map_or(default.recursion, |flag| flag.value),
        authoritative: authoritative.map_or(default.authoritative, |flag| flag.value),
        edns_size: edns_size.map_or(default.edns_size, |size| size.value),
        protocol: protocol.map_or(default.protocol, |protocol| protocol.value),
    }
}

fn parse_name(text: &str) -> Result<OwnedName, String> {
    if text.is_empty() || !text.is_ascii() {
        return Err(
            "not a domain name; \".\" is the root, and other alphabets are written as xn--…".to_owned()
        );
    }
    text.parse::<OwnedName>().map_err(|error| format!("not a domain name: {error}"))
}

fn parse_record(text: &str) -> Result<Rtype, String> {
    let record =
        text.parse::<Rtype>().map_err(|_| "not the type of a record, such as \"A\" or \"MX\"".to_owned())?;
    if [Rtype::ANY, Rtype::AXFR, Rtype::IXFR, Rtype::OPT, Rtype::TSIG].contains(&record) {
        return Err(format!("not the type of one kind of record: {record}"));
    }
    Ok(record)
}

fn read_rcodes(value: &Value, report: &mut Report) -> Option<Vec<OptRcode>> {
    refuse_empty("rcode", value, report);
    let mut rcodes = Vec::new();
    for (text, at) in texts("rcode", value, report) {
        match RCODES.iter().find(|(word, _)| word.eq_ignore_ascii_case(text)) {
            Some((_, rcode)) => rcodes.push(*rcode),
            None => {
                let words: Vec<&str> = RCODES.iter().map(|(word, _)| *word).collect();
                let hint = format!("one of {}", words.join(", "));
                report.error(at, format!("'rcode' cannot be \"{text}\"")).hint(hint);
            }
        }
    }
    if rcodes.is_empty() { None } else { Some(rcodes) }
}

fn read_wanted(record: Rtype, value: &Value, report: &mut Report) -> Vec<Wanted> {
    refuse_empty("answer", value, report);
    parse_each("answer", value, report, |text| Wanted::parse(record, text))
}

fn refuse_empty(key: &str, value: &Value, report: &mut Report) {
    if let Kind::Array(values) = &value.kind
        && values.is_empty()
    {
        report.error(&value.at, format!("'{key}' is empty")).hint("leave it out");
    }
}
