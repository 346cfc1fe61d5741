//! What one router's targets are to be, and the next order that gets them there. Pure.

use crate::router::StateName;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Active,
    Fault,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Active, Kind::Fault];

impl Kind {
    pub(super) fn template(self) -> &'static str {
        match self {
            Self::Active => "vrrp-active",
            Self::Fault => "vrrp-fault",
        }
    }

    pub(super) fn index(self) -> usize {
        match self {
            Self::Active => 0,
            Self::Fault => 1,
        }
    }

    pub(super) fn of_state(state: StateName) -> Option<Self> {
        match state {
            StateName::Active => Some(Self::Active),
            StateName::Fault => Some(Self::Fault),
            StateName::Initialize | StateName::Backup => None,
        }
    }
}

/// One router's, or, without one, of a target that was found.
#[derive(Debug, Default)]
pub(super) struct Worker {
    pub(super) wanted: Option<Kind>,
    /// What systemd was last told, or said, of each kind.
    pub(super) has: [Option<bool>; 2],
    pub(super) doing: Doing,
}

#[derive(Debug, Default)]
pub(super) enum Doing {
    #[default]
    Nothing,
    /// systemd has not answered yet.
    Ordering,
    /// It has, and is about it; `swept`: for [`super::JOB`] at least.
    Waiting { kind: Kind, job: String, swept: bool },
}

impl Worker {
    /// Neither target is up.
    pub(super) fn off() -> Self {
        Self { has: [Some(false); 2], ..Self::default() }
    }

    /// Nothing is wanted, nothing is there.
    pub(super) fn is_over(&self) -> bool {
        self.wanted.is_none() && self.has == [Some(false); 2] && matches!(self.doing, Doing::Nothing)
    }

    /// Systemd was told all that is wanted.
    pub(super) fn is_said(&self) -> bool {
        wanted_step(self.wanted, self.has).is_none()
    }

    /// The next order, if there is one that can be given now.
    pub(super) fn step(&self) -> Option<(Kind, bool)> {
        let step = wanted_step(self.wanted, self.has)?;
        match &self.doing {
            Doing::Nothing => Some(step),
            Doing::Ordering => None,
            Doing::Waiting { kind, .. } => (*kind == step.0).then_some(step),
        }
    }
}

/// What is to go goes first.
fn wanted_step(wanted: Option<Kind>, has: [Option<bool>; 2]) -> Option<(Kind, bool)> {
    let is_to_go = |kind: &Kind| wanted != Some(*kind) && has[kind.index()] != Some(false);
    let to_go = KINDS.into_iter().find(is_to_go).map(|kind| (kind, false));
    to_go.or_else(|| wanted.filter(|kind| has[kind.index()] != Some(true)).map(|kind| (kind, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_to_go_goes_before_the_next_comes() {
        let (on, off) = (Some(true), Some(false));
        for (wanted, has, step) in [
            (Some(Kind::Active), [off, off], Some((Kind::Active, true))),
            (Some(Kind::Active), [on, off], None),
            (Some(Kind::Fault), [on, off], Some((Kind::Active, false))),
            (Some(Kind::Fault), [off, off], Some((Kind::Fault, true))),
            (None, [on, off], Some((Kind::Active, false))),
            (None, [off, on], Some((Kind::Fault, false))),
            (None, [off, off], None),
        ] {
            assert_eq!(wanted_step(wanted, has), step);
        }
    }

    #[test]
    fn a_job_that_is_under_way_is_followed_by_its_reversal_only() {
        let waiting = || Doing::Waiting { kind: Kind::Active, job: "/job/1".into(), swept: false };
        let mut worker = Worker { wanted: None, has: [Some(true), Some(false)], doing: waiting() };
        assert_eq!(worker.step(), Some((Kind::Active, false)), "started, and to be stopped again");
        worker.has = [Some(false), Some(false)];
        worker.wanted = Some(Kind::Fault);
        assert_eq!(worker.step(), None, "it is still being stopped");
        worker.wanted = Some(Kind::Active);
        assert_eq!(worker.step(), Some((Kind::Active, true)));
        worker.doing = Doing::Ordering;
        assert_eq!(worker.step(), None, "one order at a time");
    }
}
