//! A client on the outside: one short HTTP request after the other, each on a connection of its own, with the time,
//! the answer or the failure of each.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::clock::{now, pace};
use crate::held;
use crate::host::Host;
use crate::namespace;

/// One request: when it began, when it was over, and the answering server's name or what went wrong.
#[derive(Debug, Clone)]
pub struct Request {
    pub began: Instant,
    pub ended: Instant,
    pub answer: Result<String, String>,
}

/// How it asks. The default suits an emulated machine.
#[derive(Debug, Clone, Copy)]
pub struct Manner {
    /// From the end of a request to the beginning of the next.
    pub pause: Duration,
    /// For connecting, and for each part of the answer.
    pub timeout: Duration,
    /// It ends by itself after so long.
    pub limit: Duration,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            pause: Duration::from_millis(20),
            timeout: Duration::from_millis(250),
            limit: Duration::from_secs(3600),
        }
    }
}

/// Asks until it is dropped.
#[derive(Debug)]
pub struct Client {
    requests: Arc<Mutex<Vec<Request>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    pub fn start(host: &Host, target: SocketAddr, manner: Manner) -> Self {
        let requests = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (list, flag, path) = (Arc::clone(&requests), Arc::clone(&stop), host.namespace().path());
        let thread = std::thread::spawn(move || {
            namespace::enter(&path).expect("the client's namespace exists");
            let end = now() + manner.limit;
            while !flag.load(Ordering::Relaxed) && now() < end {
                let request = ask(target, "/", manner.timeout);
                list.lock().expect("no panic while locked").push(request);
                pace(manner.pause);
            }
        });
        Self { requests, stop, thread: Some(thread) }
    }

    /// Everything so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no panic while locked").clone()
    }

    /// The requests that began at or after `since`.
    pub fn since(&self, since: Instant) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.began >= since).collect()
    }

    /// Waits for `count` answers in a row that began at or after `since`, and returns them.
    #[track_caller]
    pub fn answers(&self, since: Instant, count: usize) -> Vec<String> {
        crate::clock::wait(&format!("{count} answers in a row"), crate::clock::PATIENCE, || {
            let requests = self.since(since);
            let tail = requests.get(requests.len().checked_sub(count)?..)?;
            tail.iter().map(|request| request.answer.clone().ok()).collect()
        })
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, from the calling thread's namespace.
pub fn ask(target: SocketAddr, path: &str, timeout: Duration) -> Request {
    let began = now();
    let stream = TcpStream::connect_timeout(&target, timeout);
    let answer = stream
        .map_err(|error| say("connecting", error))
        .and_then(|stream| exchange(stream, target, path, timeout));
    Request { began, ended: now(), answer }
}

fn say(what: &str, error: impl std::fmt::Display) -> String {
    format!("{what}: {error}")
}

/// One request on a connection of its own from one of a host's addresses: the answering server's name.
pub fn ask_from(host: &Host, from: IpAddr, target: SocketAddr, timeout: Duration) -> Result<String, String> {
    let stream = host.namespace().within(|| held::connect(from, target, timeout))?;
    exchange(stream, target, "/", timeout)
}

fn exchange(
    mut stream: TcpStream,
    target: SocketAddr,
    path: &str,
    timeout: Duration,
) -> Result<String, String> {
    stream.set_read_timeout(Some(timeout)).map_err(|error| say("setting a time limit", error))?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {target}\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(|error| say("sending", error))?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|error| say("reading", error))?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).unwrap_or("");
    if status == "200" { Ok(body.trim().to_owned()) } else { Err(format!("HTTP {status}")) }
}

/// What an event cost the client: how long nobody answered, and how many requests failed.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// The longest time between the ends of two answers, of which the second came after the event.
    pub gap: Duration,
    pub failed: usize,
}

/// The cost of an event at `since`, in everything a client asked.
pub fn cost(requests: &[Request], since: Instant) -> Cost {
    let failed = requests.iter().filter(|request| request.ended >= since && request.answer.is_err()).count();
    let answered: Vec<_> =
        requests.iter().filter(|request| request.answer.is_ok()).map(|request| request.ended).collect();
    let pairs = answered.windows(2).filter(|pair| pair[1] >= since);
    Cost { gap: pairs.map(|pair| pair[1] - pair[0]).max().unwrap_or_default(), failed }
}
