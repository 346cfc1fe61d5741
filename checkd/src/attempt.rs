//! One probe under way: the questions that its check asks, each on a transport of its own, and what follows from
//! their outcomes: the first failure ends it, and it passes when all have passed.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::event_loop::{EventLoop, Interest, Token};

use crate::check::Check;
use crate::probe::random::{short_token, token};
use crate::probe::{
    Conversation, Exchange, Kind, Outcome, Route, dialog, dns, exec, http, ping, tcp, tls, udp, unit,
};
use crate::transport::Transport;
use crate::transport::datagram::{Carrier, Datagram};
use crate::transport::stream::{Endpoint, Stream};

/// What the loop tells of a part's socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watch {
    /// Whatever changes, once.
    Changes,
    /// That it is ready for this, for as long as it is.
    For(Interest),
}

/// One question, and its registration with the loop.
#[derive(Debug)]
pub struct Part {
    pub transport: Transport,
    registration: Option<(Token, Watch)>,
}

impl Part {
    pub fn new(transport: Transport) -> Self {
        Self { transport, registration: None }
    }

    pub fn token(&self) -> Option<Token> {
        self.registration.map(|(token, _)| token)
    }

    /// Let the loop yield `event` when the socket is ready for `interest`. `is_at_rest`: see
    /// [`Step::Rest`](crate::transport::Step::Rest).
    ///
    /// # Errors
    /// As [`EventLoop::register`] and [`EventLoop::change`].
    pub fn watch<E: Copy>(
        &mut self,
        events: &mut EventLoop<E>,
        interest: Interest,
        is_at_rest: bool,
        event: E,
    ) -> io::Result<()> {
        let registration = match self.registration {
            Some((_, Watch::Changes)) if is_at_rest => return Ok(()),
            Some((_, Watch::For(current))) if current == interest => return Ok(()),
            Some((token, Watch::Changes | Watch::For(_))) => {
                events.change(token, &self.transport, interest)?;
                (token, Watch::For(interest))
            }
            // It will be read from as well, soon: one registration serves for both.
            None if is_at_rest && interest == Interest::Write => {
                (events.register_changes(&self.transport, event)?, Watch::Changes)
            }
            None => (events.register(&self.transport, interest, event)?, Watch::For(interest)),
        };
        self.registration = Some(registration);
        Ok(())
    }
}

#[derive(Debug)]
pub struct Attempt {
    route: Route,
    /// By number; `None`: it has passed.
    parts: Vec<Option<Part>>,
    passed: Passed,
}

/// What the questions that passed have said.
#[derive(Debug, Default)]
struct Passed {
    reasons: Vec<String>,
    /// The least weight that one of them gave.
    weight: Option<u16>,
}

impl Passed {
    /// The outcome comes back if it is none of a pass.
    fn take_in(&mut self, outcome: Outcome) -> Option<Outcome> {
        match outcome {
            Outcome::Pass(reason) => self.reasons.push(reason),
            Outcome::PassWithWeight(reason, weight) => {
                self.reasons.push(reason);
                self.weight = Some(self.weight.map_or(weight, |least| least.min(weight)));
            }
            Outcome::Fail(_) | Outcome::Local(_) => return Some(outcome),
        }
        None
    }

    /// The outcome of the whole probe, once all have passed.
    fn whole(&mut self) -> Outcome {
        let Self { reasons, weight } = std::mem::take(self);
        let reason = reasons.join("; ");
        match weight {
            None => Outcome::Pass(reason),
            Some(weight) => Outcome::PassWithWeight(reason, weight),
        }
    }
}

impl Attempt {
    /// Begin all questions. `exec`: where checkd-exec listens.
    ///
    /// # Errors
    /// The outcome, if it is known at once.
    pub fn open(check: &Check, target: SocketAddr, now: Instant, exec: &Arc<Path>) -> Result<Self, Outcome> {
        let mut route = check.connect.route(target);
        if let (0, Some(port)) = (route.endpoint.port(), check.kind.default_port()) {
            route.endpoint.set_port(port);
        }
        let mut parts = Vec::with_capacity(check.kind.parts());
        for number in 0..check.kind.parts() {
            let transport = open(check, route, number, now, exec)
                .map_err(|outcome| aloud(check, label(check, number, outcome)))?;
            parts.push(Some(Part::new(transport)));
        }
        Ok(Self { route, parts, passed: Passed::default() })
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
        let is_last = self.parts.iter().all(Option::is_none);
        let ended = self.passed.take_in(label(check, number, outcome));
        let whole = ended.or_else(|| is_last.then(|| self.passed.whole()));
        (part, whole.map(|whole| aloud(check, whole)))
    }

    /// A part that goes on over a stream, to the same place. Its former self, to be closed.
    ///
    /// # Errors
    /// The outcome of the part, if it is known at once.
    pub fn go_on(
        &mut self,
        check: &Check,
        number: usize,
        conversation: Box<dyn Conversation>,
    ) -> Result<Option<Part>, Outcome> {
        let stream = Stream::open(conversation, self.route.endpoint, &check.connect)?;
        let part = Part::new(Transport::Stream(stream));
        Ok(self.parts.get_mut(number).and_then(|slot| slot.replace(part)))
    }

