//! Why a command could not be started, in words that name what to mend. The kernel answers "No such file or directory"
//! for a script whose interpreter is missing, too, and "Permission denied" for four different things.

use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use nix::errno::Errno;

/// The kernel reads this much of a script to find its interpreter (linux/binfmts.h, BINPRM_BUF_SIZE).
const FIRST_LINE: usize = 256;

/// `error` is what starting `program` was answered with, `user` who tried.
pub fn describe(program: &Path, error: &io::Error, user: &str) -> String {
    let name = program.display();
    let errno = error.raw_os_error().map_or(Errno::UnknownErrno, Errno::from_raw);
    if errno == Errno::ENOENT || errno == Errno::ENOTDIR {
        missing(program)
    } else if errno == Errno::EACCES {
        denied(program, user)
    } else if errno == Errno::ENOEXEC {
        format!("{name} is neither a program of this machine nor a script that begins with '#!'")
    } else if errno == Errno::EAGAIN || errno == Errno::ENOMEM {
        format!("this machine has no room for another process ({}), {name} was not started", errno.desc())
    } else {
        format!("{name} cannot be started: {}", errno.desc())
    }
}

fn missing(program: &Path) -> String {
    let name = program.display();
    match fs::metadata(program) {
        Ok(_) => match interpreter(program) {
            Some(interpreter) => format!("{name} needs the interpreter {interpreter}, which does not exist"),
            None => format!("{name} exists, but the loader or library that it needs does not"),
        },
        Err(_) => format!("{name} does not exist"),
    }
}

fn denied(program: &Path, user: &str) -> String {
    let name = program.display();
    let is_executable = |metadata: &Metadata| metadata.permissions().mode() & 0o111 != 0;
    match fs::metadata(program) {
        Err(_) => format!("the user {user} may not look into a directory on the way to {name}"),
        Ok(metadata) if metadata.is_dir() => format!("{name} is a directory"),
        Ok(metadata) if !is_executable(&metadata) => format!("{name} is not executable (chmod 755 {name})"),
        Ok(_) => match interpreter(program) {
            Some(interpreter) => {
                format!("the user {user} may not execute {name}, or its interpreter {interpreter}")
            }
            None => {
                format!("the user {user} may not execute {name} (its mode, or a file system with noexec)")
            }
        },
    }
}

/// What stands after the '#!' of a script.
fn interpreter(program: &Path) -> Option<String> {
    let mut beginning = Vec::new();
    let limit = u64::try_from(FIRST_LINE).expect("a few bytes");
    File::open(program).ok()?.take(limit).read_to_end(&mut beginning).ok()?;
    let line = beginning.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let name = line.split(|byte| matches!(byte, b' ' | b'\t')).find(|word| !word.is_empty())?;
    // Escaped: most often it is a carriage return at the end, from an editor of another system.
    Some(format!("'{}'", name.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use daemon::testing::TempRoot;

    use super::*;

    fn file(root: &TempRoot, name: &str, text: &str, mode: u32) -> PathBuf {
        root.write(name, text);
        let path = root.path().join(name);
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// What really happens when it is started.
    fn failure(path: &Path) -> String {
        let error = loop {
            let error = Command::new(path).spawn().unwrap_err();
            // Another test's thread was about to start a program while the file was being written.
            if error.raw_os_error() != Some(Errno::ETXTBSY as i32) {
                break error;
            }
        };
        describe(path, &error, "trivet-exec").replace(path.to_str().unwrap(), "X")
    }

    #[test]
    fn each_reason_is_told_from_the_others() {
        let root = TempRoot::new();
        assert_eq!(failure(&root.path().join("none")), "X does not exist");
        assert_eq!(failure(&file(&root, "a", "#!/bin/sh\n", 0o644)), "X is not executable (chmod 755 X)");
        assert_eq!(
            failure(&file(&root, "b", "#! /no/such -x\n", 0o755)),
            "X needs the interpreter '/no/such', which does not exist"
        );
        assert_eq!(
            failure(&file(&root, "c", "#!/bin/sh\r\n", 0o755)),
            "X needs the interpreter '/bin/sh\\r', which does not exist"
        );
        assert_eq!(
            failure(&file(&root, "d", "echo hello\n", 0o755)),
            "X is neither a program of this machine nor a script that begins with '#!'"
        );
        assert_eq!(failure(root.path()), "X is a directory");
        assert_eq!(failure(&root.path().join("a/b")), "X does not exist");
    }
}
