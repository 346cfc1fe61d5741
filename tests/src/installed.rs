//! Trivet as a user has it: the built .deb installed in a machine with a real systemd, configured below /etc.

use std::path::PathBuf;

use crate::bus::Property;
use crate::clock::{PATIENCE, wait_for};
use crate::host::Host;
use crate::machine::Machine;
use crate::trivet::{copy, fixtures};

/// A booted machine with the package in it.
#[derive(Debug)]
pub struct Installed {
    pub machine: Machine,
}

impl Installed {
    /// Starts the machine; `install` waits for it. So several can boot side by side.
    pub fn boot(host: &Host) -> Self {
        Self::boot_on(host, Machine::prepare(host))
    }

    /// The same on a machine that was prepared.
    pub fn boot_on(host: &Host, mut machine: Machine) -> Self {
        let to = machine.root().join("root/trivet.deb");
        std::fs::copy(package(), to).expect("copying the package into the machine");
        machine.boot(host);
        Self { machine }
    }

    /// Installs the package as an administrator would, which starts its units.
    #[track_caller]
    pub fn install_package(&self) {
        self.machine.wait_until_up();
        self.machine.sh("dpkg -i /root/trivet.deb");
    }

    /// The same, and configures it.
    #[track_caller]
    pub fn install(&self, fixture: &str) {
        self.install_package();
        copy(&fixtures().join(fixture), self.machine.root());
        self.machine.sh("chgrp trivet-vrrpd /etc/trivet/*.pass && chmod 640 /etc/trivet/*.pass");
        self.machine.sh("systemctl reload vrrpd ipvsd checkd");
    }

    /// The value of a property as the machine's own busctl prints it, or nothing.
    pub fn property(&self, property: &Property) -> Option<String> {
        let (success, text) = self.machine.try_sh(&property.command());
        success.then(|| text.trim().to_owned())
    }

    #[track_caller]
    pub fn wait_for_property(&self, property: &Property, value: &str) {
        let what = format!("{} {}", property.path, property.name);
        wait_for(&what, &Some(value.to_owned()), || self.property(property));
    }

    /// One property of a unit, as `systemctl show` prints it.
    pub fn unit(&self, unit: &str, property: &str) -> String {
        self.machine.sh(&format!("systemctl show --value -p {property} {unit}")).trim().to_owned()
    }

    /// Waits until every unit of ours runs.
    #[track_caller]
    pub fn wait_until_active(&self) {
        for unit in ["vrrpd", "ipvsd", "checkd"] {
            wait_for(&format!("{unit} is active, within {PATIENCE:?}"), &"active".to_owned(), || {
                self.unit(unit, "ActiveState")
            });
        }
    }
}

fn package() -> PathBuf {
    let given = std::env::var_os("TRIVET_DEB").map(PathBuf::from);
    given.expect("TRIVET_DEB names the package to install: use tests/run")
}
