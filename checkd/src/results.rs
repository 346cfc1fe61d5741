//! What survives a restart: `run/trivet-checkd/results` below the root, one target a line. This is its text; how it is
//! read and written is in `results/file.rs`, when in `results/saver.rs`.
//!
//! Whoever can write the file can make checkd believe anything about servers for an interval, but nothing worse: it is
//! read as what a stranger wrote, as a whole or not at all.

mod file;
mod saver;

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use daemon::event_loop::Clock;

pub use self::file::{File, Message, Writer};
pub use self::saver::Saver;
use crate::registry::{Checks, Key, Record, Registry, parse_address, spell};
use crate::target::{Memory, Moment, WallClock};

/// The first line. Another number is another format.
const HEADER: &str = "trivet-checkd results 1";
/// The longest reason that is believed, in bytes; a probe's are much shorter.
const REASON: usize = 16 * 1024;
/// The address of the target that is this machine.
const NOWHERE: &str = "-";

/// Our clock's time beside CLOCK_BOOTTIME, which later runs read as well.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    now: Instant,
    boottime: Duration,
}

impl Timeline {
    pub fn new(clock: Clock, now: Instant) -> Self {
        Self { now, boottime: clock.boottime(now) }
    }

    /// Microseconds of CLOCK_BOOTTIME.
    fn stamp(&self, then: Instant) -> u128 {
        let ago = self.now.saturating_duration_since(then);
        self.boottime.saturating_sub(ago).as_micros()
    }

    fn instant(&self, stamp: u64) -> Option<Instant> {
        let then = Duration::from_micros(stamp);
        match self.boottime.checked_sub(then) {
            Some(ago) => self.now.checked_sub(ago),
            None => self.now.checked_add(then - self.boottime),
        }
    }
}

/// The lines that come before all rows, and the numbers by which rows name their checks.
pub fn write_head(text: &mut String, checks: &Checks) -> std::collections::HashMap<String, usize> {
    let mut numbers = std::collections::HashMap::new();
    writeln!(text, "{HEADER}").expect(WRITING);
    for (number, (name, check)) in checks.iter().enumerate() {
        writeln!(text, "check {:016x} {}", check.fingerprint(), escape(name)).expect(WRITING);
        numbers.insert(name.clone(), number);
    }
    numbers
}

const WRITING: &str = "writing to a String cannot fail";

/// `NUMBER up|down[?] ADDRESS SINCE JUDGED WEIGHT HELD REASON`; the question mark: another check has judged.
pub fn write_row(text: &mut String, number: usize, key: &Key, memory: &Memory, timeline: &Timeline) {
    let state = if memory.is_up { "up" } else { "down" };
    let doubt = if memory.provisional { "?" } else { "" };
    let address = Some(spell(key.1)).filter(|address| !address.is_empty());
    let address = address.as_deref().unwrap_or(NOWHERE);
    write!(text, "{number} {state}{doubt} {address} {} {} ", memory.since.0, timeline.stamp(memory.judged))
        .expect(WRITING);
    match memory.weight {
        None => text.push('-'),
        Some(weight) => write!(text, "{weight}").expect(WRITING),
    }
    match memory.held {
        None => text.push_str(" -"),
        Some(None) => text.push_str(" held"),
        Some(Some(since)) => {
            write!(text, " {}:{}", timeline.stamp(since.now), since.wall.0).expect(WRITING);
        }
    }
    writeln!(text, " {}", escape(&memory.reason)).expect(WRITING);
}

/// The line after `rows` rows, without which a file is torn.
pub fn write_end(text: &mut String, rows: usize) {
    writeln!(text, "end {rows}").expect(WRITING);
}

/// All of it, or what is wrong with it.
pub fn parse(bytes: &[u8], timeline: &Timeline) -> Result<Vec<Record>, String> {
    let text = std::str::from_utf8(bytes).map_err(|error| format!("is no text: {error}"))?;
    let mut lines = (1..).zip(text.split_inclusive('\n'));
    if lines.next().map(|(_, line)| line.trim_end_matches('\n')) != Some(HEADER) {
        return Err(format!("does not begin with '{HEADER}'"));
    }
    let mut checks: Vec<(Arc<str>, u64)> = Vec::new();
    let mut records = Vec::new();
    for (number, line) in lines {
        let at_line = |what: String| format!("line {number}: {what}");
        let line = line.strip_suffix('\n').ok_or_else(|| at_line("ends in the middle".into()))?;
        let (word, rest) = line.split_once(' ').ok_or_else(|| at_line("has one word".into()))?;
        match word {
            "check" => checks.push(parse_check(rest).map_err(at_line)?),
            "end" if rest.parse() == Ok(records.len()) => {
                let ended = text.lines().count() == number;
                return if ended { Ok(records) } else { Err(at_line("more after the end".into())) };
            }
            "end" => return Err(at_line(format!("not {rest} rows, but {}", records.len()))),
            number => {
                let check = number.parse().ok().and_then(|number: usize| checks.get(number));
                let check = check.ok_or_else(|| at_line("no such check".into()))?;
                records.push(parse_row(rest, check, timeline).map_err(at_line)?);
            }
        }
    }
    Err("has no end".to_owned())
}

