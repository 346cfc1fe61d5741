//! Servers that say their host's name over UDP and SCTP, and clients that ask them.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use trivet_tests::host::Host;

use crate::site::{Site, TIMEOUT};

/// How often a server looks whether it is to end.
const GLANCE: Duration = Duration::from_millis(200);

/// A server on a thread of its own that says its host's name, until it is dropped.
pub(crate) struct Namer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Namer {
    /// Answers each datagram to a virtual address that the host has.
    pub(crate) fn udp(host: &Host, service: SocketAddr) -> Self {
        let socket = host.namespace().within(|| UdpSocket::bind(service)).expect("the host has the address");
        socket.set_read_timeout(Some(GLANCE)).expect("a time limit");
        Self::start(host, move |name| {
            let mut buffer = [0; 512];
            if let Ok((_, from)) = socket.recv_from(&mut buffer) {
                socket.send_to(name.as_bytes(), from).expect("answering");
            }
        })
    }

    /// Greets each association with this port, over both families.
    pub(crate) fn sctp(host: &Host, port: u16) -> Self {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let socket = host.namespace().within(|| sctp_socket(any));
        socket.bind(&any.into()).expect("a free port");
        socket.listen(8).expect("listening");
        Self::start(host, move |name| match socket.accept() {
            Ok((mut accepted, _)) => accepted.write_all(name.as_bytes()).expect("greeting"),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("accepting: {error}"),
        })
    }

    fn start(host: &Host, serve: impl Fn(&str) + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (flag, name) = (Arc::clone(&stop), host.name().to_owned());
        let thread = std::thread::spawn(move || {
            while !flag.load(Ordering::Relaxed) {
                serve(&name);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Namer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sctp_socket(family: SocketAddr) -> Socket {
    const SCTP: i32 = 132;
    let socket = Socket::new(Domain::for_address(family), Type::STREAM, Some(Protocol::from(SCTP)));
    let socket = socket.expect("the kernel knows SCTP: modprobe sctp");
    socket.set_read_timeout(Some(GLANCE)).expect("a time limit");
    socket
}

/// A client's socket for datagrams.
pub(crate) struct Asker(UdpSocket);

impl Asker {
    pub(crate) fn new(site: &Site, from: impl Into<IpAddr>) -> Self {
        let own = SocketAddr::new(from.into(), 0);
        Self(site.client.namespace().within(|| UdpSocket::bind(own)).expect("its own address"))
    }

    /// Who answers a datagram; nobody, if that takes too long.
    pub(crate) fn try_ask(&self, service: SocketAddr, text: &str, limit: Duration) -> Option<String> {
        self.0.set_read_timeout(Some(limit)).expect("a time limit");
        self.0.send_to(text.as_bytes(), service).expect("sending");
        let mut buffer = [0; 64];
        let (length, from) = self.0.recv_from(&mut buffer).ok()?;
        assert_eq!(from, service, "the answer comes from the service");
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[track_caller]
    pub(crate) fn ask(&self, service: SocketAddr, text: &str) -> String {
        self.try_ask(service, text, TIMEOUT).unwrap_or_else(|| panic!("no answer from {service} to {text:?}"))
    }
}

/// Who answers so many datagrams of one socket.
pub(crate) fn datagrams(
    site: &Site,
    from: impl Into<IpAddr>,
    service: SocketAddr,
    count: usize,
) -> Vec<String> {
    let asker = Asker::new(site, from);
    (0..count).map(|_| asker.ask(service, "who?")).collect()
}

/// Who greets a new association.
pub(crate) fn associate(site: &Site, from: impl Into<IpAddr>, service: SocketAddr) -> String {
    let mut socket = site.client.namespace().within(|| sctp_socket(service));
    socket.bind(&SocketAddr::new(from.into(), 0).into()).expect("its own address");
    socket.connect_timeout(&service.into(), TIMEOUT).expect("an association");
    socket.set_read_timeout(Some(TIMEOUT)).expect("a time limit");
    let mut buffer = [0; 64];
    let length = socket.read(&mut buffer).expect("a greeting");
    String::from_utf8_lossy(&buffer[..length]).into_owned()
}
