//! The lab's only clock, and waiting for something to become true. Tests wait for events with a generous deadline and
//! never for a fixed time; `pace` is for clients that repeat a request, not for waiting.

use std::fmt::Debug;
use std::time::{Duration, Instant};

/// Long enough for anything that works, also emulated and on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

const LOOK_AGAIN: Duration = Duration::from_millis(20);

#[expect(clippy::disallowed_methods, reason = "the lab observes real time")]
pub fn now() -> Instant {
    Instant::now()
}

/// The distance between two rounds of a repeated request.
#[expect(clippy::disallowed_methods, reason = "a client's pace")]
pub fn pace(time: Duration) {
    std::thread::sleep(time);
}

/// Looks until there is something, and returns it. Panics, naming `what`, when `limit` has passed.
#[track_caller]
pub fn wait<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = now() + limit;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(now() < deadline, "waited {limit:?} in vain: {what}");
        pace(LOOK_AGAIN);
    }
}

/// Waits until `look` returns `wanted`; a failure shows what it returned last.
#[track_caller]
pub fn wait_for<T: PartialEq + Debug>(what: &str, wanted: &T, mut look: impl FnMut() -> T) {
    let deadline = now() + PATIENCE;
    loop {
        let seen = look();
        if seen == *wanted {
            return;
        }
        assert!(now() < deadline, "waited {PATIENCE:?} for {what}\n  wanted {wanted:?}\n  seen   {seen:?}");
        pace(LOOK_AGAIN);
    }
}
