//! Rows of the router's properties, as dictionaries: a newer vrrpd may add keys.

use std::collections::HashMap;

use zbus::Variant;

use crate::peers::status::PeerStatus;
use crate::track::Part;

pub(super) type Row = HashMap<&'static str, Variant<'static>>;

pub(super) fn track(part: &Part) -> Row {
    let Part { tracker, known, contribution } = part;
    let mut row = HashMap::from([
        ("What", Variant::from(tracker.what.to_string())),
        ("State", Variant::from(known.verdict.word())),
        ("Effect", Variant::from(if tracker.weight.is_some() { "weight" } else { "fault" })),
        ("Reverse", Variant::from(tracker.reverse)),
        ("Contribution", Variant::from(i32::from(*contribution))),
        ("Reason", Variant::from(known.reason.clone())),
        ("Since", Variant::from(known.since)),
        ("Stale", Variant::from(known.stale)),
    ]);
    if let Some(weight) = tracker.weight {
        row.insert("Weight", Variant::from(i32::from(weight)));
    }
    row
}

pub(super) fn peer(peer: &PeerStatus) -> Row {
    let address = peer.address.map(|address| address.to_string()).unwrap_or_default();
    let discarded: HashMap<String, u64> =
        peer.discards().map(|(name, count)| (name.to_owned(), count)).collect();
    let mut row = HashMap::from([
        ("Address", Variant::from(address)),
        ("LastSeen", Variant::from(peer.last_seen)),
        ("Received", Variant::from(peer.received)),
        ("Discarded", Variant::from(discarded)),
    ]);
    if let Some(version) = peer.version {
        row.insert("Version", Variant::from(version));
    }
    if let Some(priority) = peer.priority {
        row.insert("Priority", Variant::from(priority));
    }
    if let Some(interval) = peer.interval_msec {
        row.insert("IntervalMSec", Variant::from(interval));
    }
    if let Some(checksum) = peer.checksum {
        row.insert("Checksum", Variant::from(checksum.as_str()));
    }
    row
}
