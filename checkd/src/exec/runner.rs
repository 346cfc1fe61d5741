//! One run: a process that starts the command, reads its output, and leaves only when nothing of it is left. It is a
//! child subreaper (prctl(2)): whoever forks twice, calls setsid or outlives its parent becomes its child, and is found.
//!
//! The command ends by itself, at its time limit, or with the connection: then SIGTERM goes to its process group, and
//! soon after SIGKILL to everything below this process.

use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use daemon::error::Error;
use daemon::event_loop::{EventLoop, Interest, Token};
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, killpg};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, User, geteuid, getppid};

use super::frame::{self, End, How, Report, Request};
use super::last_line::LastLine;
use super::{KILL_GRACE, TERM_GRACE, failure, tree};

/// How long the other side may take to send its request, or to take a report.
const PATIENCE: Duration = Duration::from_secs(5);
/// What tells that the listener has ended. Who does not wait for this signal is not ended by it: it may come while the
/// command is being started, with no signal blocked.
const ORPHANED: Signal = Signal::SIGURG;
/// One read of the output.
const BUFFER: usize = 64 * 1024;
/// What a pipe may still hold when the command has ended, in reads of [`BUFFER`]. Who goes on writing is not waited for.
const LAST_READS: usize = 16;
/// Between two looks for what is left.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Looks in a row, while each finds processes that the one before did not.
const LOOKS: usize = 64;
/// What systemd tells a service is not for the commands that it runs.
const NOT_THEIRS: [&str; 9] = [
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "MAINPID",
    "NOTIFY_SOCKET",
    "SYSTEMD_EXEC_PID",
    "WATCHDOG_USEC",
];

/// Run what the connection on standard input asks for, and report to it. `server`: the process that started this one,
/// and with which it ends.
///
/// # Errors
/// What kept it from its work. The command is not running any more.
pub fn run(server: Pid) -> Result<(), Error> {
    prctl::set_child_subreaper(true).map_err(io::Error::from).map_err(Error::when("adopt orphans"))?;
    let end_with_it = prctl::set_pdeathsig(ORPHANED).map_err(io::Error::from);
    end_with_it.map_err(Error::when("end with the listener"))?;
    let _ = prctl::set_name(c"checkd-exec");
    // The unit says the same (LimitCORE=), and may forbid the call.
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if getppid() != server {
        return Ok(());
    }
    let mut connection = own_stdin().map_err(Error::when("use the connection on standard input"))?;
    let request = match receive(&mut connection) {
        Ok(request) => request,
        Err(reason) => {
            eprintln!("checkd-exec: a request was refused: {reason}");
            return report(&mut connection, &Report::Refused(reason));
        }
    };
    let (signals, started) = start(&request).map_err(Error::when("prepare the run"))?;
    let (child, output) = match started {
        Ok(started) => started,
        Err(reason) => return report(&mut connection, &Report::NotStarted(reason)),
    };
    // From here on something may be running: no way out but through the end of it.
    let _ = report(&mut connection, &Report::Started);
    let mut runner =
        Runner::new(connection, signals, child, output).map_err(Error::when("watch the command"))?;
    runner.cancelled = getppid() != server;
    runner.follow(request.limit)
}

