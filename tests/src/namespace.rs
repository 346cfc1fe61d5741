//! One network namespace under /run/netns, as `ip netns` knows it. A thread can enter it, so sockets and child
//! processes made there belong to it.

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::Command;

use nix::sched::{CloneFlags, setns};

/// Removed on drop, when the processes in it are gone.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// The name starts with `trv-PID-`, so that what a killed test left behind can be found (tests/sh/sweep).
    pub fn create(name: &str) -> Self {
        sh(&format!("ip netns add {name}"));
        let namespace = Self { name: name.to_owned() };
        namespace.sh("ip link set lo up");
        namespace
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(&self.name)
    }

    /// Runs `work` on a thread that is inside the namespace.
    pub fn within<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter().expect("the namespace exists as long as self");
                work()
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// Moves the calling thread into the namespace, for good: for threads of the lab's own only.
    pub fn enter(&self) -> io::Result<()> {
        enter(&self.path())
    }

    /// Runs a shell command inside, which must succeed, and returns what it printed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        expect_success(script, self.within(|| Command::new("sh").arg("-c").arg(script).output()))
    }

    /// The IPv4 addresses of an interface, in the kernel's order.
    pub fn addresses(&self, interface: &str) -> Vec<Ipv4Addr> {
        self.within(|| addresses_here(interface))
    }
}

/// Moves the calling thread into the namespace behind `path`.
pub fn enter(path: &std::path::Path) -> io::Result<()> {
    Ok(setns(File::open(path)?, CloneFlags::CLONE_NEWNET)?)
}

/// The IPv4 addresses of an interface in the calling thread's namespace; none if it does not exist.
pub fn addresses_here(interface: &str) -> Vec<Ipv4Addr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return Vec::new() };
    all.filter(|entry| entry.interface_name == interface)
        .filter_map(|entry| entry.address?.as_sockaddr_in().map(|address| address.ip()))
        .collect()
}

/// Whether an address is on any of `interfaces` in the calling thread's namespace.
pub fn holds_here(address: IpAddr) -> bool {
    let Ok(mut all) = nix::ifaddrs::getifaddrs() else { return false };
    all.any(|entry| {
        entry
            .address
            .is_some_and(|held| held.as_sockaddr_in().is_some_and(|v4| IpAddr::V4(v4.ip()) == address))
    })
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let name = &self.name;
        let script = format!("ip netns pids {name} | xargs -r kill -9; ip netns del {name}");
        // Nothing sensible can be done about a failure while a test ends; tests/sh/sweep looks again.
        let _ = Command::new("sh").arg("-c").arg(script).output();
    }
}

/// Runs a shell command on the machine itself, which must succeed.
#[track_caller]
pub fn sh(script: &str) -> String {
    expect_success(script, Command::new("sh").arg("-c").arg(script).output())
}

#[track_caller]
fn expect_success(script: &str, result: io::Result<std::process::Output>) -> String {
    let output = result.unwrap_or_else(|error| panic!("running {script}: {error}"));
    assert!(
        output.status.success(),
        "{script}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}
