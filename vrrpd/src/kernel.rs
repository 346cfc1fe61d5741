//! Changing what the kernel holds: addresses, routes and rules, on a thread of its own.
//!
//! The loop hands over a batch and goes on. A batch goes to the kernel in few large datagrams over a plain rtnetlink
//! socket, in its order, and the answers come back through the queue (figures: DEPENDENCIES.md). The same thread looks
//! through the routing tables when the loop has to know what is left of ours: that may take long on a large router.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Batches, Sender as BatchSender, channel};
use std::thread;
use std::time::Duration;

use daemon::queue::{Receiver, Sender, queue};
use netlink_packet_core::{NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NetlinkMessage};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::address::AddressMessage;
use nix::errno::Errno;
use nix::sys::socket::SockFlag;

use crate::netlink::{Ack, DATAGRAM, Datagram, RouteSocket, acks};
use crate::objects::{AddressOptions, Object, Route, message};
use crate::routing::Dump;

/// Stack of the thread, bytes.
const STACK: usize = 256 * 1024;
/// Reports that may wait for the loop.
const REPORTS: usize = 1024;
/// When the loop is that far behind, the thread waits for it.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Requests in one datagram: some 100 bytes each, and some kilobyte for each answer that waits in the kernel. Few, so that
/// the loop announces the first addresses while the kernel takes the others.
const TOGETHER: usize = 32;
/// Room for the answers to one datagram, bytes.
const RECEIVE_BUFFER: usize = 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Add,
    Remove,
    /// Add what is not ours, exactly as it was: an address that the kernel may take away together with one of ours.
    PutBack,
}

/// What is to be done with one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    pub operation: Operation,
    pub object: Object,
    pub how: How,
}

/// What the message needs besides the identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// Of its interface.
    Address {
        index: u32,
        options: Arc<AddressOptions>,
    },
    /// The index of its interface, if it names one.
    Route {
        route: Arc<Route>,
        index: Option<u32>,
    },
    Rule,
    Message(Arc<AddressMessage>),
}

/// How it ended.
#[derive(Debug)]
pub struct Answer {
    pub request: Request,
    pub result: io::Result<Outcome>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// It was there before we added it, or gone before we removed it. Whose it is, the mirror tells.
    AlreadySo,
}

/// For the thread.
#[derive(Debug)]
enum Work {
    Change(Vec<Request>),
    Look,
}

/// From the thread.
#[derive(Debug)]
pub enum Report {
    Answers(Vec<Answer>),
    /// What there is of ours among the routes and rules.
    Looked(io::Result<Dump>),
}

/// The loop's handle.
#[derive(Debug)]
pub struct Kernel {
    work: BatchSender<Work>,
    pub reports: Receiver<Report>,
}

impl Kernel {
    /// Start the thread.
    pub fn start() -> io::Result<Self> {
        let (work, batches) = channel();
        let (sender, reports) = queue(REPORTS)?;
        let mut socket = Some(open()?);
        thread::Builder::new()
            .name("kernel".into())
            .stack_size(STACK)
            .spawn(move || run(&batches, &sender, &mut socket))?;
        Ok(Self { work, reports })
    }

    /// Have a batch done, in its order; every request is answered. Never blocks.
    ///
    /// # Errors
    /// If the thread has ended: nothing can be done about the kernel's objects any more.
    pub fn request(&self, batch: Vec<Request>) -> io::Result<()> {
        self.give(Work::Change(batch))
    }

    /// Ask for a [`Report::Looked`], made after all batches before it. Never blocks.
    ///
    /// # Errors
    /// As [`Kernel::request`].
    pub fn look(&self) -> io::Result<()> {
        self.give(Work::Look)
    }

    fn give(&self, work: Work) -> io::Result<()> {
        self.work.send(work).map_err(|_| io::Error::other("the thread that changes addresses has ended"))
    }
}

fn open() -> io::Result<RouteSocket> {
    let socket = RouteSocket::open(SockFlag::SOCK_NONBLOCK, 0)?;
    socket.receive_buffer(RECEIVE_BUFFER);
    socket.tell_why();
    Ok(socket)
}

