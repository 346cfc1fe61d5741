//! What keepalived fails, with what happens. A run that is listed here and passes fails the test.

use crate::cell::{Cell, Scene};
use crate::site::Pairing;

pub(crate) struct Expected {
    /// The beginning of keepalived's version.
    pub(crate) release: &'static str,
    pub(crate) when: fn(&Cell, &Pairing) -> bool,
    /// What happens.
    pub(crate) what: &'static str,
    /// How that is seen: the beginning of the run's error. Another one is none that was expected.
    pub(crate) error: &'static str,
}

const EXPECTED: &[Expected] = &[Expected {
    release: "2.2",
    when: |cell, pairing| cell.scene == Scene::AddressMismatch && !pairing.is_ours(1),
    what: "the Backup drops advertisements with another list of addresses: two are Active",
    error: "the other is Active too",
}];

pub(crate) fn find(cell: &Cell, pairing: &Pairing) -> Option<&'static Expected> {
    let version = &pairing.release()?.version;
    EXPECTED.iter().find(|entry| version.starts_with(entry.release) && (entry.when)(cell, pairing))
}
