//! Who may command: root, and whom polkit allows it. Without polkit, root only.

use crate::client::{is_absent, is_called};
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use zbus::fdo::{self, DBusProxy};
use zbus::message::{Flags, Header};
use zbus::names::BusName;
use zbus::{Connection, Variant, connection};

const NAME: &str = "org.freedesktop.PolicyKit1";
const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const INTERFACE: &str = "org.freedesktop.PolicyKit1.Authority";
/// What systemd answers who calls a service that it may not start, or has no unit of.
const NO_UNIT: [&str; 2] = ["org.freedesktop.systemd1.UnitMasked", "org.freedesktop.systemd1.NoSuchUnit"];
/// CheckAuthorizationFlags: polkit may ask the user for a password.
const ALLOW_USER_INTERACTION: u32 = 1;
/// How long a user may take for that.
const INTERACTIVE: Duration = Duration::from_secs(60);
/// How long polkit may take by itself.
const DECISION: Duration = Duration::from_secs(5);
/// Questions to polkit at the same time: anyone may cause them.
const QUESTIONS: usize = 16;

static ASKED: AtomicUsize = AtomicUsize::new(0);

/// A question that is being asked.
struct Question;

impl Question {
    fn begin() -> fdo::Result<Self> {
        if ASKED.fetch_add(1, Ordering::Relaxed) >= QUESTIONS {
            ASKED.fetch_sub(1, Ordering::Relaxed);
            return Err(fdo::Error::LimitsExceeded("too many callers wait for polkit; try again".into()));
        }
        Ok(Self)
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        ASKED.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether the caller of a method may do what `action` is about; who it is, in words: `root`, `alice (uid 1000)`.
///
/// # Errors
/// `AccessDenied`, with the reason.
pub async fn authorize(connection: &Connection, header: &Header<'_>, action: &str) -> fdo::Result<String> {
    let Some(caller) = header.sender() else {
        return Err(fdo::Error::AccessDenied("access denied: the message has no sender".into()));
    };
    let bus = DBusProxy::new(connection).await?;
    let uid = bus.get_connection_unix_user(BusName::from(caller.clone())).await?;
    if uid == 0 {
        return Ok("root".into());
    }
    let interactive = header.primary().flags().contains(Flags::ALLOW_INTERACTIVE_AUTH);
    let _question = Question::begin()?;
    match ask(caller.as_str(), action, interactive).await {
        Ok((true, _)) => Ok(user(uid)),
        Ok((false, true)) => Err(denied(action, "polkit wants a password for it, and nobody could be asked")),
        Ok((false, false)) => Err(denied(action, "polkit does not allow it")),
        Err(error) if is_absent(&error) || is_called(&error, &NO_UNIT) => {
            Err(denied(action, "only root may do this where there is no polkit to ask"))
        }
        Err(error) => Err(denied(action, &format!("polkit does not answer: {error}"))),
    }
}

fn denied(action: &str, why: &str) -> fdo::Error {
    fdo::Error::AccessDenied(format!("access denied ({action}): {why}"))
}

/// On a connection of its own: it may take its time, and it ends with the question. Authorized, and whether it could
/// be with a password.
async fn ask(caller: &str, action: &str, interactive: bool) -> zbus::Result<(bool, bool)> {
    let deadline = if interactive { INTERACTIVE } else { DECISION };
    let connection = connection::Builder::system().method_timeout(deadline).build().await?;
    let subject = ("system-bus-name", HashMap::from([("name", Variant::from(caller))]));
    let details: HashMap<&str, &str> = HashMap::new();
    let flags = if interactive { ALLOW_USER_INTERACTION } else { 0 };
    let question = (subject, action, details, flags, caller);
    let answer =
        connection.call_method(Some(NAME), PATH, Some(INTERFACE), "CheckAuthorization", &question).await;
    if answer.is_err() && interactive {
        // The dialog, if there is one, goes away.
        let cancel = "CancelCheckAuthorization";
        let _ = connection.call_method(Some(NAME), PATH, Some(INTERFACE), cancel, &(caller,)).await;
    }
    let (authorized, challenge, _) = answer?.body().deserialize::<(bool, bool, HashMap<String, String>)>()?;
    Ok((authorized, challenge))
}

fn user(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => format!("{} (uid {uid})", user.name),
        Ok(None) | Err(_) => format!("uid {uid}"),
    }
}
