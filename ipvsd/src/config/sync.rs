//! `[sync]` of ipvsd.toml: the kernel's connection synchronisation. What the kernel would make something else of is
//! refused: a sync daemon that is not as it was ordered would be ordered again, for ever.

use std::net::IpAddr;

use daemon::diagnostic::Report;
use daemon::document::Table;
use daemon::reader::Reader;

use super::references::References;
use crate::service::Settings;
use crate::sync::{Link, Role, SyncSettings};
use crate::tuning::Value;

/// `IP_VS_IFNAME_MAXLEN` without its NUL.
const LONGEST_INTERFACE: usize = 15;
/// A backup's shortest buffer, and what fits in a datagram of IPv4; the kernel clamps to these.
const LENGTHS: std::ops::RangeInclusive<i64> = 1024..=65_507;
/// Of a datagram of IPv6, whose header is longer.
const LONGEST_IPV6: u16 = 65_487;
/// `IP_VS_SYNC_PORT`
const DEFAULT_PORT: u16 = 8848;

/// keepalived's keys, and what to write instead.
const KEYS_OF_OTHERS: &[(&str, &str)] = &[
    ("inst", "write virtual_router = \"NAME\""),
    ("state", "write role = \"master\", \"backup\" or \"both\""),
    ("syncid", "write id = 1"),
    ("maxlen", "write max_length = 1460"),
];

pub(super) fn read_sync(table: &Table, references: &References, report: &mut Report) -> Option<SyncSettings> {
    let mut reader = Reader::new(table, report);
    let interface = reader.parse("interface", interface_name);
    let interface = reader.require("interface", interface, "interface = \"eth1\"");
    let role = read_role(&mut reader, table, references);
    let length = reader.integer::<u16>("max_length", LENGTHS);
    let group = reader.parse("group", parse_group);
    if let (Some(length), Some(group)) = (&length, &group)
        && group.value.is_ipv6()
        && length.value > LONGEST_IPV6
    {
        let text = format!("with a group of IPv6 'max_length' must be from 1024 to {LONGEST_IPV6}");
        reader.report().error(&length.at, text);
    }
    let link = Link {
        interface: interface.map(|interface| interface.value.into()).unwrap_or_default(),
        id: reader.integer("id", 0..=255).map_or(0, |id| id.value),
        max_length: length.map_or(0, |length| length.value),
        group: group.map(|group| group.value),
        port: reader.integer("port", 1..=65_535).map_or(0, |port| port.value),
        ttl: reader.integer("ttl", 1..=255).map_or(0, |ttl| ttl.value),
    };
    reader.finish(KEYS_OF_OTHERS);
    (!link.interface.is_empty()).then_some(SyncSettings::Managed { link, role: role? })
}

/// The keys `virtual_router` and `role`. `None`: what is there is wrong, which has been reported.
fn read_role(reader: &mut Reader<'_>, table: &Table, references: &References) -> Option<Role> {
    let router = references.read_router(reader, "virtual_router");
    let roles = [("both", Role::Both), ("master", Role::Master), ("backup", Role::Backup)];
    let words: Vec<(&str, usize)> =
        roles.iter().enumerate().map(|(index, (word, _))| (*word, index)).collect();
    let role = reader.choice("role", &words, &[("MASTER", "master"), ("BACKUP", "backup")]);
    if let (Some(role), true) = (&role, table.entries.contains_key("virtual_router")) {
        reader
            .report()
            .error(&role.at, "'role' and 'virtual_router' cannot both be given")
            .hint("with virtual_router the role is master while that is Active here, else backup");
    }
    match (role, router) {
        (Some(role), _) => roles.into_iter().nth(role.value).map(|(_, role)| role),
        (None, Some(router)) => Some(Role::Follow(router)),
        (None, None) => Some(Role::Both),
    }
}

/// What `[sync]` and `[sysctl]` must agree about.
pub(super) fn check_with_sysctls(
    settings: &Settings,
    (sync, sysctls): (&Table, Option<&Table>),
    report: &mut Report,
) {
    let SyncSettings::Managed { link, role } = &settings.sync else { return };
    let value_at = |table: &Table, key: &str| table.entries.get(key).map(|entry| entry.value.at.clone());
    // The kernel looks only at whether a backup runs, not at whether a master does too.
    if *role == Role::Both
        && settings.tuning.sysctls.get("backup_only") == Some(&Value::One(1))
        && let Some(at) = sysctls.and_then(|sysctls| value_at(sysctls, "backup_only"))
    {
        let text = "with role = \"both\" this director is always backup: backup_only would end all balancing";
        report.error(&at, text).hint("write virtual_router = \"NAME\" in [sync], or remove backup_only");
    }
    let port = if link.port == 0 { DEFAULT_PORT } else { link.port };
    let Value::One(ports) = settings.tuning.sysctls.get("sync_ports").copied().unwrap_or(Value::One(1))
    else {
        return;
    };
    let last = u32::from(port) + ports.saturating_sub(1);
    if last > u32::from(u16::MAX)
        && let Some(at) = value_at(sync, "port")
    {
        let text = format!("with sync_ports = {ports} the last port would be {last}, and there are 65535");
        report.error(&at, text).hint("each thread of a sync daemon has a port of its own, from this one on");
    }
}

/// A name that the kernel accepts (dev_valid_name), and that fits.
fn interface_name(name: &str) -> Result<String, String> {
    let wrong = |c: char| c.is_whitespace() || c == '/' || c == ':';
    if name.is_empty()
        || name.len() > LONGEST_INTERFACE
        || name == "."
        || name == ".."
        || name.contains(wrong)
    {
        return Err(format!("not an interface's name, of at most {LONGEST_INTERFACE} bytes"));
    }
    Ok(name.to_owned())
}

fn parse_group(text: &str) -> Result<IpAddr, String> {
    let group: Option<IpAddr> = text.parse().ok();
    let group = group
        .filter(IpAddr::is_multicast)
        .ok_or_else(|| "not a multicast address, such as 224.0.0.81 or ff02::81".to_owned())?;
    // RFC 4291, 2.7: scopes 0 (reserved) and 1 (interface-local).
    if let IpAddr::V6(ip) = group
        && ip.segments()[0] & 0x000f <= 1
    {
        return Err(format!("a group whose packets leave no machine: {ip}; write ff02::81"));
    }
    Ok(group)
}
