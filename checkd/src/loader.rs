//! Reads the configuration again on a thread of its own: thousands of files take a tenth of a second, in which no probe
//! would be started and no answer be looked at. One reading at a time; who asks during one is served by another one.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{io, thread};

use daemon::diagnostic::Report;
use daemon::queue::{Receiver, Sender, queue};

use crate::config::{self, Configuration};

/// What was read; to be used only if the report has no errors.
#[derive(Debug)]
pub struct Loaded {
    pub configuration: Configuration,
    pub report: Report,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Reading,
    /// And the files may be others since that began.
    ReadingOld,
}

/// Register it for reading: what was read is there when it is ready.
#[derive(Debug)]
pub struct Loader {
    root: Arc<Path>,
    state: State,
    sender: Sender<Loaded>,
    receiver: Receiver<Loaded>,
}

impl Loader {
    pub fn new(root: PathBuf) -> io::Result<Self> {
        let (sender, receiver) = queue(1)?;
        Ok(Self { root: root.into(), state: State::Idle, sender, receiver })
    }

    /// Read everything as it is now.
    ///
    /// # Errors
    /// There is no thread to be had; nothing is read.
    pub fn begin(&mut self) -> io::Result<()> {
        if self.state != State::Idle {
            self.state = State::ReadingOld;
            return Ok(());
        }
        let (root, sender) = (Arc::clone(&self.root), self.sender.clone());
        thread::Builder::new().name("reload".into()).spawn(move || {
            let mut report = Report::new();
            let configuration = config::load(&root, &mut report);
            config::exec::warn(&configuration.programs, &mut report);
            // There is room: one is read at a time.
            let _ = sender.send(Loaded { configuration, report });
        })?;
        self.state = State::Reading;
        Ok(())
    }

    /// What was read, once. `None`: nothing is ready, or it was old and is being read again.
    ///
    /// # Errors
    /// It was old, and there is no thread to be had.
    pub fn take(&mut self) -> io::Result<Option<Loaded>> {
        let Some(loaded) = self.receiver.drain().next() else { return Ok(None) };
        let state = std::mem::replace(&mut self.state, State::Idle);
        if state == State::ReadingOld {
            return self.begin().map(|()| None);
        }
        Ok(Some(loaded))
    }
}

impl AsFd for Loader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.receiver.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use daemon::event_loop::{EventLoop, Interest};
    use daemon::testing::TempRoot;

    use super::*;

    fn next(loader: &mut Loader) -> Loaded {
        let mut events = EventLoop::new().unwrap();
        events.register_forever(&*loader, Interest::Read, ()).unwrap();
        let mut ready = Vec::new();
        loop {
            events.wait(None, &mut ready).unwrap();
            if let Some(loaded) = loader.take().unwrap() {
                return loaded;
            }
        }
    }

    #[test]
    fn who_asks_during_a_reading_gets_the_files_as_they_were_when_he_asked() {
        let root = TempRoot::new();
        let mut loader = Loader::new(root.path().to_owned()).unwrap();
        for round in 0..50 {
            loader.begin().unwrap();
            let name = format!("round-{round}");
            root.write(&format!("etc/trivet/check.d/{name}.toml"), "type = \"tcp\"\n");
            loader.begin().unwrap();
            let loaded = next(&mut loader);
            assert!(loaded.configuration.checks.contains_key(&name), "{name} came after the reading began");
        }
        assert!(loader.take().unwrap().is_none(), "nothing is told twice");
    }

    #[test]
    fn mistakes_come_with_what_was_read() {
        let root = TempRoot::new();
        root.write("etc/trivet/check.d/web.toml", "type = \"htp\"\n");
        let mut loader = Loader::new(root.path().to_owned()).unwrap();
        loader.begin().unwrap();
        assert!(next(&mut loader).report.has_errors());
    }
}
