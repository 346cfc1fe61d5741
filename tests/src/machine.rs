//! A machine with a systemd, a journal and a bus of its own: systemd-nspawn in a host's network namespace, on an
//! overlay over a Debian 13 tree (the virtual machine's own root, or the image's tree on the build machine).

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock::{PATIENCE, wait};
use crate::host::{Host, Process};
use crate::namespace::sh;

/// Emulated, with a second machine booting beside it, this takes half a minute.
const BOOT: Duration = Duration::from_secs(240);

/// Powered off and unmounted on drop.
#[derive(Debug)]
pub struct Machine {
    root: PathBuf,
    scratch: PathBuf,
    supervisor: Option<Process>,
    leader: Pid,
    has_sysctls: bool,
}

/// The Debian 13 tree under the overlay: TRIVET_ROOTFS (tests/run sets it), or, in the virtual machine, its own.
fn lower() -> PathBuf {
    let given = std::env::var_os("TRIVET_ROOTFS").map(PathBuf::from);
    let inside = std::env::var_os("TRIVET_IN_VM").map(|_| PathBuf::from("/"));
    given
        .or(inside)
        .expect("a machine needs TRIVET_ROOTFS, a Debian 13 tree: use tests/run, or `tests/image`/rootfs")
}

impl Machine {
    /// Prepares the tree; `boot` starts it. Files may be put into `root` before.
    pub fn prepare(host: &Host) -> Self {
        let scratch = host.directory().join("machine");
        let root = scratch.join("root");
        for part in ["root", "upper", "work"] {
            std::fs::create_dir_all(scratch.join(part)).expect("making a machine's directories");
        }
        sh(&format!(
            "mount -t overlay overlay -o lowerdir={},upperdir={1}/upper,workdir={1}/work {1}/root",
            lower().display(),
            scratch.display()
        ));
        let machine = Self { root, scratch, supervisor: None, leader: Pid::from_raw(0), has_sysctls: false };
        machine.write("etc/hostname", &format!("{}\n", host.name()));
        machine.write("etc/machine-id", &format!("{}\n", machine_id(host)));
        machine
    }

    /// From its next start on the sysctls of its network are its own to write, as they are on a real machine. Not
    /// always: its systemd then sets some, as systemd does.
    pub fn give_sysctls(&mut self) {
        self.has_sysctls = true;
    }