/// Whatever happens to the socket, every request is answered: one that is not would never be tried again, and an Active
/// router would stay without its address.
fn run(batches: &Batches<Work>, reports: &Sender<Report>, socket: &mut Option<RouteSocket>) {
    // Made once: clients wait for the first address.
    let mut buffer = vec![0; DATAGRAM];
    while let Ok(work) = batches.recv() {
        match work {
            Work::Look => deliver(reports, Report::Looked(crate::routing::dump())),
            Work::Change(mut batch) => {
                while !batch.is_empty() {
                    let rest = batch.split_off(batch.len().min(TOGETHER));
                    let answers = perform_with(socket, std::mem::replace(&mut batch, rest), &mut buffer);
                    deliver(reports, Report::Answers(answers));
                }
            }
        }
    }
}

fn deliver(reports: &Sender<Report>, report: Report) {
    let mut waiting = report;
    while let Err(back) = reports.send(waiting) {
        waiting = back;
        thread::park_timeout(FULL_PAUSE);
    }
}

/// With the socket, or a new one where that has failed before.
fn perform_with(socket: &mut Option<RouteSocket>, batch: Vec<Request>, buffer: &mut [u8]) -> Vec<Answer> {
    let opened = match socket.take() {
        Some(socket) => Ok(socket),
        None => open(),
    };
    let opened = match opened {
        Ok(opened) => opened,
        Err(error) => {
            return refuse_all(batch, &format!("cannot open rtnetlink: {error}"));
        }
    };
    let answers = exchange(&opened, batch, buffer);
    // What the kernel refuses has an errno; anything else is the end of this socket.
    let lost = |answer: &Answer| answer.result.as_ref().is_err_and(|error| error.kind() == LOST);
    if !answers.iter().any(lost) {
        *socket = Some(opened);
    }
    answers
}

/// The kind of error that no kernel answered.
const LOST: io::ErrorKind = io::ErrorKind::BrokenPipe;

fn refuse_all(batch: Vec<Request>, why: &str) -> Vec<Answer> {
    batch
        .into_iter()
        .map(|request| Answer { request, result: Err(io::Error::new(LOST, why.to_owned())) })
        .collect()
}

/// Have a batch done here and now, for a program that has no loop. Blocks for as long as the kernel works.
///
/// # Errors
/// There is no rtnetlink.
pub fn perform(batch: Vec<Request>) -> io::Result<Vec<Answer>> {
    let mut answers = Vec::with_capacity(batch.len());
    let socket = open()?;
    let mut buffer = vec![0; DATAGRAM];
    let mut rest = batch;
    while !rest.is_empty() {
        let next = rest.split_off(rest.len().min(TOGETHER));
        answers.extend(exchange(&socket, std::mem::replace(&mut rest, next), &mut buffer));
    }
    Ok(answers)
}

/// One datagram, and its answers. The kernel has worked through all of it when the sending returns.
fn exchange(socket: &RouteSocket, batch: Vec<Request>, buffer: &mut [u8]) -> Vec<Answer> {
    let mut bytes = Vec::with_capacity(batch.len() * 128);
    for (request, number) in batch.iter().zip(1..) {
        encode(request, number, &mut bytes);
    }
    if let Err(error) = send(socket, &bytes) {
        return refuse_all(batch, &format!("rtnetlink: {error}"));
    }
    let mut results: Vec<Option<io::Result<Outcome>>> = batch.iter().map(|_| None).collect();
    while results.iter().any(Option::is_none) {
        let length = match socket.receive(buffer) {
            Ok(Datagram::Whole(length)) => length,
            Err(Errno::EINTR) => continue,
            // Nothing is left to read, or answers were lost.
            Ok(Datagram::Truncated(_)) | Err(_) => break,
        };
        for ack in acks(&buffer[..length]) {
            let place = usize::try_from(ack.number).ok().and_then(|number| number.checked_sub(1));
            if let Some((place, request)) = place.and_then(|place| Some((place, batch.get(place)?))) {
                results[place] = Some(outcome(request, ack));
            }
        }
    }
    let unknown = || Err(io::Error::new(LOST, "the kernel's answer was lost"));
    let answer =
        |(request, result): (Request, Option<_>)| Answer { request, result: result.unwrap_or_else(unknown) };
    batch.into_iter().zip(results).map(answer).collect()
}

