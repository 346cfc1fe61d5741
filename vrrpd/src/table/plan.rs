//! Requests in the making: each with what its message needs, and all in the order in which the kernel is to see them.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use netlink_packet_route::link::LinkFlags;

use super::entry::Entry;
use super::{Notice, World};
use crate::interfaces::Assigned;
use crate::kernel::{How, Operation, Request};
use crate::objects::{AddressOptions, Object, Spec};
use crate::types::VirtualAddress;

#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) notices: Vec<Notice>,
    pub(super) removals: Vec<Request>,
    /// Addresses that are not ours.
    pub(super) put_back: Vec<Request>,
    additions: Vec<Request>,
}

impl Plan {
    /// What an entry wants done. One that cannot be asked for fails here, as if the kernel had refused it.
    pub(super) fn ask(
        &mut self,
        object: &Object,
        entry: &mut Entry,
        operations: &[Operation],
        world: World<'_>,
    ) -> io::Result<()> {
        // A virtual MAC interface may be there and not up yet; IPv6 addresses would not survive its coming up.
        if let Object::Address(address) = object
            && operations.contains(&Operation::Add)
            && world
                .interfaces
                .by_name(&address.interface)
                .is_some_and(|link| !link.flags.contains(LinkFlags::Up))
        {
            return Ok(());
        }
        let mut requests = Vec::new();
        for operation in operations {
            let how = how(object, entry, *operation, world)?;
            requests.push(Request { operation: *operation, object: object.clone(), how });
        }
        for request in requests {
            entry.in_flight += 1;
            match request.operation {
                Operation::Remove => self.removals.push(request),
                Operation::Add | Operation::PutBack => self.additions.push(request),
            }
        }
        Ok(())
    }

    pub(super) fn adds_addresses(&self) -> bool {
        self.additions.iter().any(|request| matches!(request.object, Object::Address(_)))
    }

    /// Leaving: rules, routes, addresses. Coming: addresses, then routes, which may need one, then rules.
    pub(super) fn finish(mut self) -> (Vec<Request>, Vec<Notice>) {
        self.removals.sort_by_key(|request| std::cmp::Reverse(rank(&request.object)));
        self.additions.sort_by_key(|request| rank(&request.object));
        let mut requests = self.removals;
        requests.append(&mut self.put_back);
        requests.append(&mut self.additions);
        (requests, self.notices)
    }
}

fn rank(object: &Object) -> u8 {
    match object {
        Object::Address(_) => 0,
        Object::Route(_) => 1,
        Object::Rule(_) => 2,
    }
}

/// # Errors
/// Its interface does not exist.
fn how(object: &Object, entry: &Entry, operation: Operation, world: World<'_>) -> io::Result<How> {
    let index = |name: &str| {
        let missing = || io::Error::new(io::ErrorKind::NotFound, format!("interface {name} does not exist"));
        world.interfaces.by_name(name).map(|interface| interface.index).ok_or_else(missing)
    };
    Ok(match object {
        Object::Address(address) => {
            let options = match &entry.asked {
                Some(Spec::Address(options)) => Arc::clone(options),
                Some(Spec::Route(_) | Spec::Rule) | None => Arc::new(AddressOptions::default()),
            };
            How::Address { index: index(&address.interface)?, options }
        }
        Object::Route(key) => {
            // What is to be removed is what is there, not what it should have been.
            let there = world.routing.route(key).filter(|_| operation == Operation::Remove);
            let route = match (there, &entry.asked) {
                (Some(there), _) => Arc::new(there.clone()),
                (None, Some(Spec::Route(route))) => Arc::clone(route),
                (None, Some(Spec::Address(_) | Spec::Rule) | None) => {
                    return Err(io::Error::other("nothing is known of this route"));
                }
            };
            let index = route.interface.as_deref().map(index).transpose()?;
            How::Route { route, index }
        }
        Object::Rule(_) => How::Rule,
    })
}

/// The secondary addresses that the kernel may take along when it removes this primary one: with the sysctl
/// promote_secondaries at 0, as kernels have it by themselves, it does. (systemd sets it to 1.)
pub(super) fn company<'a>(address: &VirtualAddress, world: World<'a>) -> Vec<(VirtualAddress, &'a Assigned)> {
    let IpAddr::V4(_) = address.address else { return Vec::new() };
    let Some(interface) = world.interfaces.by_name(&address.interface) else { return Vec::new() };
    if world.interfaces.find(address).is_none_or(Assigned::is_secondary) {
        return Vec::new();
    }
    let others = interface.subnet(address.address, address.prefix_len);
    let others = others.filter(|other| other.is_secondary() && other.address != address.address);
    others
        .map(|other| {
            let interface = Arc::clone(&interface.name);
            (VirtualAddress { interface, address: other.address, prefix_len: other.prefix_len }, other)
        })
        .collect()
}
