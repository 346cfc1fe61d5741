//! Sync groups in the daemon: whoever of a group has moved is looked at with the others of it, at the end of the turn.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::Daemon;
use super::index::{RouterId, Routers};
use super::tracking::Scope;
use crate::group::{Decision, Position, Verdict, decide, spread_faults};
use crate::router::Event;

type Name = Arc<str>;

#[derive(Debug, Default)]
pub(super) struct Groups {
    members: HashMap<Name, Vec<RouterId>>,
    /// A member of these stands otherwise than before.
    moved: Vec<Name>,
}

impl Groups {
    /// To be called whenever routers were added, removed or configured otherwise.
    pub(super) fn rebuild(&mut self, routers: &Routers) {
        self.members.clear();
        for id in routers.ids() {
            let group = routers.get(id).and_then(|instance| instance.config.settings.sync_group.clone());
            if let Some(group) = group {
                self.members.entry(group).or_default().push(id);
            }
        }
        self.moved = self.members.keys().cloned().collect();
    }

    /// A member of `group` moved.
    pub(super) fn moved(&mut self, group: &Name) {
        if !self.moved.contains(group) {
            self.moved.push(Arc::clone(group));
        }
    }
}

impl Daemon {
    /// Have the members of each group that moved stand together.
    pub(super) fn move_together(&mut self, now: Instant) {
        while let Some(group) = self.groups.moved.pop() {
            let Some(members) = self.groups.members.get(&group).cloned() else { continue };
            let position = |id: &RouterId| Some(Position::of(&self.routers.get(*id)?.router));
            let positions: Vec<Position> = members.iter().filter_map(position).collect();
            let event = match decide(&positions) {
                Decision::Stay => continue,
                Decision::Permit => Event::Permit,
                Decision::Yield(because) => {
                    let Some((name, _)) = self.routers.get_mut(members[because]) else { continue };
                    Event::Yield(Arc::clone(name))
                }
            };
            for id in members {
                self.dispatch(now, id, event.clone());
            }
        }
    }

    /// For each router that does not wait to begin, whether it may take part; a fault of one is that of its group.
    pub(super) fn verdicts(&mut self, now: Instant, scope: Scope) -> Vec<(RouterId, Event)> {
        let mut verdicts = Vec::new();
        for id in self.routers.ids() {
            if !self.routers.get(id).is_some_and(|instance| scope.covers(instance)) {
                continue;
            }
            let Some(usable) = self.fitness(now, id) else { continue };
            let Some((name, instance)) = self.routers.get_mut(id) else { continue };
            let group = instance.config.settings.sync_group.clone();
            verdicts.push(Verdict { id, name: Arc::clone(name), group, usable });
        }
        spread_faults(&mut verdicts);
        let event = |verdict: Verdict<RouterId>| {
            let event = verdict.usable.map_or_else(Event::Fault, |source| Event::Ready { source });
            (verdict.id, event)
        };
        verdicts.into_iter().map(event).collect()
    }
}
