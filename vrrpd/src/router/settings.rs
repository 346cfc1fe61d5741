//! What a virtual router is configured to do, as far as the state machine cares, and RFC 9568 section 6.1's arithmetic.

use std::sync::Arc;
use std::time::Duration;

use crate::types::{Centiseconds, Priority, Version, VirtualAddress};

/// RFC 9568, 6.1.
pub const DOWN_TIMER_ADVERTS: u8 = 3;

/// One router's settings. A reload may change any of them while it runs, except the version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    pub version: Version,
    /// 1 to 255.
    pub priority: Priority,
    /// keepalived's `nopreempt`, turned round.
    pub preempt: bool,
    /// How long a lesser Active router may stay before it is preempted; zero: not at all (keepalived: `preempt_delay`).
    pub preempt_delay: Duration,
    /// From the time when it could take part for the first time until it does.
    pub startup_delay: Duration,
    pub advert_interval: Centiseconds,
    /// So many advertisements in a row must be missing before a Backup takes over, 1 to 100 (the RFC's 3).
    pub down_timer_adverts: u8,
    pub addresses: Vec<VirtualAddress>,
    /// Held and announced with the others, but not advertised; of either family.
    pub excluded_addresses: Vec<VirtualAddress>,
    pub garp: Garp,
    /// It is Active only together with all others of this name.
    pub sync_group: Option<Arc<str>>,
}

/// What the RFC and keepalived have where nothing is configured; without an address it is of no use.
impl Default for Settings {
    fn default() -> Self {
        Self {
            version: Version::V3,
            priority: Priority::DEFAULT,
            preempt: true,
            preempt_delay: Duration::ZERO,
            startup_delay: Duration::ZERO,
            advert_interval: Centiseconds(100),
            down_timer_adverts: DOWN_TIMER_ADVERTS,
            addresses: Vec::new(),
            excluded_addresses: Vec::new(),
            garp: Garp::default(),
            sync_group: None,
        }
    }
}

/// How often the Active router announces its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Garp {
    /// Frames per address in a burst, at least 1 (keepalived: `garp_master_repeat`).
    pub repeat: u8,
    /// From one burst to the second; zero: no second (keepalived: `garp_master_delay`).
    pub delay: Duration,
    /// Between refreshes; zero: none (keepalived: `garp_master_refresh`).
    pub refresh: Duration,
    /// Frames per address in a refresh (keepalived: `garp_master_refresh_repeat`).
    pub refresh_repeat: u8,
    /// Between two frames; zero: none (keepalived: `garp_interval`).
    pub interval: Duration,
}

/// keepalived's defaults, but for the refresh, which is off there: switches forget, and a healed split brain can
/// leave them wrong for ever.
impl Default for Garp {
    fn default() -> Self {
        Self {
            repeat: 5,
            delay: Duration::from_secs(5),
            refresh: Duration::from_secs(60),
            refresh_repeat: 1,
            interval: Duration::ZERO,
        }
    }
}

impl Settings {
    /// Every address that the Active router has.
    pub fn held(&self) -> impl Iterator<Item = &VirtualAddress> {
        self.addresses.iter().chain(&self.excluded_addresses)
    }

    pub fn is_owner(&self) -> bool {
        self.priority == Priority::OWNER
    }

    /// Skew_Time (section 6.1), with nothing rounded to a centisecond: priority 254 at 10 ms is 78 us, not 0.
    /// Version 2 takes parts of a second whatever the interval (RFC 3768, 6.1).
    pub fn skew(&self, priority: Priority, active_adver_interval: Centiseconds) -> Duration {
        let whole = match self.version {
            Version::V2 => Duration::from_secs(1),
            Version::V3 => active_adver_interval.duration(),
        };
        whole * (256 - u32::from(priority.0)) / 256
    }

    /// Active_Down_Interval (section 6.1).
    pub fn active_down_interval(&self, priority: Priority, active_adver_interval: Centiseconds) -> Duration {
        let adverts = u32::from(self.down_timer_adverts);
        adverts * active_adver_interval.duration() + self.skew(priority, active_adver_interval)
    }

    /// Whether a router that has been Active for so long in spite of its lower priority is preempted. An owner preempts
    /// at once, whatever Preempt_Mode says (section 6.1).
    pub fn preempts(&self, lesser_for: Duration) -> bool {
        self.is_owner() || (self.preempt && lesser_for >= self.preempt_delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(version: Version, priority: u8) -> Settings {
        Settings { version, priority: Priority(priority), ..Settings::default() }
    }

    // RFC 9568: +6.1-skew +6.1-down
    #[test]
    fn version_3_times_follow_the_interval_below_a_centisecond() {
        for (priority, interval, skew_nanos, down_micros) in [
            (100, 100, 609_375_000, 3_609_375),
            (100, 10, 60_937_500, 360_937),
            (100, 1, 6_093_750, 36_093),
            (254, 100, 7_812_500, 3_007_812),
            (254, 1, 78_125, 30_078),
            (255, 100, 3_906_250, 3_003_906),
        ] {
            let settings = settings(Version::V3, priority);
            let interval = Centiseconds(interval);
            assert_eq!(settings.skew(settings.priority, interval), Duration::from_nanos(skew_nanos));
            assert_eq!(settings.active_down_interval(settings.priority, interval).as_micros(), down_micros);
        }
    }

    #[test]
    fn version_2_skews_by_parts_of_a_second_whatever_the_interval() {
        let settings = settings(Version::V2, 100);
        assert_eq!(settings.skew(settings.priority, Centiseconds(500)), Duration::from_micros(609_375));
        assert_eq!(
            settings.active_down_interval(settings.priority, Centiseconds(500)),
            Duration::from_micros(15_609_375)
        );
    }
}
