//! `ipvsd.toml`: settings of ipvsd as a whole.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use daemon::diagnostic::Report;
use daemon::document::Table;
use daemon::dropin;
use daemon::reader::Reader;

use super::references::References;
use crate::service::Settings;
use crate::sync::{Link, Role, SyncSettings};
use crate::tuning::{SYSCTLS, Takes, Timeouts, Tuning};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);
/// `IP_VS_IFNAME_MAXLEN` with its NUL.
const LONGEST_INTERFACE: usize = 15;

/// keepalived's keys, and what to write instead.
const KEYS_OF_OTHERS: &[(&str, &str)] = &[
    ("lvs_timeouts", "write [timeouts] and below it tcp = \"15min\""),
    ("lvs_sync_daemon", "write [sync] and below it interface = \"eth1\""),
    ("lvs_flush", "write exclusive = true: services that are not configured are removed"),
    (
        "lvs_flush_on_stop",
        "a stopped ipvsd leaves the table as it is, so that nothing is cut; ipvsadm -C empties it",
    ),
];
const SYNC_KEYS_OF_OTHERS: &[(&str, &str)] = &[
    ("inst", "write virtual_router = \"NAME\""),
    ("state", "write role = \"master\", \"backup\" or \"both\""),
    ("syncid", "write id = 1"),
    ("maxlen", "write max_length = 1460"),
];

pub(super) fn load(root: &Path, references: &References, report: &mut Report) -> Settings {
    let mut settings = Settings::default();
    let Some(object) = dropin::load_file(root, "ipvsd", report) else { return settings };
    let mut reader = Reader::new(&object.table, report);
    if let Some(grace) = reader.duration("health_grace", Duration::ZERO..=DAY) {
        settings.grace = grace.value;
    }
    if let Some(resync) = reader.duration("resync_interval", SECOND / 10..=DAY) {
        settings.resync = resync.value;
    }
    settings.exclusive = reader.boolean("exclusive").is_some_and(|flag| flag.value);
    let timeouts = reader.table("timeouts");
    let sysctls = reader.table("sysctl");
    let sync = reader.table("sync");
    let report = reader.report();
    settings.tuning = Tuning {
        timeouts: timeouts.map(|table| read_timeouts(table, report)).unwrap_or_default(),
        ..read_sysctls(sysctls, report)
    };
    if let Some(table) = sync {
        settings.sync = read_sync(table, references, report).unwrap_or_default();
    }
    check_backup_only(&settings, sysctls, report);
    settings.log_level = daemon::log::read_level(&mut reader);
    reader.finish(KEYS_OF_OTHERS);
    settings
}

/// The kernel looks only at whether a backup runs, not at whether a master does too.
fn check_backup_only(settings: &Settings, sysctls: Option<&Table>, report: &mut Report) {
    let is_both = matches!(&settings.sync, SyncSettings::Managed { role: Role::Both, .. });
    if is_both
        && settings.tuning.sysctls.get("backup_only") == Some(&1)
        && let Some(entry) = sysctls.and_then(|sysctls| sysctls.entries.get("backup_only"))
    {
        let text = "with role = \"both\" this director is always backup: backup_only would end all balancing";
        report
            .error(&entry.value.at, text)
            .hint("write virtual_router = \"NAME\" in [sync], or remove backup_only");
    }
}

fn read_timeouts(table: &Table, report: &mut Report) -> Timeouts {
    let mut reader = Reader::new(table, report);
    // The kernel counts them in ticks of 32 bits.
    let range = SECOND..=31 * DAY;
    let mut read = |key| whole_seconds(&mut reader, key, range.clone());
    let timeouts = Timeouts { tcp: read("tcp"), tcp_fin: read("tcp_fin"), udp: read("udp") };
    reader.finish(&[("tcpfin", "write tcp_fin = \"2min\"")]);
    timeouts
}

/// A time span without a fraction of a second.
pub(super) fn whole_seconds(
    reader: &mut Reader<'_>,
    key: &'static str,
    range: RangeInclusive<Duration>,
) -> Option<u32> {
    let span = reader.duration(key, range)?;
    if span.value.subsec_nanos() != 0 {
        reader.report().error(&span.at, format!("'{key}' must be whole seconds"));
    }
    u32::try_from(span.value.as_secs()).ok()
}

fn read_sysctls(table: Option<&Table>, report: &mut Report) -> Tuning {
    let mut tuning = Tuning::default();
    let Some(table) = table else { return tuning };
    let mut reader = Reader::new(table, report);
    for sysctl in &SYSCTLS {
        let value = match sysctl.takes {
            Takes::Switch => reader.boolean(sysctl.name).map(|flag| u32::from(flag.value)),
            Takes::Number(most) => number(&mut reader, sysctl.name, 0..=most),
            Takes::Defence => number(&mut reader, sysctl.name, 0..=3),
            Takes::PowerOfTwo(most) => power_of_two(&mut reader, sysctl.name, most),
        };
        tuning.sysctls.extend(value.map(|value| (sysctl.name, value)));
    }
    reader.finish(&[]);
    tuning
}

fn number(reader: &mut Reader<'_>, key: &'static str, range: RangeInclusive<u32>) -> Option<u32> {
    let range = i64::from(*range.start())..=i64::from(*range.end());
    reader.integer(key, range).map(|number| number.value)
}

fn power_of_two(reader: &mut Reader<'_>, key: &'static str, most: u32) -> Option<u32> {
    let number = reader.integer::<u32>(key, 1..=most.into())?;
    if !number.value.is_power_of_two() {
        reader
            .report()
            .error(&number.at, format!("'{key}' must be a power of two: the kernel takes no other"));
        return None;
    }
    Some(number.value)
}

fn read_sync(table: &Table, references: &References, report: &mut Report) -> Option<SyncSettings> {
    let mut reader = Reader::new(table, report);
    let interface = reader.parse("interface", |name| {
        if name.is_empty() || name.len() > LONGEST_INTERFACE {
            return Err(format!("not an interface's name, of at most {LONGEST_INTERFACE} bytes"));
        }
        Ok(name.to_owned())
    });
    let interface = reader.require("interface", interface, "interface = \"eth1\"");
    let router = references.read_router(&mut reader, "virtual_router");
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
    let role = match (role, router) {
        (Some(role), _) => roles.into_iter().nth(role.value).map(|(_, role)| role),
        (None, Some(router)) => Some(Role::Follow(router)),
        (None, None) => Some(Role::Both),
    };
    let link = Link {
        interface: interface.map(|interface| interface.value.into()).unwrap_or_default(),
        id: reader.integer("id", 0..=255).map_or(0, |id| id.value),
        // The kernel's own smallest is the size of one connection.
        max_length: reader.integer("max_length", 64..=65_507).map_or(0, |length| length.value),
        group: reader.parse("group", parse_group).map(|group| group.value),
        port: reader.integer("port", 1..=65_535).map_or(0, |port| port.value),
        ttl: reader.integer("ttl", 1..=255).map_or(0, |ttl| ttl.value),
    };
    reader.finish(SYNC_KEYS_OF_OTHERS);
    (!link.interface.is_empty()).then_some(SyncSettings::Managed { link, role: role? })
}

fn parse_group(text: &str) -> Result<IpAddr, String> {
    let group: Option<IpAddr> = text.parse().ok();
    group.filter(IpAddr::is_multicast).ok_or_else(|| "not a multicast address, such as 224.0.0.81".into())
}
