//! One description of a cell as our TOML and as keepalived.conf.

use std::fmt::Write as _;

use crate::cell::{Cell, Family, VRID};

/// What a version 3 checksum over IPv4 covers is the one thing in which the two need to be told about each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checksum {
    /// RFC 9568: the message alone.
    Rfc,
    /// keepalived's default, and 2.2.7's only form.
    PseudoHeader,
}

fn needs_pseudo_header(cell: &Cell, checksum: Checksum) -> bool {
    cell.version == 3 && cell.family == Family::V4 && checksum == Checksum::PseudoHeader
}

/// Whether vrrpd on this host learns by what it hears that it has to send a pseudo-header's checksum (checksum = "auto").
/// Who speaks first has to be told.
pub(crate) fn learns(cell: &Cell, host: usize, checksum: Checksum) -> bool {
    needs_pseudo_header(cell, checksum) && host != 0
}

pub(crate) fn toml(cell: &Cell, host: usize, checksum: Checksum, peer_is_keepalived: bool) -> String {
    let mut text = format!(
        "interface = \"eth0\"\nvirtual_router_id = {VRID}\nversion = {}\npriority = {}\nadvert_interval = \"{}ms\"\naddresses = {:?}\n",
        cell.version,
        cell.priorities()[host],
        cell.interval().as_millis(),
        cell.addresses(host)
    );
    if needs_pseudo_header(cell, checksum) && !learns(cell, host, checksum) {
        text.push_str("checksum = \"keepalived\"\n");
    }
    match (cell.vmac, cell.unicast) {
        (true, true) => text.push_str("vmac = { name = \"vrrp51\", advertise_from_parent = true }\n"),
        (true, false) => text.push_str("vmac = true\n"),
        (false, _) => {}
    }
    if cell.unicast {
        // Where it is not told otherwise, keepalived sends IPv6 to its peers with the kernel's own hop limit.
        let least = if cell.family == Family::V6 && peer_is_keepalived { 64 } else { 255 };
        let (own, peer) = (cell.own(host), cell.own(1 - host));
        let _ = write!(
            text,
            "\n[unicast]\nsource = \"{own}\"\npeers = [{{ address = \"{peer}\", min_ttl = {least} }}]\n"
        );
    }
    if cell.pass {
        text.push_str("\n[authentication]\ntype = \"pass\"\npassword = \"XXX999XX\"\n");
    }
    text
}

pub(crate) fn keepalived(cell: &Cell, host: usize, checksum: Checksum) -> String {
    let mut text = format!(
        "vrrp_instance V {{\n  state BACKUP\n  interface eth0\n  virtual_router_id {VRID}\n  version {}\n  priority {}\n  advert_int {}\n",
        cell.version,
        cell.priorities()[host],
        cell.interval().as_secs_f64()
    );
    if cell.version == 3 && cell.family == Family::V4 && checksum == Checksum::Rfc {
        text.push_str("  v3_checksum_as_v2\n");
    }
    if cell.vmac {
        text.push_str("  use_vmac vrrp51\n");
        if cell.unicast {
            text.push_str("  vmac_xmit_base\n");
        }
    }
    if cell.unicast {
        let _ = write!(
            text,
            "  unicast_src_ip {}\n  unicast_peer {{\n    {}\n  }}\n",
            cell.own(host),
            cell.own(1 - host)
        );
    }
    if cell.pass {
        text.push_str("  authentication {\n    auth_type PASS\n    auth_pass XXX999XX\n  }\n");
    }
    let addresses = cell.addresses(host).join("\n    ");
    let _ = write!(text, "  virtual_ipaddress {{\n    {addresses}\n  }}\n}}\n");
    text
}
