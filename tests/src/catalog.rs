//! Every journal entry with a MESSAGE_ID has a text in units/trivet.catalog, and every text an entry.

#![cfg(test)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("reading a folder of the sources").flatten() {
        let path = entry.path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

fn is_id(word: &str) -> bool {
    word.len() == 32 && word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

/// The 128-bit constants of the daemons' sources: they have none but these.
fn in_the_sources(top: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for crate_name in ["daemon", "vrrpd", "ipvsd", "checkd"] {
        sources(&top.join(crate_name).join("src"), &mut files);
    }
    let mut ids = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("reading a source");
        ids.extend(text.split('"').filter(|word| is_id(word)).map(ToOwned::to_owned));
    }
    ids
}

#[test]
fn every_message_id_is_used_once_and_has_a_text_in_the_catalog() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let catalog = fs::read_to_string(top.join("units/trivet.catalog")).expect("reading the catalog");
    let explained: Vec<&str> =
        catalog.lines().filter_map(|line| line.strip_prefix("-- ")).map(str::trim).collect();
    assert!(explained.iter().all(|id| is_id(id)), "{explained:?}");
    let used = in_the_sources(&top);
    assert!(used.len() >= 10, "the search finds the sources: {used:?}");
    let (used_once, explained_once) = (BTreeSet::from_iter(used.iter()), BTreeSet::from_iter(&explained));
    assert_eq!(used_once.len(), used.len(), "an ID belongs to one kind of entry");
    assert_eq!(explained_once.len(), explained.len(), "a text belongs to one ID");
    let used: BTreeSet<&str> = used.iter().map(String::as_str).collect();
    assert_eq!(used, explained.into_iter().collect(), "sources on the left, catalog on the right");
}
