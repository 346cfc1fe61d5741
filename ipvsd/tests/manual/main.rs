//! The manual and the reader say the same: ipvsd.toml(5) has each key and no other, with the defaults and ranges that the
//! reader has. The reader itself is asked: what it says to a mistake.

#![allow(clippy::unwrap_used, reason = "tests: what cannot be had is a failure")]
#![allow(unreachable_pub, reason = "a module of a test program")]

mod others;
#[path = "../../../checkd/tests/manual/page.rs"]
mod page;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use daemon::testing::TempRoot;
use ipvsd::config;
use ipvsd::service::Settings;
use page::{Key, Page};

/// No key and no word is near this one.
const NONSENSE: &str = "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq";
/// Values that are out of nearly every range.
const OUTSIDE: [&str; 4] = ["-9223372036854775808", "9223372036854775807", "\"99999d\"", "\"0\""];
/// The page's tables within a file, with the least file around `{}`; the first two are no tables but the files.
const PLACES: [(&str, &str, &str); 7] = [
    ("", "ipvs.d/x.toml", "{}\naddress = \"10.0.0.1:80\"\n[[server]]\naddress = \"10.1.0.1:80\"\n"),
    ("", "ipvsd.toml", "{}\n"),
    ("server", "ipvs.d/x.toml", "address = \"10.0.0.1:80\"\n[[server]]\n{}\naddress = \"10.1.0.1:80\"\n"),
    (
        "sorry_server",
        "ipvs.d/x.toml",
        "address = \"10.0.0.1:80\"\n[[server]]\naddress = \"10.1.0.1:80\"\n\
         [sorry_server]\n{}\naddress = \"10.1.0.2:80\"\n",
    ),
    ("timeouts", "ipvsd.toml", "[timeouts]\n{}\n"),
    ("sysctl", "ipvsd.toml", "[sysctl]\n{}\n"),
    ("sync", "ipvsd.toml", "[sync]\n{}\ninterface = \"eth1\"\n"),
];
/// What a key is the default with, where the least file has no use for it.
const NEEDED: [(&str, &str); 2] = [
    ("tunnel_type", "forward = \"tunnel\"\n"),
    ("tunnel_checksum", "forward = \"tunnel\"\ntunnel_type = \"gre\"\n"),
];
/// The sections of the page that are about the words of others.
const OTHERS: [&str; 2] = ["COMING FROM KEEPALIVED", "COMING FROM LDIRECTORD"];

fn tree(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)
}

fn manual() -> Page {
    Page::parse(&std::fs::read_to_string(tree("man/ipvsd.toml.5")).unwrap())
}

fn is_of_daemon(key: &Key) -> bool {
    ["THE DAEMON", "Timeouts", "Sysctls", "Connection synchronisation"].contains(&&*key.section)
}

/// The page's keys of one place.
fn keys_of(place: &(&str, &str, &str)) -> Vec<Key> {
    let (outer, file, _) = *place;
    let is_there = |key: &Key| {
        !OTHERS.contains(&&*key.section)
            && key.within.as_deref().unwrap_or_default() == outer
            && is_of_daemon(key) == (file == "ipvsd.toml")
    };
    manual().keys.into_iter().filter(is_there).collect()
}

/// What is said about a file with these lines in it, and what was understood.
fn read(place: &(&str, &str, &str), lines: &str) -> (String, Settings) {
    let (_, file, form) = *place;
    // What stands there already would be there twice.
    let key = lines.split(' ').next().unwrap_or_default();
    let others = form.split_inclusive('\n').filter(|line| line.split(' ').next() != Some(key));
    let text = others.collect::<String>().replacen("{}", lines, 1);
    let root = TempRoot::new();
    root.write(&format!("etc/trivet/{file}"), &text);
    root.write("etc/trivet/vrrp.d/gateway.toml", "interface = \"eth0\"\n");
    let (settings, report) = config::load(root.path());
    (report.to_string(), settings)
}

/// The keys that the reader says it knows here.
fn asked(place: &(&str, &str, &str)) -> BTreeSet<String> {
    let (report, _) = read(place, &format!("{NONSENSE} = 1\n"));
    let list = report.split("the keys here are ").nth(1).unwrap_or_else(|| panic!("no list in {report}"));
    list.lines().next().unwrap().split(", ").map(str::to_owned).collect()
}

