//! What the kernel says of a failed connection, in words, and whose fault it is.

use nix::errno::Errno;

use super::Outcome;

/// What follows from `errno`. `progress`: how far the probe had come, if it was connected.
pub fn outcome(errno: Errno, progress: Option<&str>) -> Outcome {
    if let Some((_, reason)) = LOCAL.iter().find(|(known, _)| *known == errno) {
        return Outcome::Local((*reason).to_owned());
    }
    let text = describe(errno);
    Outcome::Fail(match progress {
        Some(progress) => format!("{text}: {progress}"),
        None => text,
    })
}

/// The failures that this machine's own limits and rules cause: they say nothing about the server.
const LOCAL: &[(Errno, &str)] = &[
    (Errno::EMFILE, "too many open files in checkd (raise LimitNOFILE=)"),
    (Errno::ENFILE, "too many open files on this machine (raise fs.file-max)"),
    (Errno::ENOBUFS, "no memory for another socket on this machine"),
    (Errno::ENOMEM, "no memory for another socket on this machine"),
    (Errno::ENOSPC, "too many watched files on this machine (raise fs.epoll.max_user_watches)"),
    (Errno::EADDRNOTAVAIL, "no local address or port left for another connection"),
    (Errno::EAGAIN, "the kernel has no resources for another connection"),
    (Errno::EAFNOSUPPORT, "this machine does not have the target's address family"),
    (Errno::EPERM, "a rule of this machine forbids checkd to connect"),
];

/// The failures that the server or the way to it causes.
const REMOTE: &[(Errno, &str)] = &[
    (Errno::ECONNREFUSED, "connection refused"),
    (Errno::ECONNRESET, "connection reset"),
    (Errno::EPIPE, "connection reset"),
    (Errno::ETIMEDOUT, "connection timed out in the kernel"),
    (Errno::EHOSTUNREACH, "no route to host"),
    (Errno::ENETUNREACH, "network is unreachable"),
    (Errno::ENETDOWN, "network is down"),
    (Errno::EACCES, "prohibited on the way (a route or a packet filter)"),
];

/// A failed connection in words.
fn describe(errno: Errno) -> String {
    let known = REMOTE.iter().find(|(known, _)| *known == errno);
    known.map_or_else(|| format!("connection failed: {}", errno.desc()), |(_, text)| (*text).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_connection_is_the_servers_and_a_lack_of_files_is_ours() {
        assert_eq!(outcome(Errno::ECONNREFUSED, None), Outcome::Fail("connection refused".into()));
        assert_eq!(outcome(Errno::EHOSTUNREACH, None), Outcome::Fail("no route to host".into()));
        for errno in
            [Errno::EMFILE, Errno::ENFILE, Errno::ENOBUFS, Errno::ENOMEM, Errno::EADDRNOTAVAIL, Errno::EPERM]
        {
            assert!(matches!(outcome(errno, Some("request sent")), Outcome::Local(_)), "{errno}");
        }
    }
}
