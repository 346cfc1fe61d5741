//! Rows with a figure of each program, and the ratio of ours to keepalived's.

use trivet_tests::figures::Figures;

/// What a figure counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Nanoseconds, shown as microseconds.
    Microseconds,
    /// Nanoseconds, shown as milliseconds.
    Milliseconds,
    KiB,
    Number,
}

/// One row: its name, and the figures of each program, in the order of `SUBJECTS`; nothing where a program has none.
#[derive(Debug)]
pub(crate) struct Row {
    name: &'static str,
    unit: Unit,
    figures: [Vec<i64>; 2],
}

#[derive(Debug, Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    /// One more figure of a row, which is added at its first one.
    pub(crate) fn add(&mut self, subject: usize, name: &'static str, unit: Unit, figure: i64) {
        let row = self.0.iter().position(|row| row.name == name).unwrap_or_else(|| {
            self.0.push(Row { name, unit, figures: [Vec::new(), Vec::new()] });
            self.0.len() - 1
        });
        self.0[row].figures[subject].push(figure);
    }

    /// The medians.
    pub(crate) fn print(&self) {
        println!("| | keepalived | checkd | ratio |");
        println!("|---|---|---|---|");
        for Row { name, unit, figures } in &self.0 {
            let medians = figures
                .each_ref()
                .map(|figures| (!figures.is_empty()).then(|| Figures::new(figures.iter().copied()).median()));
            let [theirs, ours] =
                medians.map(|median| median.map_or_else(|| "–".into(), |it| shown(it, *unit)));
            let ratio = match medians {
                [Some(theirs), Some(ours)] if theirs > 0 && ours > 0 => ratio(ours, theirs),
                _ => "–".into(),
            };
            println!("| {name} | {theirs} | {ours} | {ratio} |");
        }
    }
}

fn ratio(ours: i64, theirs: i64) -> String {
    format!("{:.3}", trivet_tests::figures::ratio(ours, theirs))
}

fn shown(figure: i64, unit: Unit) -> String {
    let decimals = |scale: i64| {
        let tenths = (figure.abs() * 10 + scale / 2) / scale;
        let sign = if figure < 0 { "-" } else { "" };
        format!("{sign}{}.{}", tenths / 10, tenths % 10)
    };
    match unit {
        Unit::Microseconds => format!("{} µs", decimals(1_000)),
        Unit::Milliseconds => format!("{} ms", decimals(1_000_000)),
        Unit::KiB => format!("{figure} KiB"),
        Unit::Number => figure.to_string(),
    }
}