fn parse_check(rest: &str) -> Result<(Arc<str>, u64), String> {
    let (fingerprint, name) = rest.split_once(' ').ok_or("a check without a name")?;
    let fingerprint = u64::from_str_radix(fingerprint, 16).map_err(|_| "no fingerprint")?;
    Ok((unescape(name)?.into(), fingerprint))
}

fn parse_row(
    rest: &str,
    (check, fingerprint): &(Arc<str>, u64),
    timeline: &Timeline,
) -> Result<Record, String> {
    let mut words = rest.splitn(7, ' ');
    let mut word = |what: &str| words.next().ok_or_else(|| format!("no {what}"));
    let state = word("state")?;
    let (state, provisional) = state.strip_suffix('?').map_or((state, false), |state| (state, true));
    let is_up = match state {
        "up" => true,
        "down" => false,
        _ => return Err("no such state".into()),
    };
    let address = word("address")?;
    let address = parse_address(if address == NOWHERE { "" } else { address }).map_err(|_| "no address")?;
    let since = WallClock(word("since")?.parse().map_err(|_| "no time since when")?);
    let judged = stamp(word("time")?, timeline)?;
    let weight = match word("weight")? {
        "-" => None,
        weight => Some(weight.parse().map_err(|_| "no weight")?),
    };
    let held = parse_held(word("hold")?, timeline)?;
    let reason = unescape(word("reason")?)?;
    let memory = Memory { is_up, since, reason, judged, weight, provisional, held };
    Ok(Record { key: (Arc::clone(check), address), fingerprint: *fingerprint, memory })
}

fn parse_held(word: &str, timeline: &Timeline) -> Result<Option<Option<Moment>>, String> {
    match word {
        "-" => Ok(None),
        "held" => Ok(Some(None)),
        since => {
            let (now, wall) = since.split_once(':').ok_or("no hold")?;
            let wall = WallClock(wall.parse().map_err(|_| "no hold")?);
            Ok(Some(Some(Moment { now: stamp(now, timeline)?, wall })))
        }
    }
}

fn stamp(word: &str, timeline: &Timeline) -> Result<Instant, String> {
    let stamp = word.parse().map_err(|_| "no time")?;
    timeline.instant(stamp).ok_or_else(|| "a time that no clock shows".to_owned())
}

/// One line that [`unescape`] takes, whatever is in the text.
fn escape(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        let before = line.len();
        match c {
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            c if c.is_control() => line.push(char::REPLACEMENT_CHARACTER),
            c => line.push(c),
        }
        if line.len() > REASON {
            line.truncate(before);
            break;
        }
    }
    line
}

fn unescape(line: &str) -> Result<String, String> {
    if line.len() > REASON {
        return Err(format!("more than {REASON} bytes of text"));
    }
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('\\') => '\\',
                Some('n') => '\n',
                Some(_) | None => return Err("a backslash before nothing known".into()),
            },
            c if c.is_control() => return Err("a control character".into()),
            c => c,
        });
    }
    Ok(text)
}

/// Let the registry remember what an earlier run wrote. A file that makes no sense costs a line in the log.
pub fn recall(registry: &mut Registry, file: &File, clock: Clock) {
    let now = clock.now();
    let records = match file.read() {
        Ok(None) => return,
        Ok(Some(bytes)) => parse(&bytes, &Timeline::new(clock, now)),
        Err(error) => Err(format!("cannot be read: {error}")),
    };
    match records {
        Ok(records) => {
            let (all, used) = (records.len(), registry.remember(now, records));
            log::info!("an earlier run left {all} results, {used} of them are still worth something");
        }
        Err(reason) => log::warn!("{} {reason}; ignoring it", file.path().display()),
    }
}

#[cfg(test)]
mod tests;
