//! What a word of systemd about a unit does to the targets of its checks: they are looked at now.

use std::collections::HashSet;
use std::time::Instant;

use super::{Phase, Registry};
use crate::schedule::TargetId;

impl Registry {
    /// Something new is known of `unit`. Its targets are due at once; those whose probe waits for this are returned, to
    /// be ended with it.
    pub fn on_unit_news(&mut self, now: Instant, unit: &str) -> Vec<TargetId> {
        let about_it =
            self.checks.iter().filter(|(_, check)| check.kind.unit().is_some_and(|of| **of == *unit));
        let names: HashSet<&str> = about_it.map(|(name, _)| name.as_str()).collect();
        let concerned = self.targets.iter().filter(|(_, target)| names.contains(&*target.key.0));
        let concerned: Vec<(TargetId, Phase)> = concerned.map(|(id, target)| (id, target.phase)).collect();
        let mut waiting_for_it = Vec::new();
        for (id, phase) in concerned {
            match phase {
                Phase::Unconfigured => {}
                Phase::Waiting { .. } => {
                    self.set_phase(id, Phase::Waiting { at: now, postponed: false });
                }
                Phase::Probing { .. } => waiting_for_it.push(id),
            }
        }
        waiting_for_it
    }
}

#[cfg(test)]
mod tests {
    use super::super::Action;
    use super::super::tests::{WALL, checks, start};
    use super::*;
    use crate::check::Check;
    use crate::probe::unit::Settings;
    use crate::probe::{Kind, Outcome};

    #[test]
    fn news_of_a_unit_make_its_targets_due_and_end_the_probes_that_wait_for_them() {
        let now = start();
        let unit = Check::with_defaults(Kind::Unit(Settings { unit: "nginx.service".into() }));
        let mut registry = Registry::new(checks(&[("nginx", unit)]), 7, now);
        let watch = [("nginx".to_owned(), String::new())];
        let _ = registry.watch_at_once(now, ":1.1", &watch);
        let later = registry.deadline().unwrap();
        let actions = registry.on_time(later, 256);
        let started = actions.iter().find_map(|action| match action {
            Action::Start { id, check, .. } if check.kind.unit().is_some() => Some(*id),
            Action::Start { .. } | Action::TimeOut { .. } | Action::Cancel(_) | Action::Gone(_) => None,
        });
        let id = started.expect("the unit's target is due");
        assert_eq!(registry.on_unit_news(later, "nginx.service"), [id], "its probe waits for this");
        registry.on_outcome(later, WALL, id, Outcome::Pass("active (running)".into())).unwrap();

        assert!(registry.on_unit_news(later, "bind.service").is_empty());
        let due = |registry: &mut Registry| {
            let actions = registry.on_time(later, 256);
            actions.iter().any(|action| matches!(action, Action::Start { id: started, .. } if *started == id))
        };
        assert!(!due(&mut registry), "another unit's news are not its own");
        assert!(registry.on_unit_news(later, "nginx.service").is_empty());
        assert!(due(&mut registry), "it is looked at now");
    }
}
