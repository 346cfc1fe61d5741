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
mod servers;
mod spent;
mod subject;
mod table;
mod watcher;

use std::process::ExitCode;

const USAGE: &str = "usage: tests/bench check [tcp] [http] [hostile] [death]

Without a name, all four. Fifteen minutes.";

const PARTS: [(&str, fn()); 4] =
    [("tcp", many::run), ("http", http::run), ("hostile", hostile::run), ("death", death::run)];

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |word: &String| PARTS.iter().any(|(name, _)| name == word);
    if !wanted.iter().all(known) {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    }
    lan::keep_to(lan::other_processor());
    header();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|word| word == name) {
            part();
        }
    }
    ExitCode::SUCCESS
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
