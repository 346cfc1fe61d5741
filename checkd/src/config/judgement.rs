//! The keys that say when a server is probed and what it takes to believe the results: for every kind.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::time::Duration;

use daemon::reader::Reader;

use crate::check::Check;
use crate::target::Damping;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=DAY;
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(5 * 60);
const RETRY_INTERVAL: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(60 * 60);
const COUNT: RangeInclusive<i64> = 1..=1000;
/// Each is remembered for each target.
const CHANGES: RangeInclusive<i64> = 2..=100;
const DAMPING_TIME: RangeInclusive<Duration> = Duration::from_secs(1)..=DAY;

/// What keepalived, ldirectord and habit call them.
pub(super) const OTHER_KEYS: &[(&str, &str)] = &[
    ("delay_loop", "keepalived's delay_loop is interval = \"6s\" here"),
    ("connect_timeout", "keepalived's connect_timeout is timeout = \"3s\" here, for the whole probe"),
    ("retry", "keepalived's retry = N is fall = N + 1 here: failures in a row until the server is down"),
    (
        "nb_get_retry",
        "keepalived's nb_get_retry = N is fall = N + 1 here: failures in a row until the server is down",
    ),
    ("delay_before_retry", "keepalived's delay_before_retry is retry_interval = \"1s\" here"),
    ("warmup", "first probes are spread by themselves; there is no warmup"),
    ("checkinterval", "ldirectord's checkinterval is interval = \"10s\" here"),
    ("checktimeout", "ldirectord's checktimeout is timeout = \"5s\" here, for the whole probe"),
    (
        "negotiatetimeout",
        "ldirectord's negotiatetimeout is timeout = \"30s\" here: one limit for the whole probe, connecting included",
    ),
    ("checkcount", "ldirectord's checkcount is fall = 3 here: failures in a row until the server is down"),
    (
        "failurecount",
        "ldirectord's failurecount is fall = 3 here: failures in a row until the server is down",
    ),
    ("fastinter", "HAProxy's fastinter is retry_interval = \"1s\" here"),
    ("downinter", "HAProxy's downinter is down_interval = \"30s\" here"),
    ("flap_damping", "flap damping is damping = { changes = 5, within = \"5min\", hold = \"10min\" } here"),
];

/// What was read; what is not there keeps its default.
pub(super) struct Judgement {
    interval: Option<Duration>,
    down_interval: Option<Duration>,
    timeout: Option<Duration>,
    retry_interval: Option<Duration>,
    rise: Option<NonZeroU32>,
    fall: Option<NonZeroU32>,
    damping: Option<Damping>,
}

pub(super) fn read(reader: &mut Reader<'_>) -> Judgement {
    Judgement {
        interval: reader.duration("interval", INTERVAL).map(|located| located.value),
        down_interval: reader.duration("down_interval", INTERVAL).map(|located| located.value),
        timeout: reader.duration("timeout", TIMEOUT).map(|located| located.value),
        retry_interval: reader.duration("retry_interval", RETRY_INTERVAL).map(|located| located.value),
        rise: count(reader, "rise", COUNT),
        fall: count(reader, "fall", COUNT),
        damping: read_damping(reader),
    }
}

impl Judgement {
    pub(super) fn apply_to(self, check: &mut Check) {
        let set = |setting: &mut Duration, value: Option<Duration>| *setting = value.unwrap_or(*setting);
        set(&mut check.interval, self.interval);
        set(&mut check.timeout, self.timeout);
        set(&mut check.retry_interval, self.retry_interval);
        check.down_interval = self.down_interval;
        check.thresholds.rise = self.rise.unwrap_or(check.thresholds.rise);
        check.thresholds.fall = self.fall.unwrap_or(check.thresholds.fall);
        check.damping = self.damping;
    }
}

fn count(reader: &mut Reader<'_>, key: &'static str, range: RangeInclusive<i64>) -> Option<NonZeroU32> {
    NonZeroU32::new(reader.integer::<u32>(key, range)?.value)
}

/// `damping = { changes = 5, within = "5min", hold = "10min" }`, all three.
fn read_damping(reader: &mut Reader<'_>) -> Option<Damping> {
    let table = reader.table("damping")?;
    let mut inner = Reader::new(table, reader.report());
    let changes = count(&mut inner, "changes", CHANGES);
    let changes = inner.require("changes", changes, "changes = 5");
    let within = inner.duration("within", DAMPING_TIME);
    let within = inner.require("within", within, "within = \"5min\"");
    let hold = inner.duration("hold", DAMPING_TIME);
    let hold = inner.require("hold", hold, "hold = \"10min\"");
    inner.finish(&[]);
    Some(Damping { changes: changes?, within: within?.value, hold: hold?.value })
}
