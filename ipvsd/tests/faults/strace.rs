//! `strace`, which makes calls fail, or late.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::common::{Ipvsd, wait_for};

pub(crate) const SEND: &str = "sendto,sendmsg";
pub(crate) const RECEIVE: &str = "recvmsg,recvfrom";

/// Not made at all, but failed with this error; `when` is strace's word for which of them.
pub(crate) fn failing(errno: &str, when: &str) -> String {
    format!("error={errno}:when={when}")
}

/// Made so much later, each.
pub(crate) fn late(by: Duration) -> String {
    format!("delay_enter={}", by.as_micros())
}

/// What to tell strace of the calls of the main thread, which is the one that speaks to the kernel.
pub(crate) fn arguments(calls: &str, how: &str, log: &str) -> Vec<String> {
    let inject = format!("inject={calls}:{how}");
    ["-qq", "-o", log, "-e", &format!("trace={SEND},{RECEIVE}"), "-e", &inject].map(str::to_owned).to_vec()
}

/// A tracer of a running ipvsd.
pub(crate) struct Strace {
    process: Child,
    log: PathBuf,
}

impl Strace {
    pub(crate) fn new(ipvsd: &Ipvsd, folder: &Path, calls: &str, how: &str) -> Self {
        let log = folder.join("strace");
        let pid = ipvsd.pid().to_string();
        let process = Command::new("strace")
            .args(arguments(calls, how, &log.display().to_string()))
            .args(["-p", &pid])
            .stderr(File::create(folder.join("strace.errors")).unwrap())
            .stdin(Stdio::null())
            .spawn()
            .expect("strace can be run");
        let status = format!("/proc/{pid}/status");
        wait_for("the tracer", || {
            let text = std::fs::read_to_string(&status).unwrap();
            text.lines().any(|line| line.starts_with("TracerPid:") && !line.ends_with("\t0")).then_some(())
        });
        Self { process, log }
    }

    /// How many calls have failed by it.
    pub(crate) fn injected(&self) -> usize {
        std::fs::read_to_string(&self.log).unwrap_or_default().matches("(INJECTED)").count()
    }

    pub(crate) fn wait_until_injected(&self, times: usize) {
        wait_for(&format!("{times} failures"), || (self.injected() >= times).then_some(()));
    }

    /// Let it go.
    pub(crate) fn end(mut self) {
        kill(Pid::from_raw(i32::try_from(self.process.id()).unwrap()), Signal::SIGTERM).unwrap();
        self.process.wait().unwrap();
    }
}

impl Drop for Strace {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
