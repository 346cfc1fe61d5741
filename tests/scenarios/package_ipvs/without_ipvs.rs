//! A machine whose kernel has no IPVS.

use trivet_tests::bus::Property;

use crate::site::{MANAGER, SERVICE, Site};

const FAULT: &str = "the kernel has no IPVS: modprobe ip_vs";

#[test]
fn without_ipvs_it_runs_says_why_nothing_works_and_is_reloaded_all_the_same() {
    let site = Site::new(&[("ipvsd.toml", "[sysctl]\nconntrack = true\n[timeouts]\ntcp = \"1h\"\n")]);
    if site.machine().try_sh("test -e /proc/net/ip_vs").0 {
        eprintln!("LEFT OUT: this kernel has IPVS, and it is not ours to take away; tests/vm shows it");
        return;
    }
    let pid = site.unit("MainPID");
    let status = site.sh("systemctl status ipvsd --no-pager");
    assert!(status.contains(&format!("Status: \"1 service: 1 pending; {FAULT}\"")), "{status}");
    assert_eq!(site.manager("KernelFault"), format!("s \"{FAULT}\""));
    for (property, value) in [
        ("State", "s \"pending\"".to_owned()),
        ("Reason", format!("s \"{FAULT}\"")),
        ("HasQuorum", "b false".into()),
    ] {
        site.trivet.wait_for_property(&Property::service("web", property), &value);
    }
    // What is not there cannot be changed, and whoever wants it is told.
    let said = site.refused(&format!("busctl call {MANAGER} Resync"));
    assert!(said.contains(FAULT), "{said}");

    site.write(
        "ipvs.d/more.toml",
        "address = \"10.0.10.50:81\"\n[[server]]\naddress = \"192.168.100.101\"\n",
    );
    site.sh("sed -i '1i scheduler = \"rr\"' /etc/trivet/ipvs.d/web.toml");
    site.sh("systemctl reload ipvsd");
    site.trivet.wait_for_property(&Property::service("more", "State"), "s \"pending\"");
    site.trivet.wait_for_property(&Property::service("web", "Scheduler"), "s \"rr\"");
    assert_eq!(site.manager("Services"), "u 2");
    // An operator's order is taken, for when it can be obeyed.
    site.sh(&format!("busctl call {SERVICE} Disable ss 192.168.100.101 disk"));
    assert!(site.orders()[0].starts_with("disabled | root | disk | "), "{:?}", site.orders());

    // Said once as what it is, and not at each of the attempts that follow.
    let errors = site.sh(
        "journalctl --sync && journalctl _SYSTEMD_UNIT=ipvsd.service _COMM=ipvsd -p err --no-pager -o cat",
    );
    assert_eq!(errors, format!("{FAULT}; trying again"));
    assert_eq!(site.unit("MainPID"), pid);
    assert_eq!(site.unit("NRestarts"), "0");
}
