//! What a running program spends in a stretch of time.

use trivet_tests::cost::{memory, processor_time};

use crate::clock::monotonic;
use crate::servers::Servers;
use crate::subject::Running;
use crate::table::{Table, Unit};

/// A point in time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Mark {
    at: i64,
    processor: i64,
    probes: i64,
}

/// Between two points.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stretch {
    pub(crate) lasted: i64,
    pub(crate) processor: i64,
    pub(crate) probes: i64,
}

impl Mark {
    pub(crate) fn now(running: &Running, servers: &Servers) -> Self {
        let signed = |number: u64| i64::try_from(number).expect("63 bits fit");
        let processor = signed(processor_time(&running.pids()));
        Self { at: monotonic(), processor, probes: signed(servers.visits()) }
    }

    pub(crate) fn until(self, later: Self) -> Stretch {
        Stretch {
            lasted: later.at - self.at,
            processor: later.processor - self.processor,
            probes: later.probes - self.probes,
        }
    }
}

impl Stretch {
    /// Nanoseconds.
    pub(crate) fn per_probe(self) -> i64 {
        self.processor / self.probes.max(1)
    }

    pub(crate) fn probes_a_second(self) -> i64 {
        self.probes * 1_000_000_000 / self.lasted.max(1)
    }

    /// Of one processor, percent.
    pub(crate) fn share(self) -> i64 {
        self.processor * 100 / self.lasted.max(1)
    }

    /// What it spent beyond what it would have at `usual`'s rate.
    pub(crate) fn beyond(self, usual: Self) -> i64 {
        let expected =
            i128::from(usual.processor) * i128::from(self.lasted) / i128::from(usual.lasted.max(1));
        self.processor - i64::try_from(expected).expect("times fit")
    }
}

/// Adds what its processes hold now.
pub(crate) fn add_memory(table: &mut Table, subject: usize, running: &Running, names: [&'static str; 2]) {
    let used = memory(&running.pids());
    for (name, figure) in names.into_iter().zip([used.resident, used.proportional]) {
        table.add(subject, name, Unit::KiB, i64::try_from(figure).expect("memory fits"));
    }
}
