//! What tests of several crates need: a file system root of their own, and a way to try decoders. Not part of any
//! daemon.

pub mod fuzz;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A fresh directory to be given as `--root`; removed when dropped.
#[derive(Debug)]
pub struct TempRoot(PathBuf);

impl TempRoot {
    /// # Panics
    /// If the directory cannot be made: a test cannot go on without it.
    #[expect(clippy::new_without_default, reason = "making a directory is not a default")]
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("trivet-test-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("a temporary directory can be made");
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Write a file below the root, with its folders.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path);
        let folder = path.parent().expect("a file has a folder");
        fs::create_dir_all(folder).expect("a folder can be made below a temporary directory");
        fs::write(path, text).expect("a file can be written below a temporary directory");
    }
}

impl Drop for TempRoot {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
