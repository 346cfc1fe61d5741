//! Our daemons on a host of the lab, each with the host's own `--root` and private bus, without systemd.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use nix::sys::signal::Signal;

use crate::bus::{self, Bus, Property};
use crate::clock::{PATIENCE, wait, wait_for};
use crate::host::{Host, Process};

/// The daemons of one host. Ended on drop, as by a power failure.
#[derive(Debug)]
pub struct Trivet {
    root: PathBuf,
    processes: BTreeMap<String, Process>,
    bus: Option<Bus>,
}

impl Trivet {
    /// Copies a directory of tests/fixtures as the host's root and starts a bus and the daemons.
    pub fn start(host: &Host, fixture: &str, daemons: &[&str]) -> Self {
        let mut trivet = Self::prepare(host, fixture);
        trivet.start_all(host, daemons);
        trivet
    }

    /// A bus and the daemons.
    pub fn start_all(&mut self, host: &Host, daemons: &[&str]) {
        self.bus = Some(Bus::start(host));
        for daemon in daemons {
            self.run(host, daemon);
        }
    }

    /// Writes a drop-in, such as "vrrp.d/gateway.toml".
    pub fn write(&self, name: &str, text: &str) {
        let file = self.file(name);
        std::fs::create_dir_all(file.parent().expect("below etc/trivet"))
            .expect("making a directory in the lab");
        std::fs::write(file, text).expect("writing a drop-in");
    }

    /// The root directory only: neither bus nor daemon runs yet.
    pub fn prepare(host: &Host, fixture: &str) -> Self {
        let root = host.directory().join("root");
        copy(&fixtures().join(fixture), &root);
        Self { root, processes: BTreeMap::new(), bus: None }
    }

    /// The same with files of the test's own, such as ("vrrp.d/gateway.toml", TEXT).
    pub fn with_files(host: &Host, files: &[(&str, &str)]) -> Self {
        let root = host.directory().join("root");
        std::fs::create_dir_all(&root).expect("making the root in the lab");
        let trivet = Self { root, processes: BTreeMap::new(), bus: None };
        files.iter().for_each(|(name, text)| trivet.write(name, text));
        trivet
    }

    /// Starts one daemon (again), with the scheduling that its unit gives it.
    pub fn run(&mut self, host: &Host, daemon: &str) {
        let before = if daemon == "vrrpd" { real_time() } else { &[] };
        self.run_under(host, before, daemon);
    }

    /// The same, by another program such as `chrt` with its arguments.
    pub fn run_under(&mut self, host: &Host, before: &[&str], daemon: &str) {
        let mut words = before.iter().map(PathBuf::from).chain([program(daemon)]);
        let mut command = Command::new(words.next().expect("the daemon at least"));
        command.args(words).arg("--root").arg(&self.root).env("DBUS_SYSTEM_BUS_ADDRESS", bus::address(host));
        self.processes.insert(daemon.to_owned(), host.spawn(daemon, &mut command));
    }

    /// A running daemon's process.
    pub fn process(&self, daemon: &str) -> &Process {
        self.processes.get(daemon).unwrap_or_else(|| panic!("{daemon} does not run on this host"))
    }

    /// SIGTERM, and waits for the end.
    #[track_caller]
    pub fn stop(&mut self, daemon: &str) {
        self.process(daemon).stop();
        self.processes.remove(daemon);
    }

    /// SIGKILL.
    pub fn kill(&mut self, daemon: &str) {
        self.processes.remove(daemon);
    }

