//! What a router's file says of the protocol beyond interval and priority: delays, missed advertisements, the form of
//! the checksum, the sync group, and the owner's duty to have its addresses.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use daemon::diagnostic::{Location, Report};
use daemon::reader::{Located, Reader};

use crate::interfaces::Interfaces;
use crate::packet::ChecksumForm;
use crate::receive::lacks_link_local;
use crate::router::settings::{DOWN_TIMER_ADVERTS, Settings};
use crate::types::{Family, Priority, Version};

/// keepalived's range of preempt_delay.
const DELAYS: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(1000);

/// The key `checksum`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Checksum {
    /// What the peers send; as long as none was heard, the RFC's.
    #[default]
    Auto,
    Fixed(ChecksumForm),
}

/// Where each sync group is named, and with which priority.
pub(super) type Groups = BTreeMap<Arc<str>, Vec<(Location, Priority)>>;

pub(super) fn startup_delay(reader: &mut Reader<'_>) -> Duration {
    reader.duration("startup_delay", DELAYS).map_or(Duration::ZERO, |delay| delay.value)
}

pub(super) fn preempt_delay(reader: &mut Reader<'_>, preempt: bool, priority: Priority) -> Duration {
    let Some(found) = reader.duration("preempt_delay", DELAYS) else { return Duration::ZERO };
    if priority == Priority::OWNER {
        let message = "a router of priority 255 always preempts at once, 'preempt_delay' changes nothing";
        reader.report().warning(&found.at, message);
    } else if !preempt {
        let message = "'preempt_delay' has no meaning with preempt = false";
        reader.report().error(&found.at, message).hint("leave out one of the two");
    }
    found.value
}

pub(super) fn down_timer_adverts(reader: &mut Reader<'_>) -> u8 {
    let Some(count) = reader.integer::<u8>("down_timer_adverts", 1..=100) else { return DOWN_TIMER_ADVERTS };
    if count.value == 1 {
        let message = "with down_timer_adverts = 1 a single lost advertisement moves the addresses";
        reader.report().warning(&count.at, message).hint("the RFC has 3");
    }
    count.value
}

pub(super) fn checksum(
    reader: &mut Reader<'_>,
    version: Option<Version>,
    family: Option<Family>,
) -> Checksum {
    let words = [
        ("auto", Checksum::Auto),
        ("rfc", Checksum::Fixed(ChecksumForm::Rfc)),
        ("keepalived", Checksum::Fixed(ChecksumForm::Keepalived)),
    ];
    let others = [("frr", "keepalived"), ("rfc9568", "rfc"), ("rfc5798", "keepalived")];
    let Some(found) = reader.choice("checksum", &words, &others) else { return Checksum::default() };
    let only = match (version, family) {
        (Some(Version::V2), _) => "version 2",
        (_, Some(Family::V6)) => "IPv6",
        (Some(Version::V3) | None, Some(Family::V4) | None) => return found.value,
    };
    let message = format!("{only} has one form of the checksum only, 'checksum' changes nothing");
    reader.report().warning(&found.at, message);
    found.value
}

pub(super) fn sync_group(
    reader: &mut Reader<'_>,
    priority: Priority,
    groups: &mut Groups,
) -> Option<Arc<str>> {
    let name = reader.parse("sync_group", |name| {
        let good = !name.is_empty() && name.len() <= 64 && !name.chars().any(char::is_control);
        good.then(|| Arc::from(name)).ok_or_else(|| "not a name of 1 to 64 bytes".into())
    })?;
    let name: Located<Arc<str>> = name;
    groups.entry(Arc::clone(&name.value)).or_default().push((name.at, priority));
    Some(name.value)
}

/// What can be said only when all files have been read.
pub(super) fn check_groups(groups: &Groups, report: &mut Report) {
    for (name, members) in groups {
        let Some(((first, priority), others)) = members.split_first() else { continue };
        if others.is_empty() {
            let message = format!("sync group \"{name}\" has one member only");
            report.warning(first, message).hint("write the same sync_group in the files of the others");
        }
        if let Some((at, other)) = others.iter().find(|(_, other)| other != priority) {
            let message = format!("sync group \"{name}\" has members of priority {priority} and {other}");
            let hint = "a group moves as a whole: with different priorities it is hard to say where to; give all \
                        members of this machine the same";
            report.warning(at, message).hint(hint);
        }
    }
}

/// What only several keys together tell.
pub(super) fn check(
    reader: &mut Reader<'_>,
    settings: &Settings,
    family: Family,
    present: Option<&Interfaces>,
) {
    if family == Family::V6 {
        check_ipv6(reader, settings);
    }
    if let (true, Some(present)) = (settings.is_owner(), present) {
        check_owner(reader, settings, present);
    }
}

/// Version 2 is of IPv4, and an IPv6 router's first address should be link-local.
fn check_ipv6(reader: &mut Reader<'_>, settings: &Settings) {
    if settings.version == Version::V2
        && let Some(version) = reader.value("version")
    {
        let message = "version 2 is of IPv4, and the addresses of this router are IPv6";
        reader.report().error(&version.at, message).hint("leave out 'version', or write version = 3");
    }
    if settings.addresses.first().is_some_and(|first| lacks_link_local(first.address))
        && let Some(addresses) = reader.value("addresses")
    {
        let message = "the first address of an IPv6 router should be link-local (RFC 9568, section 5.2.9)";
        let hint = "hosts use it as their default gateway: put one first on all routers of the group, for example \
                    \"fe80::1/64\"; without it this router accepts the same of its peers";
        reader.report().warning(&addresses.at, message).hint(hint);
    }
}

/// Priority 255 says that the addresses are the machine's own. To be seen where the interfaces are known, as with
/// `--check`.
fn check_owner(reader: &mut Reader<'_>, settings: &Settings, present: &Interfaces) {
    let Some(priority) = reader.value("priority") else { return };
    for address in &settings.addresses {
        let Some(interface) = present.by_name(&address.interface) else { continue };
        if !interface.own().any(|own| own.address == address.address) {
            let message = format!(
                "priority 255 is for the machine that owns the addresses, and {} has no {}",
                address.interface, address.address
            );
            let hint = "configure it on the interface as the machine's own, or use a priority from 1 to 254";
            reader.report().error(&priority.at, message).hint(hint);
        }
    }
}

#[cfg(test)]
mod tests;
