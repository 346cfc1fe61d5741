//! One vrrpd in a network namespace: two would take each other's addresses for left behind, since both tag them alike.
//!
//! The lock is the name of an abstract unix socket, which belongs to the network namespace and ends with its process,
//! however that ends. Anybody may take such a name; only a holder that could do our work is believed.

use std::io;
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, UnixCredentials, connect, getsockopt, socket, sockopt,
};
use nix::unistd::geteuid;

const NAME: &[u8] = b"org.trivet.vrrpd";

/// Held as long as it lives.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, and nothing else")] Option<UnixListener>);

impl Lock {
    /// # Errors
    /// Another vrrpd runs in this network namespace; the text says which.
    pub fn take() -> io::Result<Self> {
        let address = SocketAddr::from_abstract_name(NAME)?;
        let error = match UnixListener::bind_addr(&address) {
            Ok(listener) => return Ok(Self(Some(listener))),
            Err(error) => error,
        };
        if error.kind() != io::ErrorKind::AddrInUse {
            return Err(error);
        }
        let holder = match holder() {
            Ok(holder) => holder,
            // So many knock already: who is ours may be asked by anybody as well, and no answer is no reason to stay away.
            Err(Errno::EAGAIN) => {
                log::warn!(
                    "nobody can tell who has taken the name by which two vrrpd know of each other; going on without it"
                );
                return Ok(Self(None));
            }
            // It ended between the two, or does not listen: who is ours listens.
            Err(_) => return UnixListener::bind_addr(&address).map(|listener| Self(Some(listener))),
        };
        if holder.uid() != 0 && holder.uid() != geteuid().as_raw() {
            log::warn!(
                "process {} of user {}, which cannot be a vrrpd, has taken the name by which two vrrpd know of each other; \
                 going on without it",
                holder.pid(),
                holder.uid()
            );
            return Ok(Self(None));
        }
        let text = format!(
            "another vrrpd (process {}) runs in this network namespace; two would take away each other's addresses",
            holder.pid()
        );
        Err(io::Error::new(io::ErrorKind::AddrInUse, text))
    }
}

/// Who listens under the name. Never waits: a stranger could let us wait for ever.
///
/// # Errors
/// EAGAIN: as many as the listener allows wait to be heard. Others: nobody listens.
fn holder() -> nix::Result<UnixCredentials> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(stream.as_raw_fd(), &UnixAddr::new_abstract(NAME)?)?;
    getsockopt(&stream, sockopt::PeerCredentials)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use nix::sched::{CloneFlags, unshare};
    use nix::sys::socket::{Backlog, bind, listen};

    use super::*;

    #[test]
    fn a_second_one_in_the_same_network_namespace_is_refused_until_the_first_has_ended() {
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(io::stderr(), "LEFT OUT (lock): a network namespace needs root");
            return;
        }
        let first = Lock::take().unwrap();
        let error = Lock::take().unwrap_err().to_string();
        assert!(error.contains(&format!("another vrrpd (process {})", std::process::id())), "{error}");
        drop(first);
        let again = Lock::take().unwrap();
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        Lock::take().unwrap();
        drop(again);
    }
    #[test]
    fn a_stranger_who_takes_the_name_and_answers_nobody_keeps_no_vrrpd_from_starting() {
        let (say, said) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            if unshare(CloneFlags::CLONE_NEWNET).is_err() {
                let _ = writeln!(io::stderr(), "LEFT OUT (lock): a network namespace needs root");
                return say.send(true);
            }
            let stranger = socket(AddressFamily::Unix, SockType::Stream, SockFlag::empty(), None).unwrap();
            bind(stranger.as_raw_fd(), &UnixAddr::new_abstract(NAME).unwrap()).unwrap();
            listen(&stranger, Backlog::new(0).unwrap()).unwrap();
            let waiting = std::iter::repeat_with(|| {
                let flags = SockFlag::SOCK_NONBLOCK;
                let stream = socket(AddressFamily::Unix, SockType::Stream, flags, None).unwrap();
                connect(stream.as_raw_fd(), &UnixAddr::new_abstract(NAME).unwrap()).map(|()| stream)
            });
            let _waiting: Vec<_> = waiting.take_while(Result::is_ok).collect();
            say.send(Lock::take().is_ok_and(|lock| format!("{lock:?}") == "Lock(None)"))
        });
        assert_eq!(said.recv_timeout(std::time::Duration::from_secs(10)), Ok(true));
    }
}
