//! What systemd says of a unit, as up or down; and unit names.

use std::fmt::Write as _;

use super::Told;

/// systemd's limit (UNIT_NAME_MAX) without the terminating zero.
const LONGEST: usize = 255;
/// Of the units that can be tracked: those with a state that says something about a service being there.
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

/// ActiveState, SubState and LoadState of systemd's D-Bus interface. `since`: StateChangeTimestamp.
///
/// Reloading is up: the service serves. Activating is not up yet, and may never be: a service that crashes at every
/// start is "activating (auto-restart)" most of the time. A state that a newer systemd may have is no answer.
pub fn told(active: &str, sub: &str, load: &str, since: u64) -> Told {
    if load == "not-found" && active == "inactive" {
        return Told::Down { reason: "systemd does not find such a unit".into(), since };
    }
    let reason = if sub.is_empty() { active.to_owned() } else { format!("{active} ({sub})") };
    match active {
        "active" | "reloading" | "refreshing" => Told::Up { reason, since },
        "inactive" | "failed" | "activating" | "deactivating" | "maintenance" => Told::Down { reason, since },
        other => {
            Told::Nothing { reason: format!("systemd calls it \"{other}\", which this vrrpd does not know") }
        }
    }
}

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

/// The target `KIND@NAME.target` of a router: what unit names do not allow is escaped as systemd does it, one byte as
/// `\xNN`. A dash stays a dash, as in most templates' names; so an instance is `%i`, not `%I`.
///
/// # Errors
/// It would be longer than systemd allows.
pub fn target_name(kind: &str, router: &str) -> Result<String, String> {
    let mut name = format!("{kind}@");
    for byte in router.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.".contains(&byte) {
            name.push(char::from(byte));
        } else {
            write!(name, "\\x{byte:02x}").expect("writing to a String cannot fail");
        }
    }
    name.push_str(".target");
    if name.len() > LONGEST {
        return Err(format!("{kind}@….target of this name would be longer than systemd allows ({LONGEST})"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            let told = told(active, sub, "loaded", 7);
            let reason = format!("{active} ({sub})");
            let wanted = if up { Told::Up { reason, since: 7 } } else { Told::Down { reason, since: 7 } };
            assert_eq!(told, wanted);
        }
    }

    #[test]
    fn a_unit_that_does_not_exist_is_down_and_an_unheard_of_state_is_no_answer() {
        let Told::Down { reason, .. } = told("inactive", "dead", "not-found", 0) else { panic!() };
        assert_eq!(reason, "systemd does not find such a unit");
        assert!(matches!(told("levitating", "", "loaded", 0), Told::Nothing { .. }));
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

    #[test]
    fn targets_are_named_after_the_router_with_what_systemd_forbids_escaped() {
        for (router, target) in [
            ("gateway", "vrrp-active@gateway.target"),
            ("web-1", "vrrp-active@web-1.target"),
            ("a b", "vrrp-active@a\\x20b.target"),
            ("a@b\\", "vrrp-active@a\\x40b\\x5c.target"),
            ("é", "vrrp-active@\\xc3\\xa9.target"),
        ] {
            assert_eq!(target_name("vrrp-active", router).as_deref(), Ok(target));
        }
        assert!(target_name("vrrp-active", &"x".repeat(250)).is_err());
    }
}
