//! A connection of HTTP that a client holds open, from an address of its choice: what becomes of it tells what a
//! director does to connections that are there already.

use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, SockRef, Socket, Type};

use crate::host::Host;

/// Ends in order when it is dropped.
#[derive(Debug)]
pub struct Held {
    stream: TcpStream,
    target: SocketAddr,
}

impl Held {
    /// Connects and asks once, so that the server, too, keeps it open.
    pub fn open(host: &Host, from: IpAddr, target: SocketAddr, timeout: Duration) -> Result<Self, String> {
        let stream = host.namespace().within(|| connect(from, target, timeout))?;
        let mut held = Self { stream, target };
        held.ask()?;
        Ok(held)
    }

    /// One more request on it: what the server says, sick or not.
    pub fn ask(&mut self) -> Result<String, String> {
        let request = format!("GET / HTTP/1.1\r\nHost: {}\r\n\r\n", self.target);
        self.stream.write_all(request.as_bytes()).map_err(|error| format!("asking: {error}"))?;
        let mut answer = Vec::new();
        let mut buffer = [0; 1024];
        loop {
            let length = self.stream.read(&mut buffer).map_err(|error| format!("reading: {error}"))?;
            if length == 0 {
                return Err("the server ended the connection".into());
            }
            answer.extend(&buffer[..length]);
            if let Some(body) = whole(&String::from_utf8_lossy(&answer)) {
                return Ok(body);
            }
        }
    }

    /// As the client's own address and port, which `ipvsadm -Lcn` shows.
    pub fn client(&self) -> SocketAddr {
        self.stream.local_addr().expect("it is connected")
    }

    /// Ends it by a reset: the director forgets it after 10 s, instead of two minutes.
    pub fn reset(self) {
        SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).expect("every socket has it");
    }
}

/// The body, if all of it is there.
fn whole(answer: &str) -> Option<String> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: "))?;
    (body.len() >= length.parse().ok()?).then(|| body.trim().to_owned())
}

/// A connection from one of the addresses of the calling thread's namespace. `timeout` is for connecting, and for each
/// part of an answer.
pub fn connect(from: IpAddr, target: SocketAddr, timeout: Duration) -> Result<TcpStream, String> {
    let try_it = || -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(target), Type::STREAM, None)?;
        socket.bind(&SocketAddr::new(from, 0).into())?;
        socket.connect_timeout(&target.into(), timeout)?;
        socket.set_read_timeout(Some(timeout))?;
        Ok(socket.into())
    };
    try_it().map_err(|error| format!("connecting: {error}"))
}
