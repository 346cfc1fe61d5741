//! A server that follows a script: it hears, and it says. It can go wrong at each thing that it says, in every way.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use socket2::SockRef;

use super::authority::Issued;

/// One step of a server that does as it should.
#[derive(Clone, Copy, Debug)]
pub enum Turn {
    /// Until the peer has said this.
    Hear(&'static [u8]),
    Say(&'static [u8]),
    /// What this makes of what was heard last.
    Answer(fn(&[u8]) -> Vec<u8>),
    /// TLS begins, which the peer begins. What the server says in its handshake is a saying, too.
    Secure,
}

/// What goes wrong instead of something that is to be said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misdeed {
    /// Not a word, but the connection stays.
    Silent,
    /// The right words, a byte each 100 ms, and never the last one.
    Drip,
    /// The first half of it, and the connection is reset.
    Reset,
    /// The first half of it, and nothing more will come; the peer may go on.
    HalfClose,
    /// Bytes without end and without a line's end.
    Garbage,
}

pub const MISDEEDS: [Misdeed; 5] =
    [Misdeed::Silent, Misdeed::Drip, Misdeed::Reset, Misdeed::HalfClose, Misdeed::Garbage];

const DRIP: Duration = Duration::from_millis(100);

/// What a server with this certificate answers a ClientHello with.
pub fn config(leaf: &Issued) -> Arc<ServerConfig> {
    let chain = CertificateDer::pem_slice_iter(leaf.chain.as_bytes()).map(Result::unwrap).collect();
    let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(config.with_no_client_auth().with_single_cert(chain, key).unwrap())
}

/// Follows the script, and goes wrong at the saying with this number, from 0. Ends with the peer.
pub fn serve(
    stream: TcpStream,
    script: &[Turn],
    config: &Arc<ServerConfig>,
    wrong: Option<(usize, Misdeed)>,
) {
    let raw = stream.try_clone().unwrap();
    let mut line = Line { raw, stream: Stream::Plain(stream) };
    let _ = follow(&mut line, script, config, wrong);
}

fn follow(
    line: &mut Line,
    script: &[Turn],
    config: &Arc<ServerConfig>,
    wrong: Option<(usize, Misdeed)>,
) -> io::Result<()> {
    let mut sayings = 0..;
    let mut heard = Vec::new();
    for turn in script {
        let mut begun = None;
        let words = match *turn {
            Turn::Hear(words) => {
                heard = line.hear(words)?;
                continue;
            }
            Turn::Say(words) => words.to_vec(),
            Turn::Answer(answer) => answer(&heard),
            Turn::Secure => {
                let connection = begun.insert(ServerConnection::new(Arc::clone(config)).unwrap());
                flight(&mut line.raw, connection)?
            }
        };
        if let Some((_, misdeed)) = wrong.filter(|(number, _)| sayings.next() == Some(*number)) {
            return line.go_wrong(&words, misdeed);
        }
        line.write_all(&words)?;
        if let Some(connection) = begun {
            line.secure(connection)?;
        }
    }
    line.wait_for_end();
    Ok(())
}

/// How many things a server with this script says.
pub fn sayings(script: &[Turn]) -> usize {
    script.iter().filter(|turn| matches!(turn, Turn::Say(_) | Turn::Answer(_) | Turn::Secure)).count()
}

/// What the server has to say to the peer's ClientHello.
fn flight(raw: &mut TcpStream, connection: &mut ServerConnection) -> io::Result<Vec<u8>> {
    while !connection.wants_write() {
        if connection.read_tls(raw)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        connection.process_new_packets().map_err(io::Error::other)?;
    }
    let mut flight = Vec::new();
    while connection.wants_write() {
        connection.write_tls(&mut flight)?;
    }
    Ok(flight)
}

enum Stream {
    Plain(TcpStream),
    Secured(Box<StreamOwned<ServerConnection, TcpStream>>),
}

struct Line {
    raw: TcpStream,
    stream: Stream,
}

impl Line {
    fn secure(&mut self, connection: ServerConnection) -> io::Result<()> {
        self.stream = Stream::Secured(Box::new(StreamOwned::new(connection, self.raw.try_clone()?)));
        Ok(())
    }

    /// What came, with these words at its end.
    fn hear(&mut self, words: &[u8]) -> io::Result<Vec<u8>> {
        let mut heard = Vec::new();
        while !heard.ends_with(words) {
            let mut byte = [0];
            self.read_exact(&mut byte)?;
            heard.extend(byte);
        }
        Ok(heard)
    }

    fn go_wrong(&mut self, words: &[u8], misdeed: Misdeed) -> io::Result<()> {
        let half = &words[..words.len() / 2];
        match misdeed {
            Misdeed::Silent => {}
            Misdeed::Drip => self.drip(words)?,
            Misdeed::Reset => {
                self.write_all(half)?;
                return SockRef::from(&self.raw).set_linger(Some(Duration::ZERO));
            }
            Misdeed::HalfClose => {
                self.write_all(half)?;
                self.raw.shutdown(Shutdown::Write)?;
            }
            Misdeed::Garbage => loop {
                self.write_all(&[0xa5; 4096])?;
            },
        }
        self.wait_for_end();
        Ok(())
    }

    fn drip(&mut self, words: &[u8]) -> io::Result<()> {
        self.raw.set_read_timeout(Some(DRIP))?;
        for byte in &words[..words.len() - 1] {
            self.write_all(&[*byte])?;
            // A pause that ends early when the peer goes.
            if matches!(self.raw.read(&mut [0; 64]), Ok(0)) {
                break;
            }
        }
        self.raw.set_read_timeout(None)
    }

    fn wait_for_end(&mut self) {
        while matches!(self.raw.read(&mut [0; 1024]), Ok(1..)) {}
    }
}

impl Read for Line {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.read(buffer),
            Stream::Secured(stream) => stream.read(buffer),
        }
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write(bytes),
            Stream::Secured(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.flush(),
            Stream::Secured(stream) => stream.flush(),
        }
    }
}
