//! What an operator wants to know of an X.509 certificate (RFC 5280): whose it is, who signed it, from when until when.
//! Nothing here is a reason to trust it.

use std::net::IpAddr;
use std::time::Duration;

use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::{DateTime, Decode as _};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::name::Name;

/// How much of a name is told, in bytes.
const NAME_LIMIT: usize = 64;
/// How many names are told.
const NAMES_TOLD: usize = 3;

/// All texts are escaped and cut: they may go into a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// The DNS names and IP addresses that it is for (section 4.2.1.6). Nothing else counts, not the subject either.
    pub names: Vec<String>,
    pub subject: String,
    pub issuer: String,
    /// Whether subject and issuer are the same.
    pub is_self_issued: bool,
    /// Since 1970, as the next one.
    pub not_before: Duration,
    pub not_after: Duration,
}

impl Certificate {
    /// `None`: it cannot be read.
    pub fn read(der: &[u8]) -> Option<Self> {
        let certificate = CertificateInner::<Raw>::from_der(der).ok()?;
        let content = certificate.tbs_certificate();
        let names = content.get_extension::<SubjectAltName>().ok().flatten();
        let names = names.map(|(_, names)| names.0.iter().filter_map(server_name).collect());
        Some(Self {
            names: names.unwrap_or_default(),
            subject: person(content.subject()),
            issuer: person(content.issuer()),
            is_self_issued: content.subject() == content.issuer(),
            not_before: content.validity().not_before.to_unix_duration(),
            not_after: content.validity().not_after.to_unix_duration(),
        })
    }

    /// The names in words, the first few: "www.example.com, example.com and 7 more".
    pub fn names_in_words(&self) -> Option<String> {
        let more = self.names.len().saturating_sub(NAMES_TOLD);
        let told = self.names.iter().take(NAMES_TOLD).map(String::as_str).collect::<Vec<_>>().join(", ");
        match (told.is_empty(), more) {
            (true, _) => None,
            (false, 0) => Some(told),
            (false, more) => Some(format!("{told} and {more} more")),
        }
    }

    /// What to call it: the first name that it is for, else its subject.
    pub fn title(&self) -> &str {
        self.names.first().unwrap_or(&self.subject)
    }
}

/// `2027-01-02`; `time` is since 1970. UTC.
pub fn date(time: Duration) -> String {
    DateTime::from_unix_duration(time).map_or_else(
        |_| "a day that no calendar has".to_owned(),
        |date| format!("{:04}-{:02}-{:02}", date.year(), date.month(), date.day()),
    )
}

/// `2027-01-02 23:59:59 UTC`
pub fn date_and_time(time: Duration) -> String {
    DateTime::from_unix_duration(time).map_or_else(
        |_| date(time),
        |clock| {
            format!("{} {:02}:{:02}:{:02} UTC", date(time), clock.hour(), clock.minutes(), clock.seconds())
        },
    )
}

fn server_name(name: &GeneralName) -> Option<String> {
    match name {
        GeneralName::DnsName(name) => Some(cut(name.as_str().as_bytes())),
        GeneralName::IpAddress(octets) => address(octets.as_bytes()).map(|address| address.to_string()),
        GeneralName::OtherName(_)
        | GeneralName::Rfc822Name(_)
        | GeneralName::DirectoryName(_)
        | GeneralName::EdiPartyName(_)
        | GeneralName::UniformResourceIdentifier(_)
        | GeneralName::RegisteredId(_) => None,
    }
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from)).ok()
}

/// The common name of a subject or issuer, else its organization.
fn person(name: &Name) -> String {
    let common = name.common_name().ok().flatten();
    let name = common.or_else(|| name.organization().ok().flatten());
    name.map_or_else(|| "somebody without a name".to_owned(), |name| cut(name.value().as_bytes()))
}

/// Escaped and cut: a certificate is a peer's, and whatever it likes may be in it.
fn cut(bytes: &[u8]) -> String {
    let shown = bytes.len().min(NAME_LIMIT);
    let dots = if shown < bytes.len() { "…" } else { "" };
    format!("{}{dots}", bytes[..shown].escape_ascii())
}

#[cfg(test)]
mod tests;
