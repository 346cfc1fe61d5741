//! `vrrpd --release`: what becomes of the addresses of a daemon that has ended.

use std::io;
use std::path::Path;
use std::sync::Arc;

use daemon::diagnostic::Report;
use daemon::event_loop::Clock;
use daemon::units::format_duration;

use crate::accept::{TABLE, nft};
use crate::bus::targets;
use crate::kernel::{self, How, Operation, Request};
use crate::lease::{self, Fate};
use crate::objects::Object;
use crate::past::{Ending, Past, boot_id};
use crate::routing;
use crate::types::VirtualAddress;
use crate::untagged;
use crate::vmac::worker;
use crate::{config, monitor};

/// Remove every address with our tag but those that the next vrrpd is to find; these stay no longer than nobody else
/// can have taken over. The virtual MAC interfaces and nftables tables of those that go, go as well. Returns what was
/// done, a line for each. Blocks for milliseconds.
///
/// # Errors
/// If the kernel refuses to list, to remove or to change one; what could be done has been done.
pub fn release(root: &Path, ending: &Ending) -> io::Result<Vec<String>> {
    let past = Past::read(root).unwrap_or_else(|error| {
        eprintln!("vrrpd: cannot use the state that a former vrrpd left: {error}, ignoring it");
        None
    });
    let clock = Clock::new()?;
    let now = clock.boottime(clock.now());
    let kept =
        past.filter(|past| ending.keeps(past)).map(|past| past.leases(&boot_id(), now)).unwrap_or_default();
    // Routes and rules stay with the addresses. Nothing limits how long: the next vrrpd removes what it does not want, and
    // so does a release by hand.
    let routing = if kept.is_empty() { routing::release() } else { Ok(Vec::new()) };
    let untagged = if kept.is_empty() { release_untagged(root) } else { Ok(Vec::new()) };
    let done = lease::settle(|address| kept.get(address).copied().unwrap_or(Fate::Remove));
    // What the addresses that stay live on and by stays with them.
    let stays = |name: &str| kept.keys().any(|address| *address.interface == *name);
    let links = worker::release_all(stays);
    let tables = if kept.is_empty() { nft::release_all() } else { Ok(Vec::new()) };
    // The roles end with the addresses, and so do the services that are bound to them.
    let targets = if kept.is_empty() { targets::stop_all() } else { Ok(Vec::new()) };
    let targets = targets.unwrap_or_else(|error| {
        eprintln!("vrrpd: cannot stop the targets of a former vrrpd: {error}");
        Vec::new()
    });
    let targets = targets.into_iter().map(|target| format!("stopped {target} {ending}"));
    let links = links?.into_iter().map(|name| format!("removed interface {name} {ending}"));
    let tables =
        tables?.into_iter().map(|family| format!("removed nftables table {family} {TABLE} {ending}"));
    let routing = routing?.into_iter().map(|object| format!("removed {object} {ending}"));
    let untagged = untagged?.into_iter().map(|address| format!("removed {address} {ending}"));
    Ok(done?
        .into_iter()
        .map(|(address, fate)| match fate {
            Fate::Remove | Fate::Stay => format!("removed {address} {ending}"),
            Fate::Lease(time) => {
                format!(
                    "{address} stays {ending} for the next vrrpd, but no longer than {}",
                    format_duration(time)
                )
            }
        })
        .chain(links)
        .chain(tables)
        .chain(routing)
        .chain(untagged)
        .chain(targets)
        .collect())
}

/// On a kernel that keeps no tags. Without a configuration that can be read nothing is known there.
fn release_untagged(root: &Path) -> io::Result<Vec<VirtualAddress>> {
    let interfaces = monitor::dump()?;
    let configuration = config::load(root, None, &mut Report::new());
    let mut requests = Vec::new();
    for address in untagged::left_behind(&interfaces, &configuration) {
        let Some(interface) = interfaces.by_name(&address.interface) else { continue };
        let how = How::Address { index: interface.index, options: Arc::default() };
        requests.push(Request { operation: Operation::Remove, object: Object::Address(address), how });
    }
    let mut removed = Vec::new();
    for answer in kernel::perform(requests)? {
        answer.result?;
        if let Object::Address(address) = answer.request.object {
            removed.push(address);
        }
    }
    Ok(removed)
}
