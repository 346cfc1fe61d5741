//! Where log lines go: journald under systemd, syslog where there is one, else stderr with `<N>` prefixes.
//!
//! A log that stalls must not stall the daemon: records go through a bounded queue to a thread that writes them;
//! when the queue is full they are counted, and the next line that gets through says how many were lost.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;
use std::{env, io, process, thread};

use log::{Level, LevelFilter, Log, Metadata, Record};
use systemd_journal_logger::JournalLog;

use crate::reader::Reader;

/// Lines that may wait for a slow journal.
const CAPACITY: usize = 1024;
/// What a stopping daemon gives a slow journal.
const FLUSH: Duration = Duration::from_millis(100);
/// Stack of the writing thread, bytes.
const STACK: usize = 256 * 1024;

struct Line {
    level: Level,
    target: String,
    text: String,
    fields: Vec<(String, String)>,
}

enum Item {
    Line(Line),
    /// Everything before it has been written.
    Flush(SyncSender<()>),
}

struct Queue {
    lines: SyncSender<Item>,
    lost: &'static AtomicU64,
}

static LOST: AtomicU64 = AtomicU64::new(0);

/// Install the log for this process. `name` is the daemon's, for syslog.
///
/// Structured fields of a record, such as `MESSAGE_ID`, are given as the `log` crate's key-values and become fields
/// of the journal entry.
///
/// # Errors
/// If the thread cannot be started.
pub fn start(name: &'static str, level: LevelFilter) -> io::Result<()> {
    let (sender, receiver) = sync_channel(CAPACITY);
    let sink = Sink::choose(name);
    thread::Builder::new()
        .name("log".into())
        .stack_size(STACK)
        .spawn(move || write_lines(&receiver, sink))?;
    let queue = Box::new(Queue { lines: sender, lost: &LOST });
    if log::set_boxed_logger(queue).is_ok() {
        log::set_max_level(level);
    }
    Ok(())
}

/// The key `log_level`, which the file of each daemon has.
pub fn read_level(reader: &mut Reader<'_>) -> LevelFilter {
    let levels = [
        ("error", LevelFilter::Error),
        ("warning", LevelFilter::Warn),
        ("info", LevelFilter::Info),
        ("debug", LevelFilter::Debug),
    ];
    let level = reader.choice("log_level", &levels, &[("warn", "warning"), ("notice", "info")]);
    level.map_or(LevelFilter::Info, |level| level.value)
}

/// Change the level; a reload may.
pub fn set_level(level: LevelFilter) {
    log::set_max_level(level);
}

impl Log for Queue {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        // Libraries' chatter is theirs; their warnings are ours.
        let ours =
            ["daemon", "vrrpd", "ipvsd", "checkd"].iter().any(|name| record.target().starts_with(name));
        if !self.enabled(record.metadata()) || (!ours && record.level() > Level::Warn) {
            return;
        }
        let mut fields = Fields(Vec::new());
        let _ = record.key_values().visit(&mut fields);
        let line = Line {
            level: record.level(),
            target: record.target().to_owned(),
            text: record.args().to_string(),
            fields: fields.0,
        };
        if self.lines.try_send(Item::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Wait until all lines have been written, but not long: for the end of a daemon, so that its last words are
    /// not lost.
    fn flush(&self) {
        let (done, written) = sync_channel(1);
        if self.lines.try_send(Item::Flush(done)).is_ok() {
            let _ = written.recv_timeout(FLUSH);
        }
    }
}

struct Fields(Vec<(String, String)>);

impl<'kvs> log::kv::VisitSource<'kvs> for Fields {
    fn visit_pair(
        &mut self,
        key: log::kv::Key<'kvs>,
        value: log::kv::Value<'kvs>,
    ) -> Result<(), log::kv::Error> {
        self.0.push((key.to_string(), value.to_string()));
        Ok(())
    }
}

enum Sink {
    Journal(Box<JournalLog>),
    Syslog(Box<syslog::Logger<syslog::LoggerBackend, syslog::Formatter3164>>),
    Stderr,
}

impl Sink {
    fn choose(name: &'static str) -> Self {
        if env::var_os("JOURNAL_STREAM").is_some()
            && let Ok(journal) = JournalLog::new()
        {
            return Self::Journal(Box::new(journal.with_syslog_identifier(name.into())));
        }
        // A terminal, or a supervisor that reads our stderr, is better than a syslog that nobody looks at.
        if io::IsTerminal::is_terminal(&io::stderr()) || env::var_os("NOTIFY_SOCKET").is_some() {
            return Self::Stderr;
        }
        let formatter = syslog::Formatter3164 {
            facility: syslog::Facility::LOG_DAEMON,
            hostname: None,
            process: name.into(),
            pid: process::id(),
        };
        match syslog::unix(formatter) {
            Ok(logger) => Self::Syslog(Box::new(logger)),
            Err(_) => Self::Stderr,
        }
    }

    fn write(&mut self, line: &Line) {
        match self {
            Self::Journal(journal) => {
                let pairs: Vec<(&str, &str)> =
                    line.fields.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                let pairs = pairs.as_slice();
                let _ = journal.journal_send(
                    &Record::builder()
                        .level(line.level)
                        .target(&line.target)
                        .args(format_args!("{}", line.text))
                        .key_values(&pairs)
                        .build(),
                );
            }
            Self::Syslog(logger) => {
                let _ = match line.level {
                    Level::Error => logger.err(&line.text),
                    Level::Warn => logger.warning(&line.text),
                    Level::Info => logger.info(&line.text),
                    Level::Debug | Level::Trace => logger.debug(&line.text),
                };
            }
            Self::Stderr => {
                // sd-daemon(3): the prefix is the priority for whoever reads our stderr.
                let mut text = String::new();
                for part in line.text.lines() {
                    let _ = writeln!(text, "<{}>{part}", priority(line.level));
                }
                let _ = io::stderr().write_all(text.as_bytes());
            }
        }
    }
}

/// syslog(3) priorities.
fn priority(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

fn write_lines(lines: &Receiver<Item>, mut sink: Sink) {
    for item in lines {
        let line = match item {
            Item::Line(line) => line,
            Item::Flush(done) => {
                let _ = done.try_send(());
                continue;
            }
        };
        let lost = LOST.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let text = format!("{lost} log lines were lost: the log could not be written fast enough");
            sink.write(&Line { level: Level::Warn, target: "daemon".into(), text, fields: Vec::new() });
        }
        sink.write(&line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_nobody_reads_costs_lines_and_counts_them() {
        static LOST_HERE: AtomicU64 = AtomicU64::new(0);
        let (lines, read) = sync_channel(1);
        let queue = Queue { lines, lost: &LOST_HERE };
        log::set_max_level(LevelFilter::Info);
        for _ in 0..3 {
            let record =
                Record::builder().level(Level::Info).target("vrrpd").args(format_args!("hello")).build();
            queue.log(&record);
        }
        assert_eq!(read.try_iter().count(), 1);
        assert_eq!(LOST_HERE.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn only_warnings_of_libraries_pass() {
        static LOST_HERE: AtomicU64 = AtomicU64::new(0);
        let (lines, read) = sync_channel(8);
        let queue = Queue { lines, lost: &LOST_HERE };
        log::set_max_level(LevelFilter::Info);
        for (target, level) in
            [("zbus::x", Level::Info), ("zbus::x", Level::Warn), ("vrrpd::daemon", Level::Info)]
        {
            queue.log(&Record::builder().level(level).target(target).args(format_args!("x")).build());
        }
        assert_eq!(read.try_iter().count(), 2);
    }
}