    /// What systemd does after vrrpd's end, however it ended (`ExecStopPost=`): nothing of it is left in the kernel.
    pub fn release(&self, host: &Host) {
        let mut command = Command::new(program("vrrpd"));
        command.arg("--release").arg("--root").arg(&self.root);
        let output = host.namespace().within(|| command.output()).expect("running vrrpd --release");
        assert!(output.status.success(), "vrrpd --release: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// SIGHUP.
    pub fn reload(&self, daemon: &str) {
        self.process(daemon).signal(Signal::SIGHUP);
    }

    /// The bus dies.
    pub fn kill_bus(&mut self) {
        self.bus = None;
    }

    pub fn start_bus(&mut self, host: &Host) {
        self.bus = Some(Bus::start(host));
    }

    pub fn bus(&self) -> &Bus {
        self.bus.as_ref().expect("the bus runs")
    }

    /// The value of a property as busctl prints it, or nothing.
    pub fn property(&self, property: &Property) -> Option<String> {
        self.bus.as_ref()?.property(property)
    }

    /// A counter of a virtual router; 0 if there is no such object (yet).
    #[track_caller]
    pub fn counter(&self, router: &str, name: &str) -> u64 {
        let all = self.property(&Property::router(router, "Counters")).unwrap_or_default();
        let mut words = all.split_whitespace();
        let found = words.any(|word| word.trim_matches('"') == name);
        assert!(found || all.is_empty(), "there is no counter {name} in {all}");
        words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
    }

    /// Waits until a property has this value, in busctl's notation.
    #[track_caller]
    pub fn wait_for_property(&self, property: &Property, value: &str) {
        let what = format!("{} {}", property.path, property.name);
        wait_for(&what, &Some(value.to_owned()), || self.property(property));
    }

    /// Waits until a property contains this text, and returns the property.
    #[track_caller]
    pub fn wait_for_text(&self, property: &Property, text: &str) -> String {
        wait(&format!("{} {} says {text:?}", property.path, property.name), PATIENCE, || {
            self.property(property).filter(|value| value.contains(text))
        })
    }

    /// `DAEMON --check` on this root.
    pub fn check(&self, daemon: &str) -> Output {
        let output = Command::new(program(daemon)).arg("--check").arg("--root").arg(&self.root).output();
        output.unwrap_or_else(|error| panic!("running {daemon} --check: {error}"))
    }

    /// The file of a drop-in, such as "vrrp.d/gateway.toml".
    pub fn file(&self, name: &str) -> PathBuf {
        self.root.join("etc/trivet").join(name)
    }

    /// Replaces `from`, which must be there, with `to` in a drop-in.
    pub fn edit(&self, name: &str, from: &str, to: &str) {
        let path = self.file(name);
        let text =
            std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert!(text.contains(from), "{name} does not contain {from:?}");
        std::fs::write(&path, text.replace(from, to)).expect("writing a drop-in");
    }
}

/// What a program is started with whose timers nothing else on the machine may delay.
pub fn real_time() -> &'static [&'static str] {
    static WORDS: OnceLock<&[&str]> = OnceLock::new();
    WORDS.get_or_init(|| {
        let words: &[&str] = &["chrt", "--rr", "5"];
        let works = Command::new(words[0]).args(&words[1..]).arg("true").status();
        if works.is_ok_and(|status| status.success()) {
            return words;
        }
        println!("this machine allows no real-time scheduling: what else it does may show in the times");
        &[]
    })
}

/// Where our programs are: TRIVET_BIN, or beside this test program, where cargo puts both.
pub fn program(name: &str) -> PathBuf {
    let directory = std::env::var_os("TRIVET_BIN").map_or_else(built, PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is not there: build it first, or use tests/run", path.display());
    path
}

fn built() -> PathBuf {
    let here = std::env::current_exe().expect("the running program has a path");
    let beside = here.parent().expect("a program is in a directory");
    let up = if beside.ends_with("deps") { beside.parent() } else { Some(beside) };
    up.expect("deps is in a directory").to_path_buf()
}

/// tests/fixtures, brought along into the virtual machine (TRIVET_FIXTURES).
pub fn fixtures() -> PathBuf {
    std::env::var_os("TRIVET_FIXTURES")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures"), PathBuf::from)
}

/// Copies a tree; what is there already stays.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("making a directory in the lab");
    let output = Command::new("cp").arg("-rT").args([from, to]).output().expect("cp is part of Debian");
    assert!(
        output.status.success(),
        "copying {}: {}",
        from.display(),
        String::from_utf8_lossy(&output.stderr)
    );
}
