//! What HealthChanged has still to tell: the last row of every target that changed. A bus that is slow or away makes
//! several turns' changes one; it never holds up the loop, and never holds more than one row for each target.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::registry::Row;

#[derive(Debug, Default)]
pub(super) struct News(Mutex<Pending>);

#[derive(Debug, Default)]
struct Pending {
    generation: u64,
    rows: BTreeMap<(String, String), Row>,
}

impl News {
    pub(super) fn add(&self, generation: u64, rows: Vec<Row>) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pending.generation = generation;
        pending.rows.extend(rows.into_iter().map(|row| ((row.check.clone(), row.address.clone()), row)));
    }

    pub(super) fn take(&self) -> Option<(u64, Vec<Row>)> {
        let pending = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        if pending.rows.is_empty() {
            None
        } else {
            Some((pending.generation, pending.rows.into_values().collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::target::{State, WallClock};

    fn row(address: &str, state: State) -> Row {
        let (check, address, since) = ("tcp".into(), address.into(), WallClock(1));
        Row { check, address, state, reason: String::new(), since, weight: None }
    }

    #[test]
    fn several_turns_become_one_announcement_with_the_last_row_of_each_target() {
        let news = News::default();
        assert_eq!(news.take(), None);
        news.add(1, vec![row("10.0.0.5:80", State::Down), row("10.0.0.6:80", State::Up)]);
        news.add(2, vec![row("10.0.0.5:80", State::Up)]);
        let (generation, rows) = news.take().unwrap();
        assert_eq!(generation, 2);
        assert_eq!(rows, [row("10.0.0.5:80", State::Up), row("10.0.0.6:80", State::Up)]);
        assert_eq!(news.take(), None);
    }
}
