//! The client of checkd, on the bus thread: registers the whole set of targets, and hands the answers to the loop.
//!
//! `org.trivet.Check1.Manager`: `Watch` replaces our set and answers all of it, as of a generation; `HealthChanged`
//! of a later generation brings what changed since. After any doubt (checkd restarted, the bus was gone, the set
//! changed) everything is registered again, so that nothing has to be counted alike on both sides.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use daemon::bus::pause;
use daemon::client::{Retry, Seen, ended, is_from};
use daemon::queue::Sender;
use futures_util::StreamExt as _;
use futures_util::future::{Either, select};
use zbus::{Connection, MatchRule, Message, MessageStream, fdo};

use crate::daemon::Command;
use crate::health::{Answer, Target, Verdict};

const NAME: &str = "org.trivet.Check1";
const PATH: &str = "/org/trivet/Check1";
const INTERFACE: &str = "org.trivet.Check1.Manager";
/// Signals that may wait while we wait for the answer to `Watch`.
const SIGNALS: usize = 1024;
/// Before a full command queue is tried again.
const QUEUE_RETRY: Duration = Duration::from_millis(20);

/// check, address, state, reason, since, weight; read where the message has them.
type Row<'a> = (&'a str, &'a str, &'a str, &'a str, u64, i32);

/// What was heard.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Checkd came, went, or was replaced.
    Owner(Message),
    Health(Message),
    /// It is time to try again.
    Retry,
}

#[derive(Debug)]
pub(crate) struct Checks {
    connection: Connection,
    owners: MessageStream,
    health: MessageStream,
    commands: Sender<Command>,
    registered: Option<Registered>,
    /// The set that was seen last: each of the loop's is an `Arc` of its own.
    seen: Seen<Vec<Target>>,
    /// Registering failed: wait until something happens, or for a while.
    failed: Option<Failed>,
    retry: Retry,
}

/// What checkd watches for us.
#[derive(Debug)]
struct Registered {
    /// Of the answer.
    generation: u64,
    /// The unique name of who answered.
    owner: String,
}

#[derive(Clone, Copy, Debug)]
enum Failed {
    /// Checkd is not there. Its coming will be announced.
    Absent,
    TryAgain,
}

impl Checks {
    /// Listen first and ask later, so that nothing is missed between the two.
    pub(crate) async fn subscribe(connection: &Connection, commands: Sender<Command>) -> zbus::Result<Self> {
        let signal = || MatchRule::builder().msg_type(zbus::message::Type::Signal);
        let owners = signal()
            .sender("org.freedesktop.DBus")
            .interface("org.freedesktop.DBus")
            .member("NameOwnerChanged")
            .add_arg(NAME)
            .build()?;
        let health = signal().sender(NAME).path(PATH).interface(INTERFACE).member("HealthChanged").build()?;
        Ok(Self {
            connection: connection.clone(),
            owners: MessageStream::for_match_rule(owners, connection, None).await?,
            health: MessageStream::for_match_rule(health, connection, NonZeroUsize::new(SIGNALS)).await?,
            commands,
            registered: None,
            seen: Seen::default(),
            failed: None,
            retry: Retry::default(),
        })
    }

    /// Have checkd watch `targets`, unless it does.
    pub(crate) async fn register(&mut self, targets: &Arc<Vec<Target>>) {
        let current = !self.seen.is_other(targets) && self.registered.is_some();
        let needless = self.registered.is_none() && targets.is_empty();
        if current || needless || self.failed.is_some() {
            return;
        }
        match self.watch(targets).await {
            Ok((owner, generation, answers)) => {
                self.registered = Some(Registered { generation, owner });
                self.deliver(Command::Answered(answers)).await;
            }
            Err(error) => {
                self.registered = None;
                let absent = is_absent(&error);
                self.failed = Some(if absent { Failed::Absent } else { Failed::TryAgain });
                if !absent {
                    self.retry.begin();
                }
                let reason = if absent {
                    "checkd is not on the bus".to_owned()
                } else {
                    format!("checkd refused our checks: {error}")
                };
                self.deliver(Command::SourceLost(reason)).await;
            }
        }
    }

