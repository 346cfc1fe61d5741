//! Finding configuration files as systemd finds units: three places, one name, one object.
//!
//! `/usr/lib/trivet` < `/run/trivet` < `/etc/trivet`: the same file name in a later place masks the earlier one, a
//! link to `/dev/null` disables the object, and `NAME.toml.d/*.toml` from all three places override it key by key,
//! in the order of their names. Hidden files and other endings are not ours and are passed over.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::credentials;
use crate::diagnostic::{Report, Source};
use crate::document::Table;

/// The places, the weakest first.
const PLACES: [&str; 3] = ["usr/lib/trivet", "run/trivet", "etc/trivet"];

/// The longest file that is read, bytes: thousands of servers are a tenth of it.
const LONGEST: u64 = 1024 * 1024;

/// One configured object: the merged text of its files.
#[derive(Debug)]
pub struct Object {
    /// The stem of the file's name.
    pub name: String,
    /// The file that defines it, for messages about the object as a whole.
    pub path: PathBuf,
    pub table: Table,
}

/// An object that was found, and not read yet.
#[derive(Debug)]
pub struct Candidate {
    /// The stem of the file's name.
    pub name: String,
    /// The file that defines it.
    pub path: PathBuf,
    is_overridden: bool,
}

/// What tells a file from any other that stands, or will stand, at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Device and inode.
    file: (u64, u64),
    size: u64,
    /// Of the contents and of the inode, in nanoseconds of CLOCK_REALTIME.
    modified: i128,
    changed: i128,
}

/// How much older than its stamp a file must be: whoever writes it again within the kernel's own tick leaves no mark.
const SETTLED: i128 = 1_000_000_000;

/// All objects of a directory such as `vrrp.d`, in the order of their names, to be read one by one: thousands of them
/// need not be in memory at once. What cannot be looked at goes to the report as errors.
pub fn candidates(root: &Path, directory: &str, report: &mut Report) -> Vec<Candidate> {
    let Found { files, overridden } = Found::below(root, directory, report);
    let candidate = |(name, path)| Candidate { is_overridden: overridden.contains(&name), name, path };
    files.into_iter().map(candidate).collect()
}

/// As [`candidates`], all of them read. What cannot be read or parsed goes to the report as errors.
pub fn load_directory(root: &Path, directory: &str, report: &mut Report) -> Vec<Object> {
    let found = candidates(root, directory, report);
    found.into_iter().filter_map(|candidate| candidate.read(root, directory, report)).collect()
}

impl Candidate {
    /// With its drop-ins. `None`: it cannot be read, which has been reported.
    pub fn read(&self, root: &Path, directory: &str, report: &mut Report) -> Option<Object> {
        let Self { name, path, is_overridden } = self;
        let base = read_table(path, report)?;
        // Thousands of objects have no drop-ins: their folders are not looked for one by one.
        let table =
            if *is_overridden { merged_drop_ins(root, directory, name, Some(base), report)? } else { base };
        Some(Object { name: name.clone(), path: path.clone(), table })
    }

    /// To be taken before it is read, at `now` (microseconds of CLOCK_REALTIME): with the same stamp later it reads the
    /// same. `None`: that cannot be said of it, because it was written just now, or has drop-ins.
    pub fn stamp(&self, now: u64) -> Option<Stamp> {
        let data = fs::metadata(&self.path).ok().filter(|_| !self.is_overridden)?;
        let nanoseconds = |seconds: i64, part: i64| i128::from(seconds) * 1_000_000_000 + i128::from(part);
        let stamp = Stamp {
            file: (data.dev(), data.ino()),
            size: data.size(),
            modified: nanoseconds(data.mtime(), data.mtime_nsec()),
            changed: nanoseconds(data.ctime(), data.ctime_nsec()),
        };
        (stamp.changed + SETTLED < i128::from(now) * 1_000).then_some(stamp)
    }
}

/// The names of the objects of a directory, without reading them: for references from other daemons' files.
pub fn names(root: &Path, directory: &str) -> Vec<String> {
    Found::below(root, directory, &mut Report::new()).files.into_keys().collect()
}

