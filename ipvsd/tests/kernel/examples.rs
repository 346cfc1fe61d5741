//! All examples of `etc/trivet/ipvs.d` at once, as the kernel has them.

use daemon::testing::TempRoot;

use crate::common::examples::EXAMPLES;
use crate::common::table::{kernel, wait_for_listing, wait_until_ipvsadm_says};
use crate::common::{Bus, Ipvsd};

/// Without a checkd everybody is used after the time of grace. `while-active` is not there: nobody is Active. In
/// ipvsadm's order.
const TABLE: &[&str] = &[
    "TCP 192.168.1.6:80 rr",
    "-> 10.0.0.2:80 Masq 1 0 0",
    "-> 10.0.0.3:80 Masq 1 0 0",
    "TCP 192.168.1.6:8080 rr",
    "-> 10.0.0.2:80 Masq 1 0 0",
    "TCP 10.0.0.1:80 rr",
    "-> 10.0.0.5:80 Route 1 0 0",
    "-> 10.0.0.6:80 Route 1 0 0",
    "TCP 10.0.10.25:25 wlc persistent 300",
    "-> 192.168.100.101:25 Masq 10 0 0",
    "-> 192.168.100.102:25 Masq 10 0 0",
    "-> 192.168.100.103:25 Masq 10 0 0",
    "-> 192.168.100.104:25 Masq 10 0 0",
    "-> 192.168.100.105:25 Masq 10 0 0",
    "-> 192.168.100.106:25 Masq 10 0 0",
    "TCP 10.0.10.50:80 rr",
    "-> 192.168.100.101:80 Masq 1 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.51:443 wlc",
    "-> 192.168.100.121:443 Masq 50 0 0",
    "-> 192.168.100.122:443 Masq 50 0 0",
    "TCP 10.0.10.59:80 wrr",
    "-> 192.168.100.101:80 Masq 3 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.59:8000 wrr",
    "-> 192.168.100.101:8000 Masq 3 0 0",
    "-> 192.168.100.102:8000 Masq 1 0 0",
    "TCP 10.0.10.59:8001 wrr",
    "-> 192.168.100.101:8001 Masq 3 0 0",
    "-> 192.168.100.102:8001 Masq 1 0 0",
    "TCP 10.0.10.59:8002 wrr",
    "-> 192.168.100.101:8002 Masq 3 0 0",
    "-> 192.168.100.102:8002 Masq 1 0 0",
    "TCP 10.0.10.59:8003 wrr",
    "-> 192.168.100.101:8003 Masq 3 0 0",
    "-> 192.168.100.102:8003 Masq 1 0 0",
    "TCP 10.0.10.60:80 wrr",
    "-> 192.168.100.101:80 Masq 3 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.61:80 wrr",
    "-> 192.168.100.101:80 Masq 3 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.62:80 wrr",
    "-> 192.168.100.101:80 Masq 3 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.63:80 wrr",
    "-> 192.168.100.101:80 Masq 3 0 0",
    "-> 192.168.100.102:80 Masq 1 0 0",
    "TCP 10.0.10.70:0 sh persistent 360 mask 255.255.255.0",
    "-> 10.0.10.101:0 Route 1 0 0",
    "-> 10.0.10.102:0 Route 1 0 0",
    "TCP 10.0.10.75:80 wlc",
    "-> 192.168.100.101:80 Masq 100 0 0",
    "-> 192.168.100.102:80 Masq 100 0 0",
    "TCP 10.0.10.80:80 wlc",
    "-> 203.0.113.101:80 Tunnel 1 0 0",
    "-> 10.0.10.103:80 Route 1 0 0",
    "-> [2001:db8::102]:80 Tunnel 1 0 0",
    "UDP 10.0.10.60:5060 rr persistent 3600 pe sip ops",
    "-> 192.168.100.111:5060 Masq 1 0 0",
    "-> 192.168.100.112:5060 Masq 1 0 0",
    "UDP [2001:db8::53]:53 mh (mh-fallback,mh-port) ops",
    "-> [2001:db8:1::1]:53 Masq 1 0 0",
    "-> [2001:db8:1::2]:53 Masq 1 0 0",
    "FWM 7 wlc persistent 600",
    "-> 192.168.100.101:0 Masq 1 0 0",
    "-> 192.168.100.102:0 Masq 1 0 0",
];

#[test]
fn all_examples_together_are_the_table_that_they_describe() {
    let Some(_kernel) = kernel() else { return };
    let (root, bus) = (TempRoot::new(), Bus::new());
    EXAMPLES.iter().for_each(|(file, text)| root.write(&format!("etc/trivet/{file}.toml"), text));
    root.write("etc/trivet/ipvsd.toml", "health_grace = \"1s\"\n");
    let ipvsd = Ipvsd::start(&root, &bus);
    wait_for_listing("the examples", TABLE);
    wait_until_ipvsadm_says("-Ln --thresholds", &["192.168.100.101:80 1000 800"]);
    wait_until_ipvsadm_says(
        "-Ln --tun-info",
        &["203.0.113.101:80 Tunnel gue:6080:+c", "[2001:db8::102]:80 Tunnel gue:6080:+c"],
    );
    ipvsd.wait_for_log("serving org.trivet.Ipvs1 on the bus");
    let plan = bus.call::<Vec<String>>("/org/trivet/Ipvs1", "org.trivet.Ipvs1.Manager", "Plan");
    assert!(plan.as_ref().is_ok_and(Vec::is_empty), "{plan:?}");
    assert_eq!(bus.of_service("tunnel", "Repairs"), "OwnedVariant(U64(0))");
}
