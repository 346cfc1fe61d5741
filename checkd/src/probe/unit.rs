//! `type = "unit"`: a unit of systemd says whether the server is up, by its state. Nothing is sent: what systemd last
//! announced is looked at ([`crate::units`]). keepalived's `track_process`, for those who know what runs where.

use std::sync::Arc;

use daemon::systemd::UnitState;

use super::Outcome;

/// Validated by `config/unit.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// With its suffix.
    pub unit: Arc<str>,
}

/// What follows from what systemd says of a unit. A systemd that cannot be asked says nothing about it.
pub fn outcome(state: &UnitState) -> Outcome {
    match state {
        UnitState::Up { reason, .. } => Outcome::Pass(reason.clone()),
        UnitState::Down { reason, .. } => Outcome::Fail(reason.clone()),
        UnitState::Nothing { reason } => Outcome::Local(reason.clone()),
    }
}

/// The probe's time is over, and nothing was heard.
pub fn unheard() -> Outcome {
    Outcome::Local("systemd has not said in which state the unit is".to_owned())
}
