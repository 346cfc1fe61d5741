//! The table `[garp]`: how often addresses are announced.

use std::ops::RangeInclusive;
use std::time::Duration;

use daemon::reader::Reader;

use super::OTHER_KEYS;
use crate::router::settings::Garp;

const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(24 * 60 * 60);
const INTERVALS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1);
const COUNTS: RangeInclusive<i64> = 1..=100;

/// What is missing or wrong keeps its default.
pub(super) fn read(reader: &mut Reader<'_>) -> Garp {
    let default = Garp::default();
    let Some(table) = reader.table("garp") else { return default };
    let mut reader = Reader::new(table, reader.report());
    let repeat = reader.integer::<u8>("repeat", COUNTS);
    let delay = reader.duration("delay", DELAYS);
    let refresh = reader.duration("refresh", DELAYS);
    let refresh_repeat = reader.integer::<u8>("refresh_repeat", COUNTS);
    let interval = reader.duration("interval", INTERVALS);
    reader.finish(OTHER_KEYS);
    Garp {
        repeat: repeat.map_or(default.repeat, |value| value.value),
        delay: delay.map_or(default.delay, |value| value.value),
        refresh: refresh.map_or(default.refresh, |value| value.value),
        refresh_repeat: refresh_repeat.map_or(default.refresh_repeat, |value| value.value),
        interval: interval.map_or(default.interval, |value| value.value),
    }
}
