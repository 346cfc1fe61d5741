//! Wireshark's opinion of what was sent: every advertisement, ARP and neighbour advertisement well-formed, every checksum
//! right. It is the one decoder here that neither we nor keepalived wrote.
//!
//! Its limit: for version 3 over IPv4 it believes either the checksum with a pseudo-header (its default) or the one of
//! RFC 9568 (`vrrp.v3_checksum_as_in_v2`), never both in one run. So it is told which to expect, and calls the other bad.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

/// In the order of the columns.
const FIELDS: [&str; 9] = [
    "frame.number",
    "arp.opcode",
    "ip.checksum.status",
    "vrrp.version",
    "vrrp.checksum.status",
    "icmpv6.type",
    "icmpv6.checksum.status",
    "_ws.expert.severity",
    "_ws.expert.message",
];
/// epan/proto.h: PROTO_CHECKSUM_E_GOOD.
const GOOD: &str = "1";
/// epan/proto.h: PI_WARN. Errors and malformed packets are above it.
const WARNING: u64 = 0x0060_0000;

/// What version 3's checksum over IPv4 covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// The message alone: RFC 9568, 5.2.8.
    MessageOnly,
    PseudoHeader,
}

/// How many packets of each kind were found right; or what is wrong with the others, one line each.
pub fn judge(pcap: &Path, form: Form) -> Result<BTreeMap<String, usize>, Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-n").arg("-r").arg(pcap).args(["-T", "fields", "-E", "separator=|", "-E", "aggregator=,"]);
    command.args(["-o", "ip.check_checksum:TRUE", "-o", "arp.detect_duplicate_ips:FALSE"]);
    let rfc = form == Form::MessageOnly;
    command.arg("-o").arg(format!("vrrp.v3_checksum_as_in_v2:{}", if rfc { "TRUE" } else { "FALSE" }));
    FIELDS.iter().for_each(|field| _ = command.args(["-e", field]));
    let output =
        command.output().unwrap_or_else(|error| panic!("running tshark: {error}; tests/run installs it"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {complaint}");

    let (mut right, mut wrong) = (BTreeMap::new(), Vec::new());
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match packet(line) {
            Ok(kind) => *right.entry(kind).or_default() += 1,
            Err(error) => wrong.push(format!("frame {line}: {error}")),
        }
    }
    if wrong.is_empty() { Ok(right) } else { Err(wrong) }
}

/// What kind of packet a line is about, or what is wrong with it.
fn packet(line: &str) -> Result<String, String> {
    let values: Vec<&str> = line.splitn(FIELDS.len(), '|').collect();
    let [_, arp, ip, version, vrrp, icmpv6, neighbour, severities, messages] = values[..] else {
        return Err("tshark printed another line than asked for".into());
    };
    let severe = |severity: &str| severity.parse::<u64>().is_ok_and(|severity| severity >= WARNING);
    if severities.split(',').any(severe) {
        return Err(messages.to_owned());
    }
    if !ip.is_empty() && ip != GOOD {
        return Err("the IPv4 header's checksum is wrong".into());
    }
    match (arp, version, icmpv6) {
        (operation, "", "") if !operation.is_empty() => Ok(format!("ARP, operation {operation}")),
        // An ICMPv6 error of the kernel, and what it quotes.
        ("", _, kind) if !kind.is_empty() && neighbour == GOOD => Ok(format!("ICMPv6, type {kind}")),
        ("", version, "") if !version.is_empty() && vrrp == GOOD => {
            let family = if ip.is_empty() { "IPv6" } else { "IPv4" };
            Ok(format!("VRRP version {version} over {family}"))
        }
        _ => Err("its checksum is wrong, or it is nothing that Wireshark knows".into()),
    }
}
