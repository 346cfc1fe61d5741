//! Commands that go wrong.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::support::World;

/// A command that goes wrong, and words of the reason.
#[derive(Debug)]
pub struct Row {
    /// The check's name.
    pub name: &'static str,
    pub command: Command,
    pub state: &'static str,
    pub reason: &'static str,
}

#[derive(Debug)]
pub enum Command {
    /// For sh.
    Script(&'static str),
    /// A file below the root that is not what it should be.
    File { text: &'static str, mode: u32 },
    /// Nothing of this name is there.
    Missing,
}

const fn down(name: &'static str, script: &'static str, reason: &'static str) -> Row {
    Row { name, command: Command::Script(script), state: "down", reason }
}

/// One that cannot be run says nothing of the server.
const fn unknown(name: &'static str, command: Command, reason: &'static str) -> Row {
    Row { name, command, state: "unknown", reason }
}

/// How the reason ends where the command printed nothing.
const NOTHING: &str = "still running after 5s, and ended$";

pub const ROWS: &[Row] = &[
    down(
        "forks",
        "for i in 1 2 3 4 5 6 7 8 9; do (setsid sh -c 'sleep 1000 & sleep 1000') & done; wait",
        NOTHING,
    ),
    down(
        "leaves",
        "(setsid sh -c 'sleep 1000 & exec sleep 1000' &); echo gone; exit 3",
        "exit status 3: gone$",
    ),
    down("deaf", "trap '' TERM; while :; do sleep 1000; done", NOTHING),
    down("stops", "kill -STOP $$", NOTHING),
    down("flood", "exec yes", "still running after 5s, and ended: y$"),
    down("line", "tr '\\0' x </dev/zero", "still running after 5s, and ended: xxxxxxxxxxxxxxxx"),
    down("quiet", "exit 4", "exit status 4$"),
    down("binary", "printf 'one\\n\\033[31m\\000\\377\\t\\n'; exit 1", "exit status 1: \\u{1b}[31m\\0\\xff$"),
    down("closes", "exec >&- 2>&-; sleep 1000", NOTHING),
    down("signal", "echo about to die; kill -SEGV $$", "ended by SIGSEGV: about to die$"),
    unknown("missing", Command::Missing, "missing does not exist; before: not probed yet$"),
    unknown(
        "plain",
        Command::File { text: "#!/bin/sh\n", mode: 0o644 },
        "plain is not executable (chmod 755 ",
    ),
    unknown(
        "orphan",
        Command::File { text: "#!/nonexistent/sh\n", mode: 0o755 },
        "orphan needs the interpreter '/nonexistent/sh', which does not exist; before: not probed yet$",
    ),
    unknown(
        "garbage",
        Command::File { text: "\u{1b}[31m\0\n", mode: 0o755 },
        "garbage is neither a program of this machine nor a script",
    ),
];

/// The check of a row, without its times; its file is made.
pub fn text(world: &World, row: &Row) -> String {
    let file = world.root.path().join(row.name);
    let words = match row.command {
        Command::Script(script) => {
            return format!("type = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", '''{script}''']\n");
        }
        Command::Missing => file.display(),
        Command::File { text, mode } => {
            world.root.write(row.name, text);
            fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
            file.display()
        }
    };
    format!("type = \"exec\"\ncommand = [\"{words}\"]\n")
}
