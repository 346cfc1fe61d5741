//! The file itself: read at the start, written by a thread of its own, replaced as a whole.

use std::fs::OpenOptions;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, TrySendError, channel, sync_channel};
use std::thread;
use std::time::Duration;

use daemon::cli::below;
use daemon::replace::{Durability, Replacement};
use nix::fcntl::OFlag;

/// Larger files are not ours: this is room for several hundred thousand targets.
const LIMIT: u64 = 64 * 1024 * 1024;
/// Portions that may wait for a slow disk.
const PORTIONS: usize = 8;
/// Stack of the writing thread, bytes.
const STACK: usize = 128 * 1024;
/// Between two tries to hand over what must not be lost.
const PAUSE: Duration = Duration::from_millis(5);

/// Where the results are.
#[derive(Clone, Debug)]
pub struct File(PathBuf);

impl File {
    pub fn below(root: &Path) -> Self {
        Self(below(root, "/run/trivet-checkd/results"))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// `None`: there is none.
    ///
    /// # Errors
    /// It cannot be read, or cannot be ours.
    pub fn read(&self) -> io::Result<Option<Vec<u8>>> {
        // A link, or a pipe that nobody writes to, is not followed or waited for.
        let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(&self.0) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let about = file.metadata()?;
        if !about.is_file() || about.len() > LIMIT {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file of ours"));
        }
        let mut bytes = Vec::new();
        file.take(LIMIT).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// The file that grows until it is whole.
    fn create(&self) -> io::Result<Replacement> {
        Replacement::begin(&self.0, 0o600)
    }
}

/// What the thread is to do.
#[derive(Debug)]
pub enum Message {
    /// A new file begins; one that has not ended is given up.
    Begin,
    Portion(String),
    /// That was all: put it in its place.
    End,
    /// Say when everything before this is done.
    Flush(Sender<()>),
}

/// The loop's end of the thread.
#[derive(Debug)]
pub struct Writer(SyncSender<Message>);

impl Writer {
    /// # Errors
    /// If the thread cannot be started.
    pub fn start(file: File) -> io::Result<Self> {
        let (sender, messages) = sync_channel(PORTIONS);
        let run = move || run(&file, &messages);
        thread::Builder::new().name("results".into()).stack_size(STACK).spawn(run)?;
        Ok(Self(sender))
    }

    /// Never waits.
    ///
    /// # Errors
    /// The message comes back if the thread is behind.
    pub fn send(&self, message: Message) -> Result<(), Message> {
        self.0.try_send(message).map_err(|error| match error {
            TrySendError::Full(message) | TrySendError::Disconnected(message) => message,
        })
    }

    /// At the end of the process: hand all of this over and wait until it is done, for `patience` at most. Whether
    /// it was.
    pub fn finish(&self, messages: Vec<Message>, patience: Duration) -> bool {
        let (done, written) = channel();
        // Nobody ever sends: it is a wait with a timeout.
        let (_never, pause) = channel::<()>();
        let mut left = patience;
        for message in messages.into_iter().chain([Message::Flush(done)]) {
            let mut message = message;
            while let Err(back) = self.send(message) {
                let Some(rest) = left.checked_sub(PAUSE) else { return false };
                left = rest;
                message = back;
                let _ = pause.recv_timeout(PAUSE);
            }
        }
        written.recv_timeout(left).is_ok()
    }
}

fn run(file: &File, messages: &Receiver<Message>) {
    let mut growing = None;
    // A directory that cannot be written to is complained about once, not every second.
    let mut complained = false;
    for message in messages {
        let result = perform(file, &mut growing, message);
        match result {
            Ok(ended) => complained &= !ended,
            Err(error) => {
                growing = None;
                if !complained {
                    let path = file.path().display();
                    log::warn!("cannot write {path}: {error}; a restart of checkd will not know its results");
                }
                complained = true;
            }
        }
    }
}

/// Whether a file is in its place now.
fn perform(file: &File, growing: &mut Option<Replacement>, message: Message) -> io::Result<bool> {
    match message {
        Message::Begin => *growing = Some(file.create()?),
        Message::Portion(text) => {
            if let Some(growing) = growing {
                growing.write_all(text.as_bytes())?;
            }
        }
        Message::End => {
            if let Some(whole) = growing.take() {
                whole.put_in_place(Durability::Process)?;
                return Ok(true);
            }
        }
        // Who does not wait any more need not know.
        Message::Flush(done) => drop(done.send(())),
    }
    Ok(false)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use daemon::testing::TempRoot;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(60);

    /// One whose messages nobody takes, and where they wait.
    pub(crate) fn unattended() -> (Writer, Receiver<Message>) {
        let (sender, messages) = sync_channel(PORTIONS);
        (Writer(sender), messages)
    }

    fn portion(text: &str) -> Message {
        Message::Portion(text.to_owned())
    }

    #[test]
    fn a_file_is_replaced_when_it_is_whole_and_not_before() {
        let root = TempRoot::new();
        let file = File::below(root.path());
        assert_eq!(file.read().unwrap(), None);
        let writer = Writer::start(file.clone()).unwrap();
        assert!(writer.finish(vec![Message::Begin, portion("one "), portion("two"), Message::End], PATIENCE));
        assert_eq!(file.read().unwrap().unwrap(), b"one two");
        assert!(writer.finish(vec![Message::Begin, portion("half")], PATIENCE));
        assert_eq!(file.read().unwrap().unwrap(), b"one two", "what is not whole replaces nothing");
        assert!(writer.finish(vec![Message::Begin, portion("three"), Message::End], PATIENCE));
        assert_eq!(file.read().unwrap().unwrap(), b"three");
        let mode = fs::metadata(file.path()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "what is known of servers is nobody else's business");
    }

    #[test]
    fn what_is_no_file_is_not_read_and_not_waited_for() {
        let root = TempRoot::new();
        let file = File::below(root.path());
        fs::create_dir_all(file.path()).unwrap();
        assert!(file.read().is_err(), "a folder");
        fs::remove_dir(file.path()).unwrap();
        nix::unistd::mkfifo(file.path(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(file.read().is_err(), "a pipe");
        fs::remove_file(file.path()).unwrap();
        root.write("elsewhere", "trivet-checkd results 1\n");
        std::os::unix::fs::symlink(root.path().join("elsewhere"), file.path()).unwrap();
        assert!(file.read().is_err(), "a link");
        fs::remove_file(file.path()).unwrap();
        fs::File::create(file.path()).unwrap().set_len(LIMIT + 1).unwrap();
        assert!(file.read().is_err(), "a monster");
    }

    #[test]
    fn a_place_that_cannot_be_written_to_ends_nothing() {
        let root = TempRoot::new();
        root.write("run/trivet-checkd", "this is no folder");
        let writer = Writer::start(File::below(root.path())).unwrap();
        assert!(writer.finish(vec![Message::Begin, portion("one"), Message::End], PATIENCE));
        fs::remove_file(root.path().join("run/trivet-checkd")).unwrap();
        assert!(writer.finish(vec![Message::Begin, portion("two"), Message::End], PATIENCE));
        assert_eq!(File::below(root.path()).read().unwrap().unwrap(), b"two");
    }
}
