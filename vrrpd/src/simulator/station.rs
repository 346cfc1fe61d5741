//! A virtual router of a machine, on one segment, with the kernel below it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::arrivals::Advert;
use crate::router::Router;
use crate::router::settings::Settings;
use crate::types::{Version, VirtualAddress};

/// As many advertisements in less than an interval of its own are too many.
pub(super) const TOO_MANY: usize = 8;

/// Where the virtual address is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kernel {
    Without,
    /// Asked for with this number.
    Asked(u64),
    Has,
}

#[derive(Debug)]
pub(super) struct Station {
    pub(super) router: Router,
    pub(super) machine: usize,
    pub(super) segment: usize,
    /// Only stations of a segment with the same number hear each other.
    pub(super) side: u8,
    pub(super) source: IpAddr,
    pub(super) kernel: Kernel,
    /// Its cable is in.
    pub(super) link: bool,
    /// When its timer is looked at: the deadline and a little lateness.
    pub(super) wake: Option<Instant>,
    /// When the last advertisements were sent, a ring.
    sent: [Option<Instant>; TOO_MANY],
    pub(super) sent_count: usize,
    pub(super) transitions: u64,
    pub(super) last_announced: Option<Instant>,
}

impl Station {
    pub(super) fn new(now: Instant, machine: usize, segment: usize, number: u8, settings: Settings) -> Self {
        Self {
            router: Router::new(now, settings),
            machine,
            segment,
            side: 0,
            source: IpAddr::from([10, 0, u8::try_from(segment).unwrap(), number]),
            kernel: Kernel::Without,
            link: true,
            wake: None,
            sent: [None; TOO_MANY],
            sent_count: 0,
            transitions: 0,
            last_announced: None,
        }
    }

    /// The daemon is started anew.
    pub(super) fn reset(&mut self, now: Instant) {
        self.router = Router::new(now, self.router.settings().clone());
        self.kernel = Kernel::Without;
        self.wake = None;
    }

    /// An advertisement is sent. `Err`: in how short a time so many were.
    pub(super) fn sends(&mut self, now: Instant) -> Result<(), Duration> {
        let place = &mut self.sent[self.sent_count % TOO_MANY];
        let former = place.replace(now);
        self.sent_count += 1;
        let interval = self.router.settings().advert_interval.duration();
        match former.map(|former| now - former) {
            Some(time) if time < interval => Err(time),
            Some(_) | None => Ok(()),
        }
    }

    /// The checks before the state machine: the version, and in version 2 the interval.
    pub(super) fn believes(&self, advert: &Advert) -> bool {
        let settings = self.router.settings();
        let same_interval = advert.interval == settings.advert_interval;
        advert.version == settings.version && (settings.version == Version::V3 || same_interval)
    }
}

/// The virtual address of a segment.
pub(super) fn address(segment: usize) -> VirtualAddress {
    let address = IpAddr::from([10, 0, u8::try_from(segment).unwrap(), 200]);
    VirtualAddress { interface: "eth0".into(), address, prefix_len: 24 }
}
