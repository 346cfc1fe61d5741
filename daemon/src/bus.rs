//! The D-Bus thread: what a daemon shows on the system bus, and what it hears from there.
//!
//! The loop publishes snapshots and never waits; the thread answers property reads from the last one, announces
//! what changed, and hands commands to the loop through a queue, each with a deadline for its reply. Without a bus
//! the thread tries again until there is one, and serves everything anew.

mod objects;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use futures_channel::{mpsc as async_mpsc, oneshot};
use futures_util::StreamExt;
use futures_util::future::{Either, select};
use zbus::{Connection, connection, fdo};

pub use self::objects::{Objects, announce_changes, path_element, properties};

use crate::queue::Sender;

/// Stack of the bus thread, bytes.
const STACK: usize = 1024 * 1024;
/// How long the loop may take to answer a command, and a peer to answer a call.
const REPLY_DEADLINE: Duration = Duration::from_secs(10);
/// Wait before the bus is tried again: doubled from the first to the last.
const RETRY: std::ops::RangeInclusive<Duration> = Duration::from_millis(250)..=Duration::from_secs(5);

/// What one daemon does on the bus. It lives on the bus thread.
pub trait Service: Send + 'static {
    /// The state that the loop publishes.
    type Snapshot: Send + Sync + 'static;
    /// The well-known name, such as `org.trivet.Vrrp1`.
    const NAME: &'static str;

    /// Serve one connection: export the objects, call [`Session::take_name`], then follow [`Session::changed`].
    /// It is dropped when the connection ends, and called anew with the next.
    fn serve(&mut self, session: Session<Self::Snapshot>) -> impl Future<Output = zbus::Result<()>>;
}

/// The last published snapshot, for whoever answers from it.
#[derive(Debug)]
pub struct Model<S>(Arc<Mutex<Arc<S>>>);

impl<S> Clone for Model<S> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<S> Model<S> {
    /// [`start`] makes one; others are for tests.
    pub fn new(snapshot: S) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(snapshot))))
    }

    /// The lock is held for the copy of one pointer, here and in the loop.
    pub fn latest(&self) -> Arc<S> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, snapshot: S) {
        // The former snapshot is freed outside the lock.
        let _former = {
            let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(snapshot))
        };
    }
}

/// The loop's end.
#[derive(Debug)]
pub struct Publisher<S> {
    model: Model<S>,
    changed: async_mpsc::Sender<()>,
}

impl<S> Publisher<S> {
    /// Show a new state; never blocks. Several in quick succession may be announced as one.
    pub fn publish(&mut self, snapshot: S) {
        self.model.replace(snapshot);
        self.wake();
    }

    /// Let [`Session::changed`] return: there is something to be told beside the snapshot. Never blocks.
    pub fn wake(&mut self) {
        // Full: a wake-up is on its way already.
        let _ = self.changed.try_send(());
    }
}

/// One connection to the bus, as its service sees it.
#[derive(Debug)]
pub struct Session<S> {
    pub connection: Connection,
    pub model: Model<S>,
    name: &'static str,
    changed: Changes,
    name_taken: Arc<AtomicBool>,
}

/// The receiving end of "look at the model", which outlives each connection.
type Changes = Arc<futures_util::lock::Mutex<async_mpsc::Receiver<()>>>;

impl<S> Session<S> {
    /// Take the well-known name; call it when the objects are there, so that nobody finds the name without them.
    ///
    /// # Errors
    /// The bus's policy forbids it, or another process has it.
    pub async fn take_name(&self) -> zbus::Result<()> {
        self.connection.request_name(self.name).await?;
        self.name_taken.store(true, Ordering::Relaxed);
        log::info!("serving {} on the bus", self.name);
        Ok(())
    }

    /// Wait for the next publication. Returns at once if there was one since the last call.
    pub async fn changed(&self) {
        let ended = self.changed.lock().await.next().await.is_none();
        if ended {
            // The loop is gone: so are we, in a moment.
            std::future::pending::<()>().await;
        }
    }
}