/// Whether an object of this name is disabled: the last of its files is a link to `/dev/null`, or empty.
pub fn is_masked(root: &Path, directory: &str, name: &str) -> bool {
    let file = format!("{name}.toml");
    let mut paths = PLACES.iter().rev().map(|place| root.join(place).join(directory).join(&file));
    paths.find(|path| exists(path)).is_some_and(|path| is_mask(&path))
}

/// A daemon-wide file such as `vrrpd.toml`, with its drop-ins; `None` if there is none (all settings default).
pub fn load_file(root: &Path, stem: &str, report: &mut Report) -> Option<Object> {
    let file = format!("{stem}.toml");
    let path = PLACES.iter().rev().map(|place| root.join(place).join(&file)).find(|path| exists(path));
    match path {
        Some(path) if is_mask(&path) => None,
        Some(path) => load_object(root, "", stem.to_owned(), path, report),
        None => {
            let table = merged_drop_ins(root, "", stem, None, report)?;
            let path = table.at.source.path.clone();
            Some(Object { name: stem.to_owned(), path, table })
        }
    }
}

/// What one listing of a directory's three places tells.
#[derive(Debug, Default)]
struct Found {
    /// Name to path, after masking.
    files: BTreeMap<String, PathBuf>,
    /// The names that have a folder of drop-ins somewhere.
    overridden: BTreeSet<String>,
}

impl Found {
    fn below(root: &Path, directory: &str, report: &mut Report) -> Self {
        let mut found = Self::default();
        for place in PLACES {
            for entry in entries(&root.join(place).join(directory), report) {
                found.take(&entry, report);
            }
        }
        found.files.retain(|_, path| !is_mask(path));
        found
    }

    fn take(&mut self, entry: &fs::DirEntry, report: &mut Report) {
        let name = entry.file_name();
        let Some(text) = name.to_str() else {
            if is_toml_file(entry) {
                report
                    .file_error(&entry.path(), "the file's name is not UTF-8")
                    .hint("rename it; its stem names the object");
            }
            return;
        };
        if let Some(stem) = text.strip_suffix(".toml.d") {
            self.overridden.insert(stem.to_owned());
        } else if let Some(stem) = text.strip_suffix(".toml").filter(|_| is_toml_file(entry)) {
            self.files.insert(stem.to_owned(), entry.path());
        }
    }
}

fn load_object(
    root: &Path,
    directory: &str,
    name: String,
    path: PathBuf,
    report: &mut Report,
) -> Option<Object> {
    let base = read_table(&path, report)?;
    let table = merged_drop_ins(root, directory, &name, Some(base), report)?;
    Some(Object { name, path, table })
}

fn merged_drop_ins(
    root: &Path,
    directory: &str,
    name: &str,
    base: Option<Table>,
    report: &mut Report,
) -> Option<Table> {
    let mut drop_ins: BTreeMap<String, PathBuf> = BTreeMap::new();
    for place in PLACES {
        let folder = root.join(place).join(directory).join(format!("{name}.toml.d"));
        for path in toml_files(&folder, report) {
            let file_name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            drop_ins.insert(file_name.unwrap_or_default(), path);
        }
    }
    let mut table = base;
    for path in drop_ins.values().filter(|path| !is_mask(path)) {
        let Some(over) = read_table(path, report) else { continue };
        match &mut table {
            Some(table) => table.merge(over),
            None => table = Some(over),
        }
    }
    table
}

fn read_table(path: &Path, report: &mut Report) -> Option<Table> {
    let text = read_regular(path, LONGEST)
        .and_then(|bytes| String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8")));
    match text {
        Ok(text) => {
            let source = Arc::new(Source { path: path.to_owned(), text });
            Some(Table::parse(&source, report))
        }
        Err(error) => {
            report.file_error(path, format!("cannot read it: {error}"));
            None
        }
    }
}

/// The whole of a file that ought to be short. A running daemon reads it in its loop, so it must be one that cannot
/// keep it waiting.
///
/// # Errors
/// It cannot be read, is no regular file (a FIFO would block for ever), or is longer than `most` bytes.
pub fn read_regular(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    // Without O_NONBLOCK to open a FIFO is to wait for its writer.
    let flags = nix::fcntl::OFlag::O_NONBLOCK.bits();
    let file = fs::OpenOptions::new().read(true).custom_flags(flags).open(credentials::way_to(path))?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if u64::try_from(bytes.len()).is_ok_and(|length| length <= most) {
        return Ok(bytes);
    }
    Err(io::Error::other(format!("it is longer than {most} bytes")))
}

/// The `*.toml` of one folder, in no order. A folder that does not exist is empty.
fn toml_files(folder: &Path, report: &mut Report) -> Vec<PathBuf> {
    let files = entries(folder, report);
    files.into_iter().filter(is_toml_file).map(|entry| entry.path()).collect()
}

fn entries(folder: &Path, report: &mut Report) -> Vec<fs::DirEntry> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.filter_map(Result::ok).collect(),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                report.file_error(folder, format!("cannot read the folder: {error}"));
            }
            Vec::new()
        }
    }
}

