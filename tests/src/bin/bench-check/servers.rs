//! All servers of a port: one thread that accepts whoever comes to any of their addresses and behaves as told, with a
//! record of when each was looked at.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, sockopt};
use trivet_tests::host::Host;

use crate::clock::monotonic;
use crate::lan::{keep_to, other_processor};
use crate::plan::server;

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n";
const LISTENER: u64 = u64::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manner {
    /// Says nothing, and closes when the other side has.
    Mute,
    /// Answers a request and closes.
    Web,
}

/// One look at one server; nanoseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Visit {
    pub(crate) server: u32,
    pub(crate) accepted: i64,
    /// Web: how long the checker took to use the connection, and to take its answer and leave.
    pub(crate) hesitated: i64,
}

#[derive(Debug)]
struct Record {
    /// When each server was last connected to; 0: never.
    last: Vec<AtomicI64>,
    visits: AtomicU64,
    known: AtomicU64,
    answered: AtomicU64,
    last_of_all: AtomicI64,
    /// Between two visits to any of them, since this was asked for.
    longest_silence: AtomicI64,
    all: Option<Mutex<Vec<Visit>>>,
    stop: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct Servers {
    record: Arc<Record>,
    thread: Option<JoinHandle<()>>,
}

impl Servers {
    /// Listens when it returns. `in_detail`: remember every visit.
    pub(crate) fn start(host: &Host, port: u16, count: usize, manner: Manner, in_detail: bool) -> Self {
        let listener = host.namespace().within(|| listen(port));
        let record = Arc::new(Record {
            last: (0..count).map(|_| AtomicI64::new(0)).collect(),
            visits: AtomicU64::new(0),
            known: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            last_of_all: AtomicI64::new(0),
            longest_silence: AtomicI64::new(0),
            all: in_detail.then(Mutex::default),
            stop: AtomicBool::new(false),
        });
        let shared = Arc::clone(&record);
        let thread = std::thread::spawn(move || {
            keep_to(other_processor());
            Loop::new(listener, manner, shared).run();
        });
        Self { record, thread: Some(thread) }
    }

    /// How many of them have been looked at.
    pub(crate) fn known(&self) -> u64 {
        self.record.known.load(Relaxed)
    }

    /// Connections so far.
    pub(crate) fn visits(&self) -> u64 {
        self.record.visits.load(Relaxed)
    }

    /// Requests that were answered so far.
    pub(crate) fn answered(&self) -> u64 {
        self.record.answered.load(Relaxed)
    }

    /// The longest time without a connection since this was last asked.
    pub(crate) fn take_longest_silence(&self) -> i64 {
        self.record.longest_silence.swap(0, Relaxed)
    }

    /// Every visit since this was last asked.
    pub(crate) fn take_visits(&self) -> Vec<Visit> {
        let all = self.record.all.as_ref().expect("started in detail");
        std::mem::take(&mut *all.lock().expect("no panic while locked"))
    }

    /// They all die; when that was. Their ports refuse connections from then on.
    pub(crate) fn die(mut self) -> (i64, Vec<i64>) {
        self.end();
        let last = self.record.last.iter().map(|last| last.load(Relaxed)).collect();
        (monotonic(), last)
    }

    fn end(&mut self) {
        self.record.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        self.end();
    }
}

fn listen(port: u16) -> TcpListener {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let fd = socket::socket(AddressFamily::Inet, SockType::Stream, flags, None).expect("a socket");
    socket::setsockopt(&fd, sockopt::ReuseAddr, &true).expect("an option of every socket");
    let address = SockaddrIn::from(std::net::SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port));
    socket::bind(std::os::fd::AsRawFd::as_raw_fd(&fd), &address).expect("a free port in the lab");
    socket::listen(&fd, Backlog::MAXALLOWABLE).expect("listening");
    TcpListener::from(fd)
}

#[derive(Debug)]
struct Guest {
    stream: TcpStream,
    server: u32,
    accepted: i64,
    hesitated: i64,
    /// When the answer left; 0: it has not.
    answered: i64,
}

struct Loop {
    epoll: Epoll,
    listener: TcpListener,
    manner: Manner,
    record: Arc<Record>,
    guests: Vec<Option<Guest>>,
    free: Vec<usize>,
}

impl Loop {
    fn new(listener: TcpListener, manner: Manner, record: Arc<Record>) -> Self {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("an epoll");
        epoll.add(&listener, EpollEvent::new(EpollFlags::EPOLLIN, LISTENER)).expect("watching the listener");
        Self { epoll, listener, manner, record, guests: Vec::new(), free: Vec::new() }
    }

    fn run(mut self) {
        let mut events = vec![EpollEvent::empty(); 512];
        while !self.record.stop.load(Relaxed) {
            let Ok(count) = self.epoll.wait(&mut events, EpollTimeout::from(20u8)) else { continue };
            for event in &events[..count] {
                match event.data() {
                    LISTENER => self.accept(),
                    slot => self.on_guest(usize::try_from(slot).expect("a slot's number")),
                }
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..256 {
            let Ok((stream, _)) = self.listener.accept() else { return };
            let accepted = monotonic();
            let Ok(IpAddr::V4(address)) = stream.local_addr().map(|local| local.ip()) else { continue };
            let _ = stream.set_nonblocking(true);
            let server = server(address);
            self.note(server, accepted);
            let slot = self.free.pop().unwrap_or_else(|| {
                self.guests.push(None);
                self.guests.len() - 1
            });
            let data = u64::try_from(slot).expect("64 bits fit");
            self.epoll.add(&stream, EpollEvent::new(EpollFlags::EPOLLIN, data)).expect("watching a guest");
            self.guests[slot] = Some(Guest { stream, server, accepted, hesitated: 0, answered: 0 });
        }
    }

    fn note(&self, server: u32, accepted: i64) {
        let record = &self.record;
        record.visits.fetch_add(1, Relaxed);
        let before = record.last_of_all.swap(accepted, Relaxed);
        if before > 0 {
            record.longest_silence.fetch_max(accepted - before, Relaxed);
        }
        if let Some(last) = record.last.get(usize::try_from(server).expect("32 bits fit"))
            && last.swap(accepted, Relaxed) == 0
        {
            record.known.fetch_add(1, Relaxed);
        }
    }

    fn on_guest(&mut self, slot: usize) {
        let Some(guest) = &mut self.guests[slot] else { return };
        let mut buffer = [0; 4096];
        match guest.stream.read(&mut buffer) {
            Ok(1..) if self.manner == Manner::Web && guest.answered == 0 => {
                let now = monotonic();
                guest.hesitated = now - guest.accepted;
                let _ = guest.stream.write_all(ANSWER);
                let _ = guest.stream.shutdown(Shutdown::Write);
                guest.answered = monotonic();
                self.record.answered.fetch_add(1, Relaxed);
            }
            Ok(1..) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => self.leave(slot),
        }
    }

    fn leave(&mut self, slot: usize) {
        let Some(guest) = self.guests[slot].take() else { return };
        self.free.push(slot);
        let Some(all) = &self.record.all else { return };
        let after = if guest.answered > 0 { monotonic() - guest.answered } else { 0 };
        let Guest { server, accepted, hesitated, .. } = guest;
        let visit = Visit { server, accepted, hesitated: hesitated + after };
        all.lock().expect("no panic while locked").push(visit);
    }
}
