//! A lab: hosts (network namespaces) on segments (bridges in a namespace of their own, the switch). Nothing of it
//! touches the machine's own network. Everything ends with the lab, also after a panic; what a killed test leaves is
//! found by its name (tests/sh/sweep).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::host::Host;
use crate::namespace::Namespace;

static LABS: AtomicU32 = AtomicU32::new(0);

/// Holds the switch and the hosts' directories (which TRIVET_KEEP_LAB=1 keeps for a look); the hosts are the caller's.
#[derive(Debug)]
pub struct Lab {
    prefix: String,
    directory: PathBuf,
    switch: Namespace,
}

impl Lab {
    /// Needs root, and says so.
    pub fn new() -> Self {
        assert!(
            nix::unistd::geteuid().is_root(),
            "the lab needs root: it makes network namespaces. Use tests/run."
        );
        let prefix = format!("trv-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let directory = Path::new("/run/trivet-lab").join(&prefix);
        std::fs::create_dir_all(&directory).expect("making the lab's directory under /run");
        Self { switch: Namespace::create(&format!("{prefix}-switch")), prefix, directory }
    }

    /// A bridge that forwards at once and learns nothing about multicast, as a plain switch.
    pub fn segment(&self, name: &str) {
        self.switch.sh(&format!(
            "ip link add {name} type bridge forward_delay 0 mcast_snooping 0 && ip link set {name} up"
        ));
    }

    /// A host with one interface for each of `interfaces`, in the form ("eth0", "segment", "10.0.0.1/24").
    pub fn host(&self, name: &str, interfaces: &[(&str, &str, &str)]) -> Host {
        let namespace = Namespace::create(&format!("{}-{name}", self.prefix));
        let directory = self.directory.join(name);
        std::fs::create_dir_all(&directory).expect("making a host's directory");
        let mut ports = BTreeMap::new();
        for (interface, segment, address) in interfaces {
            let port = format!("{name}-{interface}");
            self.switch.sh(&format!(
                "ip link add {port} type veth peer name {interface} netns {}
                 ip link set {port} master {segment} up",
                namespace.name()
            ));
            namespace.sh(&format!("ip addr add {address} dev {interface} && ip link set {interface} up"));
            ports.insert((*interface).to_owned(), ((*segment).to_owned(), port));
        }
        Host::new(name, namespace, directory, self.switch.path(), ports)
    }

    /// lvs1 of the NAT pair by itself, on segments "outside" and "inside" of its own.
    pub fn lone_director(&self) -> Host {
        self.segment("outside");
        self.segment("inside");
        self.host("lvs1", &[("eth0", "outside", "10.0.10.51/24"), ("eth1", "inside", "192.168.100.11/22")])
    }

    pub fn switch(&self) -> &Namespace {
        &self.switch
    }
}

impl Default for Lab {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os("TRIVET_KEEP_LAB").is_none() {
            let _ = std::fs::remove_dir_all(&self.directory);
        }
    }
}
