//! The listener: takes connections from checkd, and gives each to a process of its own. Knows which of these run, how
//! many there may be, and ends what one that was killed has left.

use std::collections::HashSet;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use daemon::cli::below;
use daemon::error::Error;
use daemon::event_loop::{EventLoop, Interest, Token};
use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::socket::{getsockopt, sockopt};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, User};

use super::frame::Report;
use super::{SOCKET, failure, tree};

/// Connections taken in one turn.
const PER_TURN: usize = 32;
/// Until what was killed is looked for again, and until a connection that could not be taken is tried again.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// What may be set on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Whose connections are taken, besides root's.
    pub caller: String,
    /// Commands that may run at the same time.
    pub runs: u32,
    /// Below it is the socket, where systemd does not hand one over.
    pub root: PathBuf,
}

impl Default for Settings {
    fn default() -> Self {
        Self { caller: "trivet-checkd".to_owned(), runs: 256, root: PathBuf::from("/") }
    }
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Connection,
    Signal,
}

#[derive(Debug)]
pub struct Server {
    settings: Settings,
    /// The user id behind [`Settings::caller`]; `None`: there is no such user, and root alone may call.
    caller: Option<u32>,
    events: EventLoop<Event>,
    listener: UnixListener,
    /// Its registration; `None`: connections could not be taken, and wait.
    listening: Option<Token>,
    signals: SignalFd,
    /// The processes of runs.
    runs: HashSet<Pid>,
    /// When to look again for what a run that was killed has left, and whether connections can be taken.
    look_again: Option<Instant>,
    /// Whether a fault of taking connections was said and has not ended.
    complained: bool,
}

impl Server {
    /// On the listening socket that systemd has put on standard input (StandardInput=socket), or else on a new one.
    /// Call it before any thread is started: threads inherit the blocked signals.
    pub fn new(settings: Settings) -> Result<Self, Error> {
        let signals = own_signals().map_err(Error::when("take signals"))?;
        prctl::set_child_subreaper(true).map_err(io::Error::from).map_err(Error::when("adopt orphans"))?;
        let listener = match inherited() {
            Some(listener) => listener,
            None => listen(&below(&settings.root, SOCKET)).map_err(Error::when("listen for checkd"))?,
        };
        listener.set_nonblocking(true).map_err(Error::when("listen for checkd"))?;
        let mut events = EventLoop::new().map_err(Error::when("open the event loop"))?;
        let listening = events.register(&listener, Interest::Read, Event::Connection);
        let listening = Some(listening.map_err(Error::when("watch the socket"))?);
        let watch = events.register_forever(&signals, Interest::Read, Event::Signal);
        watch.map_err(Error::when("watch the signals"))?;
        let user = User::from_name(&settings.caller).ok().flatten();
        let caller = user.map(|user| user.uid.as_raw());
        Ok(Self {
            settings,
            caller,
            events,
            listener,
            listening,
            signals,
            runs: HashSet::new(),
            look_again: None,
            complained: false,
        })
    }

    /// Until a signal asks to stop. Each run ends with this process.
    pub fn run(&mut self) -> Result<(), Error> {
        if self.caller.is_none() {
            log::warn!("there is no user '{}': only root may have commands run", self.settings.caller);
        }
        let mut ready = Vec::new();
        loop {
            let now =
                self.events.wait(self.look_again, &mut ready).map_err(Error::when("wait for events"))?;
            for (event, _) in ready.drain(..) {
                match event {
                    Event::Connection => self.accept(now),
                    Event::Signal if self.on_signals(now) => return Ok(()),
                    Event::Signal => {}
                }
            }
            if self.look_again.is_some_and(|at| at <= now) {
                self.look_again = None;
                self.listen();
                self.end_strays(now);
            }
        }
    }

    fn accept(&mut self, now: Instant) {
        for _ in 0..PER_TURN {
            match self.listener.accept() {
                Ok((connection, _)) => {
                    self.complained = false;
                    self.serve(connection);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if !std::mem::replace(&mut self.complained, true) {
                        log::warn!("cannot take a connection: {error}, trying again");
                    }
                    self.look_again = Some(now + LOOK_AGAIN);
                    if let Some(token) = self.listening.take() {
                        self.events.deregister(token, &self.listener);
                    }
                    return;
                }
            }
        }
    }

    fn listen(&mut self) {
        if self.listening.is_none() {
            self.listening = self.events.register(&self.listener, Interest::Read, Event::Connection).ok();
        }
    }

