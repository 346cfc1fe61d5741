//! What the daemon says, kept until the turn's work is done: no takeover waits for a sentence.

use std::fmt::Write as _;
use std::io;
use std::net::IpAddr;
use std::time::Instant;

use log::{Level, Record};

use super::instance::{Instance, Remark, more};
use super::message_id;
use crate::addresses::Operation;
use crate::receive::Discard;
use crate::router::reason::Reason;
use crate::router::{Report, StateName};
use crate::table::Notice;

#[derive(Debug)]
pub(super) struct Entry {
    level: Level,
    text: String,
    /// Of the journal, from MESSAGE_ID on.
    fields: Vec<(&'static str, String)>,
}

impl Entry {
    pub(super) fn new(level: Level, text: String) -> Self {
        Self { level, text, fields: Vec::new() }
    }

    pub(super) fn error(text: String) -> Self {
        Self::new(Level::Error, text)
    }

    pub(super) fn warning(message_id: &'static str, router: &str, text: &str) -> Self {
        Self::new(Level::Warn, format!("{router}: {text}")).about(message_id, router)
    }

    /// With an ID of `message_id.rs`, and the router that it is about.
    pub(super) fn about(mut self, message_id: &'static str, router: &str) -> Self {
        self.fields.push(("MESSAGE_ID", message_id.to_owned()));
        self.with("VIRTUAL_ROUTER", router)
    }

    pub(super) fn with(mut self, field: &'static str, value: &(impl ToString + ?Sized)) -> Self {
        self.fields.push((field, value.to_string()));
        self
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
        for Entry { level, text, fields } in self.0.drain(..) {
            if level > log::max_level() {
                continue;
            }
            let fields = fields.as_slice();
            log::logger().log(
                &Record::builder()
                    .level(level)
                    .target(module_path!())
                    .args(format_args!("{text}"))
                    .key_values(&fields)
                    .build(),
            );
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
            | Reason::Resumed(_)
            | Reason::Silence { .. }
            | Reason::Released(_)
            | Reason::Preempted { .. }
            | Reason::Higher { .. }
            | Reason::Tie(_) => Level::Info,
        };
        let entry = Entry::new(level, text).about(message_id::TRANSITION, name);
        let entry = entry.with("STATE_FROM", from.as_str()).with("STATE", to.as_str());
        self.push(entry.with("REASON", router.reason()));
    }

    pub(super) fn report(&mut self, now: Instant, name: &str, instance: &mut Instance, report: &Report) {
        let limits = &mut instance.limits;
        let (unsaid, id, peer, text) = match report {
            Report::Conflict { peer, priority } => {
                instance.counters.conflicts += 1;
                let text = format!(
                    "two routers were Active: {peer} advertised priority {priority}; we have the precedence and announce again"
                );
                (limits.conflict.hit(now), message_id::CONFLICT, Some(peer), text)
            }
            Report::OwnAddress => {
                let text = "an advertisement from our own address: it was looped back, or another machine has the address of this one";
                (limits.own_address.hit(now), message_id::REMARK, None, text.to_owned())
            }
            Report::IntervalLearned { peer, theirs } => {
                instance.counters.interval_learned += 1;
                let text = format!(
                    "{peer} advertises every {} ms, not as configured here; following it",
                    u32::from(theirs.0) * 10
                );
                (limits.interval_learned.hit(now), message_id::REMARK, Some(peer), text)
            }
            Report::SecondOwner(peer) => {
                let text = format!("{peer} says that it owns the addresses (priority 255), as we do");
                (limits.second_owner.hit(now), message_id::CONFLICT, Some(peer), text)
            }
        };
        let entry = Entry::warning(id, name, &text);
        self.limited(unsaid, if let Some(peer) = peer { entry.with("PEER", peer) } else { entry });
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
        let text = format!("dropped an advertisement from {from}: {why}");
        let entry = Entry::warning(message_id::DISCARDED, name, &text);
        self.limited(unsaid, entry.with("PEER", &from).with("DISCARD", Discard::NAMES[why.index()]));
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
            self.limited(unsaid, Entry::warning(message_id::REMARK, name, &text).with("PEER", &from));
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
        self.limited(unsaid, Entry::new(Level::Warn, format!("{name}: cannot send {what}: {error}")));
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
                let text = format!("somebody deleted {address}, putting it back");
                self.push(Entry::warning(message_id::ADDRESS_LOST, name, &text).with("ADDRESS", address));
            }
            Notice::LeftBehind(_) => self.stray_address(notice),
            Notice::Failed(request, error) => {
                let unsaid = instance.limits.address_failed.hit(now);
                let verb = match request.operation {
                    Operation::Add => "add",
                    Operation::Remove => "remove",
                };
                let text = format!("{name}: cannot {verb} {}: {error}, retrying in 1s", request.address);
                let entry = Entry::error(text).about(message_id::ADDRESS_REFUSED, name);
                self.limited(unsaid, entry.with("ADDRESS", &request.address));
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

    /// `unsaid`: as [`Limit::hit`](super::instance::Limit::hit) has it; `None` is not worth a line.
    fn limited(&mut self, unsaid: Option<u64>, mut entry: Entry) {
        if let Some(unsaid) = unsaid {
            entry.text.push_str(&more(unsaid));
            self.push(entry);
        }
    }
}
