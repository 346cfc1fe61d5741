//! What the daemon says, kept until the turn's work is done: no takeover waits for a sentence.

use std::fmt::Write as _;
use std::io;
use std::time::Instant;

use log::{Level, Record};

use super::hearing::News;
use super::instance::{Instance, more};
use super::message_id;
use crate::kernel::{Operation, Request};
use crate::receive::Discard;
use crate::remark::Remark;
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
        match report {
            Report::Conflict { peer, priority } => {
                instance.counters.conflicts += 1;
                let text = format!(
                    "two routers were Active: {peer} advertised priority {priority}; we have the precedence and announce again"
                );
                let unsaid = instance.limits.conflict.hit(now);
                self.limited(unsaid, Entry::warning(message_id::CONFLICT, name, &text).with("PEER", peer));
            }
            Report::IntervalLearned { .. } => instance.counters.interval_learned += 1,
            // What there is to say of these was said when they were heard (hearing.rs).
            Report::OwnAddress | Report::SecondOwner(_) => {}
        }
    }

    /// News about a peer.
    pub(super) fn heard(&mut self, name: &str, news: Vec<News>) {
        for News { peer, remark, unsaid, text } in news {
            let warning = |id| Entry::warning(id, name, &text).with("PEER", &peer);
            let entry = match remark {
                Some(Remark::Discarded(why)) => {
                    warning(message_id::DISCARDED).with("DISCARD", Discard::NAMES[why.index()])
                }
                Some(Remark::SecondOwner) => warning(message_id::CONFLICT),
                Some(
                    Remark::Addresses
                    | Remark::FirstAddress(_)
                    | Remark::Interval(_)
                    | Remark::Checksum(_)
                    | Remark::OwnAddress,
                )
                | None => warning(message_id::REMARK),
            };
            self.limited(Some(unsaid), entry);
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

    pub(super) fn object(&mut self, now: Instant, name: &str, instance: &mut Instance, notice: &Notice) {
        let object = notice.object();
        match notice {
            Notice::Installed(_) => {
                self.push(Entry::new(Level::Debug, format!("{name}: the kernel has {object}")));
            }
            // An owner's addresses are the machine's own.
            Notice::Foreign(_) if instance.config.settings.is_owner() => {}
            Notice::Foreign(_) => {
                let text = format!(
                    "{name}: {object} was there already, and not from us: it will stay when another router becomes Active"
                );
                self.push(Entry::new(Level::Warn, text));
            }
            Notice::Lost(_) => {
                let text = format!("somebody deleted {object}, putting it back");
                self.push(Entry::warning(message_id::ADDRESS_LOST, name, &text).with("ADDRESS", object));
            }
            Notice::LeftBehind(_) | Notice::TakenAlong(_) => self.stray_object(notice),
            Notice::Failed(request, error) => {
                let unsaid = instance.limits.address_failed.hit(now);
                let verb = match request.operation {
                    Operation::Add => "add",
                    Operation::Remove => "remove",
                    Operation::PutBack => "put back",
                };
                let text = format!("{name}: cannot {verb} {object}: {error}, retrying in 1s");
                let entry = Entry::error(text).about(message_id::ADDRESS_REFUSED, name);
                self.limited(unsaid, entry.with("ADDRESS", object));
            }
        }
    }

    /// About what is none of our routers'.
    pub(super) fn stray_object(&mut self, notice: &Notice) {
        let object = notice.object();
        let text = match notice {
            Notice::LeftBehind(_) => format!("removing {object}, which a former vrrpd left behind"),
            Notice::TakenAlong(_) => format!(
                "the kernel removed {object}, which is not ours, together with the virtual address before it in the same \
                 subnet; it was put back. Set the sysctl net.ipv4.conf.all.promote_secondaries = 1"
            ),
            Notice::Failed(Request { operation: Operation::PutBack, .. }, error) => format!(
                "the kernel may have removed {object}, which is not ours, together with a virtual address, and it cannot be \
                 put back: {error}"
            ),
            Notice::Failed(_, error) => format!("cannot remove {object}: {error}, retrying in 1s"),
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
