//! A password from the configuration: a systemd credential, a file, or inline. Never printed, not even in a message
//! about it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::cli::below;
use crate::credentials;
use crate::diagnostic::Location;
use crate::document::Table;
use crate::dropin::read_regular;
use crate::reader::{Located, Reader};

/// A file longer than this, in bytes, has no password in it.
const LONGEST: u64 = 4096;
/// The keys that name the password, the safest first.
pub const KEYS: [&str; 3] = ["password_credential", "password_file", "password"];

/// Who reads it, and what for.
#[derive(Clone, Copy, Debug)]
pub struct Purpose<'a> {
    /// Where `password_file` begins.
    pub root: &'a Path,
    /// The configuration is not going to be used, and need not be run by systemd.
    pub only_checked: bool,
    /// The daemon's group, for a hint.
    pub group: &'static str,
}

/// Whether any of [`KEYS`] is there.
pub fn is_given(table: &Table) -> bool {
    KEYS.iter().any(|key| table.entries.contains_key(*key))
}

/// The password that exactly one of [`KEYS`] of `table`, which is `reader`'s, must name; not empty. `None`: there is
/// none, and the report says why.
pub fn read(reader: &mut Reader<'_>, table: &Table, purpose: Purpose<'_>) -> Option<Located<Vec<u8>>> {
    let credential = reader.string("password_credential");
    let file = reader.string("password_file");
    let inline = reader.string("password");
    let given: Vec<&str> = KEYS.into_iter().filter(|key| table.entries.contains_key(*key)).collect();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [] => "the password is missing".to_owned(),
            several => format!("the password is given {} times: {}", several.len(), several.join(", ")),
        };
        let hint = "give one of password_credential, password_file, password";
        reader.report().error(&table.at, message).hint(hint);
        return None;
    }
    let (value, at) = match (credential, file, inline) {
        (Some(name), _, _) => (read_credential(reader, &name, purpose)?, name.at),
        (_, Some(path), _) => {
            (read_file(reader, &below(purpose.root, &path.value), &path.at, purpose)?, path.at)
        }
        (_, _, Some(text)) => {
            warn_if_world_readable(reader, &text.at.source.path, &text.at, purpose);
            (text.value.into_bytes(), text.at)
        }
        // A wrong type, reported already.
        (None, None, None) => return None,
    };
    if value.is_empty() {
        reader.report().error(&at, "the password is empty");
        return None;
    }
    Some(Located { value, at })
}

fn read_credential(reader: &mut Reader<'_>, name: &Located<String>, purpose: Purpose<'_>) -> Option<Vec<u8>> {
    if name.value.is_empty() || name.value.contains('/') {
        reader.report().error(&name.at, "'password_credential' is not the name of a credential");
        return None;
    }
    let Some(directory) = credentials::directory() else {
        let message = "there are no credentials: this was not started by systemd with LoadCredential=";
        if purpose.only_checked && !credentials::is_of_reload() {
            reader.report().warning(&name.at, message).hint("the unit's own --check, at reload, reads it");
        } else {
            reader.report().error(&name.at, message);
        }
        return None;
    };
    read_file(reader, &directory.join(&name.value), &name.at, purpose)
}

/// The file's content without the line end that an editor leaves.
fn read_file(reader: &mut Reader<'_>, path: &Path, at: &Location, purpose: Purpose<'_>) -> Option<Vec<u8>> {
    match read_regular(path, LONGEST) {
        Ok(bytes) => {
            warn_if_world_readable(reader, path, at, purpose);
            let length = bytes.trim_ascii_end().len();
            Some(bytes[..length].to_vec())
        }
        Err(error) => {
            let message = format!("cannot read the password from {}: {error}", path.display());
            reader.report().error(at, message);
            None
        }
    }
}

fn warn_if_world_readable(reader: &mut Reader<'_>, path: &Path, at: &Location, purpose: Purpose<'_>) {
    let open = fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o004 != 0);
    if open {
        let message = format!("everybody on this machine can read the password in {}", path.display());
        let hint = format!("chmod o-r {0}; chgrp {1} {0}", path.display(), purpose.group);
        reader.report().warning(at, message).hint(hint);
    }
}
