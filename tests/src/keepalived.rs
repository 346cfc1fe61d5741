//! Debian's keepalived as a peer and as the measure. Always without a syslog (-G): its own log calls would stall it
//! for seconds where nobody reads them, and a comparison would be dishonest.

use std::process::Command;

use crate::host::{Host, Process};

/// Starts keepalived on a host with this configuration.
pub fn start(host: &Host, configuration: &str) -> Process {
    let directory = host.directory();
    let file = directory.join("keepalived.conf");
    std::fs::write(&file, configuration).expect("writing keepalived.conf");
    let mut command = Command::new("keepalived");
    command.args(["--dont-fork", "--log-console", "--no-syslog", "--log-detail", "--use-file"]).arg(&file);
    for (option, name) in [
        ("--pid", "keepalived"),
        ("--vrrp_pid", "vrrp"),
        ("--checkers_pid", "checkers"),
        ("--bfd_pid", "bfd"),
    ] {
        command.arg(option).arg(directory.join(format!("{name}.pid")));
    }
    host.spawn("keepalived", &mut command)
}
