//! What the tests on the real kernel share: a namespace with IPVS, and its table as `ipvsadm` shows it.

use std::io::Write as _;
use std::net::SocketAddr;

use ipvsd::kernel::Kernel;
use ipvsd::table::{Protocol, ServiceKey};

use super::{own_network, run, wait_for};

/// A namespace with IPVS, or the reason to leave the test out.
pub(crate) fn kernel() -> Option<Kernel> {
    let required = std::env::var("TRIVET_FLOOR").is_ok_and(|floor| floor == "4")
        || std::env::var("REQUIRE_ALL_FLOORS").is_ok_and(|all| all == "1");
    let reason = if own_network() {
        let mut kernel = Kernel::open().unwrap();
        match kernel.dump() {
            Ok(dump) => {
                assert!(dump.table.is_empty(), "a fresh namespace has services");
                return Some(kernel);
            }
            Err(fault) => fault.0,
        }
    } else {
        "a network namespace cannot be made: needs root".into()
    };
    assert!(!required, "IPVS is required here, but {reason}");
    // Not eprintln: that is shown only when a test fails.
    let _ = writeln!(std::io::stderr(), "LEFT OUT (floor 4, real IPVS): {reason}");
    None
}

/// `ipvsadm -Ln` without its heading, blanks put together.
pub(crate) fn listing() -> Vec<String> {
    let (ok, text) = run("ipvsadm", &["-Ln"]);
    assert!(ok, "{text}");
    text.lines().skip(3).map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// What `ipvsadm` prints.
pub(crate) fn ipvsadm_says(arguments: &str) -> String {
    let (ok, text) = run("ipvsadm", &arguments.split_whitespace().collect::<Vec<_>>());
    assert!(ok, "ipvsadm {arguments}: {text}");
    text
}

/// Blanks and the ends of lines are put together.
pub(crate) fn wait_until_ipvsadm_says(arguments: &str, parts: &[&str]) {
    wait_for(&format!("{parts:?} of ipvsadm {arguments}"), || {
        let text = ipvsadm_says(arguments).split_whitespace().collect::<Vec<_>>().join(" ");
        parts.iter().all(|part| text.contains(part)).then_some(())
    });
}

pub(crate) fn ipvsadm(arguments: &str) {
    let (ok, text) = run("ipvsadm", &arguments.split_whitespace().collect::<Vec<_>>());
    assert!(ok, "ipvsadm {arguments}: {text}");
}

pub(crate) fn wait_for_listing(what: &str, expected: &[&str]) {
    let mut last = Vec::new();
    let found = || {
        last = listing();
        (last == expected).then_some(())
    };
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| wait_for(what, found)));
    assert!(result.is_ok(), "{what}: the table is {last:#?}");
}

pub(crate) fn tcp(address: &str) -> ServiceKey {
    ServiceKey::Address { protocol: Protocol::Tcp, address: address.parse().unwrap() }
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}
