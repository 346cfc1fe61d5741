//! ipvsd: keeps the kernel's IPVS table as /etc/trivet/ipvs.d and the servers' health say.

use std::path::Path;
use std::process::ExitCode;

use daemon::cli::{self, Action, EXIT_CONFIG, Program};
use ipvsd::config::{self, Loader};
use ipvsd::daemon::Daemon;

const PROGRAM: Program = Program {
    name: "ipvsd",
    about: "keeps the kernel's IPVS table as /etc/trivet/ipvs.d and the servers' health say",
    own: &[],
};

fn main() -> ExitCode {
    let arguments = match PROGRAM.parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match arguments.action {
        Action::Check => cli::answer_check(&config::load(&arguments.root).1),
        Action::Run | Action::Own(_) => run(&arguments.root),
    }
}

fn run(root: &Path) -> ExitCode {
    let mut loader = Loader::new(root);
    let (settings, report) = loader.load();
    eprint!("{report}");
    if report.has_errors() {
        return ExitCode::from(EXIT_CONFIG);
    }
    let result = Daemon::new(loader, settings).and_then(|mut daemon| daemon.run());
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(PROGRAM.name, &error);
            ExitCode::FAILURE
        }
    }
}
