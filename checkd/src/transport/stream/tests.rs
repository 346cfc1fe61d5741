use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::thread;

use daemon::event_loop::EventLoop;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::super::Transport;
use super::super::tls::store::Store;
use super::*;
use crate::attempt::Part;

/// Asks for TLS as SMTP does, then says hello under it.
#[derive(Debug, Default)]
struct Starttls {
    heard: Vec<u8>,
    text: &'static [u8],
    wants_tls: bool,
}

impl Conversation for Starttls {
    fn on_connected(&mut self) -> Option<Outcome> {
        None
    }

    fn wants_tls(&self) -> bool {
        self.wants_tls
    }

    fn unsent(&self) -> &[u8] {
        self.text
    }

    fn on_sent(&mut self, count: usize) {
        self.text = &self.text[count..];
    }

    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.heard.extend_from_slice(bytes);
        match self.heard.as_slice() {
            b"220 hello\n" => self.text = b"STARTTLS\n",
            b"220 go\n" => (self.wants_tls, self.text) = (true, b"EHLO\n"),
            b"250 welcome\n" => return Some(Outcome::Pass("welcome".to_owned())),
            _ => return None,
        }
        self.heard.clear();
        None
    }

    fn on_closed(&mut self) -> Outcome {
        Outcome::Fail("closed".to_owned())
    }

    fn on_truncated(&mut self) -> Outcome {
        Outcome::Fail("cut off".to_owned())
    }

    fn progress(&self) -> String {
        format!("{} bytes heard", self.heard.len())
    }
}

fn certificate() -> (Arc<ServerConfig>, Arc<Store>) {
    let key = KeyPair::generate().unwrap();
    let signed = CertificateParams::new(vec!["mail.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let chain = vec![CertificateDer::from(signed.der().to_vec())];
    let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain.clone(), key)
        .unwrap();
    (Arc::new(config), Arc::new(Store::file("/x.pem".to_owned(), chain).unwrap()))
}

/// The outcome of the conversation with a server that does as `serve` does, once it has agreed on TLS.
fn converse(serve: impl FnOnce(TcpStream, Arc<ServerConfig>) + Send + 'static) -> Outcome {
    let (config, store) = certificate();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"220 hello\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream.try_clone().unwrap().take(9)).read_line(&mut line).unwrap();
        assert_eq!(line, "STARTTLS\n");
        serve(stream, config);
    });
    let settings = Arc::new(tls::Settings::new(None, Some(store), None));
    let name = ServerName::try_from("mail.example").unwrap();
    let stream = Stream::open(Box::<Starttls>::default(), address, &Connect::default()).unwrap();
    let outcome = drive(stream.with_tls(Some((settings, name))));
    server.join().unwrap();
    outcome
}

fn drive(stream: Stream) -> Outcome {
    drive_with(stream, &mut [0; 4096])
}

fn drive_with(stream: Stream, buffer: &mut [u8]) -> Outcome {
    let mut part = Part::new(Transport::Stream(stream));
    let (mut events, mut ready, mut told) = (EventLoop::new().unwrap(), Vec::new(), None);
    let deadline = events.clock().now() + Duration::from_secs(60);
    loop {
        let (interest, is_at_rest) = match part.transport.advance(buffer, told) {
            Step::Done(outcome) => return outcome,
            Step::Wait(interest) => (interest, false),
            Step::Rest(interest) => (interest, true),
            Step::GoOn(_) => unreachable!("a stream does not go on over a stream"),
        };
        part.watch(&mut events, interest, is_at_rest, ()).unwrap();
        let now = events.wait(Some(deadline), &mut ready).unwrap();
        assert!(now < deadline, "nothing happens: {part:?}");
        told = ready.pop().map(|((), told)| told);
    }
}

/// Says this much, then waits for the peer to say as much and to close.
#[derive(Debug)]
struct Exchange {
    unsent: Vec<u8>,
    heard: usize,
}

const MUCH: usize = 8 * 1024 * 1024;

impl Conversation for Exchange {
    fn on_connected(&mut self) -> Option<Outcome> {
        None
    }

    fn unsent(&self) -> &[u8] {
        &self.unsent
    }

