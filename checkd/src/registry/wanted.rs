//! What a watcher asks for, read on the bus thread: names and addresses become keys, each once, so that the loop has
//! nothing left to parse.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Key, Row, parse_address};
use crate::target::{State, WallClock};

/// The rows of one `Watch`.
#[derive(Debug, Default)]
pub struct Wanted {
    keys: Vec<Key>,
    /// For each row the number of its key, or why there can be no such target.
    rows: Vec<Result<usize, String>>,
    numbers: HashMap<Key, usize>,
    /// Thousands of targets share one name.
    names: HashMap<String, Arc<str>>,
}

/// What a watcher is told of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    pub state: State,
    pub reason: Arc<str>,
    pub since: WallClock,
    pub weight: Option<u16>,
}

impl Wanted {
    /// The next row.
    pub fn add(&mut self, check: &str, address: &str) {
        let row = parse_address(address).map(|address| {
            let name = match self.names.get(check) {
                Some(name) => Arc::clone(name),
                None => Arc::clone(self.names.entry(check.to_owned()).or_insert_with(|| Arc::from(check))),
            };
            *self.numbers.entry((name, address)).or_insert_with_key(|key| {
                self.keys.push(key.clone());
                self.keys.len() - 1
            })
        });
        self.rows.push(row);
    }

    /// Each key once, for the loop.
    pub fn take_keys(&mut self) -> Vec<Key> {
        self.numbers = HashMap::new();
        std::mem::take(&mut self.keys)
    }

    /// What row `number`, which named this check and address, is answered; `standings` are the keys'. In the caller's
    /// own spelling, so that it finds its row.
    pub fn answer(&self, number: usize, check: String, address: String, standings: &[Standing]) -> Row {
        let nothing = |reason: &str| Row::unknown(&check, &address, reason.to_owned());
        match self.rows.get(number) {
            Some(Ok(key)) => match standings.get(*key) {
                Some(Standing { state, reason, since, weight }) => {
                    let (state, reason, since, weight) = (*state, reason.to_string(), *since, *weight);
                    Row { check, address, state, reason, since, weight }
                }
                None => nothing("checkd has no answer"),
            },
            Some(Err(reason)) => nothing(reason),
            None => nothing("checkd has no answer"),
        }
    }
}
