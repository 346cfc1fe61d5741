//! The keys of `type = "exec"`. A command that could never run is a mistake of the configuration, found by `--check`
//! and at a reload: a check that silently does not look is worse than none.
//!
//! The daemon itself goes on with a missing command, with a warning, and says so in the state of each target: a file
//! system that is mounted late, or a package being upgraded, must not keep all the other checks from running.

use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use daemon::diagnostic::{Location, Report, nearest};
use daemon::document::Kind;
use daemon::reader::Reader;

use crate::exec::frame::REQUEST_LIMIT;
use crate::probe::exec::{PLACEHOLDERS, Settings};

const EXAMPLE: &str =
    "command = [\"/usr/lib/nagios/plugins/check_tcp\", \"-H\", \"{address}\", \"-p\", \"{port}\"]";
/// What other programs, and people, write for our placeholders.
const OTHER_PLACEHOLDERS: [(&str, &str); 7] = [
    ("{host}", "{address}"),
    ("{hostname}", "{address}"),
    ("{ip}", "{address}"),
    ("{server}", "{target}"),
    ("$HOSTADDRESS$", "{address}"),
    ("$ARG1$", "{address}"),
    ("%h", "{address}"),
];
/// The keys of this kind alone.
pub(super) const KEYS: &[&str] = &["command", "weight_from"];
/// What other programs call them.
pub(super) const OTHER_KEYS: &[(&str, &str)] = &[
    (
        "misc_path",
        "keepalived's misc_path is type = \"exec\", command = [\"/path/to/program\", \"argument\"] here",
    ),
    ("misc_timeout", "keepalived's misc_timeout is timeout = \"3s\" here"),
    ("misc_dynamic", "keepalived's misc_dynamic is weight_from = \"exit-status\" here"),
];
/// The same, of keys that mean something else to other kinds.
pub(super) const OTHERS_OF_COMMANDS: &[(&str, &str)] =
    &[("user", "every command runs as the user trivet-exec (systemctl edit checkd-exec for another one)")];
/// Keys that every kind over the network has, and a command has no use for: it opens its own connections.
pub(super) const NOT_FOR_COMMANDS: super::connect::Refused = super::connect::Refused {
    keys: &["source", "interface", "mark"],
    what: "a command",
    hint: "a command opens its own connections: give it this as an argument",
};

/// A configured program, and where the configuration names it.
#[derive(Clone, Debug)]
pub struct Program {
    path: PathBuf,
    at: Location,
}

/// Takes all keys of its kind out of `reader`. `None`: there is no command that could be run.
pub(super) fn read(reader: &mut Reader<'_>, check: &str) -> Option<(Settings, Program)> {
    let command = read_command(reader);
    let weight = reader.choice("weight_from", &[("exit-status", ())], &[("exit-code", "exit-status")]);
    let (command, at) = reader.require("command", command, EXAMPLE)?;
    let path = PathBuf::from(command.first()?);
    let settings = Settings { check: check.to_owned(), command, status_is_weight: weight.is_some() };
    Some((settings, Program { path, at }))
}

fn read_command(reader: &mut Reader<'_>) -> Option<(Vec<String>, Location)> {
    if let Some(value) = reader.value("command")
        && let Kind::String(text) = &value.kind
    {
        // Not the arguments themselves: one of them may be a password.
        let program = first_word(text).0;
        let message =
            "'command' is the program and its arguments, one by one: there is no shell to split a line";
        reader.report().error(&value.at, message).hint(format!("command = [\"{program}\", \"…\"]"));
        return None;
    }
    let array = reader.array("command")?;
    let report = reader.report();
    let mut command = Vec::new();
    for value in array.value {
        let Kind::String(text) = &value.kind else {
            let found = value.kind.describe();
            report.error(&value.at, format!("'command' is made of strings, not of {found}")).hint(EXAMPLE);
            return None;
        };
        if let Err((reason, hint)) = check_argument(text) {
            report.error(&value.at, reason).hint(hint);
            return None;
        }
        command.push(text.clone());
    }
    let Some(program) = command.first() else {
        report.error(&array.at, "'command' is empty").hint(EXAMPLE);
        return None;
    };
    if !program.starts_with('/') || PLACEHOLDERS.iter().any(|word| program.contains(word)) {
        let (word, dots) = first_word(program);
        let message = format!("'command' begins with a program's absolute path, not with \"{word}{dots}\"");
        report.error(&array.value[0].at, message).hint(EXAMPLE);
        return None;
    }
    // Half of it: what is put in for the placeholders, and the environment, go with it.
    if command.iter().map(String::len).sum::<usize>() > REQUEST_LIMIT / 2 {
        report.error(&array.at, format!("'command' is longer than {} KiB", REQUEST_LIMIT / 2 / 1024));
        return None;
    }
    Some((command, array.at))
}

/// Of a program, perhaps with arguments that do not belong there: what may be shown of it.
fn first_word(text: &str) -> (&str, &'static str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, _)| (word, " …"))
}

fn check_argument(text: &str) -> Result<(), (String, String)> {
    if text.contains('\0') {
        return Err(("no argument can have a NUL in it".to_owned(), "leave it out".to_owned()));
    }
    let other = OTHER_PLACEHOLDERS.iter().find(|(theirs, _)| text.contains(theirs));
    if let Some((theirs, ours)) = other {
        return Err((format!("'command' knows no {theirs}"), format!("write {ours}")));
    }
    // Other words in braces belong to awk, jq and their like.
    for word in text.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(word, _)| word) {
        let word = format!("{{{word}}}");
        if !PLACEHOLDERS.contains(&word.as_str())
            && let Some(ours) = nearest(&word, PLACEHOLDERS)
        {
            return Err((format!("'command' knows no {word}"), format!("did you mean {ours}?")));
        }
    }
    Ok(())
}

/// What is wrong with a program's file; `None`: nothing that we can see. Whether checkd-exec's user may run it, only a
/// run shows.
fn flaw(path: &Path) -> Option<String> {
    let name = path.display().to_string();
    let (word, dots) = first_word(&name);
    let name = format!("{word}{dots}");
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Some(format!("{name} is not a file")),
        Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
            Some(format!("{name} is not executable"))
        }
        Ok(_) => None,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Some(format!("{name} does not exist"))
        }
        // In a place that we may not look into.
        Err(_) => None,
    }
}

/// For `--check`: an error for each program that cannot be run.
pub fn require(programs: &[Program], report: &mut Report) {
    for Program { path, at } in programs {
        if let Some(flaw) = flaw(path) {
            let hint = "install it first; a check whose command is missing never says anything";
            report.error(at, flaw).hint(hint);
        }
    }
}

/// For the daemon: the same as a warning.
pub fn warn(programs: &[Program], report: &mut Report) {
    for Program { path, at } in programs {
        if let Some(flaw) = flaw(path) {
            report.warning(at, format!("{flaw}: its targets stay unknown until it can be run"));
        }
    }
}

#[cfg(test)]
mod tests;
