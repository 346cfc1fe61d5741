//! What keepalived fails, with what happens. A run that is listed here and passes fails the test.

use crate::cell::{Cell, Scene};
use crate::site::Pairing;

pub(crate) struct Expected {
    /// The beginning of keepalived's version.
    pub(crate) release: &'static str,
    pub(crate) when: fn(&Cell, &Pairing) -> bool,
    /// What happens.
    pub(crate) what: &'static str,
    /// How that is seen: one of these is in the run's error. Another error is none that was expected.
    pub(crate) errors: &'static [&'static str],
}

const EXPECTED: &[Expected] = &[Expected {
    release: "2.2",
    when: |cell, pairing| cell.scene == Scene::AddressMismatch && !pairing.is_ours(1),
    what: "the Backup drops advertisements with another list of addresses: two are Active",
    // It may be so soon that the first never has the address alone, or so late that the first has stopped.
    errors: &[
        "took over after",
        "the other is Active too",
        "in vain: host 0 alone has the address",
        "in vain: the holder goes on advertising",
    ],
}];

pub(crate) fn find(cell: &Cell, pairing: &Pairing) -> Option<&'static Expected> {
    let version = &pairing.release()?.version;
    EXPECTED.iter().find(|entry| version.starts_with(entry.release) && (entry.when)(cell, pairing))
}
