//! What the next HealthChanged tells. There is room for one: until it is on its way, the loop keeps what else changes as
//! numbers of targets, so that a bus that is slow or away costs a few bytes for each and holds nobody up.

use std::sync::{Mutex, PoisonError};

use crate::registry::Row;

/// A generation and its rows.
type Batch = (u64, Vec<Row>);

#[derive(Debug, Default)]
pub(super) struct News(Mutex<Option<Batch>>);

impl News {
    /// Whether the last one is on its way.
    pub(super) fn has_room(&self) -> bool {
        self.lock().is_none()
    }

    /// Only while there is room.
    pub(super) fn put(&self, generation: u64, rows: Vec<Row>) {
        *self.lock() = Some((generation, rows));
    }

    pub(super) fn take(&self) -> Option<Batch> {
        self.lock().take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Batch>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
