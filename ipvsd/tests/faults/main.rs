//! What goes wrong around ipvsd on the real kernel, and that it ends well: calls that fail, modules that are not there,
//! health that flips, tables that are large. Judged by `ipvsadm`. In a machine that has IPVS (kernel/main.rs):
//! `TRIVET_FLOOR=4 TRIVET_BIN=/payload tests/vm --with target/debug/ipvsd target/debug/deps/faults-…`

#![allow(clippy::unwrap_used, reason = "as in every test")]

mod calls;
#[path = "../common/mod.rs"]
mod common;
mod flips;
mod many;
mod modules;
mod strace;

use daemon::testing::TempRoot;

const SERVICE: &str = "TCP 10.0.10.50:80 rr";
const FIRST: &str = "-> 192.168.100.101:80 Masq 1 0 0";
const SECOND: &str = "-> 192.168.100.102:80 Masq 1 0 0";

fn service(address: &str, scheduler: &str, options: &str) -> String {
    format!(
        "address = \"{address}\"\nscheduler = \"{scheduler}\"\n{options}\n\
         [[server]]\naddress = \"192.168.100.101:80\"\n[[server]]\naddress = \"192.168.100.102:80\"\n"
    )
}

/// A service with two servers.
fn root(options: &str) -> TempRoot {
    let root = TempRoot::new();
    root.write("etc/trivet/ipvs.d/web.toml", &service("10.0.10.50:80", "rr", options));
    root
}
