//! keepalived as a peer and as the measure: this machine's own, and that of the tests' Debian 13 image, which runs here
//! in the image as its root. Always without a syslog (-G): its own log calls would stall it for seconds where nobody
//! reads them, and a comparison would be dishonest.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::host::{Host, Process};
use crate::trivet::real_time;

/// Runs keepalived with another root, in which it sees this machine's processes, devices and /run, where the lab keeps
/// its files. The mounts are those of its own mount namespace and end with it; it keeps its process id.
const IN_ROOT: &str =
    "set -e; for d in proc sys dev run; do mount --rbind /$d $0/$d; done; exec chroot $0 keepalived \"$@\"";

/// A keepalived that can be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Such as "2.2.7".
    pub version: String,
    /// What to run, with the arguments that come before keepalived's own.
    program: Vec<PathBuf>,
}

impl Release {
    /// The machine's own.
    pub fn installed() -> Option<Self> {
        Self::of(vec![PathBuf::from("keepalived")])
    }

    /// That of the tests' image, if it has been made: TRIVET_ROOTFS, or the newest in the cache.
    pub fn of_image() -> Option<Self> {
        let root = std::env::var_os("TRIVET_ROOTFS")
            .map(PathBuf::from)
            .or_else(|| newest("image-", "usr/sbin/keepalived"))?;
        let words = ["unshare", "--mount", "--propagation", "private", "sh", "-c", IN_ROOT];
        Self::of(words.into_iter().map(PathBuf::from).chain([root]).collect())
    }

    fn of(program: Vec<PathBuf>) -> Option<Self> {
        let output = Command::new(&program[0]).args(&program[1..]).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        let version = text.split_whitespace().skip_while(|word| *word != "Keepalived").nth(1)?;
        Some(Self { version: version.trim_start_matches('v').to_owned(), program })
    }

    /// Starts it on a host with this configuration. `before`: what to run it with, such as `chrt`.
    pub fn start(&self, host: &Host, before: &[&str], configuration: &str) -> Process {
        let directory = host.directory();
        let file = directory.join("keepalived.conf");
        std::fs::write(&file, configuration).expect("writing keepalived.conf");
        let mut words = before.iter().map(PathBuf::from).chain(self.program.iter().cloned());
        let mut command = Command::new(words.next().expect("a program is named"));
        command.args(words);
        command
            .args(["--dont-fork", "--log-console", "--no-syslog", "--log-detail", "--use-file"])
            .arg(&file);
        for (option, name) in [
            ("--pid", "keepalived"),
            ("--vrrp_pid", "vrrp"),
            ("--checkers_pid", "checkers"),
            ("--bfd_pid", "bfd"),
        ] {
            command.arg(option).arg(directory.join(format!("{name}.pid")));
        }
        host.spawn("keepalived", &mut command)
    }
}

/// Starts the machine's own keepalived on a host with this configuration, in real time as vrrpd is.
pub fn start(host: &Host, configuration: &str) -> Process {
    let release = Release { version: String::new(), program: vec![PathBuf::from("keepalived")] };
    release.start(host, real_time(), configuration)
}

/// The newest tree that tests/image keeps (tests/sh/common.sh, cache_dir) under a name that begins so, with this in it.
pub(crate) fn newest(prefix: &str, with: &str) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let cache = variable("TRIVET_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|path| path.join("trivet")))
        .or_else(|| variable("HOME").map(|path| path.join(".cache/trivet")))?;
    let is_wanted = |path: &PathBuf| {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        name.starts_with(prefix) && path.join("rootfs").join(with).exists()
    };
    let all = std::fs::read_dir(cache).ok()?.flatten().map(|entry| entry.path());
    all.filter(is_wanted).max_by_key(|path| modified(path)).map(|path| path.join("rootfs"))
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    path.metadata().ok()?.modified().ok()
}
