//! What ipvsd costs and how fast it is, beside keepalived 2.3.3, `ipvsadm -R` and a bare loop that only sends the
//! messages: `tests/bench ipvs`. Each of them has a machine of its own that was just booted, since the kernel keeps
//! deleted servers for two minutes and searches them; what one machine found is put together by `bench-ipvs table`.

mod bare;
mod checkd;
mod clock;
mod look;
mod phases;
mod plan;
mod programs;
mod spent;
mod table;
mod traffic;

use std::process::ExitCode;

use programs::Subject;

const USAGE: &str = "usage: bench-ipvs run keepalived|ipvsd|ipvsadm|bare [counted]
       bench-ipvs table FILE…

  run     measure one of them, in a machine that does nothing else and was just booted; a line for each figure.
          counted: the messages and system calls, which costs time, so that times are not told
  table   what these files hold as Markdown";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["run", subject] => run(subject, false),
        ["run", subject, "counted"] => run(subject, true),
        ["table", files @ ..] if !files.is_empty() => {
            table::print(files);
            ExitCode::SUCCESS
        }
        _ => usage(),
    }
}

fn run(subject: &str, counted: bool) -> ExitCode {
    match Subject::from_name(subject) {
        Some(subject) => phases::run(subject, counted),
        None => return usage(),
    }
    ExitCode::SUCCESS
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
