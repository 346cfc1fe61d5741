//! The manual and the reader say the same: checkd.toml(5) has every kind and each of its keys and no other, with the
//! defaults and ranges that the reader has. The reader itself is asked: what it says to a mistake.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]
#![allow(unreachable_pub, reason = "a module of a test program")]

mod page;

use std::collections::BTreeSet;
use std::path::Path;

use checkd::config::{self, Configuration};
use daemon::diagnostic::Report;
use daemon::testing::TempRoot;
use page::{Key, Page};

/// No key and no word is near this one.
const NONSENSE: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
/// The subsections that are about no kind.
const COMMON: [&str; 4] = ["EVERY CHECK", "Where a probe goes", "TLS", "Passwords"];
/// What a kind cannot be without.
const REQUIRED: [(&str, &str); 3] = [
    ("unit", "unit = \"x.service\"\n"),
    ("exec", "command = [\"/bin/true\"]\n"),
    ("dialog", "step = [{ send = \"x\" }]\n"),
];
/// Values that are out of nearly every range.
const OUTSIDE: [&str; 4] = ["-9223372036854775808", "9223372036854775807", "\"99999d\"", "\"0\""];

fn manual() -> Page {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/checkd.toml.5");
    Page::parse(&std::fs::read_to_string(path).unwrap())
}

/// What is said about one check's text, and what was understood.
fn read(file: &str, text: &str) -> (String, Configuration) {
    let root = TempRoot::new();
    root.write(&format!("etc/trivet/{file}"), text);
    let mut report = Report::new();
    let configuration = config::load(root.path(), &mut report);
    (report.to_string(), configuration)
}

/// The words of the hint that begins so.
fn listed(report: &str, beginning: &str) -> BTreeSet<String> {
    let list = report.split(beginning).nth(1).unwrap_or_else(|| panic!("no '{beginning}' in {report}"));
    let list = list.lines().next().unwrap();
    list.split(", ").map(|word| word.trim_matches('"').to_owned()).collect()
}

fn kinds() -> BTreeSet<String> {
    listed(&read("check.d/x.toml", &format!("type = \"{NONSENSE}\"\n")).0, "one of ")
}

fn asked(file: &str, text: &str) -> BTreeSet<String> {
    listed(&read(file, &format!("{NONSENSE} = 1\n{text}")).0, "the keys here are ")
}

/// The least that a check of this kind can be.
fn least(kind: &str) -> String {
    let required = REQUIRED.iter().find(|(of, _)| *of == kind).map_or("", |(_, text)| text);
    format!("type = \"{kind}\"\n{required}")
}

fn is_of(key: &Key, kind: &str) -> bool {
    key.section.split(" , ").any(|name| name == kind)
}

/// The outer keys of one section.
fn names<'a>(keys: impl IntoIterator<Item = &'a Key>) -> BTreeSet<String> {
    keys.into_iter().filter(|key| key.within.is_none()).map(|key| key.name.clone()).collect()
}

#[test]
fn every_kind_has_its_section_and_no_section_is_about_another() {
    let described: BTreeSet<_> =
        manual().subsections.into_iter().filter(|name| !COMMON.contains(&&**name)).collect();
    assert_eq!(described, kinds());
}

#[test]
fn every_key_is_in_the_manual_and_the_manual_has_no_other() {
    let page = manual();
    let common = names(page.keys.iter().filter(|key| COMMON.contains(&&*key.section)));
    let mut used = BTreeSet::new();
    for kind in kinds() {
        let asked = asked("check.d/x.toml", &least(&kind));
        let own = names(page.keys.iter().filter(|key| is_of(key, &kind)));
        let invented: Vec<_> = own.difference(&asked).collect();
        assert!(invented.is_empty(), "{kind}: nobody reads {invented:?}");
        let missing: Vec<_> =
            asked.iter().filter(|key| !own.contains(*key) && !common.contains(*key)).collect();
        assert!(missing.is_empty(), "{kind}: checkd.toml(5) lacks {missing:?}");
        used.extend(asked);
    }
    let invented: Vec<_> = common.difference(&used).collect();
    assert!(invented.is_empty(), "of every check: nobody reads {invented:?}");
    let daemon = names(page.keys.iter().filter(|key| key.section == "THE DAEMON"));
    assert_eq!(daemon, asked("checkd.toml", ""));
}

