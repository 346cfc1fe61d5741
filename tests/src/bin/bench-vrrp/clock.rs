//! The clock of the kernel's time stamps.

use nix::time::{ClockId, clock_gettime};

/// Nanoseconds of CLOCK_REALTIME.
pub(crate) fn realtime() -> i64 {
    let now = clock_gettime(ClockId::CLOCK_REALTIME).expect("a clock that everybody may read");
    now.tv_sec() * 1_000_000_000 + now.tv_nsec()
}