#[test]
fn every_key_is_in_the_manual_and_the_manual_has_no_other() {
    for place in &PLACES {
        let described: BTreeSet<_> = keys_of(place).into_iter().map(|key| key.name).collect();
        assert_eq!(described, asked(place), "{} {}", place.1, place.0);
    }
}

#[test]
fn no_table_is_forgotten_here() {
    let mut tables = BTreeSet::new();
    for file in std::fs::read_dir(tree("ipvsd/src/config")).unwrap() {
        let path = file.unwrap().path();
        let is_code = path.is_file() && !path.ends_with("tests.rs");
        let code = if is_code { std::fs::read_to_string(path).unwrap() } else { String::new() };
        let calls = code.split(".table(\"").skip(1).chain(code.split(".tables(\"").skip(1));
        tables.extend(calls.map(|call| call.split('"').next().unwrap().to_owned()));
    }
    // Read by a name that is no literal.
    tables.insert("sorry_server".to_owned());
    let known: BTreeSet<_> =
        PLACES.iter().map(|place| place.0).filter(|outer| !outer.is_empty()).map(str::to_owned).collect();
    assert_eq!(tables, known);
}

#[test]
fn what_the_manual_calls_the_default_is_what_a_file_without_the_key_has() {
    let mut compared = 0;
    for place in &PLACES {
        for key in keys_of(place) {
            let Some(default) = key.default() else { continue };
            let needed = NEEDED.iter().find(|(of, _)| *of == key.name).map_or("", |(_, lines)| lines);
            let (report, plain) = read(place, needed);
            assert_eq!(report, "", "the least file of {}", key.name);
            let text = format!("{} = {default}\n{needed}", key.name);
            let (report, written) = read(place, &text);
            assert_eq!(report, "", "{text}");
            assert_eq!(written, plain, "the default of {} is not {default}", key.name);
            compared += 1;
        }
    }
    assert!(compared > 18, "only {compared} defaults were compared");
}

#[test]
fn of_every_key_it_is_said_what_is_so_without_it() {
    let words = ["efault", "equired", "he kernel begins with", "As above", "as it is"];
    let is_told = |key: &Key| words.iter().any(|word| key.text.contains(word));
    let untold: Vec<Key> = PLACES.iter().flat_map(keys_of).filter(|key| !is_told(key)).collect();
    assert!(untold.is_empty(), "{untold:#?}");
}

#[test]
fn the_ranges_of_the_manual_are_those_that_the_reader_names() {
    let mut compared = 0;
    let service = keys_of(&PLACES[0]);
    for place in &PLACES {
        for key in keys_of(place) {
            let texts = OUTSIDE.map(|value| format!("{} = {value}\n", key.name));
            let reports = texts.map(|text| read(place, &text).0);
            let named = format!("'{}' must be from ", key.name);
            let said = reports.iter().find_map(|report| report.split(&named).nth(1)?.lines().next());
            // What is as above has its range above.
            let above =
                service.iter().find(|above| above.name == key.name && key.text.starts_with("As above"));
            let range = above.unwrap_or(&key).range();
            if key.name == "mark" {
                assert!(reports[0].contains("must be from 1 to 4294967295"), "{}", reports[0]);
                continue;
            }
            assert_eq!(
                range,
                said.map(|said| said.split(" for ").next().unwrap()),
                "the range of {}",
                key.name
            );
            compared += usize::from(range.is_some());
        }
    }
    assert!(compared > 25, "only {compared} ranges were compared");
}

/// All that is shown on the bus.
fn bus() -> String {
    let files = ["ipvsd/src/bus/manager.rs", "ipvsd/src/bus/service.rs"];
    files.map(|file| std::fs::read_to_string(tree(file)).unwrap()).concat()
}

