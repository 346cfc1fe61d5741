//! What the bus thread hears from systemd about the units of checks, on its way to the loop: of each unit the last word
//! only, so that nothing piles up however often a service crashes. The loop keeps what it was told, and looks there
//! when a probe is due.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::{Arc, Mutex, PoisonError};

use daemon::queue::{Receiver, Sender, queue};
use daemon::systemd::UnitState;

use crate::probe::Kind;
use crate::registry::Checks;

type Rows = BTreeMap<Arc<str>, UnitState>;

/// The two ends.
pub fn units() -> io::Result<(News, Units)> {
    let (wake, woken) = queue(1)?;
    let rows = Arc::default();
    Ok((News { rows: Arc::clone(&rows), wake }, Units { rows, woken, known: HashMap::new() }))
}

/// The units that some check is about, each once.
pub fn wanted(checks: &Checks) -> Vec<Arc<str>> {
    let mut units: Vec<_> = checks.values().filter_map(|check| check.kind.unit()).cloned().collect();
    units.sort();
    units.dedup();
    units
}

/// The bus thread's end.
#[derive(Clone, Debug)]
pub struct News {
    rows: Arc<Mutex<Rows>>,
    wake: Sender<()>,
}

impl News {
    /// Never blocks: the loop holds the lock for one swap.
    pub fn tell(&self, unit: &Arc<str>, state: UnitState) {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner).insert(Arc::clone(unit), state);
        // Full: a wake-up is on its way already.
        let _ = self.wake.send(());
    }
}

/// The loop's end: register it for reading.
#[derive(Debug)]
pub struct Units {
    rows: Arc<Mutex<Rows>>,
    woken: Receiver<()>,
    known: HashMap<Arc<str>, UnitState>,
}

impl Units {
    /// Take in what was told since the last time; the units that it is about.
    pub fn take_news(&mut self) -> Vec<Arc<str>> {
        // First the wake-up: what is told from now on sets it again.
        self.woken.drain().for_each(drop);
        let rows = std::mem::take(&mut *self.rows.lock().unwrap_or_else(PoisonError::into_inner));
        let units = rows.keys().cloned().collect();
        self.known.extend(rows);
        units
    }

    /// `None`: nothing was heard of it yet.
    pub fn get(&self, unit: &str) -> Option<&UnitState> {
        self.known.get(unit)
    }

    /// Forget those that no check is about any more: nobody tells what becomes of them.
    pub fn forget_all_but(&mut self, checks: &Checks) {
        let wanted = wanted(checks);
        self.known.retain(|unit, _| wanted.contains(unit));
    }
}

impl AsFd for Units {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.woken.as_fd()
    }
}

impl Kind {
    /// The unit that it is about, if it is about one.
    pub fn unit(&self) -> Option<&Arc<str>> {
        if let Self::Unit(settings) = self { Some(&settings.unit) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::check::Check;
    use crate::probe::unit::Settings;

    fn up(reason: &str) -> UnitState {
        UnitState::Up { reason: reason.into(), since: 0 }
    }

    #[test]
    fn the_loop_gets_the_last_word_on_each_unit_and_keeps_it() {
        let (news, mut units) = units().unwrap();
        let (nginx, bind): (Arc<str>, Arc<str>) = ("nginx.service".into(), "bind.service".into());
        for number in 0..1000 {
            news.tell(&nginx, up(&number.to_string()));
        }
        news.tell(&bind, up("running"));
        assert_eq!(units.get("nginx.service"), None);
        assert_eq!(units.take_news(), [Arc::clone(&bind), Arc::clone(&nginx)]);
        assert_eq!(units.get("nginx.service"), Some(&up("999")));
        assert!(units.take_news().is_empty());
        let check = |unit| Arc::new(Check::with_defaults(Kind::Unit(Settings { unit })));
        let checks = Checks::from([("a".into(), check(Arc::clone(&bind))), ("b".into(), check(bind))]);
        assert_eq!(wanted(&checks).len(), 1);
        units.forget_all_but(&checks);
        assert_eq!((units.get("nginx.service"), units.get("bind.service")), (None, Some(&up("running"))));
    }
}