    fn serve(&mut self, connection: UnixStream) {
        if let Err(reason) = self.admit(&connection) {
            log::warn!("a connection was refused: {reason}");
            return answer(connection, &Report::Refused(reason));
        }
        let running = u32::try_from(self.runs.len()).unwrap_or(u32::MAX);
        if running >= self.settings.runs {
            return answer(connection, &Report::Busy(running));
        }
        let Ok(spare) = connection.try_clone() else {
            // The caller sees its end, and tries again.
            return;
        };
        match spawn_runner(connection) {
            Ok(pid) => drop(self.runs.insert(pid)),
            Err(error) => {
                let reason = failure::describe(Path::new("checkd-exec"), &error, "of checkd-exec");
                log::warn!("{reason}");
                answer(spare, &Report::NotStarted(reason));
            }
        }
    }

    /// The file's mode says the same; this holds wherever the socket came from.
    fn admit(&self, connection: &UnixStream) -> Result<(), String> {
        let credentials = getsockopt(connection, sockopt::PeerCredentials)
            .map_err(|errno| format!("who calls cannot be told: {}", errno.desc()))?;
        let uid = credentials.uid();
        if uid == 0 || Some(uid) == self.caller {
            return Ok(());
        }
        Err(format!(
            "the user with id {uid} may not have commands run, only {} and root",
            self.settings.caller
        ))
    }

    /// Whether to stop.
    fn on_signals(&mut self, now: Instant) -> bool {
        let mut stop = false;
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            stop |= number == Signal::SIGTERM as i32 || number == Signal::SIGINT as i32;
        }
        self.reap(now);
        stop
    }

    /// Runs that have ended, and orphans of those that were killed.
    fn reap(&mut self, now: Instant) {
        loop {
            let (pid, how) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, 0)) => (pid, None),
                Ok(WaitStatus::Exited(pid, status)) => (pid, Some(format!("exit status {status}"))),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid, Some(signal.as_str().to_owned())),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                // Ended by a real-time signal, which nix has no name for: who that was, shows in who is left.
                Err(Errno::EINVAL) => {
                    self.runs.retain(|pid| kill(*pid, None).is_ok());
                    self.look_again = Some(now);
                    continue;
                }
                Ok(_) | Err(Errno::EINTR) => continue,
                Err(_) => return,
            };
            if let Some(how) = how.filter(|_| self.runs.contains(&pid)) {
                log::warn!("a run was ended from outside ({how}): ending what it left");
                self.look_again = Some(now);
            }
            self.runs.remove(&pid);
        }
    }

    /// What is our child and no run was orphaned by one that did not end as it should.
    fn end_strays(&mut self, now: Instant) {
        let strays = tree::descendants(Pid::this(), |pid| self.runs.contains(&pid)).unwrap_or_default();
        for pid in strays {
            if kill(pid, Signal::SIGKILL).is_ok() {
                self.look_again = Some(now + LOOK_AGAIN);
            }
        }
    }
}

/// Small enough for any socket's buffer: nobody is waited for.
fn answer(mut connection: UnixStream, report: &Report) {
    let _ = connection.set_nonblocking(true);
    let _ = connection.write_all(&report.encode());
}

/// This program again, with the connection as its standard input: a process of its own that nothing was forked into.
fn spawn_runner(connection: UnixStream) -> io::Result<Pid> {
    let mut command = Command::new("/proc/self/exe");
    command.arg0("checkd-exec").args(["--run", &std::process::id().to_string()]);
    let child = command.stdin(OwnedFd::from(connection)).stdout(Stdio::null()).spawn()?;
    Ok(Pid::from_raw(i32::try_from(child.id()).expect("the kernel's process numbers are below 2^22")))
}

fn own_signals() -> io::Result<SignalFd> {
    let mut mask = SigSet::empty();
    // SIGHUP: there is nothing to reload, and it must not end us.
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        mask.add(signal);
    }
    mask.thread_block()?;
    Ok(SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?)
}

/// Standard input, if it is a listening socket.
fn inherited() -> Option<UnixListener> {
    let stdin = io::stdin();
    let listens = getsockopt(&stdin.as_fd(), sockopt::AcceptConn).unwrap_or(false);
    listens.then(|| stdin.as_fd().try_clone_to_owned().ok().map(UnixListener::from)).flatten()
}

fn listen(path: &Path) -> io::Result<UnixListener> {
    if let Some(directory) = path.parent() {
        std::fs::create_dir_all(directory)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}