    /// Its root directory, seen from outside.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Writes a file (with the directories above it) into its tree.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.root.join(path);
        std::fs::create_dir_all(path.parent().expect("a path within the tree")).expect("making directories");
        std::fs::write(&path, text).unwrap_or_else(|error| panic!("writing {}: {error}", path.display()));
    }

    /// Starts it; `wait_until_up` says when its systemd is done.
    pub fn boot(&mut self, host: &Host) {
        let unit = host.namespace().name();
        let mut command = launcher(unit);
        if self.has_sysctls {
            command.args(["env", "SYSTEMD_NSPAWN_API_VFS_WRITABLE=network"]);
        }
        command.arg("systemd-nspawn").args([
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--console=pipe",
        ]);
        command.arg("-D").arg(&self.root).arg(format!("--machine={}", host.name()));
        command.arg(format!("--network-namespace-path={}", host.namespace().path().display()));
        // A private network would have brought these two.
        command.arg("--capability=CAP_NET_ADMIN,CAP_NET_RAW").env("SYSTEMD_NSPAWN_UNIFIED_HIERARCHY", "1");
        let supervisor = host.spawn("machine", &mut command);
        self.leader = wait("a machine's systemd starts", PATIENCE, || {
            assert!(!supervisor.has_ended(), "systemd-nspawn ended: {}", supervisor.log());
            leader(&self.root)
        });
        self.supervisor = Some(supervisor);
    }

    /// Waits until its systemd has started everything. Failed units are the tests' business.
    #[track_caller]
    pub fn wait_until_up(&self) {
        wait("a machine is up", BOOT, || {
            let state = self.command("systemctl is-system-running").output().ok()?;
            let state = String::from_utf8_lossy(&state.stdout).trim().to_owned();
            ["running", "degraded"].contains(&state.as_str()).then_some(())
        });
    }

    /// A shell command inside, which must succeed; returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        let (success, text) = self.try_sh(script);
        assert!(success, "in the machine: {script}\n{text}");
        text
    }

    /// A shell command inside: whether it succeeded, and what it printed, errors included.
    pub fn try_sh(&self, script: &str) -> (bool, String) {
        let output = self.command(script).output().expect("nsenter is part of Debian");
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        (output.status.success(), text)
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.leader.to_string(), "-a", "sh", "-c", script]);
        command
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("SYSTEMD_COLORS", "0")
            .env("SYSTEMD_PAGER", "cat");
        command
    }

    /// Ends it at once, as when the power fails.
    pub fn power_off(&mut self) {
        if self.leader.as_raw() > 0 {
            // The kernel ends everything in a process namespace with its first process.
            let _ = kill(self.leader, Signal::SIGKILL);
            self.leader = Pid::from_raw(0);
        }
        if let Some(supervisor) = self.supervisor.take() {
            let ended = || supervisor.has_ended().then_some(());
            if !std::thread::panicking() {
                wait("systemd-nspawn ends with its machine", PATIENCE, ended);
            }
        }
    }

    /// What its journal says, for a person who looks at a failure.
    pub fn journal(&self) -> String {
        self.try_sh("journalctl -b --no-pager -o short-precise -u vrrpd -u ipvsd -u checkd -u checkd-exec | tail -n 60").1
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() && self.supervisor.is_some() {
            eprintln!("---- the journal of {}\n{}", self.root.display(), self.journal());
        }
        self.power_off();
        let unmount = format!("umount -l {}; rm -rf {}", self.root.display(), self.scratch.display());
        let _ = Command::new("sh").arg("-c").arg(unmount).output();
    }
}

/// Under systemd a unit of its own; elsewhere a control group of its own. Two machines must not share one.
fn launcher(unit: &str) -> Command {
    let mut command;
    if Path::new("/run/systemd/system").exists() {
        command = Command::new("systemd-run");
        command
            .args(["--quiet", "--pipe", "--wait", "--collect", "-p", "Delegate=yes"])
            .arg(format!("--unit={unit}"));
        command.args(["-E", "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1"]);
    } else {
        command = Command::new("sh");
        let group = "$(awk '$3 == \"cgroup2\" {print $2; exit}' /proc/mounts)";
        command
            .arg("-c")
            .arg(format!("mkdir -p {group}/{unit} && echo $$ >{group}/{unit}/cgroup.procs && exec \"$@\""));
        command.arg("sh");
    }
    command
}

/// The process that is number 1 inside, and whose root is this tree.
fn leader(root: &Path) -> Option<Pid> {
    let wanted = std::fs::metadata(root).ok()?;
    let processes = std::fs::read_dir("/proc").ok()?;
    processes.flatten().find_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let status = std::fs::read_to_string(entry.path().join("status")).ok()?;
        let numbers: Vec<_> =
            status.lines().find_map(|line| line.strip_prefix("NSpid:"))?.split_whitespace().collect();
        let is_first = numbers.len() > 1 && numbers.last() == Some(&"1");
        (is_first && same_file(&wanted, &entry.path().join("root"))).then(|| Pid::from_raw(pid))
    })
}

fn same_file(wanted: &std::fs::Metadata, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(path).is_ok_and(|found| found.dev() == wanted.dev() && found.ino() == wanted.ino())
}

/// 32 hexadecimal digits, different for each host of a lab.
fn machine_id(host: &Host) -> String {
    let digest = host.namespace().name().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{digest:016x}{:016x}", !digest)
}
