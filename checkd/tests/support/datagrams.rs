//! Servers on UDP ports of the loopback interface, each on a thread that ends with the process.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

pub struct Server {
    pub address: String,
    received: Arc<AtomicU32>,
}

impl Server {
    /// Tells `serve` every request, with its number from 1 on, who sent it, and the socket to answer from.
    pub fn start(serve: impl Fn(&UdpSocket, u32, &[u8], SocketAddr) + Send + 'static) -> Self {
        Self::start_at("127.0.0.1:0", serve)
    }

    pub fn start_at(
        address: &str,
        serve: impl Fn(&UdpSocket, u32, &[u8], SocketAddr) + Send + 'static,
    ) -> Self {
        let socket = UdpSocket::bind(address).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        let received = Arc::new(AtomicU32::new(0));
        let count = Arc::clone(&received);
        thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while let Ok((length, from)) = socket.recv_from(&mut buffer) {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                serve(&socket, number, &buffer[..length], from);
            }
        });
        Self { address, received }
    }

    /// Answers every request with these datagrams, one after the other.
    pub fn answering(answers: &'static [&'static [u8]]) -> Self {
        Self::start(move |socket, _, _, from| {
            for answer in answers {
                let _ = socket.send_to(answer, from);
            }
        })
    }

    /// Takes everything and says nothing.
    pub fn silent() -> Self {
        Self::answering(&[])
    }

    /// How many requests there were.
    pub fn received(&self) -> u32 {
        self.received.load(Ordering::SeqCst)
    }
}

/// A port that nothing listens on.
pub fn closed() -> String {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}
