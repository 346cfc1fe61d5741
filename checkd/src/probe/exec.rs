//! `type = "exec"`: a command says whether the server is up, by its exit status. keepalived's MISC_CHECK, ldirectord's
//! `external`. checkd starts no process itself: it asks checkd-exec ([`crate::exec`]) over a Unix socket.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use daemon::units::format_duration;
use nix::errno::Errno;
use nix::sys::signal::Signal;

use super::{Conversation, Outcome};
use crate::exec::frame::{End, How, REPORT_LIMIT, Report, Request, body, frame_length};
use crate::exec::{KILL_GRACE, TERM_GRACE};

/// What checkd-exec may take beyond the time limit: for ending a command that does not want to, and for telling.
pub const GRACE: Duration = Duration::from_millis(500).saturating_add(TERM_GRACE).saturating_add(KILL_GRACE);
/// What a command that is given up may take until SIGKILL has been sent to it. (One that hangs in the kernel after that
/// would keep its target from being probed at all: it is not waited for. Nor is this kept where nobody watches a target
/// any more and somebody does again at once, which is another target then.)
pub const PARTING: Duration = Duration::from_millis(100).saturating_add(TERM_GRACE);
/// How much of a command's last line a reason quotes, characters.
const QUOTE_LIMIT: usize = 200;
/// What may stand in an argument for a part of where the probe goes.
pub const PLACEHOLDERS: [&str; 3] = ["{address}", "{port}", "{target}"];

/// Validated by `config/exec.rs`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The check's name.
    pub check: String,
    /// The program's absolute path, and its arguments, with [`PLACEHOLDERS`]. At least one.
    pub command: Vec<String>,
    /// The exit status tells a weight, too: 2 to 255 is up with a weight of that less 2.
    pub status_is_weight: bool,
}

impl Settings {
    /// Whether an argument has one of these in it.
    fn uses(&self, placeholders: &[&str]) -> bool {
        self.command.iter().any(|argument| placeholders.iter().any(|word| argument.contains(word)))
    }

    pub fn needs_port(&self) -> bool {
        self.uses(&["{port}"])
    }

    pub fn needs_address(&self) -> bool {
        self.uses(&PLACEHOLDERS)
    }

    /// `endpoint`: port 0 stands for none, and 0.0.0.0 with it for no address either.
    fn request(&self, endpoint: SocketAddr, limit: Duration) -> Request {
        let port = if endpoint.port() == 0 { String::new() } else { endpoint.port().to_string() };
        // A check of this machine may name a port nevertheless.
        let nowhere = endpoint.ip().is_unspecified() && (endpoint.port() == 0 || !self.needs_address());
        let address = if nowhere { String::new() } else { endpoint.ip().to_string() };
        let target = if port.is_empty() { address.clone() } else { endpoint.to_string() };
        let parts = [("{address}", &address), ("{port}", &port), ("{target}", &target)];
        let variables = [("TRIVET_CHECK", &self.check), ("TRIVET_ADDRESS", &address), ("TRIVET_PORT", &port)];
        Request {
            command: self.command.iter().map(|argument| fill(argument, &parts)).collect(),
            environment: variables.map(|(name, value)| (name.to_owned(), value.clone())).to_vec(),
            limit,
        }
    }
}

/// Each placeholder becomes its value; every other brace stays, for awk, jq and their like.
fn fill(argument: &str, parts: &[(&str, &String)]) -> String {
    parts.iter().fold(argument.to_owned(), |text, (word, value)| text.replace(word, value))
}

#[derive(Debug)]
pub struct Probe {
    program: PathBuf,
    socket: Arc<Path>,
    request: Vec<u8>,
    sent: usize,
    received: Vec<u8>,
    is_running: bool,
    status_is_weight: bool,
    limit: Duration,
}

impl Probe {
    /// `socket`: where checkd-exec listens.
    ///
    /// # Errors
    /// The command with what was put into it is too long.
    pub fn new(
        settings: &Settings,
        endpoint: SocketAddr,
        limit: Duration,
        socket: &Arc<Path>,
    ) -> Result<Self, Outcome> {
        let request = settings.request(endpoint, limit).encode();
        let too_long = || Outcome::Local("the command and its arguments are too long".to_owned());
        Ok(Self {
            program: settings.command.first().map(PathBuf::from).unwrap_or_default(),
            socket: Arc::clone(socket),
            request: request.ok_or_else(too_long)?,
            sent: 0,
            received: Vec::new(),
            is_running: false,
            status_is_weight: settings.status_is_weight,
            limit,
        })
    }

