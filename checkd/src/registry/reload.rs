//! What a reload of the configuration does to the targets: nothing to those whose check is the same.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use super::{Action, Checks, Phase, Registry};
use crate::schedule::TargetId;
use crate::target::WallClock;

/// What happened to a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Difference {
    /// It is there or not, or asks something else.
    Question,
    /// It asks the same, at other times or with other consequences.
    Rules,
}

impl Registry {
    /// The configuration was read again. Checks that are the same keep everything; targets of one that asks something
    /// else keep their state until its first result.
    #[must_use]
    pub fn on_reload(&mut self, now: Instant, wall: WallClock, checks: Checks) -> Vec<Action> {
        let differences = differences(&self.checks, &checks);
        if differences.is_empty() {
            return Vec::new();
        }
        let former = std::mem::replace(&mut self.checks, Arc::new(checks));
        for (name, _) in differences.iter().filter(|(_, difference)| **difference == Difference::Question) {
            self.memories.on_question_changed(name, &self.checks);
        }
        let concerned = self.targets.iter();
        let concerned: Vec<(TargetId, Difference)> =
            concerned.filter_map(|(id, target)| Some((id, *differences.get(&*target.key.0)?))).collect();
        let (mut actions, mut fresh, mut parting) = (Vec::new(), Vec::new(), Vec::new());
        for (id, difference) in concerned {
            match difference {
                Difference::Question => {
                    parting.extend(self.parting(now, id, &former));
                    actions.extend(self.on_question_changed(wall, id, &mut fresh));
                }
                Difference::Rules => self.on_rules_changed(now, id),
            }
        }
        self.start_first_round(now, &fresh);
        for (id, until) in parting {
            self.wait_until(id, until);
        }
        actions
    }

    /// Until when a probe of `former` checks, which is about to be given up, may still be running.
    fn parting(&self, now: Instant, id: TargetId, former: &Checks) -> Option<(TargetId, Instant)> {
        let target = self.targets.get(id).filter(|target| target.is_probing())?;
        let parting = former.get(&*target.key.0)?.kind.parting();
        (!parting.is_zero()).then(|| (id, now + parting))
    }

    /// Probes of one target never overlap.
    fn wait_until(&mut self, id: TargetId, until: Instant) {
        let Some(target) = self.targets.get(id) else { return };
        if let Phase::Waiting { at, postponed } = target.phase {
            self.set_phase(id, Phase::Waiting { at: at.max(until), postponed });
        }
    }

    fn on_question_changed(
        &mut self,
        wall: WallClock,
        id: TargetId,
        fresh: &mut Vec<TargetId>,
    ) -> Option<Action> {
        let obstacle = self.obstacle(&self.targets.get(id)?.key);
        self.tell(id);
        let was_probing = self.set_phase(id, Phase::Unconfigured).is_some_and(Phase::is_probing);
        let Some(obstacle) = obstacle else {
            let _ = self.alter(id, |target| target.judgement.on_check_changed())?;
            fresh.push(id);
            return was_probing.then_some(Action::Cancel(id));
        };
        let (was_asked, is_wanted) = self.alter(id, |target| {
            target.judgement.forget(obstacle, wall);
            (std::mem::take(&mut target.asked), target.watches > 0)
        })?;
        if !is_wanted {
            self.remove(id);
        }
        (was_probing || was_asked).then_some(Action::Gone(id))
    }

    /// A running probe runs on; a waiting target finds its place in the new interval.
    fn on_rules_changed(&mut self, now: Instant, id: TargetId) {
        let Some(target) = self.targets.get(id) else { return };
        let Some(check) = self.checks.get(&*target.key.0).map(Arc::clone) else { return };
        if let Phase::Waiting { at, postponed } = target.phase
            && !target.asked
            && (target.judgement.is_settled() || target.stumbles > 0)
        {
            let interval = check.interval_in(target.judgement.state());
            let next = self.schedule.next_place(target.place, now, interval);
            // What was to be looked at again soon still is.
            let is_hurried = target.judgement.is_changing() || target.stumbles > 0;
            let at = if is_hurried { at.min(next) } else { next };
            self.set_phase(id, Phase::Waiting { at, postponed });
        }
        let change = self.alter(id, |target| target.judgement.on_rules_changed(check.rules()));
        if change.is_some_and(|change| change.is_news()) {
            self.tell(id);
        }
    }
}

/// The names of all checks that differ, and how.
fn differences(before: &Checks, after: &Checks) -> HashMap<String, Difference> {
    let names: HashSet<&String> = before.keys().chain(after.keys()).collect();
    let difference = |name: &String| match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) if before == after => None,
        (Some(before), Some(after)) if before.asks_the_same(after) => Some(Difference::Rules),
        (Some(_) | None, Some(_)) | (Some(_), None) => Some(Difference::Question),
        (None, None) => None,
    };
    names.into_iter().filter_map(|name| Some((name.clone(), difference(name)?))).collect()
}
