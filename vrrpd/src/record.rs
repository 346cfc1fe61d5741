//! What a vrrpd leaves for the next one, below ROOT/run/trivet-vrrpd: which routers are Active, with which addresses,
//! and when the daemon was last alive. `vrrpd --release` and a new daemon read it; `past.rs` says what it means.
//!
//! A file, and not systemd's store of descriptors: what runs after a crash (ExecStopPost=) is given no descriptor of
//! the store, and it is the one that must decide at once whether addresses stay. In a directory on a tmpfs, which no
//! reboot survives. A change of state and a sign of life are each one write of a few bytes in place: a file of 4,000
//! lines is not made anew because one router moved.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use daemon::replace::{Durability, Replacement};

use crate::past::{Held, Past};

/// Below the daemon's root.
const DIRECTORY: &str = "/run/trivet-vrrpd";
const NAME: &str = "state";
/// Signs of life are written no more often: packets may wake the loop at any rate.
pub const PRECISION: Duration = Duration::from_millis(1);

/// The first line: what this file is, and the version of its form.
pub(crate) const TITLE: &str = "trivet-vrrpd runtime state, version 1";

/// Writes the record of this run. Where it cannot be written, the daemon goes on without one.
#[derive(Debug)]
pub struct Record {
    directory: PathBuf,
    file: Option<File>,
    /// Where the time of the last sign of life stands in the file.
    alive_at: u64,
    /// Where each router's state stands in the file, and whether it is Active.
    states_at: BTreeMap<String, (u64, bool)>,
    /// Said by [`Record::state`], not yet in the file.
    pending: Vec<(u64, String)>,
    active: usize,
    alive: Duration,
}

/// Where the record of the daemon with this root is.
pub fn path(root: &Path) -> PathBuf {
    directory(root).join(NAME)
}

fn directory(root: &Path) -> PathBuf {
    daemon::cli::below(root, DIRECTORY)
}

impl Record {
    /// Nothing is written yet.
    pub fn new(root: &Path) -> Self {
        Self {
            directory: directory(root),
            file: None,
            alive_at: 0,
            states_at: BTreeMap::new(),
            pending: Vec::new(),
            active: 0,
            alive: Duration::ZERO,
        }
    }

    /// Replace the whole record, in one step for whoever reads it.
    ///
    /// # Errors
    /// There is no record then: an old one would say what is not true any more.
    pub fn rewrite(&mut self, run: &Past) -> io::Result<()> {
        let result = self.try_rewrite(run);
        if result.is_err() {
            self.remove();
        }
        result
    }

    fn try_rewrite(&mut self, run: &Past) -> io::Result<()> {
        let text = Text::new(run);
        let mut new = Replacement::begin(&self.directory.join(NAME), 0o666)?;
        new.write_all(text.text.as_bytes())?;
        self.file = Some(new.put_in_place(Durability::Process)?);
        self.alive_at = text.alive_at;
        self.states_at = text.states_at;
        self.pending.clear();
        self.active = run.routers.iter().filter(|router| router.active).count();
        self.alive = run.alive;
        Ok(())
    }

    /// A router's state has changed; `since` in microseconds of CLOCK_REALTIME. Written with the next
    /// [`Record::end_turn`].
    pub fn state(&mut self, name: &str, active: bool, since: u64) {
        let Some((at, was)) = self.states_at.get_mut(name) else { return };
        self.active = self.active + usize::from(active) - usize::from(*was);
        *was = active;
        self.pending.push((*at, state(active, since)));
    }

    /// Write what is pending, and, as long as a router is Active, that we were alive at `now` (CLOCK_BOOTTIME). At the
    /// end of a turn every Active router has advertised within its interval before `now`: it would have been due.
    ///
    /// # Errors
    /// As [`Record::rewrite`]; later calls do nothing.
    pub fn end_turn(&mut self, now: Duration) -> io::Result<()> {
        let Some(file) = &self.file else {
            self.pending.clear();
            return Ok(());
        };
        let is_time = self.active > 0 && now >= self.alive + PRECISION;
        if self.pending.is_empty() && !is_time {
            return Ok(());
        }
        let alive = stamp(now);
        let writes = self.pending.iter().map(|(at, text)| (*at, text.as_str()));
        let result = writes
            .chain(is_time.then_some((self.alive_at, alive.as_str())))
            .try_for_each(|(at, text)| file.write_all_at(text.as_bytes(), at));
        self.pending.clear();
        if is_time {
            self.alive = now;
        }
        if result.is_err() {
            self.remove();
        }
        result
    }

    /// Leave nothing: whoever comes next begins from the beginning.
    pub fn remove(&mut self) {
        self.file = None;
        self.states_at.clear();
        self.pending.clear();
        self.active = 0;
        let _ = std::fs::remove_file(self.directory.join(NAME));
    }
}

/// Twenty digits, always.
fn stamp(time: Duration) -> String {
    format!("{:020}", time.as_nanos())
}

