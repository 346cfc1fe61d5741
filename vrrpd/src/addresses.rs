//! Adding and removing virtual addresses, on a thread with rtnetlink and a runtime of its own.
//!
//! The loop hands over a batch and goes on; all requests of a batch are in flight together, batches one after the
//! other, and each answer comes back through the queue. Every address carries our IFA_PROTO tag, so that we never
//! take the administrator's for ours.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::thread;
use std::time::Duration;

use daemon::queue::{Receiver, Sender, queue};
use futures_util::future::join_all;
use netlink_packet_route::address::{AddressAttribute, AddressMessage, AddressProtocol};
use rtnetlink::{AddressMessageBuilder, Handle};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::interfaces::OUR_TAG;
use crate::types::VirtualAddress;

/// Stack of the thread, bytes.
const STACK: usize = 512 * 1024;
/// Answers that may wait for the loop.
const ANSWERS: usize = 8192;
/// When the loop is that far behind, the thread waits for it.
const FULL_PAUSE: Duration = Duration::from_millis(1);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Remove,
}

/// What is to be done with one address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub address: VirtualAddress,
    /// The index of its interface.
    pub index: u32,
}

/// How it ended.
#[derive(Debug)]
pub struct Answer {
    pub request: Request,
    pub result: Result<Outcome, io::Error>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was there before we added it, or gone before we removed it. Whose it is, the mirror tells.
    AlreadySo,
}

/// The loop's handle.
#[derive(Debug)]
pub struct Addresses {
    requests: UnboundedSender<Vec<Request>>,
    pub answers: Receiver<Answer>,
}

impl Addresses {
    /// Start the thread.
    pub fn start() -> io::Result<Self> {
        let (requests, batches) = unbounded_channel();
        let (sender, answers) = queue(ANSWERS)?;
        let runtime = runtime()?;
        thread::Builder::new()
            .name("addresses".into())
            .stack_size(STACK)
            .spawn(move || runtime.block_on(run(batches, &sender)))?;
        Ok(Self { requests, answers })
    }

    /// Have a batch done; every request is answered. Never blocks.
    ///
    /// # Errors
    /// If the thread has ended: nothing can be done about addresses any more.
    pub fn request(&self, batch: Vec<Request>) -> io::Result<()> {
        self.requests.send(batch).map_err(|_| io::Error::other("the thread that changes addresses has ended"))
    }
}

fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()
}

/// Whatever happens to rtnetlink, every request is answered: one that is not would never be tried again, and an
/// Active router would stay without its address.
async fn run(mut batches: UnboundedReceiver<Vec<Request>>, answers: &Sender<Answer>) {
    let mut handle = None;
    while let Some(batch) = batches.recv().await {
        let done = match connected(&mut handle) {
            Ok(handle) => join_all(batch.into_iter().map(|request| perform(handle, request))).await,
            Err(error) => batch.into_iter().map(|request| refused(request, &error)).collect(),
        };
        // What the kernel refuses has an errno; anything else is the end of the connection.
        let lost =
            |answer: &Answer| answer.result.as_ref().is_err_and(|error| error.raw_os_error().is_none());
        if done.iter().any(lost) {
            handle = None;
        }
        for answer in done {
            deliver(answers, answer).await;
        }
    }
}

/// The connection to rtnetlink, opened if there is none.
fn connected(handle: &mut Option<Handle>) -> io::Result<&Handle> {
    if let Some(handle) = handle {
        return Ok(handle);
    }
    let (connection, opened, _messages) = rtnetlink::new_connection()?;
    tokio::spawn(connection);
    Ok(handle.insert(opened))
}

fn refused(request: Request, error: &io::Error) -> Answer {
    let result = Err(io::Error::new(error.kind(), format!("cannot open rtnetlink: {error}")));
    Answer { request, result }
}

async fn deliver(answers: &Sender<Answer>, answer: Answer) {
    let mut waiting = answer;
    while let Err(back) = answers.send(waiting) {
        waiting = back;
        tokio::time::sleep(FULL_PAUSE).await;
    }
}

async fn perform(handle: &Handle, request: Request) -> Answer {
    let message = message(&request);
    let result = match request.operation {
        Operation::Add => {
            let mut add = handle.address().add(request.index, request.address.address, 0);
            *add.message_mut() = message;
            outcome(add.execute().await, nix::libc::EEXIST)
        }
        Operation::Remove => outcome(handle.address().del(message).execute().await, nix::libc::EADDRNOTAVAIL),
    };
    Answer { request, result }
}

/// As `ip address add ADDRESS/LEN dev …` has it, without a broadcast address, and with our tag.
fn message(request: &Request) -> AddressMessage {
    let VirtualAddress { address, prefix_len, .. } = request.address;
    let mut message = match address {
        IpAddr::V4(address) => {
            let builder = AddressMessageBuilder::<Ipv4Addr>::new().index(request.index);
            builder.address(address, prefix_len).build()
        }
        IpAddr::V6(address) => {
            let builder = AddressMessageBuilder::<Ipv6Addr>::new().index(request.index);
            builder.address(address, prefix_len).build()
        }
    };
    message.attributes.retain(|attribute| !matches!(attribute, AddressAttribute::Broadcast(_)));
    message.attributes.push(AddressAttribute::Protocol(AddressProtocol::Other(OUR_TAG)));
    message
}

fn outcome(result: Result<(), rtnetlink::Error>, already: i32) -> io::Result<Outcome> {
    let Err(error) = result else { return Ok(Outcome::Done) };
    let rtnetlink::Error::NetlinkError(message) = error else { return Err(io::Error::other(error)) };
    let error = message.to_io();
    // A link that is gone took its addresses with it.
    let gone = already == nix::libc::EADDRNOTAVAIL && error.raw_os_error() == Some(nix::libc::ENODEV);
    if error.raw_os_error() == Some(already) || gone { Ok(Outcome::AlreadySo) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write as _;

    use daemon::event_loop::{EventLoop, Interest};
    use nix::sched::{CloneFlags, unshare};

    use super::*;

    /// More than the default receive buffer of a netlink socket holds acknowledgements of.
    const MANY: u32 = 1_500;

    #[test]
    fn every_request_of_a_huge_batch_is_answered() {
        // Of this thread, and of the one that it starts.
        if unshare(CloneFlags::CLONE_NEWNET).is_err() {
            let _ = writeln!(io::stderr(), "LEFT OUT (huge batch): a network namespace needs root");
            return;
        }
        let addresses = Addresses::start().unwrap();
        let mut events = EventLoop::new().unwrap();
        events.register_forever(&addresses.answers, Interest::Read, ()).unwrap();
        for operation in [Operation::Add, Operation::Remove] {
            let batch: Vec<Request> = (0..MANY)
                .map(|number| {
                    let address = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 1, 0, 1)) + number);
                    let address =
                        VirtualAddress { interface: "lo".into(), address: address.into(), prefix_len: 32 };
                    Request { operation, address, index: 1 }
                })
                .collect();
            addresses.request(batch).unwrap();
            let mut answered = BTreeSet::new();
            let deadline = events.clock().now() + Duration::from_secs(20);
            let mut ready = Vec::new();
            while answered.len() < usize::try_from(MANY).unwrap() {
                let now = events.wait(Some(deadline), &mut ready).unwrap();
                for answer in addresses.answers.drain() {
                    assert_eq!(answer.result.unwrap(), Outcome::Done);
                    answered.insert(answer.request.address);
                }
                assert!(now < deadline, "{operation:?}: only {} of {MANY} were answered", answered.len());
            }
        }
    }
}
