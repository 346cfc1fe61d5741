//! A private system bus for one host, and a look at what is on it with `busctl`, as any operator would.

use std::path::PathBuf;
use std::process::Command;

use crate::clock::{PATIENCE, wait};
use crate::host::{Host, Process};

/// Everybody may own any name here: the real policy is tested in machines.
const CONFIGURATION: &str = "<!DOCTYPE busconfig PUBLIC '-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN'
 'http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd'>
<busconfig>
  <type>system</type>
  <listen>unix:path=SOCKET</listen>
  <auth>EXTERNAL</auth>
  <policy context='default'>
    <allow user='*'/> <allow own='*'/> <allow send_type='method_call'/> <allow send_type='signal'/>
    <allow send_requested_reply='true' send_type='method_return'/> <allow receive_type='signal'/>
    <allow receive_type='method_call'/> <allow receive_type='method_return'/> <allow receive_type='error'/>
    <allow send_requested_reply='true' send_type='error'/>
  </policy>
</busconfig>
";

/// Ends with its value; the daemons must live on without it.
#[derive(Debug)]
pub struct Bus {
    address: String,
    _process: Process,
}

impl Bus {
    /// Running, and accepting connections, when it returns.
    pub fn start(host: &Host) -> Self {
        let socket = socket(host);
        let _ = std::fs::remove_file(&socket);
        let configuration = host.directory().join("bus.conf");
        std::fs::write(&configuration, CONFIGURATION.replace("SOCKET", &socket.display().to_string()))
            .expect("writing the bus's configuration");
        let mut command = Command::new("dbus-daemon");
        command.args(["--nofork", "--nosyslog"]).arg(format!("--config-file={}", configuration.display()));
        let process = host.spawn("bus", &mut command);
        wait("the private bus listens", PATIENCE, || std::os::unix::net::UnixStream::connect(&socket).ok());
        Self { address: address(host), _process: process }
    }

    /// The value of a property as busctl prints it, such as `s "active"`; nothing if there is no such object (yet).
    pub fn property(&self, property: &Property) -> Option<String> {
        let output = self.busctl(&[
            "get-property",
            &property.service,
            &property.path,
            &property.interface,
            property.name,
        ]);
        output.ok()
    }

    /// Runs busctl on this bus: what it printed, or its error.
    pub fn busctl(&self, arguments: &[&str]) -> Result<String, String> {
        let output =
            Command::new("busctl").arg(format!("--address={}", self.address)).args(arguments).output();
        let output = output.map_err(|error| format!("running busctl: {error}"))?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
    }
}

/// Where a host's bus is (or will be): daemons can be started before it.
pub fn address(host: &Host) -> String {
    format!("unix:path={}", socket(host).display())
}

fn socket(host: &Host) -> PathBuf {
    host.directory().join("bus")
}

/// One property of one object of ours.
#[derive(Debug, Clone)]
pub struct Property {
    pub service: String,
    pub path: String,
    pub interface: String,
    pub name: &'static str,
}

impl Property {
    /// Of a virtual router.
    pub fn router(router: &str, name: &'static str) -> Self {
        Self::object("Vrrp1", "router", router, "Router", name)
    }

    /// Of a virtual service.
    pub fn service(service: &str, name: &'static str) -> Self {
        Self::object("Ipvs1", "service", service, "Service", name)
    }

    /// Of a check.
    pub fn check(check: &str, name: &'static str) -> Self {
        Self::object("Check1", "check", check, "Check", name)
    }

    fn object(leg: &str, kind: &str, object: &str, interface: &str, name: &'static str) -> Self {
        Self {
            service: format!("org.trivet.{leg}"),
            path: format!("/org/trivet/{leg}/{kind}/{}", escape(object)),
            interface: format!("org.trivet.{leg}.{interface}"),
            name,
        }
    }

    /// As a command line for a machine's own busctl.
    pub fn command(&self) -> String {
        format!("busctl get-property {} {} {} {}", self.service, self.path, self.interface, self.name)
    }
}

/// A name as part of an object path, as systemd does it: what is not a letter or a digit becomes `_` and its code.
fn escape(name: &str) -> String {
    let plain = |(index, byte): (usize, u8)| byte.is_ascii_alphabetic() || index > 0 && byte.is_ascii_digit();
    let part = |(index, byte)| {
        if plain((index, byte)) { char::from(byte).to_string() } else { format!("_{byte:02x}") }
    };
    name.bytes().enumerate().map(part).collect()
}
