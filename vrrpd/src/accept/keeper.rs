//! Keeps the rules in force: what is wanted, what the kernel has, what is under way. Pure and level-triggered; `nft.rs`
//! does what it says. An address whose rules are not in force yet is held back, so that it is never accepted for a
//! moment, and a router whose rules the kernel refuses is in Fault.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::Rules;

/// After a failure.
const RETRY: Duration = Duration::from_secs(1);
/// nft takes some milliseconds; a router that waits longer than this says why.
const PATIENCE: Duration = Duration::from_secs(5);

/// For the thread that runs nft.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Job {
    /// Have these rules, and no others in our tables.
    Apply(Rules),
    /// Somebody changed our tables, or may have: compare, and have the rules as they were.
    Check,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Applied,
    /// Nobody had changed anything.
    Intact,
    Restored,
}

#[derive(Debug)]
pub struct Keeper {
    wanted: Rules,
    applied: Option<Rules>,
    in_flight: Option<(Job, Instant)>,
    /// Our tables were touched since they were last looked at.
    suspect: bool,
    retry_at: Option<Instant>,
    trouble: Option<String>,
    answered: bool,
}

impl Default for Keeper {
    /// What a former run left is unknown: even without rules there is something to do.
    fn default() -> Self {
        Self {
            wanted: Rules::default(),
            applied: None,
            in_flight: None,
            suspect: false,
            retry_at: None,
            trouble: None,
            answered: false,
        }
    }
}

impl Keeper {
    /// The whole of what is wanted from now on.
    pub fn want(&mut self, rules: Rules) {
        if rules != self.wanted {
            self.wanted = rules;
            self.retry_at = None;
        }
    }

    /// The kernel told of a change to our tables, perhaps our own.
    pub fn touched(&mut self) {
        self.suspect = true;
    }

    /// Whether an address must wait for its rules.
    pub fn holds(&self, address: IpAddr) -> bool {
        self.wanted.concern(address) && !self.applied.as_ref().is_some_and(|applied| applied.concern(address))
    }

    /// Rules are wanted, and nothing is known yet of those that may be there from a former run.
    pub fn is_opening(&self) -> bool {
        !self.wanted.is_empty() && !self.answered && self.trouble.is_none()
    }

    /// Why rules are not in force.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Nothing is there, and nothing is wanted. A stopping daemon waits for it.
    pub fn is_settled(&self) -> bool {
        self.applied.as_ref() == Some(&self.wanted) && self.in_flight.is_none()
    }

    pub fn deadline(&self) -> Option<Instant> {
        match &self.in_flight {
            Some((_, since)) => self.trouble.is_none().then(|| *since + PATIENCE),
            None => self.retry_at,
        }
    }

    /// What is to be done now.
    pub fn next(&mut self, now: Instant) -> Option<Job> {
        if let Some((_, since)) = &self.in_flight {
            if self.trouble.is_none() && *since + PATIENCE <= now {
                self.trouble = Some(format!("nft has not answered for {}s", PATIENCE.as_secs()));
            }
            return None;
        }
        if self.retry_at.is_some_and(|at| at > now) {
            return None;
        }
        self.retry_at = None;
        let job = if self.applied.as_ref() != Some(&self.wanted) {
            Job::Apply(self.wanted.clone())
        } else if self.suspect {
            Job::Check
        } else {
            return None;
        };
        self.suspect = false;
        self.in_flight = Some((job.clone(), now));
        Some(job)
    }

