use std::io::{BufRead as _, BufReader};
use std::net::{TcpListener, TcpStream};
use std::thread;

use daemon::event_loop::EventLoop;
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

use super::super::tls::store::Store;
use super::*;

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

fn drive(mut stream: Stream) -> Outcome {
    let mut events = EventLoop::new().unwrap();
    let (mut buffer, mut ready) = ([0; 4096], Vec::new());
    let deadline = events.clock().now() + Duration::from_secs(60);
    let mut token = None;
    loop {
        let interest = match stream.advance(&mut buffer) {
            Step::Done(outcome) => return outcome,
            Step::Wait(interest) => interest,
            Step::GoOn(_) => unreachable!("a stream does not go on over a stream"),
        };
        match token {
            None => token = Some(events.register(&stream, interest, ()).unwrap()),
            Some(token) => events.change(token, &stream, interest).unwrap(),
        }
        let now = events.wait(Some(deadline), &mut ready).unwrap();
        assert!(now < deadline, "nothing happens: {stream:?}");
        ready.clear();
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