    /// When [`Attempt::on_time`] has something to do before the probe's time is over.
    pub fn deadline(&self) -> Option<Instant> {
        self.parts.iter().flatten().filter_map(|part| part.transport.deadline()).min()
    }

    /// Do what is due. The parts that it ended, by number.
    pub fn on_time(&mut self, now: Instant) -> Vec<(usize, Outcome)> {
        let parts = self.parts.iter_mut().enumerate();
        parts.filter_map(|(number, part)| Some((number, part.as_mut()?.transport.on_time(now)?))).collect()
    }

    /// The probe's time is over. What has arrived by now still counts.
    pub fn on_timeout(&mut self, check: &Check, buffer: &mut [u8], timeout: Duration) -> Outcome {
        aloud(check, self.end(check, buffer, timeout))
    }

    fn end(&mut self, check: &Check, buffer: &mut [u8], timeout: Duration) -> Outcome {
        for (number, part) in self.parts.iter_mut().enumerate() {
            let Some(part) = part else { continue };
            let outcome = label(check, number, part.transport.on_timeout(buffer, timeout));
            if let Some(ended) = self.passed.take_in(outcome) {
                return ended;
            }
        }
        self.passed.whole()
    }
}

fn label(check: &Check, number: usize, outcome: Outcome) -> Outcome {
    if check.kind.parts() > 1 { outcome.labelled(check.kind.label(number)) } else { outcome }
}

/// That nobody looks at a certificate is never left unsaid.
fn aloud(check: &Check, outcome: Outcome) -> Outcome {
    let is_insecure = check.tls.as_ref().is_some_and(|tls| tls.is_insecure());
    if is_insecure { outcome.noted("certificate not verified") } else { outcome }
}

fn open(
    check: &Check,
    route: Route,
    number: usize,
    now: Instant,
    socket: &Arc<Path>,
) -> Result<Transport, Outcome> {
    match &check.kind {
        Kind::Tcp => stream(check, route, number, Box::new(tcp::Probe)),
        Kind::Tls(settings) => stream(check, route, number, Box::new(tls::Probe::new(*settings))),
        Kind::Http(settings) => {
            let request = &settings.requests()[number];
            let begin = if check.tls.is_some() { http::Probe::secured } else { http::Probe::new };
            stream(check, route, number, Box::new(begin(request, route.target)))
        }
        Kind::Dialog(settings) => stream(check, route, number, Box::new(dialog::Probe::new(settings, route))),
        // `daemon.rs` knows what was heard of it.
        Kind::Unit(_) => Err(unit::unheard()),
        Kind::Exec(settings) => {
            let probe = exec::Probe::new(settings, route.endpoint, check.timeout, socket)?;
            let endpoint = Endpoint::Unix(Arc::clone(socket));
            Stream::open(Box::new(probe), endpoint, &check.connect).map(Transport::Stream)
        }
        Kind::Udp(settings) => {
            datagrams(check, route, now, Carrier::Udp, Box::new(udp::Probe::new(Arc::clone(settings))))
        }
        Kind::Ping(settings) => {
            let probe = ping::Probe::new(*settings, route.endpoint, token());
            datagrams(check, route, now, Carrier::Echo, Box::new(probe))
        }
        Kind::Dns(settings) => {
            let (settings, id) = (Arc::clone(settings), short_token());
            match settings.protocol {
                dns::Protocol::Udp => {
                    datagrams(check, route, now, Carrier::Udp, Box::new(dns::Probe::new(settings, id)))
                }
                dns::Protocol::Tcp => stream(check, route, number, Box::new(dns::Stream::new(settings, id))),
            }
        }
    }
}

fn stream(
    check: &Check,
    route: Route,
    number: usize,
    conversation: Box<dyn Conversation>,
) -> Result<Transport, Outcome> {
    let stream = Stream::open(conversation, route.endpoint, &check.connect)?;
    let host = check.kind.host(number);
    let tls = check.tls.as_ref().map(|tls| (Arc::clone(tls), tls.name_for(host, route.target.ip())));
    Ok(Transport::Stream(stream.with_tls(tls)))
}

fn datagrams(
    check: &Check,
    route: Route,
    now: Instant,
    carrier: Carrier,
    exchange: Box<dyn Exchange>,
) -> Result<Transport, Outcome> {
    let time = (now, check.timeout);
    Datagram::open(carrier, exchange, route.endpoint, &check.connect, time).map(Transport::Datagram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_probe_of_several_questions_gives_the_least_weight_that_one_of_them_gave() {
        let mut passed = Passed::default();
        assert_eq!(passed.take_in(Outcome::Pass("connected".into())), None);
        assert_eq!(passed.take_in(Outcome::PassWithWeight("calm".into(), 30)), None);
        assert_eq!(passed.take_in(Outcome::PassWithWeight("busy".into(), 7)), None);
        assert_eq!(passed.whole(), Outcome::PassWithWeight("connected; calm; busy".into(), 7));
        let fail = Outcome::Fail("refused".into());
        assert_eq!(passed.take_in(fail.clone()), Some(fail));
        assert_eq!(passed.take_in(Outcome::Pass("connected".into())), None);
        assert_eq!(passed.whole(), Outcome::Pass("connected".into()));
    }
}
