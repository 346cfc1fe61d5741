//! A check: how a server is looked at, how often, and what it takes to believe the result. A template, which its
//! users give targets.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::probe::Kind;
use crate::target::Thresholds;
use crate::transport::connect::Connect;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub kind: Kind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// For the whole probe, from the connection to the last byte needed. May be longer than the interval: probes
    /// of one target never overlap.
    pub timeout: Duration,
    /// From the end of a result that may change the state to the start of the next probe, if that is earlier than
    /// the interval has it: "interval while changing". keepalived's `delay_before_retry`.
    pub retry_interval: Duration,
    pub thresholds: Thresholds,
    pub connect: Connect,
}

impl Check {
    /// A check of this kind with every other setting at its default: every 6 s, 5 s at most; up at the first pass,
    /// down when a failure was confirmed by a second one a second later, as keepalived's TCP_CHECK does it.
    pub fn with_defaults(kind: Kind) -> Self {
        Self {
            kind,
            interval: Duration::from_secs(6),
            timeout: Duration::from_secs(5),
            retry_interval: Duration::from_secs(1),
            thresholds: Thresholds {
                rise: NonZeroU32::MIN,
                fall: NonZeroU32::new(2).expect("two is not zero"),
            },
            connect: Connect::default(),
        }
    }
}
