mod cost;

use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ServerConfig, ServerConnection, SupportedProtocolVersion, version};

use super::store::{Store, provider};
use super::*;

/// A server's side, and our side that trusts it.
struct Pair {
    server: ServerConnection,
    session: Session,
    config: Arc<ServerConfig>,
    store: Arc<Store>,
}

impl Pair {
    fn new(versions: &[&'static SupportedProtocolVersion]) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["x.example".to_owned()]).unwrap().self_signed(&key).unwrap();
        let chain = vec![CertificateDer::from(certificate.der().to_vec())];
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain.clone(), key)
            .unwrap();
        let store = Arc::new(Store::file("/x.pem".to_owned(), chain).unwrap());
        let settings = Arc::new(Settings::new(None, Some(Arc::clone(&store)), None));
        let name = ServerName::try_from("x.example").unwrap();
        let session = Session::begin(settings, name).unwrap();
        let config = Arc::new(config);
        Self { server: ServerConnection::new(Arc::clone(&config)).unwrap(), session, config, store }
    }

    /// What our side has to say goes to the server, and what that says comes back.
    fn turn(&mut self) -> Vec<u8> {
        let mut ours = Vec::new();
        while self.session.wants_write() {
            self.session.write(&mut ours).unwrap();
        }
        let mut ours = ours.as_slice();
        while !ours.is_empty() {
            self.server.read_tls(&mut ours).unwrap();
            self.server.process_new_packets().unwrap();
        }
        let mut theirs = Vec::new();
        while self.server.wants_write() {
            self.server.write_tls(&mut theirs).unwrap();
        }
        theirs
    }

    /// Our side hears this, in portions.
    fn hear(&mut self, bytes: &[u8], size: usize) -> Result<Vec<u8>, Outcome> {
        let mut heard = Vec::new();
        for mut portion in bytes.chunks(size) {
            while !portion.is_empty() {
                let taken = self.session.take_in(&mut portion);
                while !self.session.heard().is_empty() {
                    let text = self.session.heard().to_vec();
                    self.session.forget(text.len());
                    heard.extend(text);
                }
                taken?;
                if self.session.has_ended() {
                    return Ok(heard);
                }
            }
        }
        Ok(heard)
    }

    fn shake_hands(&mut self, size: usize) {
        while self.session.is_handshaking() || self.session.wants_write() {
            let theirs = self.turn();
            self.hear(&theirs, size).unwrap();
        }
    }
}

fn reason(outcome: Outcome) -> String {
    match outcome {
        Outcome::Fail(reason) => reason,
        other @ (Outcome::Pass(_) | Outcome::PassWithWeight(..) | Outcome::Local(_)) => panic!("{other:?}"),
    }
}

const BOTH: [&SupportedProtocolVersion; 2] = [&version::TLS13, &version::TLS12];

#[test]
fn what_cannot_be_the_start_of_a_record_is_an_answer_in_the_clear() {
    let clear = [
        &b"HTTP/1.1 400 Bad Request\r\n"[..],
        b"220 mx1 ESMTP\r\n",
        b"S",
        b"\x00",
        b"\x13\x03\x03",
        b"\x19\x03\x03",
        b"\x16\x02",
        b"\x15\r\n",
    ];
    for said in clear {
        let mut pair = Pair::new(&BOTH);
        pair.turn();
        let told = reason(pair.hear(said, usize::MAX).unwrap_err());
        assert!(told.starts_with("the server answers without TLS: starts with '"), "{said:?}: {told}");
    }
    for begun in [&b"\x14"[..], b"\x15\x03", b"\x16\x03\x03", b"\x18\x03\x03\x00"] {
        let mut pair = Pair::new(&BOTH);
        pair.turn();
        assert_eq!(pair.hear(begun, usize::MAX), Ok(Vec::new()), "{begun:?} may become one");
    }
}

#[test]
fn a_handshake_in_any_portions_ends_in_a_conversation_both_ways() {
    for version in BOTH {
        for size in [1, 7, usize::MAX] {
            let mut pair = Pair::new(&[version]);
            pair.shake_hands(size);
            assert_eq!(pair.session.say(b"hello"), 5);
            pair.turn();
            let mut request = [0; 16];
            assert_eq!(io::Read::read(&mut pair.server.reader(), &mut request).unwrap(), 5);
            io::Write::write_all(&mut pair.server.writer(), &[b'x'; 40_000]).unwrap();
            pair.server.send_close_notify();
            let theirs = pair.turn();
            assert_eq!(pair.hear(&theirs, size).unwrap(), [b'x'; 40_000]);
            assert!(pair.session.has_ended());
            assert!(pair.session.close() && !pair.session.close(), "it is said once");
        }
    }
}

