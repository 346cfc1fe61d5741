//! What the machines found, as Markdown.

use std::collections::BTreeMap;

use trivet_tests::figures;

use crate::phases::PHASES;
use crate::programs::{SUBJECTS, Subject};

/// (subject, phase, what) and the figure; the median of several.
type Figures = BTreeMap<(String, String, String), Vec<u64>>;

pub(crate) fn print(files: &[&str]) {
    let mut figures = Figures::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("reading {file}: {error}"));
        for line in text.lines() {
            let mut words = line.split('\t').map(str::to_owned);
            let (Some("figure"), Some(subject), Some(phase), Some(what), Some(figure)) =
                (words.next().as_deref(), words.next(), words.next(), words.next(), words.next())
            else {
                continue;
            };
            let figure = figure.parse().expect("a number");
            figures.entry((subject, phase, what)).or_default().push(figure);
        }
    }
    println!("### 37,205 servers of 2,277 services\n");
    section(&figures, "Times", "time", milliseconds, &PHASES);
    section(&figures, "Processor time", "processor", milliseconds, &PHASES);
    let memory = ["memory after the start", "memory in the end"];
    section(&figures, "Memory, RSS", "rss", kib, &memory);
    section(&figures, "Memory, PSS", "pss", kib, &memory);
    section(&figures, "Memory, the most ever", "peak", kib, &memory);
    section(&figures, "Netlink: commands to change something", "commands", number, &PHASES);
    section(&figures, "Netlink: questions", "questions", number, &PHASES);
    section(&figures, "Netlink: the kernel's messages", "answers", number, &PHASES);
    section(&figures, "Netlink: datagrams sent", "datagrams", number, &PHASES);
    section(&figures, "System calls", "calls", number, &PHASES);
    println!(
        "bare: only the messages, in 120 KB batches, without acknowledgements. Each program had a machine of its own that \
         was just booted. keepalived never repairs its table, and empties it when it stops; ipvsd leaves it. Times and \
         memory were taken without anybody counting."
    );
}

fn section(figures: &Figures, title: &str, what: &str, shown: fn(u64) -> String, phases: &[&str]) {
    let get = |subject: Subject, phase: &str| {
        let key = (subject.name().to_owned(), phase.to_owned(), what.to_owned());
        let found = figures.get(&key)?;
        let signed = found.iter().map(|figure| i64::try_from(*figure).expect("63 bits fit"));
        u64::try_from(figures::Figures::new(signed).median()).ok()
    };
    let rows: Vec<_> =
        phases.iter().filter(|phase| SUBJECTS.iter().any(|it| get(*it, phase).is_some())).collect();
    if rows.is_empty() {
        return;
    }
    println!("| {title} | keepalived | ipvsd | ratio | ipvsadm -R | bare | ipvsd to bare |");
    println!("|---|---|---|---|---|---|---|");
    for phase in rows {
        let [theirs, ours, ipvsadm, bare] = SUBJECTS.map(|subject| get(subject, phase));
        let show = |figure: Option<u64>| figure.map_or_else(|| "–".to_owned(), shown);
        println!(
            "| {phase} | {} | {} | {} | {} | {} | {} |",
            show(theirs),
            show(ours),
            ratio(ours, theirs),
            show(ipvsadm),
            show(bare),
            ratio(ours, bare)
        );
    }
    println!();
}

fn ratio(ours: Option<u64>, theirs: Option<u64>) -> String {
    let signed = |figure: u64| i64::try_from(figure).expect("63 bits fit");
    match (ours, theirs) {
        (Some(ours), Some(theirs)) if ours > 0 && theirs > 0 => {
            format!("{:.3}", figures::ratio(signed(ours), signed(theirs)))
        }
        (_, _) => "–".to_owned(),
    }
}

fn milliseconds(nanoseconds: u64) -> String {
    let tenths = (nanoseconds + 50_000) / 100_000;
    format!("{}.{} ms", tenths / 10, tenths % 10)
}

fn kib(figure: u64) -> String {
    format!("{figure} KiB")
}

fn number(figure: u64) -> String {
    figure.to_string()
}
