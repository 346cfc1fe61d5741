//! A journald for one daemon: its socket, whose entries are read and counted, or left unread as by one that hangs.

use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crate::host::Host;

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Journal {
    Read,
    Blocked,
}

#[derive(Debug)]
pub struct JournalSocket {
    directory: PathBuf,
    lines: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    unread: Option<UnixDatagram>,
}

impl JournalSocket {
    /// In a directory of the host's.
    pub fn open(host: &Host, journal: Journal) -> Self {
        let directory = host.directory().join("journal");
        std::fs::create_dir_all(&directory).expect("making a directory in the lab");
        let path = directory.join("socket");
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).expect("binding the journal's socket");
        let (lines, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
        let mut unread = None;
        match journal {
            Journal::Blocked => unread = Some(socket),
            Journal::Read => {
                socket.set_read_timeout(Some(Duration::from_millis(200))).expect("a time limit");
                let (lines, stop) = (Arc::clone(&lines), Arc::clone(&stop));
                std::thread::spawn(move || {
                    let mut buffer = vec![0; 65536];
                    while !stop.load(Ordering::Relaxed) {
                        lines.fetch_add(usize::from(socket.recv(&mut buffer).is_ok()), Ordering::Relaxed);
                    }
                });
            }
        }
        Self { directory, lines, stop, unread }
    }

    /// `setsid` (a session of its own, as a service of systemd is) with the arguments that put what is appended into a
    /// mount namespace where this is the journal; set JOURNAL_STREAM for it, too.
    pub fn launcher(&self) -> Command {
        let mut command = Command::new("setsid");
        command.args(["unshare", "--mount", "sh", "-c"]).arg(
            "mkdir -p /run/systemd && mount -t tmpfs none /run/systemd && mkdir /run/systemd/journal && \
             mount --bind \"$0\" /run/systemd/journal && exec \"$@\"",
        );
        command.arg(&self.directory).env("JOURNAL_STREAM", "1:1");
        command
    }

    /// Entries so far.
    pub fn lines(&self) -> usize {
        self.lines.load(Ordering::Relaxed)
    }

    pub fn is_read(&self) -> bool {
        self.unread.is_none()
    }
}

impl Drop for JournalSocket {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}