    /// `None`: there is more to come.
    fn on_report(&mut self, report: Report) -> Option<Outcome> {
        match report {
            Report::Started => {
                self.is_running = true;
                None
            }
            Report::Ended(end) => Some(self.judge(&end)),
            Report::NotStarted(reason) if reason.is_empty() => {
                Some(Outcome::Local("checkd-exec could not start it, and does not say why".to_owned()))
            }
            Report::NotStarted(reason) => Some(Outcome::Local(quote(reason.as_bytes()))),
            Report::Busy(running) => Some(Outcome::Local(format!(
                "too many commands are running: {running}, as many as checkd-exec is allowed (--runs)"
            ))),
            Report::Refused(reason) => {
                Some(Outcome::Local(format!("checkd-exec refused to run it: {}", quote(reason.as_bytes()))))
            }
        }
    }

    fn judge(&self, end: &End) -> Outcome {
        let mut reason = match end.how {
            How::Exited(status) => format!("exit status {status}"),
            How::Signalled(signal) => format!("ended by {}", signal_name(signal)),
            How::TimedOut => format!("still running after {}, and ended", format_duration(self.limit)),
        };
        if !end.last_line.is_empty() {
            reason = format!("{reason}: {}", quote(&end.last_line));
        }
        if end.survivors > 0 {
            reason = format!("{reason} ({} processes of it cannot be ended)", end.survivors);
        }
        match end.how {
            How::Exited(0) => Outcome::Pass(reason),
            How::Exited(status @ 2..) if self.status_is_weight => {
                Outcome::PassWithWeight(reason, u16::from(status) - 2)
            }
            How::Exited(_) | How::Signalled(_) | How::TimedOut => Outcome::Fail(reason),
        }
    }
}

impl Conversation for Probe {
    fn unsent(&self) -> &[u8] {
        &self.request[self.sent..]
    }

    fn on_sent(&mut self, count: usize) {
        self.sent += count;
    }

    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.received.extend(bytes);
        loop {
            let length = match frame_length(&self.received, REPORT_LIMIT) {
                Ok(length) => length.filter(|length| *length <= self.received.len())?,
                Err(broken) => return Some(not_understood(&broken.0)),
            };
            let frame: Vec<u8> = self.received.drain(..length).collect();
            let outcome = match Report::decode(body(&frame)) {
                Ok(report) => self.on_report(report),
                Err(broken) => Some(not_understood(&broken.0)),
            };
            if outcome.is_some() {
                return outcome;
            }
        }
    }

    fn on_closed(&mut self) -> Outcome {
        Outcome::Local(if self.is_running {
            "checkd-exec ended while the command was running".to_owned()
        } else {
            "checkd-exec closed the connection before the command was running".to_owned()
        })
    }

    fn progress(&self) -> String {
        (if self.is_running { "the command runs" } else { "the command does not run yet" }).to_owned()
    }

    fn on_unreachable(&self, errno: Errno) -> Outcome {
        let socket = self.socket.display();
        Outcome::Local(if errno == Errno::ENOENT || errno == Errno::ECONNREFUSED {
            format!(
                "commands are run by checkd-exec, which does not listen at {socket}: systemctl enable --now \
                 checkd-exec.socket"
            )
        } else if errno == Errno::EAGAIN {
            format!(
                "commands are run by checkd-exec, which does not keep up: too many connections wait at {socket}"
            )
        } else {
            format!("cannot have checkd-exec run a command at {socket}: {}", errno.desc())
        })
    }

    fn on_error(&self, errno: Errno) -> Outcome {
        Outcome::Local(format!("the connection to checkd-exec broke: {}; {}", errno.desc(), self.progress()))
    }

    /// checkd-exec has its own clock, and was given more time than this by [`GRACE`].
    fn on_timeout(&self, _timeout: Duration) -> Outcome {
        let (limit, program) = (format_duration(self.limit), self.program.display());
        if self.is_running {
            Outcome::Fail(format!("still running after {limit}, and checkd-exec did not end it: {program}"))
        } else {
            Outcome::Local(format!("checkd-exec did not start {program} within {limit}"))
        }
    }
}

fn not_understood(reason: &str) -> Outcome {
    Outcome::Local(format!("checkd-exec's answer is not understood: {reason}"))
}

fn signal_name(number: u8) -> String {
    match Signal::try_from(i32::from(number)) {
        Ok(signal) => signal.as_str().to_owned(),
        Err(_) => "a signal".to_owned(),
    }
}

/// Text of a command for the bus and a terminal: what is not printable, or not UTF-8, is escaped; then cut.
fn quote(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '"' | '\'' | '\\') {
                text.push(c);
            } else {
                text.extend(c.escape_debug());
            }
        }
        text.extend(chunk.invalid().iter().flat_map(|byte| byte.escape_ascii()).map(char::from));
    }
    match text.char_indices().nth(QUOTE_LIMIT) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests;
