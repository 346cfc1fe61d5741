//! Which services are ours, written down in the runtime directory: so a service whose file was removed while ipvsd
//! was down is removed from the kernel, and nobody else's ever is.
//!
//! The directory is on a tmpfs and is lost with the kernel's table at a reboot, as it must be.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use daemon::cli::below;
use daemon::replace::{Durability, replace_file};

use crate::table::{Family, Protocol, ServiceKey};

/// `run/trivet/ipvsd/owned` below the root: one service a line, `tcp 10.0.10.50:80` or `fwmark 7`.
#[derive(Debug)]
pub struct OwnedFile(PathBuf);

impl OwnedFile {
    pub fn new(root: &Path) -> Self {
        Self(below(root, "/run/trivet/ipvsd/owned"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What was written last; nothing if nothing was. Lines that make no sense are left out.
    pub fn read(&self) -> io::Result<BTreeSet<ServiceKey>> {
        match fs::read_to_string(&self.0) {
            Ok(text) => Ok(text.lines().filter_map(parse).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeSet::new()),
            Err(error) => Err(error),
        }
    }

    /// Replace the file as a whole.
    pub fn write(&self, owned: &BTreeSet<ServiceKey>) -> io::Result<()> {
        let mut text = String::new();
        for key in owned {
            writeln!(text, "{key}").expect("writing to a String cannot fail");
        }
        replace_file(&self.0, text.as_bytes(), Durability::Process)
    }
}

/// The reverse of `ServiceKey`'s `Display`, for the services that a configuration can make.
pub(crate) fn parse(line: &str) -> Option<ServiceKey> {
    if let Some(mark) = line.strip_prefix("fwmark ") {
        let (mark, family) = match mark.strip_suffix(" (IPv6)") {
            Some(mark) => (mark, Family::V6),
            None => (mark, Family::V4),
        };
        return Some(ServiceKey::Mark { family, mark: mark.parse().ok()? });
    }
    let (word, address) = line.split_once(' ')?;
    let protocol = Protocol::NAMED.into_iter().find(|protocol| protocol.to_string() == word)?;
    Some(ServiceKey::Address { protocol, address: address.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use daemon::testing::TempRoot;

    use super::*;

    #[test]
    fn what_is_written_is_read_back_and_nonsense_is_left_out() {
        let root = TempRoot::new();
        let file = OwnedFile::new(root.path());
        assert!(file.read().unwrap().is_empty());
        let key =
            |protocol, address: &str| ServiceKey::Address { protocol, address: address.parse().unwrap() };
        let owned = BTreeSet::from([
            key(Protocol::Tcp, "10.0.10.50:80"),
            key(Protocol::Udp, "[2001:db8::1]:53"),
            key(Protocol::Sctp, "10.0.10.50:80"),
            ServiceKey::Mark { family: Family::V4, mark: 7 },
            ServiceKey::Mark { family: Family::V6, mark: 7 },
        ]);
        file.write(&owned).unwrap();
        assert_eq!(file.read().unwrap(), owned);
        root.write(
            "run/trivet/ipvsd/owned",
            "tcp 10.0.10.50:80\n\nnonsense\ntcp x\nicmp 10.0.0.1:1\nfwmark x\n",
        );
        assert_eq!(file.read().unwrap(), BTreeSet::from([key(Protocol::Tcp, "10.0.10.50:80")]));
    }
}
