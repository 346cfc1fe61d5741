//! `ipvsd.toml`: settings of ipvsd as a whole.

use std::ops::RangeInclusive;
use std::path::Path;
use std::time::Duration;

use daemon::diagnostic::{Location, Report};
use daemon::document::{self, Kind, Table};
use daemon::dropin;
use daemon::reader::Reader;

use super::references::References;
use super::sync::{check_with_sysctls, read_sync};
use crate::service::Settings;
use crate::tuning::{MOST_PACKETS, SYSCTLS, Takes, Timeouts, Tuning, Value};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

/// keepalived's and ldirectord's keys, and what to write instead.
const KEYS_OF_OTHERS: &[(&str, &str)] = &[
    ("lvs_timeouts", "write [timeouts] and below it tcp = \"15min\""),
    ("lvs_sync_daemon", "write [sync] and below it interface = \"eth1\""),
    ("lvs_flush", "write exclusive = true: services that are not configured are removed"),
    ("lvs_flush_on_stop", STAYS),
    ("lvs_flush_onstop", STAYS),
    ("lvs_notify_fifo", LISTEN),
    ("lvs_notify_fifo_script", LISTEN),
    ("rs_init_notifies", LISTEN),
    ("smtp_alert", LISTEN),
    ("smtp_alert_checker", LISTEN),
    ("no_checker_emails", LISTEN),
    ("enable_snmp_checker", "there is no SNMP here: busctl, and whatever reads D-Bus, has all of it"),
    ("net_namespace_ipvs", "write NetworkNamespacePath= into a drop-in of ipvsd.service"),
    ("nftables_ipvs", "write mark = 1 in a service, and the rule that marks its packets with nft"),
    ("nftables_ipvs_priority", "write mark = 1 in a service, and the rule that marks its packets with nft"),
    (
        "nftables_ipvs_start_fwmark",
        "write mark = 1 in a service, and the rule that marks its packets with nft",
    ),
    ("checker_priority", UNIT),
    ("checker_no_swap", UNIT),
    ("checker_rt_priority", UNIT),
    ("checker_cpu_affinity", UNIT),
    ("checker_rlimit_rttime", UNIT),
    ("checker_log_all_failures", "write nothing: the journal of checkd has each change of a result"),
    ("quiescent", "write inhibit_on_failure = true in each service"),
    ("checkinterval", "write interval = \"6s\" in each check of /etc/trivet/check.d"),
    ("checktimeout", "write timeout = \"5s\" in each check of /etc/trivet/check.d"),
];
const STAYS: &str =
    "a stopped ipvsd leaves the table as it is, so that nothing is cut; ipvsadm -C empties it";
const LISTEN: &str = "ipvsd runs no commands and sends no mail: listen to D-Bus, or have a systemd unit follow the service by vrrpd";
const UNIT: &str = "write it into a drop-in of checkd.service: CPUAffinity=, Nice= and the like";

/// The settings, still without services, and where `[sync]` stands.
pub(super) fn load(
    root: &Path,
    references: &References,
    report: &mut Report,
) -> (Settings, Option<Location>) {
    let mut settings = Settings::default();
    let Some(object) = dropin::load_file(root, "ipvsd", report) else { return (settings, None) };
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
        check_with_sysctls(&settings, (table, sysctls), report);
    }
    settings.log_level = daemon::log::read_level(&mut reader);
    reader.finish(KEYS_OF_OTHERS);
    (settings, sync.map(|table| table.at.clone()))
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
            Takes::Switch => reader.boolean(sysctl.name).map(|flag| Value::One(flag.value.into())),
            Takes::Number(most) => number(&mut reader, sysctl.name, 0..=most).map(Value::One),
            Takes::Defence => number(&mut reader, sysctl.name, 0..=3).map(Value::One),
            Takes::PowerOfTwo(most) => power_of_two(&mut reader, sysctl.name, most).map(Value::One),
            Takes::Seconds(most) => {
                let range = Duration::ZERO..=Duration::from_secs(most.into());
                whole_seconds(&mut reader, sysctl.name, range).map(Value::One)
            }
            Takes::Threshold => threshold(&mut reader, sysctl.name),
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

/// `[3, 50]`: the kernel refuses what is refused here (`proc_do_sync_threshold`).
fn threshold(reader: &mut Reader<'_>, key: &'static str) -> Option<Value> {
    let array = reader.array(key)?;
    let number = |value: &document::Value| {
        let Kind::Integer(Some(number)) = value.kind else { return None };
        u32::try_from(number).ok().filter(|number| *number <= MOST_PACKETS)
    };
    let [Some(first), Some(second)] = array.value.iter().map(number).collect::<Vec<_>>()[..] else {
        let text = format!("'{key}' must be two numbers from 0 to {MOST_PACKETS}, such as [3, 50]");
        reader.report().error(&array.at, text);
        return None;
    };
    if second != 0 && first >= second {
        let text = format!("the first number of '{key}' must be less than the second, or the second 0");
        reader.report().error(&array.at, text);
        return None;
    }
    Some(Value::Two(first, second))
}