/// Each outer key of a kind with the least check of that kind; a common one with every kind that reads it, unless the
/// manual says of the kind itself what is another there.
fn each(mut with: impl FnMut(&Key, &str, &str)) {
    let page = manual();
    for kind in kinds() {
        let (least, asked) = (least(&kind), asked("check.d/x.toml", &least(&kind)));
        for key in page.keys.iter().filter(|key| key.within.is_none() && asked.contains(&key.name)) {
            let has_own = page.keys.iter().any(|other| is_of(other, &kind) && other.name == key.name);
            if is_of(key, &kind) || COMMON.contains(&&*key.section) && !has_own {
                with(key, &kind, &least);
            }
        }
    }
}

/// The check without what it says about a key.
fn without(least: &str, key: &str) -> String {
    let lines = least.lines().filter(|line| line.split(' ').next() != Some(key));
    lines.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_the_manual_calls_the_default_is_what_a_check_without_the_key_has() {
    let mut compared = 0;
    each(|key, kind, least| {
        let Some(default) = key.default() else { return };
        let (report, plain) = read("check.d/x.toml", least);
        assert_eq!(report, "", "the least check of type {kind}");
        let text = format!("{} = {default}\n{least}", key.name);
        let (report, written) = read("check.d/x.toml", &text);
        assert_eq!(report, "", "{text}");
        assert_eq!(
            written.checks["x"], plain.checks["x"],
            "{kind}: the default of {} is not {default}",
            key.name
        );
        compared += 1;
    });
    assert!(compared > 10, "only {compared} defaults were compared");
    let key = manual().keys.into_iter().find(|key| key.name == "log_level").unwrap();
    let (_, plain) = read("checkd.toml", "");
    let (_, written) = read("checkd.toml", &format!("log_level = {}\n", key.default().unwrap()));
    assert_eq!(written.settings, plain.settings);
}

#[test]
fn the_ranges_of_the_manual_are_those_that_the_reader_names() {
    let mut compared = 0;
    each(|key, kind, least| {
        let without = without(least, &key.name);
        let texts = OUTSIDE.map(|value| format!("{} = {value}\n{without}", key.name));
        let reports = texts.map(|text| read("check.d/x.toml", &text).0);
        let named = format!("'{}' must be from ", key.name);
        let said = reports.iter().find_map(|report| report.split(&named).nth(1)?.lines().next());
        if let Some(said) = said {
            assert_eq!(key.range(), Some(said), "{kind}: the range of {}", key.name);
        }
        if let Some(range) = key.range() {
            let said = reports.iter().any(|report| report.contains(&format!("from {range}")));
            assert!(said, "{kind}: {} from {range}, says the manual; the reader: {reports:?}", key.name);
            compared += 1;
        }
    });
    assert!(compared > 5, "only {compared} ranges were compared");
}

/// Tables within a check, with a check that has one: `{}` is what stands in it.
const TABLES: [(&str, &str, &str); 3] = [
    ("damping", "tcp", "damping = { {} }"),
    ("request", "http", "request = [{ {} }]"),
    ("step", "dialog", "step = [{ {} }]"),
];
/// Tables whose keys are the administrator's own.
const FREE: [&str; 1] = ["headers"];

/// Every file of the code that reads the configuration.
fn sources(directory: &Path, into: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else {
            into.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_key_of_every_table_within_a_check_is_in_the_manual_with_its_range() {
    let page = manual();
    for (outer, kind, form) in TABLES {
        let report = |inside: &str| {
            let table = form.replace("{}", inside);
            read("check.d/x.toml", &format!("type = \"{kind}\"\n{table}\n")).0
        };
        let asked = listed(&report(&format!("{NONSENSE} = 1")), "the keys here are ");
        let inner: Vec<_> = page.keys.iter().filter(|key| key.within.as_deref() == Some(outer)).collect();
        let mut known: BTreeSet<_> = inner.iter().map(|key| key.name.clone()).collect();
        if known.is_empty() {
            // The keys of the check itself, says the page.
            known = names(
                page.keys.iter().filter(|key| is_of(key, kind) && !["paths", outer].contains(&&*key.name)),
            );
        }
        assert_eq!(known, asked, "in {outer}");
        for key in inner {
            let reports = OUTSIDE.map(|value| report(&format!("{} = {value}", key.name)));
            let named = format!("'{}' must be from ", key.name);
            let said = reports.iter().find_map(|report| report.split(&named).nth(1)?.lines().next());
            assert_eq!(key.range(), said, "{outer}: the range of {}", key.name);
        }
    }
}

#[test]
fn no_table_is_forgotten_here() {
    let mut code = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config"), &mut code);
    let calls = code.split(".table(\"").skip(1).chain(code.split(".tables(\"").skip(1));
    let tables: BTreeSet<_> = calls.map(|call| call.split('"').next().unwrap()).collect();
    let known: BTreeSet<_> = TABLES.iter().map(|(outer, _, _)| *outer).chain(FREE).collect();
    assert_eq!(tables, known);
}

/// ldirectord's and keepalived's own words; each has its place in the table.
const THEIRS: [(&str, &[&str]); 5] = [
    ("checktype", &["connect", "negotiate", "ping", "off", "on", "external", "external-perl"]),
    (
        "service",
        &[
            "dns",
            "ftp",
            "http",
            "https",
            "http_proxy",
            "imap",
            "imaps",
            "ldap",
            "ldaps",
            "mysql",
            "nntp",
            "none",
            "oracle",
            "pgsql",
            "pop",
            "pops",
            "radius",
            "simpletcp",
            "sip",
            "smtp",
            "submission",
        ],
    ),
    (
        "Settings",
        &[
            "checkinterval",
            "checktimeout",
            "negotiatetimeout",
            "failurecount",
            "checkcount",
            "checkport",
            "checkcommand",
            "request",
            "receive",
            "httpmethod",
            "virtualhost",
            "login",
            "passwd",
            "database",
            "secret",
            "maintenancedir",
        ],
    ),
    (
        "Checkers",
        &[
            "TCP_CHECK",
            "HTTP_GET",
            "SSL_GET",
            "SMTP_CHECK",
            "DNS_CHECK",
            "UDP_CHECK",
            "PING_CHECK",
            "MISC_CHECK",
            "misc_dynamic",
            "BFD_CHECK",
            "FILE_CHECK",
        ],
    ),
    (
        "Options",
        &[
            "retry",
            "delay_before_retry",
            "delay_loop",
            "warmup",
            "connect_timeout",
            "bindto",
            "bind_if",
            "bind_port",
            "fwmark",
            "connect_ip",
            "connect_port",
            "alpha",
            "log_all_failures",
            "fast_recovery",
        ],
    ),
];

fn read_file(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

#[test]
fn each_of_their_types_has_its_place_in_the_table_and_an_example_or_a_reason() {
    let page = Page::parse(&read_file("man/trivet-checks.7"));
    for (section, words) in THEIRS {
        for word in words {
            let found = page.keys.iter().find(|key| key.section == section && key.name == *word);
            let text = &found.unwrap_or_else(|| panic!("{section} {word} is not in trivet-checks(7)")).text;
            assert!(!text.is_empty(), "{section} {word}: how is it done here?");
            let answered = ["xample", "Not carried over", "Not needed", "is a type"]
                .iter()
                .any(|way| text.contains(way));
            let is_a_type = ["service", "Checkers"].contains(&section) && *word != "none";
            assert!(answered || !is_a_type, "{word} has neither an example nor a reason: {text}");
        }
    }
}

#[test]
fn the_table_names_every_example_and_none_that_is_not_there() {
    let page = read_file("man/trivet-checks.7");
    let words = page.split_whitespace().filter_map(|word| word.strip_suffix(".toml.example"));
    let named: BTreeSet<_> = words.map(str::to_owned).collect();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../etc/trivet/check.d");
    let files =
        std::fs::read_dir(examples).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let there: BTreeSet<_> =
        files.map(|name| name.strip_suffix(".toml.example").unwrap().to_owned()).collect();
    assert_eq!(named, there);
}
