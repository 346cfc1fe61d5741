//! What went wrong with TLS, in an operator's words. Texts of a peer are escaped and cut.

#![expect(clippy::wildcard_enum_match_arm, reason = "these enums are the library's, and may grow")]

use std::time::Duration;

use rustls::pki_types::{ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, Error, ExtendedKeyPurpose, PeerIncompatible, ProtocolVersion,
};

use crate::probe::quote::quote;
use crate::probe::tls::certificate::{Certificate, date_and_time};

/// What a reason may need to know of the session that failed.
#[derive(Debug)]
pub(super) struct Facts<'a> {
    /// The name that was asked for.
    pub(super) name: &'a ServerName<'static>,
    /// Whether the server asked for a client certificate.
    pub(super) is_asked: bool,
    /// Whether there is one.
    pub(super) has_identity: bool,
}

/// "TLS 1.3"
pub(super) fn version(version: Option<ProtocolVersion>) -> &'static str {
    match version {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        Some(ProtocolVersion::TLSv1_2) => "TLS 1.2",
        // rustls agrees on no other.
        _ => "TLS",
    }
}

/// The first bytes of the server are not TLS.
pub(super) fn plain_text(bytes: &[u8]) -> String {
    format!("the server answers without TLS: starts with '{}'", quote(bytes))
}

/// Why a session failed, if it was not the certificate.
pub(super) fn failed(error: &Error, facts: &Facts<'_>) -> String {
    match error {
        Error::AlertReceived(alert) => refused_by_server(*alert, facts),
        Error::PeerIncompatible(what) => incompatible(what),
        Error::NoCertificatesPresented => "the server shows no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::BadSignature) | Error::DecryptError => {
            "broken TLS: a signature or an encrypted message of the server is wrong".to_owned()
        }
        Error::PeerSentOversizedRecord => "broken TLS: a record of the server is too long".to_owned(),
        Error::PeerMisbehaved(what) => {
            format!("broken TLS: the server does not keep to the protocol ({what:?})")
        }
        Error::InvalidMessage(what) => format!("broken TLS: a message of the server is malformed ({what:?})"),
        Error::InappropriateMessage { got_type, .. } => {
            format!("broken TLS: the server sends a message out of turn ({got_type:?})")
        }
        Error::InappropriateHandshakeMessage { got_type, .. } => {
            format!("broken TLS: the server sends a handshake message out of turn ({got_type:?})")
        }
        // The rest is about our own side or does not happen to clients; the library's words are short.
        other => format!("TLS failed: {other}"),
    }
}

fn incompatible(what: &PeerIncompatible) -> String {
    match what {
        PeerIncompatible::ServerDoesNotSupportTls12Or13
        | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig
        | PeerIncompatible::Tls12NotOffered
        | PeerIncompatible::Tls12NotOfferedOrEnabled => {
            "the server speaks neither TLS 1.2 nor TLS 1.3".to_owned()
        }
        PeerIncompatible::NoCipherSuitesInCommon => "no cipher in common with the server".to_owned(),
        PeerIncompatible::NoKxGroupsInCommon => "no key exchange in common with the server".to_owned(),
        PeerIncompatible::NoSignatureSchemesInCommon => {
            "no signature scheme in common with the server".to_owned()
        }
        other => format!("nothing in common with the server's TLS ({other:?})"),
    }
}

/// RFC 8446 section 6.2.
fn refused_by_server(alert: AlertDescription, facts: &Facts<'_>) -> String {
    use AlertDescription as Alert;
    let why = match alert {
        Alert::HandshakeFailure if facts.is_asked && !facts.has_identity => {
            "it asked for a client certificate (tls_certificate, tls_key)".to_owned()
        }
        Alert::HandshakeFailure | Alert::InsufficientSecurity => {
            "no cipher, key exchange or signature in common".to_owned()
        }
        Alert::ProtocolVersion => "it speaks neither TLS 1.2 nor TLS 1.3".to_owned(),
        Alert::UnrecognisedName => format!("it has no certificate for {}", name_of(facts.name)),
        Alert::CertificateRequired => "it wants a client certificate (tls_certificate, tls_key)".to_owned(),
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => "it does not accept our client certificate".to_owned(),
        Alert::InternalError => "it failed in itself".to_owned(),
        Alert::NoApplicationProtocol => "it wants a protocol to be named (ALPN)".to_owned(),
        _ => String::new(),
    };
    let separator = if why.is_empty() { "" } else { ": " };
    format!("the server refuses TLS{separator}{why} (alert {})", alert_name(alert))
}

