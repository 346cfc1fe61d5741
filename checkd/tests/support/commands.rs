//! The real checkd-exec.

use std::fs;
use std::process::{Child, Command, Stdio};

use nix::unistd::{User, geteuid};

use super::{World, until};

/// The listener, as systemd would run it.
pub struct Listener {
    pub child: Child,
}

impl Listener {
    pub fn start(world: &World, options: &[&str]) -> Self {
        let me = User::from_uid(geteuid()).unwrap().unwrap().name;
        // Without what whoever runs the tests has opened: systemd hands nothing down.
        let alone =
            "for fd in $(ls /proc/$$/fd); do ((fd < 3)) || eval \"exec $fd>&-\"; done; exec \"$0\" \"$@\"";
        let mut command = Command::new("bash");
        command.args(["-c", alone, env!("CARGO_BIN_EXE_checkd-exec")]);
        command.arg("--root").arg(world.root.path()).args(["--caller", &me]).args(options);
        // That there is a systemd makes the log go to stderr.
        command.env("NOTIFY_SOCKET", "/nonexistent").env_remove("JOURNAL_STREAM").stdin(Stdio::null());
        let child = command.spawn().unwrap();
        let socket = world.root.path().join("run/trivet-checkd-exec/socket");
        let socket = socket.to_str().unwrap();
        until("checkd-exec listens", || {
            let sockets = fs::read_to_string("/proc/net/unix").unwrap();
            // The fourth column are the flags: this one accepts connections.
            let listens =
                |line: &str| line.ends_with(socket) && line.split_whitespace().nth(3) == Some("00010000");
            sockets.lines().any(listens).then_some(())
        });
        Self { child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
