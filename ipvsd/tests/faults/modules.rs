//! Modules that are not there, go, and come. They are the whole machine's: only in a virtual machine of the tests' own.

use std::io::Write as _;

use nix::sys::signal::Signal;

use crate::common::table::{ipvsadm, kernel, listing, wait_for_listing};
use crate::common::{Bus, Ipvsd, run, wait_for};
use crate::{FIRST, SECOND, SERVICE, root, service};

/// Whether the modules of this machine may be taken away.
fn may_unload() -> bool {
    if std::env::var_os("TRIVET_IN_VM").is_some() {
        return true;
    }
    let required = std::env::var("REQUIRE_ALL_FLOORS").is_ok_and(|all| all == "1");
    assert!(!required, "modules are unloaded in a virtual machine only (tests/vm)");
    let _ =
        writeln!(std::io::stderr(), "LEFT OUT (floor 4, modules): this is no virtual machine of the tests");
    false
}

/// Take IPVS out of the kernel, which would load it as soon as somebody asks for it. Namespaces of earlier tests may be on
/// their way out.
fn unload() -> Hidden {
    let hidden = Hidden::new("ip_vs");
    wait_for("the end of IPVS", || {
        let (_, modules) = run("lsmod", &[]);
        let names = modules.lines().filter_map(|line| line.split_whitespace().next());
        let ours: Vec<&str> = names.filter(|name| name.starts_with("ip_vs")).collect();
        for name in &ours {
            run("rmmod", &[name]);
        }
        ours.is_empty().then_some(())
    });
    hidden
}

