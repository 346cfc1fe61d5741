//! Whose signature under a server's certificate counts: the system's certificate store, or the file `tls_ca`. Read with
//! the configuration, shared by all checks that use it.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, Error, RootCertStore};
use sha2::{Digest as _, Sha256};

use crate::probe::tls::certificate::Certificate;

/// How a reason names the system's store.
pub const SYSTEM: &str = "the system's certificate store";

/// Two are equal if they hold the same certificates under the same name.
pub struct Store {
    name: String,
    certificates: Vec<CertificateDer<'static>>,
    verifier: Arc<WebPkiServerVerifier>,
    /// Whether a server may present one of `certificates` itself: a file that was given for one check is meant for
    /// its servers.
    pins: bool,
    /// A digest of `certificates`.
    contents: [u8; 32],
}

impl Store {
    /// The certificates of the machine. Those that cannot be used are passed over.
    ///
    /// # Errors
    /// None can be used.
    pub fn system(certificates: &[CertificateDer<'static>]) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        let usable = certificates.iter().filter(|der| roots.add((*der).clone()).is_ok()).cloned().collect();
        Self::new(SYSTEM.to_owned(), usable, roots, false)
    }

    /// The certificates of `name`, a file.
    ///
    /// # Errors
    /// There is none, or one that cannot be used: which, and why.
    pub fn file(name: String, certificates: Vec<CertificateDer<'static>>) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        for (index, certificate) in certificates.iter().enumerate() {
            let added = roots.add(certificate.clone());
            added.map_err(|error| format!("certificate {} of it cannot be used: {error}", index + 1))?;
        }
        Self::new(name, certificates, roots, true)
    }

    fn new(
        name: String,
        certificates: Vec<CertificateDer<'static>>,
        roots: RootCertStore,
        pins: bool,
    ) -> Result<Self, String> {
        if certificates.is_empty() {
            return Err("there is no certificate in it".to_owned());
        }
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build();
        let verifier = verifier.map_err(|error| error.to_string())?;
        let contents = digest(certificates.iter().map(|certificate| &**certificate));
        Ok(Self { name, certificates, verifier, pins, contents })
    }

    pub(super) fn contents(&self) -> [u8; 32] {
        self.contents
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether this is the certificate of a server of this name, now.
    pub(super) fn verify(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        if self.pins && self.certificates.contains(end_entity) {
            return verify_pinned(end_entity, name, now);
        }
        self.verifier.verify_server_cert(end_entity, intermediates, name, &[], now).map(|_| ())
    }
}

/// A certificate that `tls_ca` itself holds: made by `openssl req -x509`, it says that it is an authority's and could
/// not be a server's for the library. Its name and its time count all the same.
fn verify_pinned(der: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
    let certificate = Certificate::read(der).ok_or(CertificateError::BadEncoding)?;
    let time = UnixTime::since_unix_epoch;
    let (not_before, not_after) = (certificate.not_before, certificate.not_after);
    if now.as_secs() < not_before.as_secs() {
        return Err(CertificateError::NotValidYetContext { time: now, not_before: time(not_before) }.into());
    }
    if now.as_secs() > not_after.as_secs() {
        return Err(CertificateError::ExpiredContext { time: now, not_after: time(not_after) }.into());
    }
    rustls::client::verify_server_name(&ParsedCertificate::try_from(der)?, name)
}

/// Of several pieces of any length, each told from the next.
pub(super) fn digest<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> [u8; 32] {
    let mut digest = Sha256::new();
    for piece in pieces {
        digest.update(Sha256::digest(piece));
    }
    digest.finalize().into()
}

/// What does the cryptography: see DEPENDENCIES.md.
pub(super) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::ring::default_provider()));
    Arc::clone(&PROVIDER)
}

impl PartialEq for Store {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.pins, &self.certificates) == (&other.name, other.pins, &other.certificates)
    }
}

impl Eq for Store {}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Store({}, {} certificates)", self.name, self.certificates.len())
    }
}
