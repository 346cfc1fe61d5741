//! checkd-exec: runs the commands of checkd's `exec` checks, as a user of its own. systemd starts it when checkd first
//! needs it. Arguments, then the listener or one run.

use std::path::PathBuf;
use std::process::ExitCode;

use checkd::exec::runner;
use checkd::exec::server::{Server, Settings};
use daemon::cli::{self, EXIT_USAGE};
use daemon::error::Error;
use lexopt::prelude::*;
use log::LevelFilter;
use nix::unistd::Pid;

const NAME: &str = "checkd-exec";
const HELP: &str = "checkd-exec: runs the commands of checkd's exec checks

Usage: checkd-exec [OPTION]

  --caller USER  whose connections are taken besides root's (default trivet-checkd)
  --runs N       commands that may run at the same time (default 256)
  --root DIR     without a socket from systemd: listen at DIR/run/trivet-checkd-exec/socket (default /)
  --version      print the version
  --help         print this text
";

enum Action {
    Serve(Settings),
    /// One run, for the listener with this process number.
    Run(Pid),
    Print(String),
}

fn main() -> ExitCode {
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Action::Print(text)) => {
            print!("{text}");
            return ExitCode::SUCCESS;
        }
        Ok(Action::Run(server)) => runner::run(server),
        Ok(Action::Serve(settings)) => serve(settings),
        Err(error) => {
            eprintln!("{NAME}: {error}\nTry '{NAME} --help'.");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            cli::print_error(NAME, &error);
            ExitCode::FAILURE
        }
    }
}

fn parse(mut parser: lexopt::Parser) -> Result<Action, lexopt::Error> {
    let mut settings = Settings::default();
    while let Some(argument) = parser.next()? {
        match argument {
            Long("caller") => settings.caller = parser.value()?.string()?,
            Long("runs") => settings.runs = parser.value()?.parse()?,
            Long("root") => settings.root = PathBuf::from(parser.value()?),
            Long("run") => return Ok(Action::Run(Pid::from_raw(parser.value()?.parse()?))),
            Long("help") | Short('h') => return Ok(Action::Print(HELP.to_owned())),
            Long("version") | Short('V') => {
                return Ok(Action::Print(format!("{NAME} {}\n", env!("CARGO_PKG_VERSION"))));
            }
            Long(_) | Short(_) | Value(_) => return Err(argument.unexpected()),
        }
    }
    Ok(Action::Serve(settings))
}

fn serve(settings: Settings) -> Result<(), Error> {
    // Before the first thread: see Server::new.
    let mut server = Server::new(settings)?;
    daemon::log::start(NAME, LevelFilter::Info).map_err(Error::when("start the log"))?;
    server.run()?;
    log::logger().flush();
    Ok(())
}
