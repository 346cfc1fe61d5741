//! The credentials that systemd gives a service (systemd.exec(5), LoadCredential=), also where its configuration is only
//! checked: from the commands of a reload (ExecReload=) systemd 257 hides them, and their environment does not name
//! them. They run as the service's user: for them the way leads through its main process.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

/// Where systemd keeps those of all services.
const ALL: &str = "/run/credentials";
const DIRECTORY: &str = "CREDENTIALS_DIRECTORY";

/// Where the service's own are, as it sees them. `None`: it has none, or this is not run for a service.
pub fn directory() -> Option<PathBuf> {
    let own = env::var_os(DIRECTORY);
    own.map(PathBuf::from).or_else(|| named_in(&fs::read(format!("/proc/{}/environ", main_process()?)).ok()?))
}

/// Whether systemd runs this for a service that is running, to reload it.
pub fn is_of_reload() -> bool {
    main_process().is_some()
}

/// How to reach a file that the service has at `path`.
pub fn way_to(path: &Path) -> PathBuf {
    through(main_process(), path)
}

/// systemd tells it to the commands beside the main process only.
fn main_process() -> Option<u32> {
    env::var("MAINPID").ok()?.parse().ok()
}

fn through(main_process: Option<u32>, path: &Path) -> PathBuf {
    match main_process {
        Some(pid) if path.starts_with(ALL) => {
            let root = PathBuf::from(format!("/proc/{pid}/root"));
            path.strip_prefix("/").map_or_else(|_| path.to_owned(), |below| root.join(below))
        }
        Some(_) | None => path.to_owned(),
    }
}

/// `environment`: as in /proc/PID/environ (proc_pid_environ(5)).
fn named_in(environment: &[u8]) -> Option<PathBuf> {
    let mut values = environment
        .split(|byte| *byte == 0)
        .filter_map(|variable| variable.strip_prefix(DIRECTORY.as_bytes())?.strip_prefix(b"="));
    values.next().map(|value| PathBuf::from(OsStr::from_bytes(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_credentials_and_only_beside_a_service_are_reached_through_its_main_process() {
        for (main_process, path, way) in [
            (
                Some(7),
                "/run/credentials/checkd.service/key",
                "/proc/7/root/run/credentials/checkd.service/key",
            ),
            (Some(7), "/run/credentials.pem", "/run/credentials.pem"),
            (Some(7), "/etc/ssl/key.pem", "/etc/ssl/key.pem"),
            (None, "/run/credentials/checkd.service/key", "/run/credentials/checkd.service/key"),
        ] {
            assert_eq!(through(main_process, Path::new(path)), Path::new(way));
        }
    }

    #[test]
    fn the_directory_is_the_one_that_the_main_process_was_told() {
        let told = b"USER=x\0CREDENTIALS_DIRECTORY=/run/credentials/a.service\0HOME=/\0";
        assert_eq!(named_in(told).as_deref(), Some(Path::new("/run/credentials/a.service")));
        for none in [&b""[..], b"USER=x\0", b"XCREDENTIALS_DIRECTORY=/x\0", b"CREDENTIALS_DIRECTORY_2=/x\0"] {
            assert_eq!(named_in(none), None);
        }
    }
}