#[test]
fn progress_tells_each_step_of_the_handshake() {
    let mut pair = Pair::new(&[&version::TLS13]);
    assert_eq!(pair.session.progress(), "TLS begun, ClientHello not sent");
    let theirs = pair.turn();
    assert_eq!(pair.session.progress(), "TLS begun, no answer to the ClientHello");
    pair.hear(&theirs[..3], 1).unwrap();
    assert_eq!(pair.session.progress(), "TLS begun, 3 bytes of an answer to the ClientHello");
    pair.hear(&theirs[3..200], 50).unwrap();
    let expected =
        "TLS 1.3 agreed on, 200 bytes of the handshake received, the server's certificate not complete";
    assert_eq!(pair.session.progress(), expected);
    pair.hear(&theirs[200..], 50).unwrap();
    assert_eq!(pair.session.progress(), "TLS 1.3 agreed on");
    let mut pair = Pair::new(&[&version::TLS12]);
    let theirs = pair.turn();
    pair.hear(&theirs, 50).unwrap();
    let expected = "TLS 1.2 agreed on, certificate accepted, the server's Finished missing";
    assert_eq!(pair.session.progress(), expected);
    pair.shake_hands(50);
    assert_eq!(pair.session.progress(), "TLS 1.2 agreed on");
}

/// Where the version of each record stands, which is to be ignored (RFC 8446 section 5.1).
fn record_versions(bytes: &[u8]) -> Vec<usize> {
    let mut places = Vec::new();
    let mut start = 0;
    while let Some([_, _, _, high, low]) = bytes.get(start..start + 5) {
        places.extend([start + 1, start + 2]);
        start += 5 + usize::from(u16::from_be_bytes([*high, *low]));
    }
    places
}

/// Not one bit of the handshake may be changed by anybody on the way, and each change is told in a readable reason.
#[test]
fn whatever_is_changed_on_the_way_never_makes_a_session_and_gets_a_reason() {
    for version in BOTH {
        let length = Pair::new(&[version]).turn().len();
        for index in (0..length).step_by(3) {
            let mut pair = Pair::new(&[version]);
            let mut theirs = pair.turn();
            let index = index.min(theirs.len() - 1);
            if record_versions(&theirs).contains(&index) {
                continue;
            }
            theirs[index] ^= 0x55;
            match pair.hear(&theirs, 1000) {
                Err(outcome) => {
                    let reason = reason(outcome);
                    let readable = !reason.contains(char::is_control) && reason.len() < 300;
                    assert!(readable && !reason.is_empty(), "{index}: {reason}");
                }
                // A length that now promises more.
                Ok(_) => assert!(pair.session.is_handshaking(), "byte {index} does not matter"),
            }
        }
    }
}

#[test]
fn a_server_cannot_make_us_hold_more_than_a_message_may_have() {
    let mut pair = Pair::new(&[&version::TLS12]);
    let _ = pair.turn();
    // A ServerHello that says it has 16 MiB, in records as long as they may be.
    let mut first = vec![22, 3, 3, 0x40, 0, 2, 0xff, 0xff, 0xff];
    first.resize(5 + 0x4000, 0);
    let mut record = vec![22, 3, 3, 0x40, 0];
    record.resize(5 + 0x4000, 0);
    let mut outcome = pair.hear(&first, 4096);
    let mut held = first.len();
    while outcome.is_ok() {
        held += record.len();
        assert!(held < 256 * 1024, "no end of it");
        outcome = pair.hear(&record, 4096);
    }
    let reason = reason(outcome.unwrap_err());
    assert!(reason.starts_with("broken TLS: "), "{reason}");
}

#[test]
fn what_probes_count_does_not_show_in_the_text_by_which_a_check_is_known_again() {
    use rustls::client::ResolvesClientCert as _;
    let settings = Settings::new(None, None, None);
    let before = format!("{settings:?}");
    assert!(settings.resolver.resolve(&[], &[]).is_none());
    assert_eq!(format!("{settings:?}"), before);
}
