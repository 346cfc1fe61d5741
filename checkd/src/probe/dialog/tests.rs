//! Every protocol against what servers say, in portions of any size, and against what they should not say.

mod databases;
mod directory;
mod hostile;
mod mail;
mod written;

use std::net::SocketAddr;

use super::*;

pub(super) fn route() -> Route {
    let target = SocketAddr::from(([10, 0, 0, 5], 25));
    Route { target, endpoint: target }
}

pub(super) fn plain(script: Script) -> Settings {
    Settings { script, tls: false }
}

/// One answer of a server, and what it has been told before it.
pub(super) type Turn<'a> = (&'a [u8], &'a [u8]);

/// Plays a server's part: each turn's words must have been said before its answer is given, in portions of `size`.
/// Then it closes the connection. The outcome, and what was said in the end.
pub(super) fn play(settings: &Settings, turns: &[Turn<'_>], size: usize) -> (Outcome, Vec<u8>) {
    let mut probe = Probe::new(settings, route());
    let mut outcome = probe.on_connected();
    for (number, (said, answer)) in turns.iter().enumerate() {
        assert_eq!(outcome, None, "decided before turn {number}");
        let unsent = probe.unsent().to_vec();
        assert_eq!(unsent.escape_ascii().to_string(), said.escape_ascii().to_string(), "turn {number}");
        probe.on_sent(unsent.len());
        for portion in answer.chunks(size) {
            outcome = probe.on_received(portion);
            if outcome.is_some() {
                break;
            }
        }
    }
    let said = probe.unsent().to_vec();
    probe.on_sent(said.len());
    (outcome.unwrap_or_else(|| probe.on_closed()), said)
}

/// The outcome, which must be the same whatever the portions.
pub(super) fn outcome(settings: &Settings, turns: &[Turn<'_>]) -> (Outcome, Vec<u8>) {
    let whole = play(settings, turns, usize::MAX);
    for size in [1, 2, 3, 7] {
        assert_eq!(play(settings, turns, size), whole, "in portions of {size}");
    }
    whole
}

#[track_caller]
pub(super) fn passes(settings: &Settings, turns: &[Turn<'_>], reason: &str, farewell: &[u8]) {
    let (outcome, said) = outcome(settings, turns);
    assert_eq!(outcome, Outcome::Pass(reason.to_owned()));
    assert_eq!(said.escape_ascii().to_string(), farewell.escape_ascii().to_string());
}

#[track_caller]
pub(super) fn fails(settings: &Settings, turns: &[Turn<'_>], reason: &str) {
    let failed = outcome(settings, turns).0;
    assert_eq!(failed, Outcome::Fail(reason.to_owned()));
}

/// The reason of a failure that a server's first words bring about.
pub(super) fn failure(settings: &Settings, turns: &[Turn<'_>]) -> String {
    match play(settings, turns, usize::MAX).0 {
        Outcome::Fail(reason) => reason,
        other @ (Outcome::Pass(_) | Outcome::PassWithWeight(..) | Outcome::Local(_)) => {
            panic!("not a failure: {other:?}")
        }
    }
}