    async fn watch(&self, targets: &[Target]) -> zbus::Result<(String, u64, Vec<Answer>)> {
        let rows: Vec<(&str, String)> =
            targets.iter().map(|target| (&*target.check, spell(target.address))).collect();
        let answer =
            self.connection.call_method(Some(NAME), PATH, Some(INTERFACE), "Watch", &(rows,)).await?;
        let owner = answer.header().sender().map(ToString::to_string).unwrap_or_else(|| NAME.to_owned());
        let body = answer.body();
        let (generation, rows): (u64, Vec<Row<'_>>) = body.deserialize()?;
        Ok((owner, generation, answers(rows)))
    }

    /// Wait for the next thing to handle. Can be given up at any time without losing anything.
    pub(crate) async fn next(&mut self) -> zbus::Result<Heard> {
        let messages = select(self.owners.next(), self.health.next());
        match select(messages, pin!(self.retry.over())).await {
            Either::Left((Either::Left((message, _)), _)) => Ok(Heard::Owner(message.ok_or_else(ended)??)),
            Either::Left((Either::Right((message, _)), _)) => Ok(Heard::Health(message.ok_or_else(ended)??)),
            Either::Right(((), _)) => Ok(Heard::Retry),
        }
    }

    pub(crate) async fn handle(&mut self, heard: Heard) {
        match heard {
            Heard::Retry => self.failed = None,
            Heard::Owner(message) => {
                let new = message.body().deserialize::<(String, String, String)>().map(|(_, _, new)| new);
                // The news of a checkd's coming may reach us after its answer.
                if self.registered.as_ref().is_some_and(|known| new.as_ref() == Ok(&known.owner)) {
                    return;
                }
                self.registered = None;
                self.failed = None;
                self.retry.end();
                if new.is_ok_and(|new| new.is_empty()) {
                    self.failed = Some(Failed::Absent);
                    self.deliver(Command::SourceLost("checkd has left the bus".into())).await;
                }
            }
            Heard::Health(message) => {
                let Some(known) = &self.registered else { return };
                if !is_from(&message, Some(&known.owner)) {
                    return;
                }
                match message.body().deserialize::<(u64, Vec<Row<'_>>)>() {
                    Ok((generation, rows)) if generation > known.generation => {
                        self.deliver(Command::Answered(answers(rows))).await;
                    }
                    Ok(_) => {}
                    Err(error) => log::warn!("checkd's signal cannot be read: {error}, ignoring"),
                }
            }
        }
    }

    /// Answers must not be lost: a loop that is behind is waited for.
    async fn deliver(&self, command: Command) {
        let mut command = command;
        while let Err(back) = self.commands.send(command) {
            command = back;
            pause(QUEUE_RETRY).await;
        }
    }
}

impl Drop for Checks {
    /// With the connection goes the only way to hear checkd.
    fn drop(&mut self) {
        let _ = self.commands.send(Command::SourceLost("the connection to the bus has ended".into()));
    }
}

fn is_absent(error: &zbus::Error) -> bool {
    // The standard errors are zbus's own, not its MethodError.
    let zbus::Error::FDO(error) = error else { return false };
    matches!(**error, fdo::Error::ServiceUnknown(_) | fdo::Error::NameHasNoOwner(_))
}

/// Rows that name no address cannot be about a target of ours. Neighbours that say the same share it: there are tens of
/// thousands of them.
fn answers(rows: Vec<Row<'_>>) -> Vec<Answer> {
    let (mut checks, mut reasons) = (Repeated::default(), Repeated::default());
    let answer = |(check, address, state, reason, since, weight): Row<'_>| {
        let target = Target { check: checks.share(check), address: parse(address)? };
        // -1: none.
        let weight = u16::try_from(weight).ok();
        Some(Answer {
            target,
            verdict: Verdict::from_word(state),
            reason: reasons.share(reason),
            since,
            weight,
        })
    };
    rows.into_iter().filter_map(answer).collect()
}

/// A text that was seen last.
#[derive(Default)]
struct Repeated(Option<Arc<str>>);

impl Repeated {
    fn share(&mut self, text: &str) -> Arc<str> {
        match &self.0 {
            Some(last) if **last == *text => Arc::clone(last),
            Some(_) | None => Arc::clone(self.0.insert(text.into())),
        }
    }
}

/// As checkd writes it: port 0 is left out, and left to the check.
fn spell(address: SocketAddr) -> String {
    if address.port() == 0 { address.ip().to_string() } else { address.to_string() }
}

fn parse(text: &str) -> Option<SocketAddr> {
    text.parse().ok().or_else(|| Some(SocketAddr::new(text.parse().ok()?, 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_weight_or_none_and_one_without_an_address_is_none_of_ours() {
        let row = |address, weight| ("http", address, "up", "load 0.3", 7, weight);
        let rows = [
            row("10.0.0.1:80", 40),
            row("10.0.0.1:80", 0),
            row("10.0.0.1:80", -1),
            row("10.0.0.1:80", 65_536),
            row("", 5),
        ];
        let weights: Vec<_> = answers(rows.to_vec()).into_iter().map(|answer| answer.weight).collect();
        assert_eq!(weights, [Some(40), Some(0), None, None]);
        let [answer] = &answers(vec![row("10.0.0.1:80", 40)])[..] else { panic!("one row, one answer") };
        let target = Target { check: "http".into(), address: "10.0.0.1:80".parse().unwrap() };
        assert_eq!((&answer.target, answer.verdict, answer.since), (&target, Verdict::Up, 7));
    }

    #[test]
    fn an_address_is_read_as_it_is_written_with_and_without_a_port() {
        for text in ["192.168.100.101:80", "192.168.100.101", "[2001:db8::1]:443", "2001:db8::1"] {
            assert_eq!(spell(parse(text).unwrap()), text);
        }
        assert_eq!(parse("web"), None);
    }
}
