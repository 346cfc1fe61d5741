//! A director has the address while it has a server to send its clients to: checkd tells ipvsd, ipvsd tells vrrpd.

use trivet_tests::bus::Property;
use trivet_tests::clock::wait_for;
use trivet_tests::ipvs;
use trivet_tests::lab::Lab;
use trivet_tests::trivet::Trivet;
use trivet_tests::web::Web;

#[test]
fn a_router_is_in_fault_while_its_virtual_service_has_no_quorum() {
    ipvs::require();
    let lab = Lab::new();
    lab.segment("lan");
    let director = lab.host("lvs", &[("eth0", "lan", "10.0.0.1/24")]);
    let server = lab.host("web1", &[("eth0", "lan", "10.0.0.2/24")]);
    let mut web = Web::start(&server);
    let mut trivet = Trivet::start(&director, "tracked-quorum/lvs", &["checkd", "ipvsd", "vrrpd"]);
    let property = |name| Property::router("gateway", name);
    trivet.wait_for_property(&property("State"), "s \"Active\"");
    trivet.wait_for_text(&property("Tracks"), "\"State\" s \"up\"");

    web.kill();
    trivet.wait_for_property(&property("State"), "s \"Fault\"");
    trivet.wait_for_text(&property("Reason"), "service web is down: of 1 servers 1 down");
    web.resume(&server);
    trivet.wait_for_property(&property("State"), "s \"Active\"");
    let before = trivet.wait_for_text(&property("Tracks"), "\"State\" s \"up\"");

    // An ipvsd that is exchanged leaves the table as it is, and the router what it is.
    trivet.kill("ipvsd");
    trivet.wait_for_text(&property("Tracks"), "\"Stale\" b true");
    trivet.run(&director, "ipvsd");
    // Since when it is up is part of it: it was up all the time.
    wait_for("ipvsd tells it anew, and it is as it was", &sorted(&before), || {
        sorted(&trivet.property(&property("Tracks")).unwrap_or_default())
    });
}

/// busctl prints a dictionary in any order.
fn sorted(property: &str) -> Vec<char> {
    let mut characters: Vec<char> = property.chars().collect();
    characters.sort_unstable();
    characters
}
