//! checkd: arguments, configuration, loop, exit code.

use std::hash::{BuildHasher, Hasher};
use std::process::ExitCode;

use checkd::config::{self, Configuration};
use checkd::daemon::Daemon;
use daemon::cli::{self, Action, Program};
use daemon::diagnostic::Report;
use daemon::error::Error;
use daemon::signals::Signals;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

const PROGRAM: Program =
    Program { name: "checkd", about: "health checks for Trivet's virtual servers and routers", own: &[] };

fn main() -> ExitCode {
    let arguments = match PROGRAM.parse(std::env::args_os()) {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    let mut report = Report::new();
    if arguments.action == Action::Check {
        let configuration = config::load_to_check(&arguments.root, &mut report);
        config::exec::require(&configuration.programs, &mut report);
        return cli::answer_check(&report);
    }
    let configuration = config::load(&arguments.root, &mut report);
    config::exec::warn(&configuration.programs, &mut report);
    eprint!("{report}");
    if report.has_errors() {
        return ExitCode::from(cli::EXIT_CONFIG);
    }
    match run(arguments.root, configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(PROGRAM.name, &error);
            ExitCode::FAILURE
        }
    }
}

fn run(root: std::path::PathBuf, configuration: Configuration) -> Result<(), Error> {
    // Before the first thread: see Signals::new.
    let signals = Signals::new().map_err(Error::when("block signals"))?;
    daemon::log::start(PROGRAM.name, configuration.settings.log_level)
        .map_err(Error::when("start the log"))?;
    raise_file_limit();
    checkd::journal::tell_disabled(&configuration.disabled);
    Daemon::new(root, configuration, signals, random_seed())?.run()
}

/// Every running probe is an open file: take all that we may have.
fn raise_file_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE).and_then(|(soft, hard)| {
        // The unit sets both to the same, and need not allow the call.
        if soft < hard { setrlimit(Resource::RLIMIT_NOFILE, hard, hard).map(|()| hard) } else { Ok(hard) }
    });
    match raised {
        Ok(limit) => log::debug!("at most {limit} open files"),
        Err(error) => log::warn!("cannot raise the limit of open files: {error}, ignoring"),
    }
}

/// Two directors must not probe their servers in step; the standard library's hasher is seeded from the kernel.
fn random_seed() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}