/// Start the bus thread with a first snapshot. It ends with the process.
pub fn start<V: Service>(service: V, first: V::Snapshot) -> io::Result<Publisher<V::Snapshot>> {
    let model = Model::new(first);
    // One wake-up is enough: it says "look at the model", not what changed.
    let (changed, changes) = async_mpsc::channel(0);
    let thread_model = model.clone();
    thread::Builder::new()
        .name("bus".into())
        .stack_size(STACK)
        .spawn(move || run(service, &thread_model, changes))?;
    Ok(Publisher { model, changed })
}

fn run<V: Service>(mut service: V, model: &Model<V::Snapshot>, changes: async_mpsc::Receiver<()>) {
    let changes = Arc::new(futures_util::lock::Mutex::new(changes));
    // Nobody ever sends: it is a wait with a timeout.
    let (_never, pause) = mpsc::channel::<()>();
    let mut retry = *RETRY.start();
    let mut last_complaint = String::new();
    loop {
        let name_taken = Arc::new(AtomicBool::new(false));
        let result = zbus::block_on(session(&mut service, model, &changes, &name_taken));
        let complaint =
            result.err().map_or_else(|| "the connection ended".to_owned(), |error| error.to_string());
        let served = name_taken.load(Ordering::Relaxed);
        if served {
            retry = *RETRY.start();
        }
        // A bus that stays away is reported once, not at every try.
        if served || complaint != last_complaint {
            log::warn!("{} is not on the bus: {complaint}, trying again", V::NAME);
            last_complaint = complaint;
        }
        let _ = pause.recv_timeout(retry);
        retry = (retry * 2).min(*RETRY.end());
    }
}

async fn session<V: Service>(
    service: &mut V,
    model: &Model<V::Snapshot>,
    changes: &Changes,
    name_taken: &Arc<AtomicBool>,
) -> zbus::Result<()> {
    // DBUS_SYSTEM_BUS_ADDRESS, if set, is heeded by `system`.
    let connection = connection::Builder::system().method_timeout(REPLY_DEADLINE).build().await?;
    let session = Session {
        connection: connection.clone(),
        model: model.clone(),
        name: V::NAME,
        changed: Arc::clone(changes),
        name_taken: Arc::clone(name_taken),
    };
    let serve = pin!(service.serve(session));
    let closed = pin!(connection.closed());
    match select(serve, closed).await {
        Either::Left((result, _)) => result,
        Either::Right(((), _)) => Ok(()),
    }
}

/// Where the loop's answer to a command goes.
pub type Reply<R> = oneshot::Sender<R>;

/// Hand a command to the loop and await its reply.
///
/// # Errors
/// `LimitsExceeded` if too many commands wait already, `TimedOut` if the loop does not answer in time.
pub async fn ask<C, R>(commands: &Sender<C>, command: impl FnOnce(Reply<R>) -> C) -> fdo::Result<R> {
    ask_within(commands, REPLY_DEADLINE, command).await
}

/// As [`ask`], for a command that takes its time.
pub async fn ask_within<C, R>(
    commands: &Sender<C>,
    deadline: Duration,
    command: impl FnOnce(Reply<R>) -> C,
) -> fdo::Result<R> {
    let (reply, answer) = oneshot::channel();
    if commands.send(command(reply)).is_err() {
        return Err(fdo::Error::LimitsExceeded("too many commands are waiting; try again".into()));
    }
    let runtime =
        zruntime::SharedRuntime::current().map_err(|error| fdo::Error::IOError(error.to_string()))?;
    match runtime.timeout(deadline, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err(fdo::Error::Failed("the daemon is stopping".into())),
        Err(_) => Err(fdo::Error::TimedOut("the daemon did not answer in time".into())),
    }
}

/// Callers that may wait at one [`Turnstile`].
const WAITING: usize = 16;

/// Questions that several may ask and that the loop has to answer: one at a time. However many callers there are, one
/// command of theirs waits in the queue, and the loop answers one of them a turn. A few more may wait for their turn;
/// whoever comes beyond that is told so at once, and keeps nothing of ours.
#[derive(Debug, Default)]
pub struct Turnstile {
    turn: futures_util::lock::Mutex<()>,
    /// With the one whose turn it is.
    inside: AtomicUsize,
}

