//! Advertisements that leave: to the group, or to each unicast peer.

use std::time::Instant;

use super::instance::Instance;
use super::journal::Journal;
use super::links::Links;
use crate::types::Priority;
use crate::vmac::frame;

/// Send a router's advertisement. One that reaches nobody is counted and told; the state machine goes on as if it had
/// been sent, for the next one is due soon.
pub(super) fn send(
    now: Instant,
    name: &str,
    instance: &mut Instance,
    links: &mut Links,
    journal: &mut Journal,
    priority: Priority,
) {
    let config = std::sync::Arc::clone(&instance.config);
    let source = instance.router.source();
    let mut sent = false;
    for (destination, ttl) in config.transport.destinations(config.family) {
        let message = instance.advertisement(now, priority, source, destination);
        let sent_now = match config.vmac.as_ref().filter(|vmac| !vmac.advertise_from_parent) {
            Some(vmac) => {
                links.send_frame(&config.interface, &frame::advertisement(vmac.mac, source, &message))
            }
            None => links.send(&config.interface, source, (destination, ttl), &message),
        };
        match sent_now {
            Ok(()) => sent = true,
            Err(error) => {
                let what = format!("an advertisement to {destination}");
                journal.send_failed(now, name, instance, &what, &error);
            }
        }
    }
    instance.counters.advertisements_sent += u64::from(sent);
    instance.counters.priority_zero_sent += u64::from(sent && priority == Priority::RELEASE);
}
