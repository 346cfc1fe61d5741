//! Runs nft(8), on a thread of its own: a transaction takes milliseconds, and no packet waits for it (DEPENDENCIES.md
//! says why the program and not a library). Whether somebody changed our tables is seen by listing them again.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender as JobSender, channel};
use std::thread;

use daemon::queue::{Receiver, Sender, queue};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::keeper::{Job, Outcome};
use super::{Rules, TABLE};

/// Stack of the thread, bytes.
const STACK: usize = 256 * 1024;
/// nft is silent until it is done, after some milliseconds. One that is silent for so long, in milliseconds, is killed.
const PATIENCE: u16 = 4_000;
/// The families in which we have a table.
const FAMILIES: [&str; 2] = ["inet", "arp"];

/// The loop's handle. One job at a time.
#[derive(Debug)]
pub struct Worker {
    jobs: JobSender<Job>,
    pub answers: Receiver<Result<Outcome, String>>,
}

impl Worker {
    /// Start the thread.
    pub fn start() -> io::Result<Self> {
        let (jobs, todo) = channel::<Job>();
        let (sender, answers) = queue(4)?;
        thread::Builder::new().name("nft".into()).stack_size(STACK).spawn(move || {
            let mut tables = Tables::default();
            for job in todo {
                answer(&sender, tables.perform(job));
            }
        })?;
        Ok(Self { jobs, answers })
    }

    /// Have it done; it is answered. Never blocks.
    ///
    /// # Errors
    /// If the thread has ended.
    pub fn request(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| io::Error::other("the thread that runs nft has ended"))
    }
}

fn answer(answers: &Sender<Result<Outcome, String>>, result: Result<Outcome, String>) {
    // There is room: one job is under way at a time. Or the loop has ended, and nobody asks.
    let _ = answers.send(result);
}

/// Our tables as they were made last.
#[derive(Debug, Default)]
struct Tables {
    rules: Rules,
    /// How nft lists each, by family.
    listed: Vec<(&'static str, String)>,
}

impl Tables {
    fn perform(&mut self, job: Job) -> Result<Outcome, String> {
        match job {
            Job::Apply(rules) => {
                self.apply(rules)?;
                Ok(Outcome::Applied)
            }
            Job::Check if self.is_intact()? => Ok(Outcome::Intact),
            Job::Check => {
                self.apply(self.rules.clone())?;
                Ok(Outcome::Restored)
            }
        }
    }

    /// In one transaction: there is no moment without rules.
    fn apply(&mut self, rules: Rules) -> Result<(), String> {
        let existing = match existing() {
            // Who never needed nft need not have it.
            Err(error) if rules.is_empty() && error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|error| describe(&error))?,
        };
        let tables = rules.tables();
        let mut script = String::new();
        for family in existing {
            script.push_str(&format!("delete table {family} {TABLE}\n"));
        }
        for (_, text) in &tables {
            script.push_str(text);
        }
        self.listed.clear();
        if !script.is_empty() {
            nft(&["-f", "-"], &script).map_err(|error| describe(&error))?;
        }
        for (family, _) in &tables {
            self.listed.push((family, list(family).map_err(|error| describe(&error))?));
        }
        self.rules = rules;
        Ok(())
    }

    fn is_intact(&self) -> Result<bool, String> {
        for (family, listed) in &self.listed {
            match list(family) {
                Ok(now) if now == *listed => {}
                Ok(_) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(describe(&error)),
                // There is no such table any more.
                Err(_) => return Ok(false),
            }
        }
        Ok(true)
    }
}

/// Remove our tables: what a vrrpd that did not end well left behind. Blocks until it is done. Returns their families.
///
/// # Errors
/// If nft is there and fails.
pub fn release_all() -> io::Result<Vec<&'static str>> {
    let existing = match existing() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    for family in &existing {
        nft(&["delete", "table", family, TABLE], "")?;
    }
    Ok(existing)
}

/// The families that have a table of our name.
fn existing() -> io::Result<Vec<&'static str>> {
    let tables = nft(&["list", "tables"], "")?;
    let has = |family: &&str| tables.lines().any(|line| line == format!("table {family} {TABLE}"));
    Ok(FAMILIES.into_iter().filter(has).collect())
}

/// Without its counters.
fn list(family: &str) -> io::Result<String> {
    nft(&["--stateless", "list", "table", family, TABLE], "")
}

/// What nft printed. Its own message is the error; `NotFound`: there is no nft.
fn nft(arguments: &[&str], input: &str) -> io::Result<String> {
    let mut command = Command::new("nft");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn()?;
    // nft reads everything before it prints anything. One that ends early says why.
    let _ = child.stdin.take().expect("it was asked for").write_all(input.as_bytes());
    let [stdout, stderr] = match outputs(&mut child) {
        Ok(outputs) => outputs,
        Err(error) => {
            // Whatever it waits for: the next one may not have to.
            let _ = child.kill();
            let _ = child.wait();
            return Err(error);
        }
    };
    let status = child.wait()?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = said.lines().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    Err(io::Error::other(format!("nft failed ({status}): {said}")))
}

/// Everything that it prints, until it has closed both.
fn outputs(child: &mut Child) -> io::Result<[Vec<u8>; 2]> {
    let stdout = File::from(OwnedFd::from(child.stdout.take().expect("it was asked for")));
    let stderr = File::from(OwnedFd::from(child.stderr.take().expect("it was asked for")));
    let mut texts = [Vec::new(), Vec::new()];
    let mut open = vec![(0, stdout), (1, stderr)];
    while !open.is_empty() {
        let mut fds: Vec<PollFd<'_>> =
            open.iter().map(|(_, file)| PollFd::new(file.as_fd(), PollFlags::POLLIN)).collect();
        match poll(&mut fds, PollTimeout::from(PATIENCE)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "nft does not answer, killed it")),
            Ok(_) => {}
            Err(Errno::EINTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = fds.iter().map(|fd| fd.any() == Some(true)).collect();
        let mut index = 0;
        open.retain_mut(|(which, file)| {
            let is_ready = ready[index];
            index += 1;
            let mut buffer = [0; 4096];
            let length = if is_ready { file.read(&mut buffer).unwrap_or(0) } else { return true };
            texts[*which].extend_from_slice(&buffer[..length]);
            length > 0
        });
    }
    Ok(texts)
}

fn describe(error: &io::Error) -> String {
    if error.kind() == io::ErrorKind::NotFound {
        return "the program nft is missing; install the package nftables".into();
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(script: &str) -> io::Result<[Vec<u8>; 2]> {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let outputs = outputs(&mut child);
        let _ = child.kill();
        child.wait().unwrap();
        outputs
    }

    #[test]
    fn everything_that_a_program_prints_is_read_however_much_it_is() {
        let [stdout, stderr] = run("seq 100000; echo oops >&2").unwrap();
        assert!(stdout.starts_with(b"1\n2\n") && stdout.ends_with(b"\n100000\n"));
        assert_eq!(stderr, b"oops\n");
    }

    #[test]
    fn a_program_that_hangs_is_given_up() {
        assert_eq!(run("exec sleep 60").unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
