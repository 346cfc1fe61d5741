//! The clock that the lab, its servers and the stub of IPVS share.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn monotonic() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock that everybody may read");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