fn own_stdin() -> io::Result<UnixStream> {
    let stream = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn receive(connection: &mut UnixStream) -> Result<Request, String> {
    let mut bytes = vec![0; 4];
    connection.read_exact(&mut bytes).map_err(|error| format!("no request came: {error}"))?;
    let length = frame::frame_length(&bytes, frame::REQUEST_LIMIT).map_err(|broken| broken.0)?;
    bytes.resize(length.expect("four bytes tell the length"), 0);
    connection.read_exact(&mut bytes[4..]).map_err(|error| format!("its end did not come: {error}"))?;
    Request::decode(frame::body(&bytes)).map_err(|broken| broken.0)
}

fn report(connection: &mut UnixStream, report: &Report) -> Result<(), Error> {
    match connection.write_all(&report.encode()) {
        Ok(()) => Ok(()),
        // Nobody wants it any more.
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {
            Ok(())
        }
        Err(error) => Err(Error::when("report to checkd")(error)),
    }
}

type Started = Result<(Pid, PipeReader), String>;

/// Start the command, with our signals from then on in a descriptor. The inner `Err`: why it cannot be started.
fn start(request: &Request) -> io::Result<(SignalFd, Started)> {
    let (output, input) = io::pipe()?;
    fcntl(&output, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    let [program, arguments @ ..] = request.command.as_slice() else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let mut command = Command::new(program);
    command.args(arguments).current_dir("/").process_group(0);
    for name in NOT_THEIRS {
        command.env_remove(name);
    }
    command.envs(request.environment.iter().map(|(name, value)| (name, value)));
    command.stdin(Stdio::null()).stdout(input.try_clone()?).stderr(input);
    // A child inherits the mask: it is ours only when the command has been started.
    SigSet::empty().thread_set_mask()?;
    let child = command.spawn();
    let mut mask = SigSet::empty();
    for signal in [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, ORPHANED] {
        mask.add(signal);
    }
    mask.thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
    let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let started = match child {
        Ok(child) => Ok((pid_of(child.id()), output)),
        Err(error) => Err(failure::describe(Path::new(program), &error, &own_name())),
    };
    Ok((signals, started))
}

fn pid_of(number: u32) -> Pid {
    Pid::from_raw(i32::try_from(number).expect("the kernel's process numbers are below 2^22"))
}

fn own_name() -> String {
    let user = User::from_uid(geteuid()).ok().flatten();
    user.map_or_else(|| geteuid().to_string(), |user| user.name)
}

#[derive(Clone, Copy, Debug)]
enum Event {
    Connection,
    Output,
    Signal,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Running {
        until: Instant,
    },
    /// SIGTERM was sent.
    Terminating {
        until: Instant,
    },
    /// SIGKILL was sent to all that was found.
    Killing {
        again: Instant,
        give_up: Instant,
    },
}

impl Phase {
    fn deadline(self) -> Instant {
        match self {
            Self::Running { until } | Self::Terminating { until } => until,
            Self::Killing { again, .. } => again,
        }
    }
}

#[derive(Debug)]
struct Runner {
    events: EventLoop<Event>,
    connection: UnixStream,
    /// Its registration; `None`: the other side has gone.
    hearing: Option<Token>,
    signals: SignalFd,
    child: Pid,
    output: Option<(Token, PipeReader)>,
    line: LastLine,
    /// How the command ended; what it left may still run.
    how: Option<How>,
    /// Nobody wants the outcome.
    cancelled: bool,
    /// Nothing is left below us.
    all_gone: bool,
}

impl Runner {
    fn new(connection: UnixStream, signals: SignalFd, child: Pid, output: PipeReader) -> io::Result<Self> {
        let mut events = EventLoop::new()?;
        connection.set_nonblocking(true)?;
        let hearing = events.register(&connection, Interest::Read, Event::Connection)?;
        events.register_forever(&signals, Interest::Read, Event::Signal)?;
        let token = events.register(&output, Interest::Read, Event::Output)?;
        Ok(Self {
            events,
            connection,
            hearing: Some(hearing),
            signals,
            child,
            output: Some((token, output)),
            line: LastLine::default(),
            how: None,
            cancelled: false,
            all_gone: false,
        })
    }

    /// Until the command has ended, and everything that it started.
    fn follow(&mut self, limit: Duration) -> Result<(), Error> {
        let mut phase = Phase::Running { until: self.events.clock().now() + limit };
        let mut timed_out = false;
        let mut ready = Vec::new();
        // It may have ended before its signals came to the descriptor.
        self.reap();
        loop {
            let now = self.events.clock().now();
            timed_out |= matches!(phase, Phase::Running { until } if until <= now && self.how.is_none());
            if self.all_gone && self.how.is_some() {
                return self.finish(timed_out, 0);
            }
            match self.step(now, phase) {
                Some(next) => phase = next,
                None => return self.finish(timed_out, self.left()),
            }
            let waited = self.events.wait(Some(phase.deadline()), &mut ready);
            waited.map_err(Error::when("wait for events"))?;
            for (event, _) in ready.drain(..) {
                match event {
                    Event::Connection => self.hear(),
                    Event::Output => {
                        self.read();
                    }
                    Event::Signal => self.on_signals(),
                }
            }
        }
    }

    /// What comes next; `None`: there is no hope.
    fn step(&self, now: Instant, phase: Phase) -> Option<Phase> {
        let has_ended = self.how.is_some();
        match phase {
            Phase::Running { .. } if has_ended => Some(self.end_all(now, now + KILL_GRACE)),
            Phase::Running { until } if self.cancelled || until <= now => {
                // Its number is its own as long as we have not reaped it.
                let _ = killpg(self.child, Signal::SIGTERM);
                Some(Phase::Terminating { until: now + TERM_GRACE })
            }
            Phase::Terminating { until } if has_ended || until <= now => {
                Some(self.end_all(now, now + KILL_GRACE))
            }
            Phase::Killing { give_up, .. } if give_up <= now => None,
            Phase::Killing { again, give_up } if again <= now => Some(self.end_all(now, give_up)),
            Phase::Running { .. } | Phase::Terminating { .. } | Phase::Killing { .. } => Some(phase),
        }
    }

    /// SIGKILL to the group in one call, so that one that forks and forks cannot run ahead of us, then to each process
    /// below us, until no new one is found. What is left when this returns has a SIGKILL on its way.
    fn end_all(&self, now: Instant, give_up: Instant) -> Phase {
        if self.how.is_none() {
            let _ = killpg(self.child, Signal::SIGKILL);
        }
        let mut killed = Vec::new();
        for _ in 0..LOOKS {
            let found = tree::descendants(Pid::this(), |_| false).unwrap_or_default();
            let fresh: Vec<Pid> = found.into_iter().filter(|pid| !killed.contains(pid)).collect();
            if fresh.is_empty() {
                break;
            }
            for pid in &fresh {
                let _ = kill(*pid, Signal::SIGKILL);
            }
            killed.extend(fresh);
        }
        Phase::Killing { again: now + LOOK_AGAIN, give_up }
    }

    fn left(&self) -> u16 {
        let left = tree::descendants(Pid::this(), |_| false).unwrap_or_default().len();
        u16::try_from(left).unwrap_or(u16::MAX)
    }

    fn finish(&mut self, timed_out: bool, survivors: u16) -> Result<(), Error> {
        if self.cancelled {
            return Ok(());
        }
        for _ in 0..LAST_READS {
            if !self.read() {
                break;
            }
        }
        let how = if timed_out { How::TimedOut } else { self.how.unwrap_or(How::TimedOut) };
        let end = End { how, last_line: self.line.get().to_vec(), survivors };
        let blocking = self.connection.set_nonblocking(false);
        blocking.map_err(Error::when("report to checkd"))?;
        report(&mut self.connection, &Report::Ended(end))
    }

    /// Whoever is on the other side says nothing more: it can only go.
    fn hear(&mut self) {
        match self.connection.read(&mut [0; 64]) {
            Ok(1..) => {}
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Ok(0) | Err(_) => {
                self.cancelled = true;
                // A closed connection is readable for ever.
                if let Some(token) = self.hearing.take() {
                    self.events.deregister(token, &self.connection);
                }
            }
        }
    }

    /// One portion of the output. Whether there was any.
    fn read(&mut self) -> bool {
        let Some((token, output)) = &mut self.output else { return false };
        let mut buffer = [0; BUFFER];
        match output.read(&mut buffer) {
            Ok(count @ 1..) => {
                self.line.add(&buffer[..count]);
                true
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                false
            }
            Ok(0) | Err(_) => {
                self.events.deregister(*token, &*output);
                self.output = None;
                false
            }
        }
    }

    fn on_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.read_signal() {
            let number = i32::try_from(signal.ssi_signo).unwrap_or(0);
            if number != Signal::SIGCHLD as i32 {
                self.cancelled = true;
            }
        }
        self.reap();
    }

    fn reap(&mut self) {
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == self.child => {
                    self.how = Some(How::Exited(u8::try_from(status).unwrap_or(u8::MAX)));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.child => {
                    self.how = Some(How::Signalled(u8::try_from(signal as i32).unwrap_or(0)));
                }
                Ok(WaitStatus::StillAlive) => return,
                Err(Errno::ECHILD) => {
                    self.all_gone = true;
                    self.how.get_or_insert(How::Signalled(0));
                    return;
                }
                // EINVAL: one was reaped that a signal without a name in nix has ended (a real-time one).
                Err(Errno::EINTR | Errno::EINVAL) | Ok(_) => {}
                Err(_) => return,
            }
        }
    }
}
