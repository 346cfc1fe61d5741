//! The manual and the code name the same keys: what vrrpd reads is in vrrpd.toml(5), and nothing else is.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The methods of `daemon::reader::Reader` that read a key.
const METHODS: [&str; 9] =
    ["value", "string", "boolean", "integer", "duration", "parse", "choice", "array", "table"];

/// What the manual names that is no key of ours: words of keepalived, and commands.
const FOREIGN: [&str; 8] = [
    "nopreempt",
    "v3_checksum_as_v2",
    "no_accept",
    "unicast_ttl",
    "virtual_ipaddress_excluded",
    "garp_master_repeat",
    "vrrpd",
    "systemctl",
];

/// Every file of the code that reads the configuration, without its tests.
fn sources(directory: &Path, into: &mut String) {
    for entry in fs::read_dir(directory).expect("a directory of this tree") {
        let path = entry.expect("a directory of this tree").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|ending| ending == "rs") && !path.ends_with("tests.rs") {
            let text = fs::read_to_string(&path).expect("a file of this tree");
            into.push_str(text.split("#[cfg(test)]").next().expect("a split has a first part"));
        }
    }
}

/// The key of `.METHOD("key"` or `.METHOD::<T>(\n"key"`.
fn key<'a>(call: &'a str, method: &str) -> Option<&'a str> {
    let rest = call.strip_prefix(method)?;
    let rest = rest.strip_prefix("::<").map_or(Some(rest), |typed| Some(typed.split_once('>')?.1))?;
    rest.strip_prefix('(')?.trim_start().strip_prefix('"')?.split('"').next()
}

fn read_keys() -> BTreeSet<String> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut code = fs::read_to_string(here.join("src/config.rs")).expect("a file of this tree");
    sources(&here.join("src/config"), &mut code);
    // Passwords are read by the crate that all daemons share.
    code += &fs::read_to_string(here.join("../daemon/src/secret.rs")).expect("a file of this tree");
    // The level is read by the crate that all daemons share.
    let mut keys = BTreeSet::from(["log_level".to_owned()]);
    for method in METHODS {
        keys.extend(code.split('.').filter_map(|call| key(call, method)).map(str::to_owned));
    }
    // Routes and rules have a grammar of their own, which lists its keys.
    for list in code.split("keys: &[").skip(1).chain(code.split("flag: Some(").skip(1)) {
        let list = list.split([']', ')']).next().expect("a split has a first part");
        keys.extend(list.split('"').skip(1).step_by(2).map(str::to_owned));
    }
    keys
}

fn documented_keys() -> BTreeSet<String> {
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../man/vrrpd.toml.5"))
        .expect("a file of this tree");
    // `.It Ic a , Ic b`, and in a sentence `.Ic a , b`.
    let items = page.lines().filter_map(|line| line.strip_prefix(".It Ic ").or(line.strip_prefix(".Ic ")));
    let words = items.flat_map(|item| item.split(" , ").map(|part| part.strip_prefix("Ic ").unwrap_or(part)));
    let named = words.map(|part| part.split(' ').next().expect("a split has a first part").to_owned());
    named.map(|name| name.trim_matches(['[', ']']).to_owned()).collect()
}

#[test]
fn every_key_is_in_the_manual_and_the_manual_has_no_other() {
    let (read, documented) = (read_keys(), documented_keys());
    assert!(read.contains("advert_interval") && read.contains("peers") && read.len() > 15, "read: {read:?}");
    let missing: Vec<_> = read.difference(&documented).collect();
    let keepalived = |key: &String| FOREIGN.contains(&key.as_str());
    let invented: Vec<_> = documented.difference(&read).filter(|key| !keepalived(key)).collect();
    assert!(missing.is_empty(), "vrrpd.toml(5) lacks {missing:?}");
    assert!(invented.is_empty(), "vrrpd.toml(5) describes {invented:?}, which vrrpd does not read");
}