/// `+` for Active or `-`, and since when: always as long.
fn state(active: bool, since: u64) -> String {
    format!("{} {since:020}", if active { '+' } else { '-' })
}

/// The file's text, and where in it things stand that change.
struct Text {
    text: String,
    alive_at: u64,
    states_at: BTreeMap<String, (u64, bool)>,
}

impl Text {
    fn new(run: &Past) -> Self {
        let mut this = Self {
            text: format!("{TITLE}\nboot {}\nalive ", run.boot),
            alive_at: 0,
            states_at: BTreeMap::new(),
        };
        this.alive_at = this.here();
        this.line(format_args!("{}", stamp(run.alive)));
        if run.handed_over {
            this.line(format_args!("handed over"));
        }
        for resumed in &run.resumed {
            this.line(format_args!("resumed {}", stamp(*resumed)));
        }
        // A name with a line break in it, which a file may have, would be two lines.
        for router in run.routers.iter().filter(|router| !router.name.contains('\n')) {
            this.router(router);
        }
        this.line(format_args!("end"));
        this
    }

    fn router(&mut self, router: &Held) {
        self.text.push_str("router ");
        self.states_at.insert(router.name.clone(), (self.here(), router.active));
        let Held { vrid, version, interface, family, .. } = router;
        let mut rest = format!("{} {interface} {family} {vrid} {version}", router.safe.as_micros());
        for address in &router.addresses {
            let _ = write!(rest, " {}:{}/{}", address.interface, address.address, address.prefix_len);
        }
        self.line(format_args!("{} {rest} = {}", state(router.active, router.since), router.name));
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.text, "{line}").expect("writing to a String cannot fail");
    }

    fn here(&self) -> u64 {
        u64::try_from(self.text.len()).expect("a text's length fits 64 bits")
    }
}

#[cfg(test)]
mod tests {
    use daemon::testing::TempRoot;

    use super::*;
    use crate::past::tests::{past, seconds};

    #[test]
    fn what_was_written_is_read_again_and_changes_in_place() {
        let root = TempRoot::new();
        let mut record = Record::new(root.path());
        let mut run = past(&[("a b = c", false), ("web", true)]);
        run.resumed = vec![seconds(3), seconds(5)];
        record.rewrite(&run).unwrap();
        assert_eq!(Past::read(root.path()).unwrap(), Some(run.clone()));

        record.state("a b = c", true, 7);
        record.state("web", false, 8);
        record.state("nobody", true, 8);
        record.end_turn(seconds(200)).unwrap();
        run.alive = seconds(200);
        (run.routers[0].active, run.routers[0].since) = (true, 7);
        (run.routers[1].active, run.routers[1].since) = (false, 8);
        assert_eq!(Past::read(root.path()).unwrap(), Some(run.clone()));

        run.handed_over = true;
        record.rewrite(&run).unwrap();
        assert_eq!(Past::read(root.path()).unwrap(), Some(run));
        record.remove();
        assert_eq!(Past::read(root.path()).unwrap(), None);
    }

    #[test]
    fn a_daemon_without_an_active_router_gives_no_sign_of_life() {
        let root = TempRoot::new();
        let mut record = Record::new(root.path());
        let mut run = past(&[("web", false)]);
        record.rewrite(&run).unwrap();
        record.end_turn(seconds(300)).unwrap();
        assert_eq!(Past::read(root.path()).unwrap(), Some(run.clone()));
        // Nor more often than is needed.
        record.state("web", true, 1);
        record.end_turn(seconds(300)).unwrap();
        record.end_turn(seconds(300) + PRECISION / 2).unwrap();
        (run.routers[0].active, run.routers[0].since, run.alive) = (true, 1, seconds(300));
        assert_eq!(Past::read(root.path()).unwrap(), Some(run));
    }

    #[test]
    fn a_record_that_cannot_be_written_is_no_record() {
        let root = TempRoot::new();
        let mut record = Record::new(root.path());
        record.rewrite(&past(&[("web", true)])).unwrap();
        // Where the new file is to be, there is a directory that is not empty.
        root.write("run/trivet-vrrpd/state.new/in-the-way", "");
        assert!(record.rewrite(&past(&[("web", true)])).is_err());
        assert_eq!(Past::read(root.path()).unwrap(), None);
        record.end_turn(seconds(500)).unwrap();
    }

    #[test]
    fn a_sign_of_life_costs_microseconds() {
        let root = TempRoot::new();
        let mut record = Record::new(root.path());
        record.rewrite(&past(&[("web", true)])).unwrap();
        let clock = daemon::event_loop::Clock::new().unwrap();
        let began = clock.now();
        let turns = 10_000;
        for turn in 1..=turns {
            record.end_turn(seconds(1000) + turn * PRECISION).unwrap();
        }
        let each = (clock.now() - began) / turns;
        assert!(each < Duration::from_micros(200), "{each:?} for each sign of life");
    }
}
