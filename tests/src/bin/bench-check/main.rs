//! What checkd costs and how fast it is, beside the checker of keepalived 2.3.3 in the same run on the same machine:
//! `tests/bench check`. Prints Markdown; progress goes to standard error. Figures only: nothing is asserted but that
//! everybody did his work.

mod clock;
mod death;
mod hostile;
mod http;
mod lan;
mod many;
mod plan;
mod refusals;
mod servers;
mod spent;
mod subject;
mod table;
mod watcher;

use std::process::ExitCode;

use crate::subject::{SUBJECTS, Subject};

const USAGE: &str = "usage: tests/bench check [--only PROGRAM] [tcp] [http] [hostile] [death]

  --only PROGRAM   keepalived or checkd: for a look at one of them

  Of hostile, cells: hostile:none, hostile:silent, hostile:refusing, hostile:dying.

Without a name, all parts. Fifteen minutes.";

/// Name and what runs it.
type Part = (&'static str, fn(&Choice));

const PARTS: [Part; 4] =
    [("tcp", many::run), ("http", http::run), ("hostile", hostile::run), ("death", death::run)];

/// What to measure of a part.
#[derive(Debug)]
pub(crate) struct Choice {
    pub(crate) subjects: Vec<Subject>,
    /// `None`: all.
    cell: Option<String>,
}

impl Choice {
    pub(crate) fn has(&self, cell: &str) -> bool {
        self.cell.as_deref().is_none_or(|wanted| wanted == cell)
    }
}

fn main() -> ExitCode {
    let Some((subjects, parts)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    lan::keep_to(lan::other_processor());
    header();
    for (part, cell) in parts {
        part(&Choice { subjects: subjects.clone(), cell });
    }
    ExitCode::SUCCESS
}

/// Programs, and parts with their cells.
type Arguments = (Vec<Subject>, Vec<(fn(&Choice), Option<String>)>);

fn arguments() -> Option<Arguments> {
    let (mut subjects, mut parts) = (SUBJECTS.to_vec(), Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        if word == "--only" {
            let name = words.next()?;
            subjects.retain(|subject| subject.name() == name);
            continue;
        }
        let (name, cell) = word.split_once(':').map_or((&*word, None), |(name, cell)| (name, Some(cell)));
        let known = cell.is_none_or(|cell| name == "hostile" && hostile::CELLS.contains(&cell));
        let (_, part) = PARTS.iter().find(|(part, _)| *part == name).filter(|_| known)?;
        parts.push((*part, cell.map(str::to_owned)));
    }
    if parts.is_empty() {
        parts = PARTS.map(|(_, part)| (part, None)).into();
    }
    (!subjects.is_empty()).then_some((subjects, parts))
}

fn header() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let checkd =
        std::process::Command::new(trivet_tests::trivet::program("checkd")).arg("--version").output();
    let checkd = checkd.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("## checkd beside keepalived's checker\n");
    println!("* {}", subject::keepalived_version());
    println!("* {}", checkd.expect("running checkd"));
    println!("* Linux {}, load {}", read("/proc/sys/kernel/osrelease"), read("/proc/loadavg"));
    if std::env::var_os("TRIVET_NO_IPVS").is_some_and(|stub| !stub.is_empty()) {
        println!(
            "* This kernel has no IPVS: a stub answers keepalived's calls to it, which spares keepalived the kernel's work"
        );
    }
}

/// Progress.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
