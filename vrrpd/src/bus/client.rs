//! What the clients of other services have in common: when the service comes and goes, and when to ask again.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use zbus::message::{Message, Type};
use zbus::{Connection, DBusError as _, MatchRule, MessageStream};

use crate::track::What;

/// Signals that may wait while we wait for an answer.
const SIGNALS: usize = 1024;
/// Before something is tried again that failed for no reason that will be announced.
pub(super) const RETRY: Duration = Duration::from_secs(2);

/// The other end of "look at the model": one wake-up, which several may have become.
pub(super) type Changes = mpsc::Receiver<()>;

/// The set of what is tracked as it was last acted upon. What was taken out and put back between two looks is in both
/// sets, but the loop has forgotten what it knew of it.
#[derive(Default)]
pub(super) struct Seen(Arc<BTreeSet<What>>);

impl Seen {
    /// Whether this is not the set that was seen last: all of it is to be told anew. Each set of the loop's is an `Arc`
    /// of its own, and holding the last one keeps its address from being used again.
    pub(super) fn is_other(&mut self, tracked: &Arc<BTreeSet<What>>) -> bool {
        !Arc::ptr_eq(&std::mem::replace(&mut self.0, Arc::clone(tracked)), tracked)
    }
}

pub(super) fn ended() -> zbus::Error {
    zbus::Error::Failure("the connection to the bus has ended".into())
}

pub(super) fn signals<'a>() -> zbus::match_rule::Builder<'a> {
    MatchRule::builder().msg_type(Type::Signal)
}

pub(super) async fn listen(connection: &Connection, rule: MatchRule<'_>) -> zbus::Result<MessageStream> {
    MessageStream::for_match_rule(rule.to_owned(), connection, NonZeroUsize::new(SIGNALS)).await
}

/// When `name` gets another owner, or none.
pub(super) async fn owners(connection: &Connection, name: &'static str) -> zbus::Result<MessageStream> {
    let bus = "org.freedesktop.DBus";
    let rule = signals().sender(bus).interface(bus).member("NameOwnerChanged").add_arg(name).build()?;
    listen(connection, rule).await
}

/// Of a NameOwnerChanged signal: the new owner's unique name, if there is one.
pub(super) fn new_owner(message: &Message) -> Option<String> {
    let (_, _, new) = message.body().deserialize::<(String, String, String)>().ok()?;
    (!new.is_empty()).then_some(new)
}

/// Nobody has the name that was called. Its coming will be announced.
pub(super) fn is_absent(error: &zbus::Error) -> bool {
    is_called(
        error,
        &["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"],
    )
}

pub(super) fn is_called(error: &zbus::Error, names: &[&str]) -> bool {
    #[expect(clippy::wildcard_enum_match_arm, reason = "zbus's errors, not ours")]
    match error {
        zbus::Error::MethodError(name, ..) => names.contains(&name.as_str()),
        // The standard ones.
        zbus::Error::FDO(error) => names.contains(&error.name().as_str()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use zbus::fdo;

    use super::*;

    #[test]
    fn what_was_taken_out_and_put_back_between_two_looks_is_told_anew() {
        let tracked = || Arc::new(BTreeSet::from([What::Unit("nginx.service".into())]));
        let mut seen = Seen::default();
        let first = tracked();
        assert!(seen.is_other(&first) && !seen.is_other(&first));
        drop(first);
        let again = tracked();
        assert!(seen.is_other(&again), "equal, but not the same");
        assert!(!seen.is_other(&again));
    }

    #[test]
    fn a_service_that_nobody_provides_is_absent_and_one_that_refuses_is_not() {
        let absent = fdo::Error::ServiceUnknown("no such name".into());
        assert!(is_absent(&zbus::Error::FDO(Box::new(absent))));
        let denied = fdo::Error::AccessDenied("no".into());
        assert!(!is_absent(&zbus::Error::FDO(Box::new(denied))));
        assert!(!is_absent(&ended()));
    }
}
