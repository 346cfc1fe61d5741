//! What checkd said about each target, kept beyond checkd's own life: an answer stays true, marked stale, until
//! there is another. Pure; how the answers arrive is in `checks.rs`, what follows from them in `director.rs`.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// A check by name, and the server that it is to be run against.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    pub check: Arc<str>,
    pub address: SocketAddr,
}

/// One row of checkd's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub target: Target,
    pub verdict: Verdict,
    pub reason: Arc<str>,
    /// Microseconds of CLOCK_REALTIME of the last change; 0: never.
    pub since: u64,
    /// What the check gives the server while it is up; `None`: nothing.
    pub weight: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// No check has come to an end yet, or there is no such check. Not the same as down.
    #[default]
    Unknown,
    Up,
    Down,
}

impl Verdict {
    /// The word of the bus; a word of a newer checkd that we do not know is unknown.
    pub fn from_word(word: &str) -> Self {
        match word {
            "up" => Self::Up,
            "down" => Self::Down,
            _ => Self::Unknown,
        }
    }

    pub fn word(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Up => "up",
            Self::Down => "down",
        }
    }
}

/// What is known of one target.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub verdict: Verdict,
    pub reason: Arc<str>,
    pub since: u64,
    /// What the check gives the server, instead of the configured weight.
    pub weight: Option<u16>,
    /// The answer is from before checkd was lost, or checkd itself does not know any more.
    pub stale: bool,
}

/// Whether checkd can be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// It has not answered since we started; the text says why, and is empty before it was asked.
    NeverHeard(String),
    Heard,
    /// It has answered, but is gone; the text says how we know.
    Lost(String),
}

/// All targets that we want watched, with what is known of each.
#[derive(Debug)]
pub struct HealthBook {
    known: BTreeMap<Target, Known>,
    source: Source,
}

impl Default for HealthBook {
    fn default() -> Self {
        Self { known: BTreeMap::new(), source: Source::NeverHeard(String::new()) }
    }
}

impl HealthBook {
    /// Watch exactly `targets`, each of which is named once; what is known of those that stay is kept. True if the set changed.
    pub fn set_targets<'a>(&mut self, targets: impl Iterator<Item = &'a Target>) -> bool {
        let mut former = std::mem::take(&mut self.known);
        let number = former.len();
        let known = targets.map(|target| (target.clone(), former.remove(target).unwrap_or_default()));
        self.known = known.collect();
        !former.is_empty() || self.known.len() != number
    }

    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.known.keys()
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Checkd is gone, or was never there: everything stays as it is, but stale. True if that is news.
    pub fn lose_source(&mut self, reason: &str) -> bool {
        match &mut self.source {
            Source::NeverHeard(known) => {
                let news = known != reason;
                reason.clone_into(known);
                return news;
            }
            Source::Lost(_) => return false,
            Source::Heard => self.source = Source::Lost(reason.to_owned()),
        }
        for known in self.known.values_mut() {
            known.stale = true;
        }
        true
    }

    /// Checkd can be heard. True if that is news.
    pub fn hear_source(&mut self) -> bool {
        let news = self.source != Source::Heard;
        self.source = Source::Heard;
        news
    }

    /// Take one answer. If it changes the verdict or the weight, return the former verdict. An answer about what is not watched
    /// changes nothing, and "unknown" after a verdict only makes that verdict stale.
    pub fn take(&mut self, answer: &Answer) -> Option<Verdict> {
        let known = self.known.get_mut(&answer.target)?;
        if answer.verdict == Verdict::Unknown && known.verdict != Verdict::Unknown {
            known.stale = true;
            return None;
        }
        let former = known.verdict;
        let news = former != answer.verdict || known.weight != answer.weight;
        *known = Known {
            verdict: answer.verdict,
            reason: Arc::clone(&answer.reason),
            since: answer.since,
            weight: answer.weight,
            stale: false,
        };
        news.then_some(former)
    }

    pub fn get(&self, target: &Target) -> Option<&Known> {
        self.known.get(target)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(number: u8) -> Target {
        Target { check: "tcp".into(), address: format!("192.168.100.{number}:80").parse().unwrap() }
    }

    fn answer(number: u8, verdict: Verdict) -> Answer {
        Answer { target: target(number), verdict, reason: "why".into(), since: 7, weight: None }
    }

    #[test]
    fn a_verdict_survives_the_loss_of_checkd_and_its_return_without_memory() {
        let mut book = HealthBook::default();
        assert!(book.set_targets([target(1)].iter()));
        book.hear_source();
        assert_eq!(book.take(&answer(1, Verdict::Up)), Some(Verdict::Unknown));
        assert!(book.lose_source("no owner") && !book.lose_source("no owner"));
        let known = book.get(&target(1)).unwrap();
        assert!(known.stale && known.verdict == Verdict::Up);
        assert!(book.hear_source());
        assert_eq!(book.take(&answer(1, Verdict::Unknown)), None);
        assert!(book.get(&target(1)).unwrap().stale);
        assert_eq!(book.take(&answer(1, Verdict::Down)), Some(Verdict::Up));
        assert!(!book.get(&target(1)).unwrap().stale);
    }

    #[test]
    fn another_weight_is_news_though_the_verdict_is_the_same() {
        let mut book = HealthBook::default();
        book.set_targets([target(1)].iter());
        let weighted = |weight| Answer { weight, ..answer(1, Verdict::Up) };
        assert_eq!(book.take(&weighted(Some(5))), Some(Verdict::Unknown));
        assert_eq!(book.take(&weighted(Some(5))), None);
        assert_eq!(book.take(&weighted(None)), Some(Verdict::Up));
        assert_eq!(book.take(&weighted(Some(9))), Some(Verdict::Up));
        assert_eq!(book.take(&answer(1, Verdict::Unknown)), None);
        assert_eq!(book.get(&target(1)).unwrap().weight, Some(9), "kept with the verdict");
    }

    #[test]
    fn a_checkd_that_was_never_heard_is_missed_once_for_each_reason() {
        let mut book = HealthBook::default();
        assert!(book.lose_source("not on the bus") && !book.lose_source("not on the bus"));
        assert!(book.lose_source("access denied"));
        assert_eq!(book.source(), &Source::NeverHeard("access denied".into()));
    }

    #[test]
    fn a_changed_set_keeps_what_is_known_of_the_targets_that_stay() {
        let mut book = HealthBook::default();
        book.set_targets([target(1), target(2)].iter());
        book.take(&answer(1, Verdict::Up));
        assert!(!book.set_targets([target(2), target(1)].iter()));
        assert!(book.set_targets([target(1), target(3)].iter()));
        assert_eq!(book.get(&target(1)).unwrap().verdict, Verdict::Up);
        assert_eq!(book.get(&target(2)), None);
        assert_eq!(book.take(&answer(2, Verdict::Up)), None, "nobody watches it any more");
    }
}
