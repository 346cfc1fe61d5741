//! vrrpd: owns virtual addresses as /etc/trivet/vrrp.d says.

use std::path::Path;
use std::process::ExitCode;

use daemon::cli::{self, Action, EXIT_CONFIG, Program};
use daemon::diagnostic::Report;
use vrrpd::daemon::Daemon;
use vrrpd::past::Ending;
use vrrpd::{config, monitor, release};

const PROGRAM: Program = Program {
    name: "vrrpd",
    about: "owns virtual addresses as /etc/trivet/vrrp.d says",
    own: &[(
        "release",
        "remove every address that a vrrpd left behind, but what the next one is to go on with, and exit",
    )],
};

fn main() -> ExitCode {
    let arguments = match PROGRAM.parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match arguments.action {
        Action::Check => check(&arguments.root),
        Action::Own(_) => release(&arguments.root),
        Action::Run => run(&arguments.root),
    }
}

fn check(root: &Path) -> ExitCode {
    let mut report = Report::new();
    // Where the interfaces cannot be listed they are not warned of.
    let present = monitor::dump().ok();
    config::load(root, present.as_ref(), &mut report);
    cli::answer_check(&report)
}

/// By hand, and after the end of a daemon (ExecStopPost=), whose addresses the next one may go on with.
fn release(root: &Path) -> ExitCode {
    let variable = |name| std::env::var(name).ok();
    let ending = Ending::of(variable("SERVICE_RESULT").as_deref(), variable("EXIT_STATUS").as_deref());
    match release::release(root, &ending) {
        Ok(lines) => {
            lines.iter().for_each(|line| println!("{line}"));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("vrrpd: cannot remove addresses that were left behind: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(root: &Path) -> ExitCode {
    let mut report = Report::new();
    let configuration = config::load(root, None, &mut report);
    eprint!("{report}");
    if report.has_errors() {
        return ExitCode::from(EXIT_CONFIG);
    }
    let result = Daemon::new(root.to_owned(), configuration).and_then(|mut daemon| daemon.run());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(PROGRAM.name, &error);
            ExitCode::FAILURE
        }
    }
}
