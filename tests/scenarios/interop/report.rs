//! What the runs gave: a line for each as it ends, and the table at the end.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use trivet_tests::tap::Sent;

use crate::cell::Cell;
use crate::expected;
use crate::scenes::Times;
use crate::site::{Outcome, Pairing};

#[derive(Debug)]
pub(crate) enum Result {
    Passed(Times),
    /// As `expected.rs` says.
    FailedAsExpected(&'static str, String),
    Failed(String),
    /// `expected.rs` is wrong.
    PassedUnexpectedly(&'static str),
}

impl Result {
    pub(crate) fn new(cell: &Cell, pairing: &Pairing, outcome: Outcome<Times>) -> Self {
        match (outcome, expected::find(cell, pairing)) {
            (Ok(times), None) => Self::Passed(times),
            (Ok(_), Some(entry)) => Self::PassedUnexpectedly(entry.what),
            (Err(error), Some(entry)) if entry.errors.iter().any(|seen| error.contains(seen)) => {
                Self::FailedAsExpected(entry.what, error)
            }
            (Err(error), _) => Self::Failed(error),
        }
    }

    pub(crate) fn is_failure(&self) -> bool {
        match self {
            Self::Passed(_) | Self::FailedAsExpected(..) => false,
            Self::Failed(_) | Self::PassedUnexpectedly(_) => true,
        }
    }

    pub(crate) fn tell(&self, cell: &Cell, pairing: &Pairing) {
        match self {
            Self::Passed(times) => println!("ok    {cell} | {pairing}: {times}"),
            Self::FailedAsExpected(what, error) => {
                let first = error.lines().next().unwrap_or_default();
                println!("known {cell} | {pairing}: {what} ({first})");
            }
            Self::Failed(error) => println!("FAIL  {cell} | {pairing}: {error}"),
            Self::PassedUnexpectedly(what) => println!("FAIL  {cell} | {pairing}: passed, expected: {what}"),
        }
    }

    /// The first line of an error.
    pub(crate) fn why(&self) -> &str {
        match self {
            Self::Failed(error) => error.lines().next().unwrap_or_default(),
            Self::PassedUnexpectedly(what) => what,
            Self::Passed(_) | Self::FailedAsExpected(..) => "",
        }
    }

    fn short(&self) -> String {
        match self {
            Self::Passed(times) => format!("{} ms", millis(times.takeover)),
            Self::FailedAsExpected(..) => "known".into(),
            Self::Failed(_) => "FAILED".into(),
            Self::PassedUnexpectedly(_) => "PASSED".into(),
        }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "taken over after {} ms, announced {} ms later, back after {} ms, held by both for {} ms",
            millis(self.takeover),
            millis(self.announced),
            millis(self.back),
            millis(self.overlap)
        )
    }
}

fn millis(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}

#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) cell: Cell,
    pub(crate) pairing: Pairing,
    pub(crate) result: Result,
    /// Everything that was on the wire.
    pub(crate) sent: Vec<Sent>,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} | {}: {}", self.cell, self.pairing, self.result.why())
    }
}

/// The time of the takeover in each pairing, cell by cell.
pub(crate) fn print(rows: &[Row]) {
    let mut columns: Vec<String> = rows.iter().map(|row| row.pairing.to_string()).collect();
    columns.sort();
    columns.dedup();
    let mut table: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for row in rows {
        let line = table.entry(row.cell.to_string()).or_default();
        line.insert(row.pairing.to_string(), row.result.short());
    }
    println!("\n{:44} {:>9}  {}", "from the last word to the takeover in", "protocol", columns.join("  "));
    for (cell, line) in &table {
        let theory = rows.iter().find(|row| row.cell.to_string() == *cell).map(|row| row.cell.takeover());
        let theory = theory.map(millis).unwrap_or_default();
        let empty = String::new();
        let values: Vec<String> = columns
            .iter()
            .map(|column| format!("{:>width$}", line.get(column).unwrap_or(&empty), width = column.len()))
            .collect();
        println!("{cell:44} {theory:>9}  {}", values.join("  "));
    }
}