    /// How the job ended. `Some`: what the log is to say.
    #[must_use]
    pub fn answered(
        &mut self,
        now: Instant,
        result: Result<Outcome, String>,
    ) -> Option<Result<Outcome, String>> {
        let (job, _) = self.in_flight.take()?;
        self.answered = true;
        match result {
            Ok(outcome) => {
                self.trouble = None;
                if let Job::Apply(rules) = job {
                    self.applied = Some(rules);
                }
                (outcome != Outcome::Intact).then_some(Ok(outcome))
            }
            Err(why) => {
                self.applied = None;
                self.retry_at = Some(now + RETRY);
                let news = self.trouble.as_ref() != Some(&why);
                self.trouble = Some(why.clone());
                news.then_some(Err(why))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(last: u8) -> Rules {
        Rules::new([(IpAddr::from([10, 0, 0, last]), "eth0".into())].into(), Vec::new())
    }

    #[expect(clippy::disallowed_methods, reason = "a test's clock has to start somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    /// Started, and nothing was left behind.
    fn keeper(now: Instant) -> Keeper {
        let mut keeper = Keeper::default();
        assert_eq!(keeper.next(now), Some(Job::Apply(Rules::default())), "a former run may have left rules");
        assert_eq!(keeper.answered(now, Ok(Outcome::Applied)), Some(Ok(Outcome::Applied)));
        assert_eq!(keeper.next(now), None);
        keeper
    }

    #[test]
    fn an_address_waits_until_its_rule_is_in_force_and_no_other_address_does() {
        let now = start();
        let mut keeper = keeper(now);
        keeper.want(rules(50));
        let (ours, other) = ([10, 0, 0, 50].into(), [10, 0, 0, 51].into());
        assert!(keeper.holds(ours) && !keeper.holds(other));
        assert_eq!(keeper.next(now), Some(Job::Apply(rules(50))));
        assert!(keeper.holds(ours), "asked for is not in force");
        let _ = keeper.answered(now, Ok(Outcome::Applied));
        assert!(!keeper.holds(ours));
        // Of two sets of rules the newer one counts, though the older is under way.
        keeper.want(rules(51));
        assert_eq!(keeper.next(now), Some(Job::Apply(rules(51))));
        keeper.want(rules(52));
        assert_eq!(keeper.next(now), None, "one at a time");
        let _ = keeper.answered(now, Ok(Outcome::Applied));
        assert_eq!(keeper.next(now), Some(Job::Apply(rules(52))));
    }

    #[test]
    fn what_somebody_does_to_the_tables_is_looked_at_once_and_put_right() {
        let now = start();
        let mut keeper = keeper(now);
        keeper.touched();
        keeper.touched();
        assert_eq!(keeper.next(now), Some(Job::Check));
        keeper.touched();
        assert_eq!(keeper.answered(now, Ok(Outcome::Restored)), Some(Ok(Outcome::Restored)));
        assert_eq!(keeper.next(now), Some(Job::Check), "touched while it was looked at");
        assert_eq!(keeper.answered(now, Ok(Outcome::Intact)), None, "no news");
        assert_eq!(keeper.next(now), None);
    }

    #[test]
    fn a_refusal_is_told_once_holds_the_address_back_and_is_tried_again_after_a_second() {
        let now = start();
        let mut keeper = keeper(now);
        keeper.want(rules(50));
        for (second, told) in [(0, true), (1, false)] {
            let now = now + Duration::from_secs(second);
            assert_eq!(keeper.next(now), Some(Job::Apply(rules(50))));
            assert_eq!(keeper.answered(now, Err("no".into())).is_some(), told);
            assert_eq!(keeper.next(now), None);
            assert_eq!(keeper.deadline(), Some(now + RETRY));
            assert_eq!(keeper.trouble(), Some("no"));
            assert!(keeper.holds([10, 0, 0, 50].into()));
        }
        let later = now + 2 * RETRY;
        assert_eq!(keeper.next(later), Some(Job::Apply(rules(50))));
        let _ = keeper.answered(later, Ok(Outcome::Applied));
        assert_eq!(keeper.trouble(), None);
    }

    #[test]
    fn rules_that_were_lost_and_cannot_be_put_back_hold_their_addresses_back_again() {
        let now = start();
        let mut keeper = keeper(now);
        keeper.want(rules(50));
        let _ = keeper.next(now);
        let _ = keeper.answered(now, Ok(Outcome::Applied));
        keeper.touched();
        assert_eq!(keeper.next(now), Some(Job::Check));
        assert!(!keeper.holds([10, 0, 0, 50].into()), "as a rule it is our own change that is looked at");
        let _ = keeper.answered(now, Err("no".into()));
        assert!(keeper.holds([10, 0, 0, 50].into()));
    }

    #[test]
    fn an_nft_that_does_not_answer_is_named_after_five_seconds() {
        let now = start();
        let mut keeper = keeper(now);
        keeper.want(rules(50));
        assert!(keeper.next(now).is_some());
        assert_eq!(keeper.deadline(), Some(now + PATIENCE));
        assert_eq!(keeper.next(now + PATIENCE), None);
        assert_eq!(keeper.trouble(), Some("nft has not answered for 5s"));
        assert_eq!(keeper.deadline(), None, "not over and over");
        let _ = keeper.answered(now + PATIENCE, Ok(Outcome::Applied));
        assert_eq!(keeper.trouble(), None);
    }
}
