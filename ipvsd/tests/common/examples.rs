//! The examples of `etc/trivet`, within the test program: it also runs where the tree is not.

macro_rules! examples {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../../../etc/trivet/", $file, ".toml.example")))),*]
    };
}

/// Every one of `ipvs.d`, and the checks and the virtual router that they name: ("ipvs.d/web-nat", TEXT).
pub(crate) const EXAMPLES: &[(&str, &str)] = examples![
    "ipvs.d/active-backup",
    "ipvs.d/all-ports",
    "ipvs.d/dns",
    "ipvs.d/dynamic-weight",
    "ipvs.d/firewall-mark",
    "ipvs.d/many-addresses",
    "ipvs.d/sip",
    "ipvs.d/slow-start",
    "ipvs.d/sorry-server",
    "ipvs.d/tunnel",
    "ipvs.d/web-inhibit",
    "ipvs.d/web-nat",
    "ipvs.d/web-route",
    "ipvs.d/while-active",
    "check.d/dns",
    "check.d/drupal",
    "check.d/index",
    "check.d/misc-dynamic",
    "check.d/sip-udp",
    "check.d/slow-tcp",
    "check.d/smtp",
    "check.d/submission",
    "vrrp.d/gateway",
];
