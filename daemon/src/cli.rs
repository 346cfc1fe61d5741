//! The command line that the three daemons share.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use lexopt::prelude::*;

use crate::diagnostic::Report;

/// sysexits.h EX_USAGE and EX_CONFIG: what systemd and Ansible see.
pub const EXIT_USAGE: u8 = 64;
pub const EXIT_CONFIG: u8 = 78;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Run the daemon.
    Run,
    /// `--check`: validate the configuration and say what is wrong with it.
    Check,
    /// One of the daemon's own options, such as `--release`.
    Own(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    pub action: Action,
    /// Below it are `etc/trivet`, `run/trivet` and `usr/lib/trivet`.
    pub root: PathBuf,
}

/// A daemon's name, what it is, and its own options with their help.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    pub name: &'static str,
    pub about: &'static str,
    pub own: &'static [(&'static str, &'static str)],
}

impl Program {
    /// Read the command line. `Err` holds the exit code after `--help`, `--version` or a mistake have been answered.
    pub fn parse(&self, arguments: impl IntoIterator<Item = OsString>) -> Result<Arguments, ExitCode> {
        self.try_parse(arguments).unwrap_or_else(|error| {
            eprintln!("{}: {error}\nTry '{} --help'.", self.name, self.name);
            Err(ExitCode::from(EXIT_USAGE))
        })
    }

    fn try_parse(
        &self,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Result<Arguments, ExitCode>, lexopt::Error> {
        let mut parser = lexopt::Parser::from_iter(arguments);
        let mut parsed = Arguments { action: Action::Run, root: PathBuf::from("/") };
        while let Some(argument) = parser.next()? {
            match argument {
                Long("check") => parsed.action = Action::Check,
                Long("root") => parsed.root = PathBuf::from(parser.value()?),
                Long("help") | Short('h') => {
                    print!("{}", self.help());
                    return Ok(Err(ExitCode::SUCCESS));
                }
                Long("version") | Short('V') => {
                    println!("{} {}", self.name, env!("CARGO_PKG_VERSION"));
                    return Ok(Err(ExitCode::SUCCESS));
                }
                Long(option) => match self.own.iter().find(|(own, _)| *own == option) {
                    Some((own, _)) => parsed.action = Action::Own(own),
                    None => return Err(argument.unexpected()),
                },
                Short(_) | Value(_) => return Err(argument.unexpected()),
            }
        }
        // All files are optional, so that a wrong name would read as a configuration without a mistake.
        if !parsed.root.is_dir() {
            return Err(lexopt::Error::Custom(
                format!("--root: there is no directory {}", parsed.root.display()).into(),
            ));
        }
        Ok(Ok(parsed))
    }

    fn help(&self) -> String {
        let mut rows = vec![
            ("check".to_owned(), "validate the configuration; exit 0, or 78 with every mistake named"),
            (
                "root DIR".to_owned(),
                "look for etc/trivet, run/trivet and usr/lib/trivet below DIR (default /)",
            ),
            ("version".to_owned(), "print the version"),
            ("help".to_owned(), "print this text"),
        ];
        rows.extend(self.own.iter().map(|(option, help)| ((*option).to_owned(), *help)));
        let options: String =
            rows.iter().map(|(option, help)| format!("  --{option:<10} {help}\n")).collect();
        format!("{}: {}\n\nUsage: {} [OPTION]\n\n{options}", self.name, self.about, self.name)
    }
}

/// Answer `--check`: the report on stderr, or `configuration OK` on stdout.
pub fn answer_check(report: &Report) -> ExitCode {
    eprint!("{report}");
    if report.has_errors() {
        return ExitCode::from(EXIT_CONFIG);
    }
    println!("configuration OK");
    ExitCode::SUCCESS
}

/// Print an error and its sources, one line, for the end of `main`.
pub fn print_error(program: &str, error: &dyn std::error::Error) {
    eprintln!("{program}: {}", chain(error));
}

/// `top: cause: cause`
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Join `root` and an absolute path.
pub fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: Program = Program { name: "vrrpd", about: "VRRP", own: &[("release", "drop addresses")] };

    fn parse(arguments: &[&str]) -> Result<Arguments, ExitCode> {
        PROGRAM.parse(std::iter::once("vrrpd").chain(arguments.iter().copied()).map(OsString::from))
    }

    #[test]
    fn without_arguments_a_daemon_runs_on_the_real_root() {
        assert_eq!(parse(&[]), Ok(Arguments { action: Action::Run, root: "/".into() }));
    }

    #[test]
    fn options_are_read_and_unknown_ones_refused() {
        let parsed = parse(&["--check", "--root", "/proc"]).unwrap();
        assert_eq!(parsed, Arguments { action: Action::Check, root: "/proc".into() });
        assert_eq!(parse(&["--release"]).unwrap().action, Action::Own("release"));
        for wrong in [&["--chekc"][..], &["file"], &["-x"], &["--root"], &["--root", "/proc/there-is-none"]] {
            assert_eq!(parse(wrong), Err(ExitCode::from(EXIT_USAGE)));
        }
    }

    #[test]
    fn a_path_is_looked_for_below_the_root() {
        assert_eq!(below(Path::new("/"), "/run/trivet"), Path::new("/run/trivet"));
        assert_eq!(below(Path::new("/x"), "/run/trivet"), Path::new("/x/run/trivet"));
    }
}
