//! What is known of everything that is tracked, by all routers together. An answer is kept beyond the life of who gave
//! it, marked stale, until there is another.

use std::collections::{BTreeMap, BTreeSet};

use super::What;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was heard yet. Not the same as down.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Verdict {
    /// The word of the bus.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is known of one thing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub verdict: Verdict,
    /// In the words of who told it; of what is unknown or stale, why.
    pub reason: String,
    /// Microseconds of CLOCK_REALTIME of the last change; 0: never.
    pub since: u64,
    /// It was so once, but cannot be heard now.
    pub stale: bool,
}

/// What a source has to say about one thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Up {
        reason: String,
        since: u64,
    },
    Down {
        reason: String,
        since: u64,
    },
    /// The source is gone, or does not know; why.
    Nothing {
        reason: String,
    },
}

/// Everything that is tracked by some router, and what is known of it.
#[derive(Debug, Default)]
pub struct Knowledge(BTreeMap<What, Known>);

impl Knowledge {
    /// Keep book of exactly these; what is known of those that stay is kept.
    pub fn want(&mut self, whats: BTreeSet<What>) {
        self.0.retain(|what, _| whats.contains(what));
        for what in whats {
            self.0.entry(what).or_default();
        }
    }

    pub fn whats(&self) -> impl Iterator<Item = &What> {
        self.0.keys()
    }

    /// Of what nobody tracks nothing is known.
    pub fn get(&self, what: &What) -> Known {
        self.0.get(what).cloned().unwrap_or_default()
    }

    /// Take in what was told. `now`: microseconds of CLOCK_REALTIME, for sources that do not say since when (0). The
    /// former verdict, if there is another now; `Err`: the verdict is the same, but something else reads differently.
    pub fn hear(&mut self, now: u64, what: &What, told: Told) -> Heard {
        let Some(known) = self.0.get_mut(what) else { return Heard::Nothing };
        let former = known.clone();
        match told {
            Told::Nothing { reason } => {
                known.stale = known.verdict != Verdict::Unknown;
                known.reason = reason;
            }
            Told::Up { reason, since } => *known = fresh(Verdict::Up, reason, since, &former, now),
            Told::Down { reason, since } => *known = fresh(Verdict::Down, reason, since, &former, now),
        }
        if known.verdict != former.verdict {
            Heard::Verdict(former.verdict)
        } else if *known != former {
            Heard::Detail
        } else {
            Heard::Nothing
        }
    }
}

fn fresh(verdict: Verdict, reason: String, since: u64, former: &Known, now: u64) -> Known {
    let since = match since {
        0 if former.verdict == verdict => former.since,
        0 => now,
        since => since,
    };
    Known { verdict, reason, since, stale: false }
}

/// What is new after something was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    Nothing,
    /// The verdict is the same, its reason, age or freshness is not.
    Detail,
    /// It was this before.
    Verdict(Verdict),
}
