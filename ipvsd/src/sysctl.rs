//! The sysctls of IPVS, below `/proc/sys/net/ipv4/vs`: of the network namespace, and there only while the kernel has
//! IPVS.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use crate::tuning::Value;

const DIRECTORY: &str = "/proc/sys/net/ipv4/vs";

#[derive(Debug)]
pub struct Sysctls(PathBuf);

impl Default for Sysctls {
    fn default() -> Self {
        Self(DIRECTORY.into())
    }
}

impl Sysctls {
    /// # Errors
    /// Why it cannot be read, with what to do about it.
    pub fn read(&self, name: &str) -> Result<Value, String> {
        let text = fs::read_to_string(self.0.join(name)).map_err(|error| self.explain(name, &error))?;
        Value::parse(&text).ok_or_else(|| format!("it reads '{}'", text.trim()))
    }

    /// # Errors
    /// Why it cannot be written, with what to do about it.
    pub fn write(&self, name: &str, value: Value) -> Result<(), String> {
        // The kernel takes a whole write or none of it.
        fs::write(self.0.join(name), value.to_string()).map_err(|error| self.explain(name, &error))
    }

    fn explain(&self, name: &str, error: &std::io::Error) -> String {
        let kind = error.kind();
        if kind == ErrorKind::NotFound && self.0.is_dir() {
            format!("this kernel has no {name}")
        } else if kind == ErrorKind::NotFound {
            "the kernel has no IPVS: modprobe ip_vs".to_owned()
        } else if kind == ErrorKind::PermissionDenied {
            "ipvsd may not: it needs CAP_NET_ADMIN (its unit gives it)".to_owned()
        } else if kind == ErrorKind::ReadOnlyFilesystem {
            // The unit's exception is there only if the directory was there when it was started.
            "/proc/sys is read-only for ipvsd: systemctl restart ipvsd, now that ip_vs is loaded".to_owned()
        } else {
            error.to_string()
        }
    }
}
