//! What systemd says of a unit, as a tracker has it; and the names of the targets that follow a router.

use std::fmt::Write as _;

use daemon::systemd::{LONGEST, UnitState};

use super::Told;

impl From<UnitState> for Told {
    fn from(state: UnitState) -> Self {
        match state {
            UnitState::Up { reason, since } => Self::Up { reason, since },
            UnitState::Down { reason, since } => Self::Down { reason, since },
            UnitState::Nothing { reason } => Self::Nothing { reason },
        }
    }
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
