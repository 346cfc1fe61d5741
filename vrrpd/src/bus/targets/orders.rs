//! What systemd is asked: to start or stop a target, and which of ours are up.

use std::time::Duration;

use zbus::{Connection, OwnedObjectPath, connection};

use super::{KINDS, Kind};
use daemon::client::{is_absent, is_called};
use daemon::systemd::{MANAGER, NAME, PATH, subscribe};

/// How long a daemon that has ended waits for each of systemd's answers.
const RELEASE: Duration = Duration::from_secs(2);

pub(super) async fn order(
    connection: &Connection,
    kind: Kind,
    instance: &str,
    on: bool,
) -> zbus::Result<String> {
    let unit = format!("{}@{instance}.target", kind.template());
    let method = if on { "StartUnit" } else { "StopUnit" };
    let answer = connection.call_method(Some(NAME), PATH, Some(MANAGER), method, &(unit, "replace")).await?;
    Ok(answer.body().deserialize::<OwnedObjectPath>()?.to_string())
}

/// Stop all targets of ours, for a daemon that has ended and that no other goes on for. A line for each.
///
/// # Errors
/// systemd does not answer, or does not do it. Without a bus, or without a systemd on it, there is nothing to stop.
pub(crate) fn stop_all() -> zbus::Result<Vec<String>> {
    zbus::block_on(async {
        let builder = connection::Builder::system().method_timeout(RELEASE);
        let Ok(connection) = builder.build().await else { return Ok(Vec::new()) };
        let targets = match list(&connection).await {
            Err(error) if is_absent(&error) => return Ok(Vec::new()),
            targets => targets?,
        };
        let mut stopped = Vec::with_capacity(targets.len());
        for (instance, kind) in targets {
            order(&connection, kind, &instance, false).await?;
            stopped.push(format!("{}@{instance}.target", kind.template()));
        }
        Ok(stopped)
    })
}

/// Our targets that are up or about to be.
pub(super) async fn list(connection: &Connection) -> zbus::Result<Vec<(String, Kind)>> {
    subscribe(connection).await?;
    let patterns: Vec<String> = KINDS.iter().map(|kind| format!("{}@*.target", kind.template())).collect();
    let states: [&str; 0] = [];
    let which = (&states[..], patterns);
    let call = connection.call_method(Some(NAME), PATH, Some(MANAGER), "ListUnitsByPatterns", &which);
    type Row =
        (String, String, String, String, String, String, OwnedObjectPath, u32, String, OwnedObjectPath);
    let rows: Vec<Row> = call.await?.body().deserialize()?;
    let is_up =
        |row: &&Row| ["active", "activating", "reloading"].contains(&row.3.as_str()) || row.8 == "start";
    let found = rows.iter().filter(is_up).filter_map(|row| {
        let (template, rest) = row.0.split_once('@')?;
        let kind = KINDS.into_iter().find(|kind| kind.template() == template)?;
        Some((rest.strip_suffix(".target")?.to_owned(), kind))
    });
    Ok(found.collect())
}

pub(super) fn hint(error: &zbus::Error) -> &'static str {
    // Or what systemd heard when it asked polkit.
    let denied = [
        "org.freedesktop.systemd1.UnitMasked",
        "org.freedesktop.DBus.Error.ServiceUnknown",
        "org.freedesktop.DBus.Error.NoReply",
        "org.freedesktop.DBus.Error.AccessDenied",
        "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
    ];
    if is_called(error, &denied) {
        " (it takes polkitd, and the rule /usr/share/polkit-1/rules.d/50-trivet.rules)"
    } else if is_called(error, &["org.freedesktop.systemd1.NoSuchUnit"]) {
        " (the package installs vrrp-active@.target and vrrp-fault@.target)"
    } else {
        ""
    }
}
