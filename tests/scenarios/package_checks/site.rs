//! One machine with the package, and nothing configured but checks.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::installed::Installed;
use trivet_tests::lab::Lab;
use trivet_tests::machine::Machine;

pub(crate) const EXEC: &str = "checkd-exec.service";
pub(crate) const SOCKET: &str = "checkd-exec.socket";

/// Fields are in the order in which they must end.
pub(crate) struct Site {
    pub(crate) trivet: Installed,
    pub(crate) host: Host,
    _lab: Lab,
}

impl Site {
    /// With these checks: a name and the file's text.
    #[track_caller]
    pub(crate) fn new(checks: &[(&str, String)]) -> Self {
        let lab = Lab::new();
        let host = lab.lone_director();
        let trivet = Installed::boot(&host);
        trivet.install_package();
        let site = Self { trivet, host, _lab: lab };
        for (name, text) in checks {
            site.write(name, text);
        }
        site.reload();
        for (name, _) in checks.iter().chain(&[("tcp", String::new())]) {
            site.expect_check(name);
        }
        site
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.trivet.machine
    }

    /// A command in the machine, as root; what it printed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        self.machine().sh(script).trim().to_owned()
    }

    pub(crate) fn write(&self, check: &str, text: &str) {
        self.machine().write(&format!("etc/trivet/check.d/{check}.toml"), text);
    }

    #[track_caller]
    pub(crate) fn reload(&self) {
        self.sh("systemctl reload checkd");
    }

    #[track_caller]
    pub(crate) fn expect_check(&self, check: &str) {
        wait(&format!("the check {check} on the bus"), PATIENCE, || {
            self.trivet.property(&Property::check(check, "Type"))
        });
    }

    /// State and reason of one probe.
    #[track_caller]
    pub(crate) fn probe(&self, check: &str, target: &str) -> (String, String) {
        let (success, told) = self.try_probe(check, target);
        assert!(success, "probing {target} with {check}: {told}");
        let mut texts = texts(&told);
        (texts.next().expect("a state"), texts.next().expect("a reason"))
    }

    pub(crate) fn try_probe(&self, check: &str, target: &str) -> (bool, String) {
        let object = format!("org.trivet.Check1 /org/trivet/Check1/check/{check} org.trivet.Check1.Check");
        self.machine().try_sh(&format!("busctl --timeout=120 call {object} Probe s '{target}'"))
    }

    #[track_caller]
    pub(crate) fn expect(&self, check: &str, target: &str, state: &str, reason: &str) {
        let told = self.probe(check, target);
        assert_eq!((told.0.as_str(), told.1.as_str()), (state, reason), "{check} of {target}");
    }

    /// What checkd answers somebody who begins to watch: state, reason and since when.
    pub(crate) fn watch(&self, check: &str, target: &str) -> Option<(String, String, String)> {
        let manager = "org.trivet.Check1 /org/trivet/Check1 org.trivet.Check1.Manager";
        let (success, told) =
            self.machine().try_sh(&format!("busctl call {manager} Watch 'a(ss)' 1 {check} {target}"));
        let mut texts = texts(&told).skip(2);
        let since = told.rsplit('"').next()?.split_whitespace().next()?.to_owned();
        success.then_some((texts.next()?, texts.next()?, since))
    }

    #[track_caller]
    pub(crate) fn unit(&self, unit: &str, property: &str) -> String {
        self.trivet.unit(unit, property)
    }

    #[track_caller]
    pub(crate) fn expect_unit(&self, unit: &str, property: &str, value: &str) {
        wait_for(&format!("{property} of {unit}"), &value.to_owned(), || self.unit(unit, property));
    }

    /// The processes in checkd-exec's control group: number and name.
    pub(crate) fn processes(&self) -> Vec<(u32, String)> {
        let group = self.unit(EXEC, "ControlGroup");
        if group.is_empty() {
            return Vec::new();
        }
        // Who ends meanwhile is left out.
        let each = format!(
            "for pid in $(cat /sys/fs/cgroup{group}/cgroup.procs); do echo $pid $(cat /proc/$pid/comm); done 2>/dev/null"
        );
        let (_, text) = self.machine().try_sh(&each);
        text.lines().filter_map(|line| line.split_once(' ')).map(process).collect()
    }

    /// Those of them that are commands, or were started by one.
    pub(crate) fn commands(&self) -> Vec<(u32, String)> {
        self.processes().into_iter().filter(|(_, name)| name != "checkd-exec").collect()
    }

    #[track_caller]
    pub(crate) fn journal(&self, unit: &str) -> String {
        self.sh(&format!("journalctl --sync && journalctl -u {unit} --no-pager -o cat"))
    }

    /// What a daemon says by itself may come a little later.
    #[track_caller]
    pub(crate) fn expect_in_journal(&self, unit: &str, text: &str) {
        wait(&format!("the journal says {text:?}"), PATIENCE, || {
            self.journal(unit).contains(text).then_some(())
        });
    }
}

fn process((pid, name): (&str, &str)) -> (u32, String) {
    (pid.parse().expect("a process number"), name.to_owned())
}

/// The strings in what busctl printed; none of ours has a quotation mark in it, and apostrophes it escapes.
fn texts(told: &str) -> impl Iterator<Item = String> {
    told.split('"').skip(1).step_by(2).map(|text| text.replace("\\'", "'"))
}

/// A check by a script of sh, whose first argument is the target.
pub(crate) fn script(script: &str, keys: &str) -> String {
    format!(
        "type = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''', \"check\", \"{{target}}\"]\ninterval = \"1h\"\n{keys}\n"
    )
}
