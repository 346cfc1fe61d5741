//! Real servers for checkd to check, from the tree that `tests/image servers` makes: a program of Debian 13 that runs on
//! a host of the lab with that tree as its root. Each has a writable copy of its own, which ends with it.

use std::path::PathBuf;
use std::process::Command;

use crate::host::{Host, Process};
use crate::keepalived::newest;

/// The copy is an overlay in a mount namespace, and what it starts is in a process namespace: both end with the shell that
/// waits here (which the kernel ends with unshare; servers that change their user would escape that).
/// The directory /lab of the tree is the host's own.
const IN_TREE: &str = r#"set -e
mount -t tmpfs tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=$0,upperdir=$1/upper,workdir=$1/work" "$1/root"
mkdir -p "$1/root/lab"
mount --bind "$2" "$1/root/lab"
mount -t proc proc "$1/root/proc"
mount --rbind /dev "$1/root/dev"
mount -t tmpfs -o mode=755 tmpfs "$1/root/run"
chroot "$1/root" sh -euc "$3" &
wait "$!""#;

/// The tree.
#[derive(Debug, Clone)]
pub struct Servers {
    root: PathBuf,
}

impl Servers {
    /// TRIVET_SERVERS, or the newest in the cache.
    #[track_caller]
    pub fn of_tree() -> Self {
        let root = std::env::var_os("TRIVET_SERVERS").map(PathBuf::from);
        let root = root.or_else(|| newest("servers-", "usr/sbin/nsd"));
        Self { root: root.expect("there is no tree of servers: make it with tests/image servers") }
    }

    /// Runs a shell script in a copy of the tree, on the host's network, until it is dropped. It ends with `exec` of a
    /// server that stays in the foreground; nothing that it starts survives it. What the test puts into the host's
    /// directory is in /lab.
    pub fn start(&self, host: &Host, name: &str, script: &str) -> Process {
        let copy = host.directory().join(format!("{name}.tree"));
        std::fs::create_dir_all(&copy).expect("making a directory in the lab");
        let mut command = Command::new("unshare");
        command
            .args(["--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "-c", IN_TREE])
            .args([&self.root, &copy])
            .arg(host.directory())
            .arg(script);
        host.spawn(name, &mut command)
    }
}
