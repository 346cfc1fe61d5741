//! How fast and how punctual vrrpd is, beside keepalived 2.3.3 in the same run on the same machine: `tests/bench vrrp`.
//! Prints Markdown; progress goes to standard error. Figures only: nothing is asserted but that everybody did his work.

mod clock;
mod lan;
mod lateness;
mod load;
mod many;
mod moves;
mod subject;
mod takeover;
mod wire;

use std::process::ExitCode;

const USAGE: &str = "usage: tests/bench vrrp [--runs N] [takeover] [many] [lateness]

  --runs N   takeovers of each kind (30), rounds of the others in proportion; 3 for a quick look

  Of a part, cells: takeover:ROUTERS:MILLISECONDS.

Without a name, all three. Twenty minutes with 30 runs.";

const PARTS: [&str; 3] = ["takeover", "many", "lateness"];

fn main() -> ExitCode {
    let Some((runs, parts)) = arguments() else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    header();
    for part in parts {
        match part.split(':').next() {
            Some("takeover") => takeover::run(runs, &part),
            Some("many") => many::run(runs),
            Some("lateness") => lateness::run(runs),
            _ => unreachable!("arguments() knows the parts"),
        }
    }
    ExitCode::SUCCESS
}

fn arguments() -> Option<(usize, Vec<String>)> {
    let (mut runs, mut parts) = (30, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--runs" => runs = words.next()?.parse().ok().filter(|runs| *runs > 0)?,
            part if PARTS.contains(&part.split(':').next()?) => parts.push(word),
            _ => return None,
        }
    }
    if parts.is_empty() {
        parts = PARTS.map(str::to_owned).into();
    }
    Some((runs, parts))
}

fn header() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let vrrpd = std::process::Command::new(trivet_tests::trivet::program("vrrpd")).arg("--version").output();
    let vrrpd = vrrpd.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    println!("## vrrpd beside keepalived\n");
    println!("* {}", subject::keepalived_version());
    println!("* {}", vrrpd.expect("running vrrpd"));
    let processors = std::thread::available_parallelism().map_or(0, usize::from);
    println!(
        "* Linux {}, {processors} processors, load {}",
        read("/proc/sys/kernel/osrelease"),
        read("/proc/loadavg")
    );
}

/// Progress.
pub(crate) fn say(text: &str) {
    eprintln!("{text}");
}
