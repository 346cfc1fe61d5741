//! Judges servers' certificates for one check, and keeps what an operator wants to know about one that it refused.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{DigitallySignedStruct, Error, SignatureScheme};

use super::reason;
use super::store::{Store, provider};

#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: every certificate will do, `insecure = true`.
    store: Option<Arc<Store>>,
    algorithms: WebPkiSupportedAlgorithms,
    refusal: Mutex<Option<String>>,
}

impl Verifier {
    pub(super) fn new(store: Option<Arc<Store>>) -> Self {
        let algorithms = provider().signature_verification_algorithms;
        Self { store, algorithms, refusal: Mutex::new(None) }
    }

    /// Why the last certificate was refused, once. One thread drives all sessions, so whoever asks right after it fed
    /// a session gets the answer about that one.
    pub(super) fn take_refusal(&self) -> Option<String> {
        self.refusal.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// That the server holds the certificate's key proves nothing if nobody asked whose certificate it is.
    fn unless_insecure(
        &self,
        verify: impl FnOnce(&WebPkiSupportedAlgorithms) -> Result<HandshakeSignatureValid, Error>,
    ) -> Result<HandshakeSignatureValid, Error> {
        match self.store {
            Some(_) => verify(&self.algorithms),
            None => Ok(HandshakeSignatureValid::assertion()),
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(store) = &self.store else { return Ok(ServerCertVerified::assertion()) };
        store.verify(end_entity, intermediates, server_name, now).inspect_err(|error| {
            let chain: Vec<&[u8]> =
                std::iter::once(end_entity).chain(intermediates).map(AsRef::as_ref).collect();
            let reason = reason::refused(error, &chain, server_name, store.name());
            *self.refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        })?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.unless_insecure(|algorithms| verify_tls12_signature(message, certificate, signed, algorithms))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.unless_insecure(|algorithms| verify_tls13_signature(message, certificate, signed, algorithms))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
