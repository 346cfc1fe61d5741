//! One machine with the package, and nothing configured but virtual services.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::installed::Installed;
use trivet_tests::lab::Lab;
use trivet_tests::machine::Machine;

pub(crate) const SERVICE: &str = "org.trivet.Ipvs1 /org/trivet/Ipvs1/service/web org.trivet.Ipvs1.Service";
pub(crate) const MANAGER: &str = "org.trivet.Ipvs1 /org/trivet/Ipvs1 org.trivet.Ipvs1.Manager";
pub(crate) const WEB: &str = "address = \"10.0.10.50:80\"\n[[server]]\naddress = \"192.168.100.101\"\n[[server]]\naddress = \"192.168.100.102\"\n";

/// Fields are in the order in which they must end.
pub(crate) struct Site {
    pub(crate) trivet: Installed,
    pub(crate) host: Host,
    _lab: Lab,
}

impl Site {
    /// With the service `web`, and these files below /etc/trivet.
    #[track_caller]
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let lab = Lab::new();
        let host = lab.lone_director();
        let mut machine = Machine::prepare(&host);
        machine.give_sysctls();
        let trivet = Installed::boot_on(&host, machine);
        trivet.install_package();
        let site = Self { trivet, host, _lab: lab };
        site.write("ipvs.d/web.toml", WEB);
        files.iter().for_each(|(name, text)| site.write(name, text));
        site.sh("systemctl reload ipvsd");
        site.expect_service("web");
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

    /// The same, which must fail.
    #[track_caller]
    pub(crate) fn refused(&self, script: &str) -> String {
        let (success, said) = self.machine().try_sh(script);
        assert!(!success, "{script} must be refused: {said}");
        said.trim().to_owned()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        self.machine().write(&format!("etc/trivet/{name}"), text);
    }

    #[track_caller]
    pub(crate) fn expect_service(&self, name: &str) {
        wait(&format!("the service {name} on the bus"), PATIENCE, || {
            self.trivet.property(&Property::service(name, "Protocol"))
        });
    }

    pub(crate) fn manager(&self, property: &str) -> String {
        self.machine().try_sh(&format!("busctl get-property {MANAGER} {property}")).1.trim().to_owned()
    }

    #[track_caller]
    pub(crate) fn unit(&self, property: &str) -> String {
        self.trivet.unit("ipvsd", property)
    }

    /// Another process runs, and has its services on the bus.
    #[track_caller]
    pub(crate) fn expect_another(&self, before: &str) {
        wait("another ipvsd runs", PATIENCE, || {
            let now = self.unit("MainPID");
            (now != "0" && now != before && self.unit("ActiveState") == "active").then_some(())
        });
        self.expect_service("web");
    }

    /// What was ordered of the first and of the second server, by whom, why and when, as the bus shows it.
    pub(crate) fn orders(&self) -> Vec<String> {
        let told = self.trivet.property(&Property::service("web", "Servers")).unwrap_or_default();
        let keys = ["Override", "OverrideBy", "OverrideReason", "OverrideSince"];
        told.split("\"Address\"").skip(1).map(|row| keys.map(|key| value(row, key)).join(" | ")).collect()
    }

    #[track_caller]
    pub(crate) fn expect_orders(&self, orders: &[String]) {
        wait_for("the orders on the bus", &orders.to_vec(), || self.orders());
    }

    #[track_caller]
    pub(crate) fn journal(&self) -> String {
        self.sh("journalctl --sync && journalctl -u ipvsd --no-pager -o cat")
    }

    /// What a daemon says by itself may come a little later.
    #[track_caller]
    pub(crate) fn expect_in_journal(&self, text: &str) {
        wait(&format!("the journal says {text:?}"), PATIENCE, || self.journal().contains(text).then_some(()));
    }
}

/// A value in a row as busctl prints it: `"OverrideBy" s "root"`, `"OverrideSince" t 17`.
fn value(row: &str, key: &str) -> String {
    let Some((_, rest)) = row.split_once(&format!("\"{key}\" ")) else { return String::new() };
    let value = rest.get(2..).unwrap_or_default();
    let text = value.strip_prefix('"').and_then(|text| text.split('"').next());
    text.unwrap_or_else(|| value.split_whitespace().next().unwrap_or_default()).to_owned()
}
