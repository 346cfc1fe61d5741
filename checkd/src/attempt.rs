//! One probe under way: the questions that its check asks, each on a transport of its own, and what follows from
//! their outcomes: the first failure ends it, and it passes when all have passed.

use std::net::SocketAddr;
use std::time::Duration;

use daemon::event_loop::{Interest, Token};

use crate::check::Check;
use crate::probe::{Conversation, Kind, Outcome, Route, http, tcp};
use crate::transport::Transport;
use crate::transport::stream::Stream;

/// One question. `daemon.rs` keeps its registration with the loop here.
#[derive(Debug)]
pub struct Part {
    pub transport: Transport,
    /// The loop's registration and what it waits for.
    pub registration: Option<(Token, Interest)>,
}

#[derive(Debug)]
pub struct Attempt {
    /// By number; `None`: it has passed.
    parts: Vec<Option<Part>>,
    /// The reasons of those that passed.
    passed: Vec<String>,
}

impl Attempt {
    /// Begin all questions.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn open(check: &Check, target: SocketAddr) -> Result<Self, Outcome> {
        let route = check.connect.route(target);
        let mut parts = Vec::with_capacity(check.kind.parts());
        for number in 0..check.kind.parts() {
            let transport = open(check, route, number).map_err(|outcome| label(check, number, outcome))?;
            parts.push(Some(Part { transport, registration: None }));
        }
        Ok(Self { parts, passed: Vec::new() })
    }

    pub fn len(&self) -> usize {
        self.parts.len()
    }

    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// `None`: there is no such part, or it has ended.
    pub fn part(&mut self, number: usize) -> Option<&mut Part> {
        self.parts.get_mut(number)?.as_mut()
    }

    /// The parts that have not ended.
    pub fn into_parts(self) -> impl Iterator<Item = Part> {
        self.parts.into_iter().flatten()
    }

    /// A part has ended: itself, to be closed, and the outcome of the whole probe if that is known now.
    pub fn on_part_ended(
        &mut self,
        check: &Check,
        number: usize,
        outcome: Outcome,
    ) -> (Option<Part>, Option<Outcome>) {
        let part = self.parts.get_mut(number).and_then(Option::take);
        let whole = match label(check, number, outcome) {
            Outcome::Pass(reason) => {
                self.passed.push(reason);
                let all = self.parts.iter().all(Option::is_none);
                all.then(|| Outcome::Pass(std::mem::take(&mut self.passed).join("; ")))
            }
            outcome @ (Outcome::Fail(_) | Outcome::Local(_)) => Some(outcome),
        };
        (part, whole)
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, check: &Check, buffer: &mut [u8], timeout: Duration) -> Outcome {
        for (number, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part else { continue };
            match label(check, number, part.transport.on_timeout(buffer, timeout)) {
                Outcome::Pass(reason) => self.passed.push(reason),
                outcome @ (Outcome::Fail(_) | Outcome::Local(_)) => return outcome,
            }
        }
        Outcome::Pass(std::mem::take(&mut self.passed).join("; "))
    }
}

fn label(check: &Check, number: usize, outcome: Outcome) -> Outcome {
    if check.kind.parts() > 1 { outcome.labelled(check.kind.label(number)) } else { outcome }
}

fn open(check: &Check, route: Route, number: usize) -> Result<Transport, Outcome> {
    let conversation: Box<dyn Conversation> = match &check.kind {
        Kind::Tcp => Box::new(tcp::Probe),
        Kind::Http(settings) => Box::new(http::Probe::new(&settings.requests()[number], route.target)),
    };
    Stream::open(conversation, route.endpoint, &check.connect).map(Transport::Stream)
}
