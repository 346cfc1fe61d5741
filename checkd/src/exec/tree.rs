//! The processes below one, as /proc tells them: whoever their parents were, an orphan's is the nearest subreaper
//! above it (prctl(2), PR_SET_CHILD_SUBREAPER). Not by the `children` files: not every kernel has them.

use std::collections::HashMap;
use std::fs;
use std::io;

use nix::unistd::Pid;

/// Everything below `root`, itself not among it, and nothing at or below `except`. Zombies count: other threads than the
/// first may still run, and a signal reaches them.
///
/// # Errors
/// There is no /proc.
pub fn descendants(root: Pid, except: impl Fn(Pid) -> bool) -> io::Result<Vec<Pid>> {
    let mut children: HashMap<Pid, Vec<Pid>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(entry) = entry else { continue };
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // Gone meanwhile.
        let Ok(stat) = fs::read(entry.path().join("stat")) else { continue };
        let Some(parent) = parent(&stat) else { continue };
        children.entry(parent).or_default().push(Pid::from_raw(pid));
    }
    Ok(below(root, &children, except))
}

fn below(root: Pid, children: &HashMap<Pid, Vec<Pid>>, except: impl Fn(Pid) -> bool) -> Vec<Pid> {
    let mut found = Vec::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        let of_it = children.get(&parent).into_iter().flatten().filter(|pid| !except(**pid));
        for pid in of_it {
            found.push(*pid);
            parents.push(*pid);
        }
    }
    found
}

/// The second field, the name, is the program's own choice: parentheses, blanks and newlines may be in it
/// (proc_pid_stat(5)).
fn parent(stat: &[u8]) -> Option<Pid> {
    let end = stat.iter().rposition(|byte| *byte == b')')?;
    let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
    let parent = rest.split_ascii_whitespace().nth(1)?;
    parent.parse().ok().map(Pid::from_raw)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pid(number: i32) -> Pid {
        Pid::from_raw(number)
    }

    #[test]
    fn a_name_made_to_confuse_does_not() {
        assert_eq!(parent(b"7 (sh) S 3 7 7 0 -1"), Some(pid(3)));
        assert_eq!(parent(b"7 (a) S 1\n) R 3 7"), Some(pid(3)));
        assert_eq!(parent(b"7 (\xff) Z 12 7"), Some(pid(12)));
        for broken in [&b""[..], b"7 (sh)", b"7 (sh) S", b"7 (sh) S x", b"7 sh S 3"] {
            assert_eq!(parent(broken), None);
        }
    }

    #[test]
    fn everything_below_is_found_except_what_is_excepted() {
        let children = HashMap::from([
            (pid(1), vec![pid(2), pid(9)]),
            (pid(2), vec![pid(3), pid(4), pid(5)]),
            (pid(4), vec![pid(6)]),
            (pid(5), vec![pid(7)]),
        ]);
        let mut found = below(pid(2), &children, |candidate| candidate == pid(5));
        found.sort();
        assert_eq!(found, [pid(3), pid(4), pid(6)]);
    }

    #[test]
    fn a_child_of_ours_is_found_on_this_machine() {
        let mut child =
            std::process::Command::new("cat").stdin(std::process::Stdio::piped()).spawn().unwrap();
        let found = descendants(Pid::this(), |_| false).unwrap();
        let wanted = pid(i32::try_from(child.id()).unwrap());
        assert!(found.contains(&wanted), "{wanted} is not in {found:?}");
        drop(child.stdin.take());
        child.wait().unwrap();
    }
}
