//! What the clients of other services on the bus have in common: when the service comes and goes, and when to ask
//! again. About being a daemon: each of ours hears another one, or systemd, and outlives it.

use std::fmt;
use std::future::{Future, pending};
use std::num::NonZeroUsize;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_channel::mpsc;
use zbus::message::{Message, Type};
use zbus::{Connection, DBusError as _, MatchRule, MessageStream};

use crate::bus::pause;

/// Signals that may wait while we wait for an answer.
const SIGNALS: usize = 1024;
/// Before something is tried again that failed for no reason that will be announced.
pub const RETRY: Duration = Duration::from_secs(2);

/// The other end of "look at the model": one wake-up, which several may have become.
pub type Changes = mpsc::Receiver<()>;

/// Both ends: `try_send` to the first, and let it fail: then a wake-up is on its way already.
pub fn wake() -> (mpsc::Sender<()>, Changes) {
    mpsc::channel(0)
}

/// The time until something is tried again. Once begun it runs on, however much else is heard meanwhile and however
/// often waiting for it is given up.
#[derive(Default)]
pub struct Retry(Option<Pin<Box<dyn Future<Output = ()> + Send>>>);

impl Retry {
    /// In [`RETRY`], unless it has begun.
    pub fn begin(&mut self) {
        self.begin_after(RETRY);
    }

    fn begin_after(&mut self, time: Duration) {
        self.0.get_or_insert_with(|| Box::pin(pause(time)));
    }

    /// There is nothing to try again any more.
    pub fn end(&mut self) {
        self.0 = None;
    }

    pub fn has_begun(&self) -> bool {
        self.0.is_some()
    }

    /// Wait until it is over, which ends it. For ever, if it has not begun.
    pub async fn over(&mut self) {
        match &mut self.0 {
            Some(time) => time.await,
            None => pending().await,
        }
        self.0 = None;
    }
}

impl fmt::Debug for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Retry").field(&self.has_begun()).finish()
    }
}

/// A set of what is wanted as it was last acted upon. What was taken out and put back between two looks is in both sets,
/// but the loop has forgotten what it knew of it.
#[derive(Debug)]
pub struct Seen<T>(Option<Arc<T>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<T> Seen<T> {
    /// Whether this is not the set that was seen last: all of it is to be told anew. Each set of the loop's is an `Arc`
    /// of its own, and holding the last one keeps its address from being used again.
    pub fn is_other(&mut self, wanted: &Arc<T>) -> bool {
        !self.0.replace(Arc::clone(wanted)).is_some_and(|former| Arc::ptr_eq(&former, wanted))
    }
}

pub fn ended() -> zbus::Error {
    zbus::Error::Failure("the connection to the bus has ended".into())
}

pub fn signals<'a>() -> zbus::match_rule::Builder<'a> {
    MatchRule::builder().msg_type(Type::Signal)
}

pub async fn listen(connection: &Connection, rule: MatchRule<'_>) -> zbus::Result<MessageStream> {
    MessageStream::for_match_rule(rule.to_owned(), connection, NonZeroUsize::new(SIGNALS)).await
}

/// When `name` gets another owner, or none.
pub async fn owners(connection: &Connection, name: &'static str) -> zbus::Result<MessageStream> {
    let bus = "org.freedesktop.DBus";
    let rule = signals().sender(bus).interface(bus).member("NameOwnerChanged").add_arg(name).build()?;
    listen(connection, rule).await
}

/// Whether `owner`, a unique name, has sent it. A rule for signals of a well-known name does not see to that: anybody
/// may send a signal to us alone, which no rule is asked about.
pub fn is_from(message: &Message, owner: Option<&str>) -> bool {
    owner.is_some() && message.header().sender().map(|sender| sender.as_str()) == owner
}

/// Of a NameOwnerChanged signal: the new owner's unique name, if there is one.
pub fn new_owner(message: &Message) -> Option<String> {
    let (_, _, new) = message.body().deserialize::<(String, String, String)>().ok()?;
    (!new.is_empty()).then_some(new)
}

/// Nobody has the name that was called. Its coming will be announced.
pub fn is_absent(error: &zbus::Error) -> bool {
    is_called(
        error,
        &["org.freedesktop.DBus.Error.ServiceUnknown", "org.freedesktop.DBus.Error.NameHasNoOwner"],
    )
}

pub fn is_called(error: &zbus::Error, names: &[&str]) -> bool {
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
    use std::future::ready;
    use std::pin::pin;

    use futures_util::future::{Either, select};
    use zbus::fdo;

    use super::*;

    #[test]
    fn what_was_taken_out_and_put_back_between_two_looks_is_told_anew() {
        let tracked = || Arc::new("nginx.service".to_owned());
        let mut seen = Seen::default();
        let first = tracked();
        assert!(seen.is_other(&first) && !seen.is_other(&first));
        drop(first);
        let again = tracked();
        assert!(seen.is_other(&again), "equal, but not the same");
        assert!(!seen.is_other(&again));
    }

    #[test]
    fn what_is_tried_again_is_not_put_off_by_whatever_else_happens() {
        let mut retry = Retry::default();
        zbus::block_on(async {
            assert!(matches!(select(pin!(retry.over()), ready(())).await, Either::Right(_)), "not begun");
            assert!(!retry.has_begun());
            retry.begin_after(Duration::from_millis(50));
            let mut others = 0;
            loop {
                // More often than a time that begins anew each time could ever be over.
                let other = pin!(pause(Duration::from_millis(5)));
                if let Either::Left(((), _)) = select(pin!(retry.over()), other).await {
                    break;
                }
                others += 1;
                retry.begin_after(Duration::from_millis(50));
                assert!(others < 1_000, "it is put off for ever");
            }
            assert!(others > 0 && !retry.has_begun());
        });
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
