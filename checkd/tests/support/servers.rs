//! Servers on loopback ports: a good one, and every kind of bad one. Each has threads that end with the process.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

pub struct Server {
    pub address: String,
    accepted: Arc<AtomicU32>,
    closed: Arc<AtomicU32>,
}

impl Server {
    /// Answers every connection with `serve`, each on a thread of its own.
    pub fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), serve)
    }

    pub fn start_at(address: SocketAddr, serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let accepted = Arc::new(AtomicU32::new(0));
        let closed = Arc::new(AtomicU32::new(0));
        let (serve, count, stop) = (Arc::new(serve), Arc::clone(&accepted), Arc::clone(&closed));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stop.load(Ordering::SeqCst) > 0 {
                    return;
                }
                count.fetch_add(1, Ordering::SeqCst);
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(stream));
            }
        });
        Self { address, accepted, closed }
    }

    /// Always the same answer, and the connection is closed after it.
    pub fn answering(answer: &'static str) -> Self {
        Self::start(move |stream| answer_once(stream, answer))
    }

    /// How many connections there were.
    pub fn accepted(&self) -> u32 {
        self.accepted.load(Ordering::SeqCst)
    }

    /// Stop listening; the port refuses connections afterwards.
    pub fn stop(self) -> SocketAddr {
        let address: SocketAddr = self.address.parse().unwrap();
        self.closed.store(1, Ordering::SeqCst);
        // Wakes the thread, which drops the listener.
        let _ = TcpStream::connect(address);
        super::until("the port is closed", || TcpStream::connect(address).is_err().then_some(()));
        address
    }
}

pub const GOOD: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

pub fn answer_once(mut stream: TcpStream, answer: &str) {
    read_request(&mut stream);
    let _ = stream.write_all(answer.as_bytes());
}

pub fn read_request(stream: &mut TcpStream) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(count) => request.extend_from_slice(&buffer[..count]),
        }
    }
}

/// Accepts, reads, and says nothing until the peer has gone.
pub fn silent() -> Server {
    Server::start(wait_for_end)
}

pub fn wait_for_end(mut stream: TcpStream) {
    while matches!(stream.read(&mut [0; 1024]), Ok(1..)) {}
}

/// One byte of a status line now and then, for ever.
pub fn dripping() -> Server {
    Server::start(|mut stream| {
        read_request(&mut stream);
        stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let answer = "HTTP/1.1 200 OK\r\n".bytes().chain(std::iter::repeat(b'x'));
        for byte in answer {
            // A pause that ends early when the peer goes.
            let gone = matches!(stream.read(&mut [0; 16]), Ok(0));
            if gone || stream.write_all(&[byte]).is_err() {
                return;
            }
        }
    })
}

/// A good beginning, then the same portion for ever.
pub fn endless(beginning: &'static str, portion: &'static str) -> Server {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(beginning.as_bytes());
        while stream.write_all(portion.as_bytes()).is_ok() {}
    })
}

/// Accepts, reads the request, sends `answer`, then resets the connection.
pub fn resetting(answer: &'static str) -> Server {
    Server::start(move |mut stream| {
        read_request(&mut stream);
        let _ = stream.write_all(answer.as_bytes());
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    })
}

/// Listens, but its queue is full and nobody accepts: further connections are not even begun.
pub struct Full {
    pub address: String,
    _listener: Socket,
    _queue: Vec<TcpStream>,
}

pub fn full() -> Full {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let connect = |_| TcpStream::connect_timeout(&address, Duration::from_millis(500)).ok();
    let queue: Vec<TcpStream> = (0..10).map_while(connect).collect();
    assert!(queue.len() < 10, "a queue of no length takes any number of connections");
    Full { address: address.to_string(), _listener: listener, _queue: queue }
}

/// A port that refuses connections.
pub fn refusing() -> String {
    Server::answering("").stop().to_string()
}
