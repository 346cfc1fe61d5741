//! A check: how a server is looked at, how often, and what it takes to believe the result. A template, which its
//! users give targets.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::probe::Kind;
use crate::target::{Damping, Rules, State, Thresholds};
use crate::transport::connect::Connect;
use crate::transport::tls;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    pub kind: Kind,
    /// From the start of one probe to the start of the next.
    pub interval: Duration,
    /// The same while the server is down; `None`: the same.
    pub down_interval: Option<Duration>,
    /// For the whole probe, from the connection to the last byte needed. May be longer than the interval: probes
    /// of one target never overlap.
    pub timeout: Duration,
    /// From the end of a result that may change the state to the start of the next probe, if that is earlier than
    /// the interval has it: "interval while changing". keepalived's `delay_before_retry`.
    pub retry_interval: Duration,
    pub thresholds: Thresholds,
    /// `None`: a server may change its state as often as it likes.
    pub damping: Option<Damping>,
    pub connect: Connect,
    /// `Some` where TLS may begin, at once or later: [`crate::probe::Conversation::wants_tls`] says when.
    pub tls: Option<Arc<tls::Settings>>,
}

impl Check {
    /// A check of this kind with every other setting at its default: every 6 s, 5 s at most; up at the first pass,
    /// down when a failure was confirmed by a second one a second later, as keepalived's TCP_CHECK does it.
    pub fn with_defaults(kind: Kind) -> Self {
        // A unit's state is no measurement that another one could confirm.
        let fall = if kind.unit().is_some() { 1 } else { 2 };
        Self {
            timeout: kind.default_timeout(),
            kind,
            interval: Duration::from_secs(6),
            down_interval: None,
            retry_interval: Duration::from_secs(1),
            thresholds: Thresholds {
                rise: NonZeroU32::MIN,
                fall: NonZeroU32::new(fall).expect("neither is zero"),
            },
            damping: None,
            connect: Connect::default(),
            tls: None,
        }
    }

    /// From the start of one probe to the start of the next of a target in this state.
    pub fn interval_in(&self, state: State) -> Duration {
        match state {
            State::Unknown | State::Up => self.interval,
            State::Down => self.down_interval.unwrap_or(self.interval),
        }
    }

    pub fn rules(&self) -> Rules {
        Rules { thresholds: self.thresholds, damping: self.damping }
    }

    /// Whether a probe with either is the same probe. When probes are made and what follows from them may differ.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        self.question() == other.question()
    }

    /// Tells checks that ask something else apart, also in another run of this program, by what was in the files that
    /// they name too. It is written down: 64 bits of a digest of the whole check, its certificates and its password, of
    /// which none comes out of it again. (Whoever may read the file may read the configuration.)
    pub fn fingerprint(&self) -> u64 {
        let mut digest = Sha256::new();
        digest.update(format!("{:?}", self.question()));
        for contents in self.tls.iter().flat_map(|tls| tls.contents()) {
            digest.update(contents);
        }
        if let Some(secret) = self.kind.secret() {
            digest.update(Sha256::digest(secret.bytes()));
        }
        digest.finalize().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The check without what says when it is made and what follows from it.
    fn question(&self) -> Self {
        let Self { interval, down_interval, timeout, retry_interval, thresholds, damping, .. } =
            Self::with_defaults(Kind::Tcp);
        Self { interval, down_interval, timeout, retry_interval, thresholds, damping, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::http::Settings;

    #[test]
    fn checks_that_differ_in_times_and_counts_ask_the_same_and_others_do_not() {
        let check = Check::with_defaults(Kind::Tcp);
        let second = Duration::from_secs(1);
        let two = NonZeroU32::new(2).unwrap();
        let other_times = Check {
            interval: second,
            down_interval: Some(second),
            timeout: second,
            retry_interval: second / 2,
            thresholds: Thresholds { rise: two, fall: two },
            damping: Some(Damping { changes: two, within: second, hold: second }),
            ..check.clone()
        };
        assert!(check.asks_the_same(&other_times));
        assert_eq!(check.fingerprint(), other_times.fingerprint());
        let connect = Connect { port: Some(8080), ..Connect::default() };
        let elsewhere = Check { connect, ..check.clone() };
        let http = Check::with_defaults(Kind::Http(Settings::default()));
        for other in [elsewhere, http] {
            assert!(!check.asks_the_same(&other));
            assert_ne!(check.fingerprint(), other.fingerprint());
        }
    }

    #[test]
    fn a_server_that_is_down_may_be_looked_at_more_or_less_often() {
        let check = Check::with_defaults(Kind::Tcp);
        assert_eq!(check.interval_in(State::Down), check.interval);
        let minute = Duration::from_secs(60);
        let patient = Check { down_interval: Some(minute), ..check };
        assert_eq!(
            (patient.interval_in(State::Up), patient.interval_in(State::Down)),
            (patient.interval, minute)
        );
        assert_eq!(patient.interval_in(State::Unknown), patient.interval);
    }
}
