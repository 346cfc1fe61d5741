//! Files that are replaced as a whole: whoever reads one, also after a crash in the middle, finds the former or the
//! new one, and never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// What a file that was replaced outlives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// The process: for what lies on a tmpfs, which no reboot survives.
    Process,
    /// A power failure in the next moment: the file and its name are on the disk before we go on.
    Power,
}

/// Replace `path`, whose folder is made if there is none, with `bytes`. For everybody to read, as far as the umask
/// allows.
///
/// # Errors
/// It could not be done. The former file is in its place, unless it was only the disk that did not say that it has the
/// new one ([`Durability::Power`]): to be sure, write again what should be there.
pub fn replace_file(path: &Path, bytes: &[u8], durability: Durability) -> io::Result<()> {
    let mut new = Replacement::begin(path, 0o666)?;
    new.write_all(bytes)?;
    new.put_in_place(durability).map(drop)
}

/// A file that grows beside the one that it will replace, as `NAME.new`; removed if it never does.
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    new: PathBuf,
    file: File,
    is_in_place: bool,
}

impl Replacement {
    /// With these permissions, less the umask.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn begin(path: &Path, mode: u32) -> io::Result<Self> {
        fs::create_dir_all(folder(path))?;
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        // Made anew: what a crash, or somebody else, has left under this name is not written through.
        let _ = fs::remove_file(&new);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&new)?;
        Ok(Self { path: path.to_owned(), new, file, is_in_place: false })
    }

    /// It is whole. The file, to be written on where it is.
    ///
    /// # Errors
    /// As [`replace_file`].
    pub fn put_in_place(mut self, durability: Durability) -> io::Result<File> {
        // A second handle, since `drop` wants the first.
        let file = self.file.try_clone()?;
        if durability == Durability::Power {
            file.sync_all()?;
        }
        fs::rename(&self.new, &self.path)?;
        self.is_in_place = true;
        if durability == Durability::Power {
            // The name is the folder's.
            File::open(folder(&self.path))?.sync_all()?;
        }
        Ok(file)
    }
}

impl Write for Replacement {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // Another one may have begun since, under the same name.
        let ours = self.file.metadata().map(|about| (about.dev(), about.ino()));
        let there = fs::symlink_metadata(&self.new).map(|about| (about.dev(), about.ino()));
        if !self.is_in_place && matches!((ours, there), (Ok(ours), Ok(there)) if ours == there) {
            // A full disk wants the room back.
            let _ = fs::remove_file(&self.new);
        }
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;
    use crate::testing::TempRoot;

    #[test]
    fn a_file_is_replaced_by_another_one_and_who_has_the_former_open_still_reads_it() {
        let root = TempRoot::new();
        let path = root.path().join("var/lib/thing.state");
        for durability in [Durability::Process, Durability::Power] {
            replace_file(&path, b"former", durability).unwrap();
            let former = File::open(&path).unwrap();
            replace_file(&path, b"new", durability).unwrap();
            assert_eq!(io::read_to_string(&former).unwrap(), "former");
            assert_eq!(fs::read(&path).unwrap(), b"new");
            assert_ne!(former.metadata().unwrap().ino(), fs::metadata(&path).unwrap().ino());
        }
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().collect();
        assert_eq!(names.len(), 1, "and nothing else is left: {names:?}");
    }

    #[test]
    fn what_is_not_whole_replaces_nothing_and_leaves_nothing() {
        let root = TempRoot::new();
        let path = root.path().join("state");
        replace_file(&path, b"former", Durability::Process).unwrap();
        let mut new = Replacement::begin(&path, 0o600).unwrap();
        new.write_all(b"ha").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"former");
        drop(new);
        assert_eq!(fs::read(&path).unwrap(), b"former");
        assert!(!root.path().join("state.new").exists());
        // Nor does a failure of the last step.
        let folder = root.path().join("folder");
        fs::create_dir_all(folder.join("full")).unwrap();
        replace_file(&folder, b"new", Durability::Power).unwrap_err();
        assert!(folder.is_dir() && !root.path().join("folder.new").exists());
    }

    #[test]
    fn one_that_is_given_up_leaves_the_next_one_alone() {
        let root = TempRoot::new();
        let path = root.path().join("state");
        let first = Replacement::begin(&path, 0o600).unwrap();
        let mut second = Replacement::begin(&path, 0o600).unwrap();
        drop(first);
        second.write_all(b"second").unwrap();
        second.put_in_place(Durability::Process).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
    }

    #[test]
    fn what_was_left_under_the_new_name_is_not_written_through() {
        let root = TempRoot::new();
        root.write("elsewhere", "not ours");
        symlink(root.path().join("elsewhere"), root.path().join("state.new")).unwrap();
        let mut new = Replacement::begin(&root.path().join("state"), 0o600).unwrap();
        new.write_all(b"ours").unwrap();
        let mut file = new.put_in_place(Durability::Process).unwrap();
        file.write_all(b", and more").unwrap();
        assert_eq!(fs::read(root.path().join("state")).unwrap(), b"ours, and more");
        assert_eq!(fs::read(root.path().join("elsewhere")).unwrap(), b"not ours");
        let mode = fs::symlink_metadata(root.path().join("state")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
