//! The client of systemd: in which state units are, and what may be the name of one. About being a daemon: what runs
//! beside us is systemd's to know, whether a router tracks it or a check looks at it.
//!
//! systemd announces changes only to those who have subscribed, and forgets that with its own re-execution. After that,
//! and after a reload of its configuration (a unit may be there now that was not), all units are read anew.

mod follow;

use std::collections::HashMap;

use zbus::{Connection, OwnedVariant};

pub use self::follow::follow;
use crate::client::is_called;

pub const NAME: &str = "org.freedesktop.systemd1";
pub const PATH: &str = "/org/freedesktop/systemd1";
pub const MANAGER: &str = "org.freedesktop.systemd1.Manager";

/// What systemd says of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum UnitState {
    /// `since`: microseconds of CLOCK_REALTIME, 0 for never.
    Up {
        reason: String,
        since: u64,
    },
    Down {
        reason: String,
        since: u64,
    },
    /// It cannot be asked, or has no answer; why.
    Nothing {
        reason: String,
    },
}

/// Have systemd announce changes to this connection.
pub async fn subscribe(connection: &Connection) -> zbus::Result<()> {
    let again = ["org.freedesktop.systemd1.AlreadySubscribed"];
    match connection.call_method(Some(NAME), PATH, Some(MANAGER), "Subscribe", &()).await {
        Err(error) if !is_called(&error, &again) => Err(error),
        Ok(_) | Err(_) => Ok(()),
    }
}

type Properties = HashMap<String, OwnedVariant>;

fn nothing(reason: &str) -> UnitState {
    UnitState::Nothing { reason: reason.to_owned() }
}

fn text(properties: &Properties, name: &str) -> Option<String> {
    properties.get(name).and_then(|value| String::try_from(value.clone()).ok())
}

fn has_failed(properties: &Properties) -> bool {
    text(properties, "ActiveState").is_some_and(|state| state == "failed")
}

/// `None`: what it takes is not among them. A signal has no LoadState; who announces a state is loaded.
fn state(properties: &Properties) -> Option<UnitState> {
    let since = properties.get("StateChangeTimestamp").and_then(|value| u64::try_from(value).ok());
    let (active, mut sub) = (text(properties, "ActiveState")?, text(properties, "SubState")?);
    // "failed (failed)" says less than "failed (exit-code)".
    if let Some(result) = text(properties, "Result").filter(|_| sub == active) {
        sub = result;
    }
    Some(judge(&active, &sub, &text(properties, "LoadState").unwrap_or_default(), since.unwrap_or(0)))
}

/// ActiveState, SubState and LoadState of systemd's D-Bus interface. `since`: StateChangeTimestamp.
///
/// Reloading is up: the service serves. Activating is not up yet, and may never be: a service that crashes at every
/// start is "activating (auto-restart)" most of the time. A state that a newer systemd may have is no answer.
fn judge(active: &str, sub: &str, load: &str, since: u64) -> UnitState {
    if load == "not-found" && active == "inactive" {
        return UnitState::Down { reason: "systemd does not find such a unit".into(), since };
    }
    let reason = if sub.is_empty() { active.to_owned() } else { format!("{active} ({sub})") };
    match active {
        "active" | "reloading" | "refreshing" => UnitState::Up { reason, since },
        "inactive" | "failed" | "activating" | "deactivating" | "maintenance" => {
            UnitState::Down { reason, since }
        }
        other => {
            UnitState::Nothing { reason: format!("systemd calls it \"{other}\", which Trivet does not know") }
        }
    }
}

/// systemd's limit (UNIT_NAME_MAX) without the terminating zero.
pub const LONGEST: usize = 255;
/// Of the units that can be followed: those with a state that says something about a service being there.
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// `nginx` is `nginx.service`, as systemctl has it.
///
/// # Errors
/// What is wrong with it, as the end of a sentence such as "'unit' is …".
pub fn unit_name(name: &str) -> Result<String, String> {
    let full = if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    };
    let (prefix, _) = full.rsplit_once('.').expect("it has a suffix");
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if prefix.is_empty() || prefix.starts_with('@') || !prefix.bytes().all(valid) || full.len() > LONGEST {
        return Err(format!("not the name of a systemd unit: \"{name}\""));
    }
    if prefix.ends_with('@') {
        return Err(format!("a template, not a unit: write what stands between @ and the dot in \"{name}\""));
    }
    Ok(full)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_service_says_how_it_has_failed() {
        let properties = |pairs: &[(&str, &str)]| {
            let value = |text: &str| OwnedVariant::try_from(zbus::Variant::from(text.to_owned())).unwrap();
            pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect::<Properties>()
        };
        let failed = [("ActiveState", "failed"), ("SubState", "failed"), ("Result", "exit-code")];
        let reason = |pairs: &[(&str, &str)]| match state(&properties(pairs)) {
            Some(UnitState::Down { reason, .. }) => reason,
            other => panic!("{other:?}"),
        };
        assert_eq!(reason(&failed), "failed (exit-code)");
        assert_eq!(reason(&failed[..2]), "failed (failed)");
        assert!(has_failed(&properties(&failed[..2])) && !has_failed(&properties(&failed[1..])));
        assert_eq!(state(&properties(&failed[..1])), None);
    }

    #[test]
    fn a_unit_that_reloads_is_up_and_one_that_starts_or_starts_again_is_not() {
        for (active, sub, up) in [
            ("active", "running", true),
            ("active", "exited", true),
            ("reloading", "reload", true),
            ("refreshing", "refresh", true),
            ("activating", "start", false),
            ("activating", "auto-restart", false),
            ("deactivating", "stop-sigterm", false),
            ("inactive", "dead", false),
            ("failed", "failed", false),
        ] {
            let told = judge(active, sub, "loaded", 7);
            let reason = format!("{active} ({sub})");
            let wanted =
                if up { UnitState::Up { reason, since: 7 } } else { UnitState::Down { reason, since: 7 } };
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_unit_that_does_not_exist_is_down_and_an_unheard_of_state_is_no_answer() {
        let UnitState::Down { reason, .. } = judge("inactive", "dead", "not-found", 0) else { panic!() };
        assert_eq!(reason, "systemd does not find such a unit");
        assert!(matches!(judge("levitating", "", "loaded", 0), UnitState::Nothing { .. }));
    }

    #[test]
    fn unit_names_are_completed_and_checked_as_systemctl_does() {
        for (name, full) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("dev-sda.device", "dev-sda.device"),
            ("openvpn@office.service", "openvpn@office.service"),
            ("a.b", "a.b.service"),
            ("data\\x2dbase.mount", "data\\x2dbase.mount"),
        ] {
            assert_eq!(unit_name(name).as_deref(), Ok(full));
        }
        for wrong in ["", "a b", "a/b.service", "getty@.service", "@x.service", &"x".repeat(300), ".service"]
        {
            assert!(unit_name(wrong).is_err(), "{wrong}");
        }
    }
}