#[test]
fn the_daemons_page_has_each_method_and_each_state() {
    let page = std::fs::read_to_string(tree("man/ipvsd.8")).unwrap();
    let code = bus();
    let policy = std::fs::read_to_string(tree("units/org.trivet.Ipvs1.policy")).unwrap();
    let actions = policy.split("action id=\"").skip(1).map(|rest| rest.split('"').next().unwrap().to_owned());
    for action in actions {
        assert!(page.contains(&format!(".Dv {action}")), "{action}");
    }
    let methods: Vec<_> =
        code.split("    async fn ").skip(1).map(|rest| rest.split('(').next().unwrap()).collect();
    let mut described = 0;
    for method in methods.into_iter().filter(|method| !["serve", "new", "update", "order"].contains(method)) {
        let words = method.split('_').map(|word| word[..1].to_uppercase() + &word[1..]);
        let name: String = words.collect();
        assert!(page.contains(&format!("\n.It Ic {name}")), "{name} is not in ipvsd(8)");
        described += 1;
    }
    assert_eq!(described, 8);
    for state in ["forwarding", "sorry", "no-servers", "standby", "failed", "pending"] {
        assert!(page.contains(&format!("\n.It Em {state}\n")), "{state} is not in ipvsd(8)");
    }
}

/// `servers_in_use` as D-Bus has it.
fn camel(name: &str) -> String {
    name.split('_').map(|word| word[..1].to_uppercase() + &word[1..]).collect()
}

#[test]
fn the_daemons_page_has_each_property_and_each_field_of_a_server() {
    let page = std::fs::read_to_string(tree("man/ipvsd.8")).unwrap();
    let code = bus();
    let items = page.split("\n.It Va ").skip(1).map(|rest| rest.lines().next().unwrap());
    let described: BTreeSet<&str> = items.flat_map(|item| item.split(" , ")).collect();
    let properties = code.split("#[zbus(property").skip(1);
    let properties = properties.map(|rest| rest.split("fn ").nth(1).unwrap().split('(').next().unwrap());
    let fields = code.split("(\"").skip(1).filter_map(|rest| {
        let (name, after) = rest.split_once("\", ")?;
        let is_shown = after.starts_with("Variant::from(") || after.starts_with("text(");
        Some(name).filter(|name| is_shown && name.starts_with(char::is_uppercase))
    });
    let told: BTreeSet<String> = properties.map(camel).chain(fields.map(str::to_owned)).collect();
    assert!(told.len() > 30, "{told:?}");
    assert_eq!(described, told.iter().map(String::as_str).collect());
}

#[test]
fn the_daemons_page_has_each_file_and_signal() {
    let page = std::fs::read_to_string(tree("man/ipvsd.8")).unwrap();
    let root = TempRoot::new();
    let below = |path: &Path| format!("/{}", path.strip_prefix(root.path()).unwrap().display());
    let files = [
        below(ipvsd::orders::OrdersFile::new(root.path()).path()),
        below(ipvsd::owned::OwnedFile::new(root.path()).path()),
    ];
    for file in files {
        assert!(page.contains(&format!("\n.It Pa {file}\n")), "{file} is not in ipvsd(8)");
    }
    let code = std::fs::read_to_string(tree("daemon/src/signals.rs")).unwrap();
    let signals: BTreeSet<&str> = code
        .split("Number::SIG")
        .skip(1)
        .map(|rest| &rest[..rest.find(|c: char| !c.is_ascii_uppercase()).unwrap()])
        .collect();
    assert!(signals.len() > 1, "{signals:?}");
    for signal in signals {
        assert!(page.contains(&format!("SIG{signal}")), "SIG{signal} is not in ipvsd(8)");
    }
}

#[test]
fn the_installed_examples_are_passed_by_check() {
    let root = TempRoot::new();
    for directory in ["check.d", "ipvs.d", "vrrp.d"] {
        for entry in std::fs::read_dir(tree("etc/trivet").join(directory)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            root.write(&format!("etc/trivet/{directory}/{name}"), &std::fs::read_to_string(&path).unwrap());
        }
    }
    let check =
        || Command::new(env!("CARGO_BIN_EXE_ipvsd")).arg("--check").arg("--root").arg(root.path()).output();
    let output = check().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    assert!(output.status.success() && output.stdout.starts_with(b"configuration OK"), "{output:?}");
    root.write("etc/trivet/ipvs.d/wrong.toml", "adress = \"10.0.0.1:80\"\n");
    assert_eq!(check().unwrap().status.code(), Some(78));
}
