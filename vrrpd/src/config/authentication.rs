//! The table `[authentication]`: version 2's PASS. The password is never printed, not even in a message about it.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs};

use daemon::cli::below;
use daemon::diagnostic::Location;
use daemon::document::Table;
use daemon::dropin::read_regular;
use daemon::reader::{Located, Reader};

use crate::packet::Authentication;
use crate::types::Version;

const LENGTH: usize = 8;
/// A file longer than this, in bytes, has no password in it.
const LONGEST: u64 = 4096;
const OTHER_KEYS: &[(&str, &str)] = &[
    ("auth_type", "keepalived's auth_type PASS is type = \"pass\" here"),
    ("auth_pass", "keepalived's auth_pass is password_file = \"…\" here"),
];
/// The keys that name the password, the safest first.
const SOURCES: [&str; 3] = ["password_credential", "password_file", "password"];

/// `only_checked`: the configuration is not going to be used, and need not be run by systemd.
pub(super) fn read(
    reader: &mut Reader<'_>,
    root: &Path,
    version: Option<Version>,
    only_checked: bool,
) -> Authentication {
    let Some(table) = reader.table("authentication") else { return Authentication::None };
    let report = reader.report();
    if version == Some(Version::V3) {
        report
            .error(&table.at, "version 3 has no authentication")
            .hint("RFC 9568 took it away; remove [authentication], or set version = 2");
    }
    let mut reader = Reader::new(table, report);
    let kind = reader.choice("type", &[("pass", ())], &[("PASS", "pass"), ("AH", "pass")]);
    reader.require("type", kind, "type = \"pass\"");
    let password = read_password(&mut reader, root, table, only_checked);
    reader.finish(OTHER_KEYS);
    password.map_or(Authentication::None, Authentication::Pass)
}

fn read_password(
    reader: &mut Reader<'_>,
    root: &Path,
    table: &Table,
    only_checked: bool,
) -> Option<[u8; LENGTH]> {
    let credential = reader.string("password_credential");
    let file = reader.string("password_file");
    let inline = reader.string("password");
    let given: Vec<&str> = SOURCES.into_iter().filter(|key| table.entries.contains_key(*key)).collect();
    if given.len() != 1 {
        let message = match given.as_slice() {
            [] => "the password is missing".to_owned(),
            several => format!("the password is given {} times: {}", several.len(), several.join(", ")),
        };
        let hint = "give one of password_credential, password_file, password";
        reader.report().error(&table.at, message).hint(hint);
        return None;
    }
    let (bytes, at) = match (credential, file, inline) {
        (Some(name), _, _) => (read_credential(reader, &name, only_checked)?, name.at),
        (_, Some(path), _) => (read_file(reader, &below(root, &path.value), &path.at)?, path.at),
        (_, _, Some(text)) => {
            warn_if_world_readable(reader, &text.at.source.path, &text.at);
            (text.value.into_bytes(), text.at)
        }
        // A wrong type, reported already.
        (None, None, None) => return None,
    };
    padded(reader, &bytes, &at)
}

/// What goes on the wire: eight bytes, filled up with zeros.
fn padded(reader: &mut Reader<'_>, bytes: &[u8], at: &Location) -> Option<[u8; LENGTH]> {
    if bytes.is_empty() {
        reader.report().error(at, "the password is empty");
        return None;
    }
    if bytes.len() > LENGTH {
        let message = "the password is longer than 8 bytes: only the first 8 are sent and compared";
        reader.report().warning(at, message).hint("keepalived does the same with auth_pass");
    }
    let mut password = [0; LENGTH];
    let used = bytes.len().min(LENGTH);
    password[..used].copy_from_slice(&bytes[..used]);
    Some(password)
}

fn read_credential(reader: &mut Reader<'_>, name: &Located<String>, only_checked: bool) -> Option<Vec<u8>> {
    if name.value.is_empty() || name.value.contains('/') {
        reader.report().error(&name.at, "'password_credential' is not the name of a credential");
        return None;
    }
    let Some(directory) = env::var_os("CREDENTIALS_DIRECTORY") else {
        let message = "there are no credentials: this was not started by systemd with LoadCredential=";
        if only_checked {
            reader.report().warning(&name.at, message).hint("the unit's own --check, at reload, reads it");
        } else {
            reader.report().error(&name.at, message);
        }
        return None;
    };
    read_file(reader, &PathBuf::from(directory).join(&name.value), &name.at)
}

/// The file's content without the line end that an editor leaves.
fn read_file(reader: &mut Reader<'_>, path: &Path, at: &Location) -> Option<Vec<u8>> {
    match read_regular(path, LONGEST) {
        Ok(bytes) => {
            warn_if_world_readable(reader, path, at);
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

fn warn_if_world_readable(reader: &mut Reader<'_>, path: &Path, at: &Location) {
    let open = fs::metadata(path).is_ok_and(|data| data.permissions().mode() & 0o004 != 0);
    if open {
        let message = format!("everybody on this machine can read the password in {}", path.display());
        let hint = format!("chmod o-r {0}; chgrp trivet-vrrpd {0}", path.display());
        reader.report().warning(at, message).hint(hint);
    }
}