fn send(socket: &RouteSocket, bytes: &[u8]) -> nix::Result<()> {
    loop {
        match socket.send(bytes) {
            Err(Errno::EINTR) => {}
            result => return result,
        }
    }
}

fn encode(request: &Request, number: u32, bytes: &mut Vec<u8>) {
    let mut message = NetlinkMessage::from(payload(request));
    message.header.sequence_number = number;
    message.header.flags = NLM_F_REQUEST | NLM_F_ACK;
    if request.operation != Operation::Remove {
        message.header.flags |= NLM_F_CREATE | NLM_F_EXCL;
    }
    message.finalize();
    let start = bytes.len();
    bytes.resize(start + message.buffer_len(), 0);
    message.serialize(&mut bytes[start..]);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
}

fn payload(request: &Request) -> RouteNetlinkMessage {
    let remove = request.operation == Operation::Remove;
    match (&request.object, &request.how) {
        (_, How::Message(message)) => RouteNetlinkMessage::NewAddress(message.as_ref().clone()),
        (Object::Address(address), How::Address { index, .. }) if remove => {
            RouteNetlinkMessage::DelAddress(message::bare_address(address, *index))
        }
        (Object::Address(address), How::Address { index, options }) => {
            RouteNetlinkMessage::NewAddress(message::address(address, *index, options))
        }
        (_, How::Route { route, index }) if remove => {
            RouteNetlinkMessage::DelRoute(message::removed_route(route, *index))
        }
        (_, How::Route { route, index }) => RouteNetlinkMessage::NewRoute(message::route(route, *index)),
        (Object::Rule(rule), How::Rule) if remove => RouteNetlinkMessage::DelRule(message::rule(rule)),
        (Object::Rule(rule), How::Rule) => RouteNetlinkMessage::NewRule(message::rule(rule)),
        (Object::Route(_) | Object::Rule(_), How::Address { .. })
        | (Object::Address(_) | Object::Route(_), How::Rule) => {
            unreachable!("table.rs makes each request of one entry")
        }
    }
}

fn outcome(request: &Request, ack: Ack) -> io::Result<Outcome> {
    use nix::libc::{EADDRNOTAVAIL, EEXIST, ENODEV, ENOENT, ESRCH};
    let already = match (request.operation, &request.object) {
        (Operation::Add | Operation::PutBack, _) => ack.errno == EEXIST,
        // A link that is gone took everything with it.
        (Operation::Remove, Object::Address(_)) => matches!(ack.errno, EADDRNOTAVAIL | ENODEV),
        (Operation::Remove, Object::Route(_)) => matches!(ack.errno, ESRCH | ENODEV),
        (Operation::Remove, Object::Rule(_)) => ack.errno == ENOENT,
    };
    match ack.errno {
        0 => Ok(Outcome::Done),
        _ if already => Ok(Outcome::AlreadySo),
        errno => Err(explain(request, errno, ack.text)),
    }
}

/// The kernel's error in words, its own where it has some.
fn explain(request: &Request, errno: i32, text: Option<String>) -> io::Error {
    let error = io::Error::from_raw_os_error(errno);
    let disabled = errno == nix::libc::EACCES
        && matches!(&request.object, Object::Address(address) if address.address.is_ipv6());
    if let (true, Object::Address(address)) = (disabled, &request.object) {
        let why =
            format!("IPv6 is disabled on {0} (sysctl net.ipv6.conf.{0}.disable_ipv6)", address.interface);
        return io::Error::new(error.kind(), why);
    }
    let Some(text) = text else { return error };
    io::Error::new(error.kind(), format!("{} ({text})", Errno::from_raw(errno).desc()))
}

#[cfg(test)]
mod tests;