/// A place at a turnstile, until it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Turnstile {
    /// As [`ask`], when it is this caller's turn.
    ///
    /// # Errors
    /// `LimitsExceeded` if too many wait already.
    pub async fn ask<C, R>(
        &self,
        commands: &Sender<C>,
        command: impl FnOnce(Reply<R>) -> C,
    ) -> fdo::Result<R> {
        let place = Place(&self.inside);
        if place.0.fetch_add(1, Ordering::Relaxed) > WAITING {
            let message = format!("{WAITING} others are waiting for an answer already; try again");
            return Err(fdo::Error::LimitsExceeded(message));
        }
        let _turn = self.turn.lock().await;
        ask(commands, command).await
    }
}

/// Wait on the bus thread; nothing else of the thread is held up.
pub async fn pause(duration: Duration) {
    if let Ok(runtime) = zruntime::SharedRuntime::current() {
        runtime.sleep(duration).await;
    }
}

/// Let everything else on the bus thread have its turn: long work does this now and then.
pub async fn step_aside() {
    let mut again = true;
    poll_fn(|context| {
        if std::mem::take(&mut again) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readers_see_the_last_published_snapshot_and_are_woken_once_for_several() {
        let model = Model::new(1);
        let (changed, mut changes) = async_mpsc::channel(0);
        let mut publisher = Publisher { model: model.clone(), changed };
        for snapshot in 2..5 {
            publisher.publish(snapshot);
        }
        assert_eq!(*model.latest(), 4);
        assert!(changes.try_recv().is_ok() && changes.try_recv().is_err());
    }

    #[test]
    fn a_command_that_cannot_be_queued_is_refused_at_once() {
        let (sender, receiver) = crate::queue::queue::<Reply<()>>(1).unwrap();
        drop(receiver);
        let answer: fdo::Result<()> = zbus::block_on(ask(&sender, |reply| reply));
        assert!(matches!(answer, Err(fdo::Error::LimitsExceeded(_))), "{answer:?}");
    }

    #[test]
    fn behind_a_turnstile_one_question_waits_in_the_queue_however_many_are_asked() {
        let (sender, receiver) = crate::queue::queue::<Reply<usize>>(8).unwrap();
        let thread = thread::spawn(move || {
            let mut most = 0;
            let mut answered = 0;
            while answered < WAITING {
                let questions: Vec<_> = receiver.drain().collect();
                most = most.max(questions.len());
                for reply in questions {
                    answered += 1;
                    reply.send(answered).unwrap();
                }
                thread::yield_now();
            }
            most
        });
        let turnstile = Turnstile::default();
        let questions = (0..WAITING).map(|_| turnstile.ask(&sender, |reply| reply));
        let answers = zbus::block_on(futures_util::future::join_all(questions));
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(thread.join().unwrap(), 1);
    }

    #[test]
    fn a_turnstile_has_room_for_so_many_and_tells_whoever_comes_beyond() {
        let (sender, receiver) = crate::queue::queue::<Reply<usize>>(8).unwrap();
        let turnstile = Turnstile::default();
        for _ in 0..2 {
            let refused = AtomicUsize::new(0);
            let questions = (0..WAITING + 1 + 5).map(|_| async {
                let answer = turnstile.ask(&sender, |reply| reply).await;
                if matches!(answer, Err(fdo::Error::LimitsExceeded(_))) {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
                answer.is_ok()
            });
            let loops = async {
                let mut answered = 0;
                while answered < WAITING + 1 {
                    step_aside().await;
                    assert_eq!(refused.load(Ordering::Relaxed), 5, "at once, before anybody was answered");
                    for reply in receiver.drain() {
                        answered += 1;
                        reply.send(answered).unwrap();
                    }
                }
            };
            let all = futures_util::future::join(futures_util::future::join_all(questions), loops);
            let (answers, ()) = zbus::block_on(all);
            assert_eq!(answers.iter().filter(|answered| **answered).count(), WAITING + 1, "{answers:?}");
        }
    }

    #[test]
    fn the_loops_answer_reaches_the_caller() {
        let (sender, receiver) = crate::queue::queue::<Reply<u8>>(1).unwrap();
        let thread = thread::spawn(move || {
            loop {
                if let Some(reply) = receiver.drain().next() {
                    return reply.send(7);
                }
                thread::yield_now();
            }
        });
        assert_eq!(zbus::block_on(ask(&sender, |reply| reply)).unwrap(), 7);
        thread.join().unwrap().unwrap();
    }
}