/// A visible `*.toml` that is no folder, nor a link to one.
fn is_toml_file(entry: &fs::DirEntry) -> bool {
    let name = entry.file_name();
    let bytes = name.as_encoded_bytes();
    let is_folder = || match entry.file_type() {
        Ok(kind) if !kind.is_symlink() => kind.is_dir(),
        Ok(_) | Err(_) => entry.path().is_dir(),
    };
    bytes.len() > 5 && bytes.ends_with(b".toml") && !bytes.starts_with(b".") && !is_folder()
}

/// Whether the path is there, be it a dangling link.
fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// A link to `/dev/null`, or, as systemd has it, an empty file in its place.
fn is_mask(path: &Path) -> bool {
    let Ok(data) = fs::symlink_metadata(path) else { return false };
    if data.is_symlink() {
        let leads_nowhere = fs::read_link(path).is_ok_and(|target| target == Path::new("/dev/null"));
        return leads_nowhere || fs::metadata(path).is_ok_and(|data| data.is_file() && data.len() == 0);
    }
    data.is_file() && data.len() == 0
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::document::Kind;
    use crate::testing::TempRoot;

    fn integer(object: &Object, key: &str) -> Option<i64> {
        let Kind::Integer(number) = object.table.entries.get(key)?.value.kind else { return None };
        number
    }

    #[test]
    fn the_same_name_in_a_later_place_masks_the_earlier_file_as_a_whole() {
        let root = TempRoot::new();
        root.write("usr/lib/trivet/vrrp.d/a.toml", "x = 1\ny = 1\n");
        root.write("etc/trivet/vrrp.d/a.toml", "x = 2\n");
        let mut report = Report::new();
        let objects = load_directory(root.path(), "vrrp.d", &mut report);
        assert!(report.is_empty(), "{report}");
        assert_eq!((integer(&objects[0], "x"), integer(&objects[0], "y")), (Some(2), None));
    }

    #[test]
    fn drop_ins_of_all_places_override_key_by_key_in_the_order_of_their_names() {
        let root = TempRoot::new();
        root.write("etc/trivet/vrrp.d/a.toml", "x = 1\ny = 1\nz = 1\n");
        root.write("etc/trivet/vrrp.d/a.toml.d/10-first.toml", "x = 2\ny = 2\n");
        root.write("run/trivet/vrrp.d/a.toml.d/20-second.toml", "y = 3\n");
        let objects = load_directory(root.path(), "vrrp.d", &mut Report::new());
        let values = ["x", "y", "z"].map(|key| integer(&objects[0], key));
        assert_eq!(values, [Some(2), Some(3), Some(1)]);
    }

    #[test]
    fn a_stamp_tells_every_change_of_a_file_and_none_is_given_for_what_was_just_written() {
        let root = TempRoot::new();
        root.write("etc/trivet/vrrp.d/a.toml", "x = 1\n");
        root.write("etc/trivet/vrrp.d/b.toml", "x = 1\n");
        root.write("etc/trivet/vrrp.d/b.toml.d/x.toml", "x = 2\n");
        let stamp =
            |number: usize, now| candidates(root.path(), "vrrp.d", &mut Report::new())[number].stamp(now);
        let path = root.path().join("etc/trivet/vrrp.d/a.toml");
        let written = u64::try_from(fs::metadata(&path).unwrap().ctime()).unwrap() * 1_000_000;
        let later = written + 10_000_000;
        assert!(stamp(0, written).is_none() && stamp(0, later).is_some());
        assert!(stamp(1, later).is_none(), "it has drop-ins");
        let before = stamp(0, later);
        assert_eq!(stamp(0, later), before);
        // The same length, written in place; and another file in its place, as Ansible does it.
        root.write("etc/trivet/vrrp.d/a.toml", "x = 2\n");
        let second = stamp(0, later);
        assert_ne!(second, before);
        root.write("etc/trivet/vrrp.d/new", "x = 2\n");
        fs::rename(root.path().join("etc/trivet/vrrp.d/new"), &path).unwrap();
        assert_ne!(stamp(0, later), second);
    }

    #[test]
    fn a_link_to_dev_null_disables_an_object_and_other_files_are_passed_over() {
        let root = TempRoot::new();
        root.write("usr/lib/trivet/vrrp.d/a.toml", "x = 1\n");
        root.write("etc/trivet/vrrp.d/b.toml.example", "x = 1\n");
        root.write("etc/trivet/vrrp.d/.c.toml", "x = 1\n");
        symlink("/dev/null", root.path().join("etc/trivet/vrrp.d/a.toml")).unwrap();
        assert!(load_directory(root.path(), "vrrp.d", &mut Report::new()).is_empty());
        assert!(names(root.path(), "vrrp.d").is_empty());
        let masked = |name| is_masked(root.path(), "vrrp.d", name);
        assert_eq!((masked("a"), masked("b"), masked("c")), (true, false, false));
        root.write("run/trivet/vrrp.d/d.toml", "");
        assert!(masked("d"), "an empty file masks, too");
        root.write("etc/trivet/vrrp.d/d.toml", "x = 1\n");
        assert!(!masked("d"), "the last file counts");
    }

    #[test]
    fn a_missing_folder_is_empty_and_an_unreadable_file_is_an_error() {
        let root = TempRoot::new();
        let mut report = Report::new();
        assert!(load_directory(root.path(), "vrrp.d", &mut report).is_empty());
        assert!(report.is_empty(), "{report}");
        fs::create_dir_all(root.path().join("etc/trivet/vrrp.d")).unwrap();
        symlink("/nowhere/at/all", root.path().join("etc/trivet/vrrp.d/a.toml")).unwrap();
        load_directory(root.path(), "vrrp.d", &mut report);
        assert!(
            report.has_errors() && report.to_string().contains("a.toml: error: cannot read it"),
            "{report}"
        );
    }

    #[test]
    fn what_would_keep_the_reader_waiting_is_an_error_and_not_read() {
        let root = TempRoot::new();
        root.write("etc/trivet/vrrp.d/long.toml", &"#".repeat(1024 * 1024 + 1));
        root.write("etc/trivet/vrrp.d/most.toml", &"#".repeat(1024 * 1024));
        nix::unistd::mkfifo(&root.path().join("etc/trivet/vrrp.d/fifo.toml"), nix::sys::stat::Mode::S_IRWXU)
            .unwrap();
        let mut report = Report::new();
        let objects = load_directory(root.path(), "vrrp.d", &mut report);
        assert_eq!(objects.iter().map(|object| &*object.name).collect::<Vec<_>>(), ["most"]);
        let text = report.to_string();
        assert!(text.contains("fifo.toml: error: cannot read it: it is not a regular file"), "{text}");
        assert!(text.contains("long.toml: error: cannot read it: it is longer than 1048576 bytes"), "{text}");
    }

    #[test]
    fn the_daemon_wide_file_is_optional_and_takes_drop_ins_too() {
        let root = TempRoot::new();
        assert!(load_file(root.path(), "vrrpd", &mut Report::new()).is_none());
        root.write("etc/trivet/vrrpd.toml.d/x.toml", "x = 4\n");
        let object = load_file(root.path(), "vrrpd", &mut Report::new()).unwrap();
        assert_eq!(integer(&object, "x"), Some(4));
        root.write("usr/lib/trivet/vrrpd.toml", "x = 1\ny = 1\n");
        let object = load_file(root.path(), "vrrpd", &mut Report::new()).unwrap();
        assert_eq!((integer(&object, "x"), integer(&object, "y")), (Some(4), Some(1)));
    }
}
