//! The table `[authentication]`: version 2's PASS. The password is never printed, not even in a message about it.

use std::path::Path;

use daemon::diagnostic::Location;
use daemon::reader::Reader;
use daemon::secret::{self, Purpose};

use crate::packet::Authentication;
use crate::types::Version;

const LENGTH: usize = 8;
const OTHER_KEYS: &[(&str, &str)] = &[
    ("auth_type", "keepalived's auth_type PASS is type = \"pass\" here"),
    ("auth_pass", "keepalived's auth_pass is password_file = \"…\" here"),
];

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
    let purpose = Purpose { root, only_checked, group: "trivet-vrrpd" };
    let password = secret::read(&mut reader, table, purpose);
    let password = password.map(|password| padded(&mut reader, &password.value, &password.at));
    reader.finish(OTHER_KEYS);
    password.map_or(Authentication::None, Authentication::Pass)
}

/// What goes on the wire: eight bytes, filled up with zeros.
fn padded(reader: &mut Reader<'_>, bytes: &[u8], at: &Location) -> [u8; LENGTH] {
    if bytes.len() > LENGTH {
        let message = "the password is longer than 8 bytes: only the first 8 are sent and compared";
        reader.report().warning(at, message).hint("keepalived does the same with auth_pass");
    }
    let mut password = [0; LENGTH];
    let used = bytes.len().min(LENGTH);
    password[..used].copy_from_slice(&bytes[..used]);
    password
}