    fn on_sent(&mut self, count: usize) {
        self.unsent.drain(..count);
    }

    fn on_received(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.heard += bytes.len();
        None
    }

    fn on_closed(&mut self) -> Outcome {
        Outcome::Pass(self.progress())
    }

    fn progress(&self) -> String {
        format!("{} bytes to say, {} heard", self.unsent.len(), self.heard)
    }
}

#[test]
fn all_is_said_and_heard_whoever_speaks_first_and_however_much_it_is() {
    const ANSWER: usize = 20_000;
    let answer = |peer: &mut TcpStream| peer.write_all(&[b'y'; ANSWER]).unwrap();
    let end = |peer: &TcpStream| peer.shutdown(std::net::Shutdown::Write).unwrap();
    let hear = |peer: &mut TcpStream| peer.read_exact(&mut vec![0; MUCH]).unwrap();
    type Serve = Box<dyn FnOnce(&mut TcpStream) + Send>;
    let cases: [(usize, Serve); 3] = [
        (0, Box::new(move |peer| (answer(peer), end(peer)).1)),
        (MUCH, Box::new(move |peer| (hear(peer), answer(peer), end(peer)).2)),
        (MUCH, Box::new(move |peer| (answer(peer), hear(peer), end(peer)).2)),
    ];
    for (said, serve) in cases {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let conversation = Box::new(Exchange { unsent: vec![b'x'; said], heard: 0 });
        let stream = Stream::open(conversation, listener.local_addr().unwrap(), &Connect::default()).unwrap();
        let mut peer = listener.accept().unwrap().0;
        let mut server = Some(thread::spawn(move || {
            serve(&mut peer);
            peer
        }));
        // Answer and end are there before we look, or come while we speak.
        let _peer = if said == 0 { server.take().map(|server| server.join().unwrap()) } else { None };
        assert_eq!(drive_with(stream, &mut [0; 512]), Outcome::Pass("0 bytes to say, 20000 heard".into()));
        drop(server.map(|server| server.join().unwrap()));
    }
}

/// Under TLS: hears the greeting, and answers it.
fn welcome(mut stream: TcpStream, config: Arc<ServerConfig>, answer: &[u8]) {
    let mut server = ServerConnection::new(config).unwrap();
    let mut tls = rustls::Stream::new(&mut server, &mut stream);
    let mut heard = [0; 5];
    tls.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"EHLO\n");
    tls.write_all(answer).unwrap();
}

#[test]
fn tls_may_begin_in_the_middle_of_a_conversation() {
    let outcome = converse(|mut stream, config| {
        stream.write_all(b"220 go\n").unwrap();
        welcome(stream, config, b"250 welcome\n");
    });
    assert_eq!(outcome, Outcome::Pass("welcome".to_owned()));
    let outcome = converse(|mut stream, config| {
        stream.write_all(b"220 go\n").unwrap();
        welcome(stream, config, b"250 wel");
    });
    assert_eq!(outcome, Outcome::Fail("cut off".to_owned()));
}

/// CVE-2011-0411: what was said in the clear is never taken for what is said under TLS.
#[test]
fn what_comes_in_the_clear_after_the_switch_is_an_error() {
    let outcome = converse(|mut stream, _| {
        stream.write_all(b"220 go\n").unwrap();
        // Our ClientHello: TLS has begun.
        stream.read_exact(&mut [0; 1]).unwrap();
        let _ = stream.write_all(b"250 welcome\n");
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let expected = "the server answers without TLS: starts with '250 welcome'";
    assert_eq!(outcome, Outcome::Fail(expected.to_owned()));
}

#[test]
fn a_conversation_without_settings_for_tls_does_not_go_on_without_it() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let conversation = Box::new(Starttls { wants_tls: true, text: b"secret\n", ..Starttls::default() });
    let stream = Stream::open(conversation, listener.local_addr().unwrap(), &Connect::default()).unwrap();
    assert_eq!(drive(stream), Outcome::Local("this check has no settings for TLS".to_owned()));
    let mut heard = Vec::new();
    listener.accept().unwrap().0.read_to_end(&mut heard).unwrap();
    assert_eq!(heard, b"");
}