fn fault(bus: &Bus) -> String {
    bus.property("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "KernelFault")
}

#[test]
fn ip_vs_that_goes_and_comes_back_under_a_running_ipvsd_has_the_table_again() {
    let Some(_kernel) = kernel() else { return };
    if !may_unload() {
        return;
    }
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the service, unchecked", &[SERVICE, FIRST, SECOND]);
    for round in 1..=2 {
        // It must not put the table back between the two.
        ipvsd.signal(Signal::SIGSTOP);
        ipvsadm("-C");
        let hidden = unload();
        ipvsd.signal(Signal::SIGCONT);
        wait_for("the fault on the bus", || {
            fault(&bus).contains("the kernel has no IPVS: modprobe ip_vs").then_some(())
        });
        // It is enough that it can be had.
        drop(hidden);
        wait_for_listing("the table again", &[SERVICE, FIRST, SECOND]);
        wait_for("no fault on the bus", || fault(&bus).contains("Str(\"\")").then_some(()));
        let said = ipvsd.log().matches("the kernel has no IPVS: modprobe ip_vs; trying again").count();
        assert_eq!(said, round, "{}", ipvsd.log());
    }
}

#[test]
fn ipvsd_that_is_started_before_ip_vs_is_there_waits_for_it() {
    let Some(_kernel) = kernel() else { return };
    if !may_unload() {
        return;
    }
    let hidden = unload();
    let (root, bus) = (root(""), Bus::new());
    let ipvsd = Ipvsd::start(&root, &bus);
    ipvsd.wait_until_ready();
    wait_for("the fault on the bus", || fault(&bus).contains("modprobe ip_vs").then_some(()));
    assert!(bus.of_service("web", "State").contains("pending"), "{}", bus.of_service("web", "State"));
    drop(hidden);
    wait_for_listing("the table", &[SERVICE, FIRST, SECOND]);
    wait_for("the state", || bus.of_service("web", "State").contains("forwarding").then_some(()));
}

/// A module that cannot be loaded, until this is dropped.
struct Hidden;

const HIDDEN: &str = "/etc/modprobe.d/trivet-test.conf";

impl Hidden {
    fn new(module: &str) -> Self {
        std::fs::write(HIDDEN, format!("install {module} /bin/false\n")).unwrap();
        Self
    }

    /// A module that others do not need, taken out of the kernel.
    fn unloaded(module: &str) -> Self {
        let hidden = Self::new(module);
        wait_for("the module's end", || {
            run("rmmod", &[module]);
            let (_, modules) = run("lsmod", &[]);
            (!modules.contains(module)).then_some(())
        });
        hidden
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(HIDDEN);
    }
}

#[test]
fn a_scheduler_whose_module_is_missing_is_that_services_fault_until_it_is_there() {
    let Some(_kernel) = kernel() else { return };
    if !may_unload() {
        return;
    }
    let hidden = Hidden::unloaded("ip_vs_fo");
    let (root, bus) = (root(""), Bus::new());
    root.write("etc/trivet/ipvs.d/a.toml", &service("10.0.10.40:80", "fo", ""));
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the other service", &[SERVICE, FIRST, SECOND]);
    let hint = "the kernel has no scheduler 'fo': modprobe ip_vs_fo";
    wait_for("the reason", || bus.of_service("a", "Reason").contains(hint).then_some(()));
    assert!(bus.of_service("a", "State").contains("failed"));
    let plan: Vec<String> =
        bus.call("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan").expect("it answers");
    let add = "add service tcp 10.0.10.40:80 (fo)";
    assert!(plan.len() == 3 && plan[0] == add && plan[1].contains("192.168.100.101:80"), "{plan:?}");
    assert_eq!(listing(), [SERVICE, FIRST, SECOND], "it changes nothing");
    assert!(bus.of_service("web", "State").contains("forwarding"));
    // A service that is there already goes on as it was; its servers follow all the same.
    root.write("etc/trivet/ipvs.d/web.toml", &service("10.0.10.50:80", "fo", "upper_threshold = 5"));
    ipvsd.signal(Signal::SIGHUP);
    wait_for("the reason of the other one", || bus.of_service("web", "Reason").contains(hint).then_some(()));
    wait_for("the servers' thresholds", || {
        let (_, text) = run("ipvsadm", &["-Ln", "--thresholds"]);
        (text.matches(" 5 ").count() == 2).then_some(())
    });
    assert_eq!(listing(), [SERVICE, FIRST, SECOND]);
    // Once for each, and once more after a reload.
    wait_for("it is told", || (ipvsd.log().matches(hint).count() >= 3).then_some(()));
    assert_eq!(ipvsd.log().matches(hint).count(), 3, "{}", ipvsd.log());
    drop(hidden);
    let expected = ["TCP 10.0.10.40:80 fo", FIRST, SECOND, "TCP 10.0.10.50:80 fo", FIRST, SECOND];
    wait_for_listing("both, as soon as the module can be loaded", &expected);
    wait_for("its state", || bus.of_service("a", "State").contains("forwarding").then_some(()));
    let plan: zbus::Result<Vec<String>> = bus.call("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
    assert!(plan.as_ref().is_ok_and(Vec::is_empty), "{plan:?}");
}

#[test]
fn a_persistence_engine_whose_module_is_missing_is_named() {
    let Some(_kernel) = kernel() else { return };
    if !may_unload() {
        return;
    }
    let hidden = Hidden::unloaded("ip_vs_pe_sip");
    let (root, bus) = (root(""), Bus::new());
    let options = "protocol = \"udp\"\npersistence = 360\npersistence_engine = \"sip\"";
    root.write("etc/trivet/ipvs.d/a.toml", &service("10.0.10.40:5060", "rr", options));
    let _ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the other service", &[SERVICE, FIRST, SECOND]);
    let hint = "no persistence engine 'sip': modprobe ip_vs_rr ip_vs_pe_sip";
    wait_for("the reason", || bus.of_service("a", "Reason").contains(hint).then_some(()));
    drop(hidden);
    wait_for("the service", || {
        listing().iter().any(|line| line == "UDP 10.0.10.40:5060 rr persistent 360 pe sip").then_some(())
    });
}