/// As RFC 8446 spells it: `handshake_failure`.
fn alert_name(alert: AlertDescription) -> String {
    if alert == AlertDescription::UnrecognisedName {
        return "unrecognized_name".to_owned();
    }
    let mut name = String::new();
    let mut after_small = false;
    for letter in format!("{alert:?}").chars() {
        if letter.is_ascii_uppercase() && after_small {
            name.push('_');
        }
        after_small = letter.is_ascii_lowercase();
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// Why the certificates in `chain` (DER, the server's own first) are not good enough for `name`.
pub(super) fn refused(error: &Error, chain: &[&[u8]], name: &ServerName<'_>, store: &str) -> String {
    let Some(own) = chain.first().and_then(|der| Certificate::read(der)) else {
        return "the server's certificate cannot be read".to_owned();
    };
    let Error::InvalidCertificate(error) = error else { return format!("certificate not accepted: {error}") };
    match error {
        CertificateError::ExpiredContext { not_after, .. } => {
            let which = which(chain, |one| one.not_after == since_epoch(*not_after));
            format!("{which} expired on {}", date_and_time(since_epoch(*not_after)))
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let which = which(chain, |one| one.not_before == since_epoch(*not_before));
            format!("{which} is not valid before {}", date_and_time(since_epoch(*not_before)))
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            wrong_name(&own, name)
        }
        CertificateError::UnknownIssuer => unknown_issuer(&own, chain, store),
        CertificateError::InvalidPurposeContext { presented, .. } => {
            let uses: Vec<String> = presented.iter().take(3).map(purpose).collect();
            format!("certificate of {} is not for servers, but for {}", own.title(), uses.join(", "))
        }
        CertificateError::BadSignature => {
            format!("signature under the certificate of {} is wrong", own.title())
        }
        CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => format!(
            "certificate of {} is signed in a way that is not accepted (SHA-1, RSA below 2048 bits and the like)",
            own.title()
        ),
        other if is_about_an_authority(other) && own.is_self_issued => unknown_issuer(&own, chain, store),
        other if is_about_an_authority(other) => {
            format!("certificate of {} says that it is an authority's, not a server's", own.title())
        }
        other => format!("certificate of {} not accepted: {other}", own.title()),
    }
}

/// The library has no word of its own for the one thing that `openssl req -x509` does wrong.
fn is_about_an_authority(error: &CertificateError) -> bool {
    matches!(error, CertificateError::Other(_)) && error.to_string().contains("CaUsedAsEndEntity")
}

/// Which certificate of the chain an error is about.
fn which(chain: &[&[u8]], is_it: impl Fn(&Certificate) -> bool) -> String {
    let mut certificates =
        chain.iter().enumerate().filter_map(|(index, der)| Some((index, Certificate::read(der)?)));
    match certificates.find(|(_, certificate)| is_it(certificate)) {
        None | Some((0, _)) => "certificate".to_owned(),
        Some((_, above)) => format!("certificate of the intermediate authority '{}'", above.subject),
    }
}

fn wrong_name(own: &Certificate, name: &ServerName<'_>) -> String {
    let wanted = name_of(name);
    let advice =
        if matches!(name, ServerName::IpAddress(_)) { " (tls_name says which name to look for)" } else { "" };
    match own.names_in_words() {
        Some(names) => format!("certificate is for {names}, not for {wanted}{advice}"),
        None => format!("certificate of '{}' is for no name at all, not for {wanted}", own.subject),
    }
}

fn unknown_issuer(own: &Certificate, chain: &[&[u8]], store: &str) -> String {
    let title = own.title();
    if own.is_self_issued {
        return format!("certificate of {title} is self-signed, and not in {store}");
    }
    // Some servers send their own certificate twice.
    let last = chain.iter().rev().find(|der| **der != chain[0]);
    match last.and_then(|der| Certificate::read(der)) {
        None => format!(
            "certificate of {title} is signed by '{}', which is not in {store}, and no intermediate was sent",
            own.issuer
        ),
        Some(last) if last.is_self_issued => {
            format!(
                "certificate of {title} is signed by '{}' in the end, which is not in {store}",
                last.subject
            )
        }
        Some(last) => {
            format!(
                "certificate of {title} is signed by '{}' in the end, which is not in {store}",
                last.issuer
            )
        }
    }
}

fn purpose(purpose: &ExtendedKeyPurpose) -> String {
    match purpose {
        ExtendedKeyPurpose::ClientAuth => "clients".to_owned(),
        ExtendedKeyPurpose::ServerAuth => "servers".to_owned(),
        ExtendedKeyPurpose::Other(numbers) => {
            let numbers: Vec<String> = numbers.iter().take(12).map(ToString::to_string).collect();
            numbers.join(".")
        }
    }
}

fn name_of(name: &ServerName<'_>) -> String {
    name.to_str().into_owned()
}

fn since_epoch(time: UnixTime) -> Duration {
    Duration::from_secs(time.as_secs())
}
