//! What the daemon says, kept until the turn's work is done: no takeover waits for a sentence.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use log::Level;

use super::instance::{Instance, Remark, more};
use crate::addresses::Operation;
use crate::receive::Discard;
use crate::router::reason::Reason;
use crate::router::{Report, StateName};
use crate::table::Notice;

/// MESSAGE_ID of the journal entry of a transition; it never changes.
const TRANSITION_ID: &str = "5b2f0c1e7f6a4e0f9c3d8a41d7e69b12";

#[derive(Debug)]
pub(super) struct Entry {
    level: Level,
    text: String,
    transition: Option<Transition>,
}

/// Fields of the journal entry.
#[derive(Debug)]
struct Transition {
    router: String,
    from: &'static str,
    to: &'static str,
}

impl Entry {
    fn new(level: Level, text: String) -> Self {
        Self { level, text, transition: None }
    }

    pub(super) fn error(text: String) -> Self {
        Self::new(Level::Error, text)
    }
}

#[derive(Debug, Default)]
pub(super) struct Journal(Vec<Entry>);

impl Journal {
    pub(super) fn push(&mut self, entry: Entry) {
        self.0.push(entry);
    }

    /// At the end of a turn.
    pub(super) fn write(&mut self) {
        for Entry { level, text, transition } in self.0.drain(..) {
            match transition {
                None => log::log!(level, "{text}"),
                Some(Transition { router, from, to }) => log::log!(
                    level, MESSAGE_ID = TRANSITION_ID, VIRTUAL_ROUTER = router.as_str(), STATE_FROM = from, STATE = to;
                    "{text}"
                ),
            }
        }
    }

    pub(super) fn transition(&mut self, name: &str, from: StateName, instance: &Instance) {
        let router = &instance.router;
        let to = router.state();
        let mut text = format!("{name}: {} -> {}: {}", from.as_str(), to.as_str(), router.reason());
        if from == to {
            text = format!("{name}: still {}: {}", to.as_str(), router.reason());
        }
        if to == StateName::Active {
            let addresses: Vec<_> =
                instance.config.settings.addresses.iter().map(ToString::to_string).collect();
            let _ = write!(text, "; taking {}", addresses.join(", "));
        }
        let level = match router.reason() {
            Reason::Fault(_) | Reason::Late(_) => Level::Warn,
            Reason::Starting
            | Reason::Stopped
            | Reason::StartupDelay(_)
            | Reason::Group(_)
            | Reason::Listening(_)
            | Reason::Owner
            | Reason::Silence { .. }
            | Reason::Released(_)
            | Reason::Preempted { .. }
            | Reason::Higher { .. }
            | Reason::Tie(_) => Level::Info,
        };
        let transition = Transition { router: name.to_owned(), from: from.as_str(), to: to.as_str() };
        self.push(Entry { level, text, transition: Some(transition) });
    }

    pub(super) fn report(&mut self, now: Instant, name: &str, instance: &mut Instance, report: &Report) {
        let limits = &mut instance.limits;
        let (unsaid, text) = match report {
            Report::Conflict { peer, priority } => {
                instance.counters.conflicts += 1;
                let text = format!(
                    "two routers were Active: {peer} advertised priority {priority}; we have the precedence and announce again"
                );
                (limits.conflict.hit(now), text)
            }
            Report::OwnAddress => {
                let text = "an advertisement from our own address: it was looped back, or another machine has the address of this one";
                (limits.own_address.hit(now), text.to_owned())
            }
            Report::IntervalLearned { peer, theirs } => {
                instance.counters.interval_learned += 1;
                let text = format!(
                    "{peer} advertises every {} ms, not as configured here; following it",
                    u32::from(theirs.0) * 10
                );
                (limits.interval_learned.hit(now), text)
            }
            Report::SecondOwner(peer) => {
                let text = format!("{peer} says that it owns the addresses (priority 255), as we do");
                (limits.second_owner.hit(now), text)
            }
        };
        self.limited(Level::Warn, name, unsaid, &text);
    }

    pub(super) fn discarded(
        &mut self,
        now: Instant,
        name: &str,
        instance: &mut Instance,
        from: IpAddr,
        why: Discard,
    ) {
        let unsaid = instance.limits.discards[why.index()].hit(now);
        self.limited(Level::Warn, name, unsaid, &format!("dropped an advertisement from {from}: {why}"));
    }

    pub(super) fn remarks(
        &mut self,
        now: Instant,
        name: &str,
        instance: &mut Instance,
        from: IpAddr,
        remarks: &[Remark],
    ) {
        for remark in remarks {
            let (unsaid, text) = match remark {
                Remark::Checksum => {
                    let text = format!(
                        "the checksum of {from} covers a pseudo-header (keepalived's and FRR's default), ours does not: if it does not hear us, set checksum = \"keepalived\""
                    );
                    (instance.limits.checksum.hit(now), text)
                }
                Remark::Addresses => {
                    let text = format!("{from} advertises other addresses than are configured here");
                    (instance.limits.addresses.hit(now), text)
                }
            };
            self.limited(Level::Warn, name, unsaid, &text);
        }
    }

    pub(super) fn send_failed(
        &mut self,
        now: Instant,
        name: &str,
        instance: &mut Instance,
        what: &str,
        error: &io::Error,
    ) {
        instance.counters.send_errors += 1;
        // No socket: the interface is down or gone, which the state says.
        if error.kind() == io::ErrorKind::NotConnected {
            return;
        }
        let unsaid = instance.limits.send.hit(now);
        self.limited(Level::Warn, name, unsaid, &format!("cannot send {what}: {error}"));
    }

    pub(super) fn address(&mut self, now: Instant, name: &str, instance: &mut Instance, notice: &Notice) {
        match notice {
            Notice::Installed(address) => {
                self.push(Entry::new(Level::Debug, format!("{name}: the kernel has {address}")));
            }
            // An owner's addresses are the machine's own.
            Notice::Foreign(_) if instance.config.settings.is_owner() => {}
            Notice::Foreign(address) => {
                let text = format!(
                    "{name}: {address} was there already, and not from us: it will stay when another router becomes Active"
                );
                self.push(Entry::new(Level::Warn, text));
            }
            Notice::Lost(address) => {
                let text = format!("{name}: somebody deleted {address}, putting it back");
                self.push(Entry::new(Level::Warn, text));
            }
            Notice::LeftBehind(_) => self.stray_address(notice),
            Notice::Failed(request, error) => {
                let unsaid = instance.limits.address_failed.hit(now);
                let verb = match request.operation {
                    Operation::Add => "add",
                    Operation::Remove => "remove",
                };
                let text = format!("cannot {verb} {}: {error}, retrying in 1s", request.address);
                self.limited(Level::Error, name, unsaid, &text);
            }
        }
    }

    /// About an address that is none of our routers'.
    pub(super) fn stray_address(&mut self, notice: &Notice) {
        let text = match notice {
            Notice::LeftBehind(address) => format!("removing {address}, which a former vrrpd left behind"),
            Notice::Failed(request, error) => {
                format!("cannot remove {}: {error}, retrying in 1s", request.address)
            }
            Notice::Installed(_) | Notice::Foreign(_) | Notice::Lost(_) => return,
        };
        self.push(Entry::new(Level::Warn, text));
    }

    fn limited(&mut self, level: Level, name: &str, unsaid: Option<u64>, text: &str) {
        if let Some(unsaid) = unsaid {
            self.push(Entry::new(level, format!("{name}: {text}{}", more(unsaid))));
        }
    }
}
