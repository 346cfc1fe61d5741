//! The client certificate of a check, `tls_certificate` with `tls_key`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustls::client::ResolvesClientCert;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, SignatureScheme};

use super::store::{digest, provider};

/// Two are equal if certificates and key are the same bytes.
pub struct Identity {
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    certified: Arc<CertifiedKey>,
}

/// Why a certificate and a key do not make an identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IdentityError {
    /// The key is of no kind that can be used.
    Key(String),
    /// The certificate cannot be used.
    Certificate(String),
    /// The key does not belong to the (first) certificate.
    Strangers,
}

impl Identity {
    /// `chain`: the certificate itself, then those above it.
    ///
    /// # Errors
    /// See [`IdentityError`].
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    ) -> Result<Self, IdentityError> {
        let signing = provider().key_provider.load_private_key(key.clone_key());
        let signing = signing.map_err(|error| IdentityError::Key(error.to_string()))?;
        let certified = CertifiedKey::new(chain.clone(), signing);
        match certified.keys_match() {
            Ok(()) | Err(Error::InconsistentKeys(InconsistentKeys::Unknown)) => {}
            Err(Error::InconsistentKeys(_)) => return Err(IdentityError::Strangers),
            Err(error) => return Err(IdentityError::Certificate(error.to_string())),
        }
        Ok(Self { chain, key, certified: Arc::new(certified) })
    }

    /// A digest of the certificates; the key is the first one's, or this would not have been made.
    pub(super) fn contents(&self) -> [u8; 32] {
        digest(self.chain.iter().map(|certificate| &**certificate))
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.chain == other.chain && self.key.secret_der() == other.key.secret_der()
    }
}

impl Eq for Identity {}

/// Without the key.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({} certificates)", self.chain.len())
    }
}

/// Gives the identity to every server that asks for one, and counts who asks.
#[derive(Debug)]
pub(super) struct Resolver {
    pub(super) identity: Option<Arc<Identity>>,
    asked: AtomicU64,
}

impl Resolver {
    pub(super) fn new(identity: Option<Arc<Identity>>) -> Self {
        Self { identity, asked: AtomicU64::new(0) }
    }

    /// How many servers have asked so far. One thread drives all sessions, so whoever sees this number grow while
    /// it feeds a session knows that this session's server has asked.
    pub(super) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.identity.as_ref().map(|identity| Arc::clone(&identity.certified))
    }

    fn has_certs(&self) -> bool {
        self.identity.is_some()
    }
}
