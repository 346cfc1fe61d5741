//! The keys of TLS: `tls_name`, `tls_ca`, `tls_certificate`, `tls_key` and `insecure`, for every kind that can use it, and
//! `tls` for those that need not. The files that they name are read here, so that a probe reads none.

mod files;

use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use daemon::reader::{Located, Reader};
use rustls::pki_types::ServerName;

use crate::probe::{Kind, tls};
use crate::transport::tls::Settings;
use crate::transport::tls::identity::{Identity, IdentityError};
use crate::transport::tls::settings::host_name;
use crate::transport::tls::store::Store;

pub(super) use self::files::Files;

/// The keys that only checks with TLS have.
pub(super) const KEYS: &[&str] = &["tls", "tls_name", "tls_ca", "tls_certificate", "tls_key", "insecure"];

/// What keepalived and habit call these.
pub(super) const OTHER_KEYS: &[(&str, &str)] = &[
    ("tls_compliant", "a TLS connection that was cut off is always told from one that was closed here"),
    ("ssl", "write tls = true"),
    ("https", "write tls = true"),
    ("starttls_name", "write tls_name = \"mail.example.com\""),
    ("sni", "write tls_name = \"www.example.com\""),
    ("servername", "write tls_name = \"www.example.com\""),
    ("server_name", "write tls_name = \"www.example.com\""),
    ("ca", "keepalived's ca is tls_ca = \"/etc/ssl/own-ca.pem\" here"),
    ("cafile", "write tls_ca = \"/etc/ssl/own-ca.pem\""),
    ("ca_file", "write tls_ca = \"/etc/ssl/own-ca.pem\""),
    ("certificate", "keepalived's certificate is tls_certificate = \"/etc/ssl/client.pem\" here"),
    ("cert", "write tls_certificate = \"/etc/ssl/client.pem\""),
    ("key", "keepalived's key is tls_key = \"/etc/ssl/private/client.key\" here"),
    ("verify", "certificates are verified unless insecure = true"),
    ("tls_verify", "certificates are verified unless insecure = true"),
    ("tls_insecure", "write insecure = true"),
];

/// The hint for a key that stands where no TLS can be.
pub(super) const BELONGS: &str =
    "this key belongs to TLS: type = \"tls\", or \"http\", \"smtp\" and the like with tls = true";

const EXPIRES_WITHIN: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(365 * 24 * 60 * 60);

/// The key that only `type = "tls"` has.
pub(super) fn read_kind(reader: &mut Reader<'_>) -> tls::Settings {
    let within = reader.duration("expires_within", EXPIRES_WITHIN);
    within.map_or_else(tls::Settings::default, |within| tls::Settings { expires_within: within.value })
}

/// The keys of TLS for a check of this kind, which is read already. `None`: it uses no TLS, or there are mistakes, and they
/// are in the report.
pub(super) fn read_for(
    reader: &mut Reader<'_>,
    files: &mut Files<'_>,
    kind: Option<&Kind>,
) -> Option<Arc<Settings>> {
    match kind? {
        Kind::Tcp | Kind::Udp(_) | Kind::Ping(_) | Kind::Dns(_) | Kind::Unit(_) | Kind::Exec(_) => None,
        Kind::Tls(_) => read(reader, files, &[]),
        Kind::Http(settings) => {
            let hosts = settings.requests().iter().filter_map(|request| request.host.as_deref());
            read_if_wanted(reader, files, &hosts.collect::<Vec<_>>())
        }
        // Its own reader has read `tls`, and `starttls`.
        Kind::Dialog(settings) if settings.uses_tls() => read(reader, files, &[]),
        Kind::Dialog(_) => {
            refuse(reader);
            None
        }
    }
}

/// Takes all keys but `tls` out of `reader`. `hosts`: those that an HTTP check asks, whose names are used
/// without a `tls_name`. `None`: there are mistakes, and they are in the report.
fn read(reader: &mut Reader<'_>, files: &mut Files<'_>, hosts: &[&str]) -> Option<Arc<Settings>> {
    let keys = Keys::read(reader);
    let nameless = hosts.iter().find(|host| keys.name.is_none() && host_name(host).is_none());
    if let Some(host) = nameless {
        let hint = "tls_name = \"www.example.com\" says which name to look for";
        reader.mistake(format!("no certificate can be for the host '{host}'"), hint);
    }
    let is_insecure = keys.insecure.as_ref().is_some_and(|insecure| insecure.value);
    if let Some(ca) = keys.ca.as_ref().filter(|_| is_insecure) {
        let hint = "with insecure = true no certificate is looked at: leave out one of the two";
        reader.report().error(&ca.at, "'tls_ca' has no effect").hint(hint);
        return None;
    }
    let store = if is_insecure { Ok(None) } else { keys.store(reader, files).map(Some) };
    let identity = keys.identity(reader, files);
    Some(Arc::new(Settings::new(keys.name.map(|name| name.value), store.ok()?, identity.ok()?)))
}

/// The same for a kind that may do without TLS: with its key `tls`.
fn read_if_wanted(reader: &mut Reader<'_>, files: &mut Files<'_>, hosts: &[&str]) -> Option<Arc<Settings>> {
    if reader.boolean("tls").is_some_and(|wanted| wanted.value) {
        return read(reader, files, hosts);
    }
    refuse(reader);
    None
}

/// As [`read`], for a check that uses no TLS: whichever key is there has no effect, and that is a mistake.
fn refuse(reader: &mut Reader<'_>) {
    let keys = Keys::read(reader);
    let places = [
        ("tls_name", keys.name.map(|name| name.at)),
        ("tls_ca", keys.ca.map(|ca| ca.at)),
        ("tls_certificate", keys.certificate.map(|certificate| certificate.at)),
        ("tls_key", keys.key.map(|key| key.at)),
        ("insecure", keys.insecure.filter(|insecure| insecure.value).map(|insecure| insecure.at)),
    ];
    for (key, at) in places {
        if let Some(at) = at {
            reader.report().error(&at, format!("'{key}' has no effect without TLS")).hint("add tls = true");
        }
    }
}

/// The keys as they stand in the file.
struct Keys {
    name: Option<Located<ServerName<'static>>>,
    ca: Option<Located<String>>,
    certificate: Option<Located<String>>,
    key: Option<Located<String>>,
    insecure: Option<Located<bool>>,
}

/// There was a mistake, and it is in the report.
struct Reported;

impl Keys {
    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            name: reader.parse("tls_name", parse_name),
            ca: reader.parse("tls_ca", parse_path),
            certificate: reader.parse("tls_certificate", parse_path),
            key: reader.parse("tls_key", parse_path),
            insecure: reader.boolean("insecure"),
        }
    }

    fn store(&self, reader: &mut Reader<'_>, files: &mut Files<'_>) -> Result<Arc<Store>, Reported> {
        let Some(ca) = &self.ca else { return files.system(reader) };
        files.store(reader, ca)
    }

    fn identity(
        &self,
        reader: &mut Reader<'_>,
        files: &mut Files<'_>,
    ) -> Result<Option<Arc<Identity>>, Reported> {
        let (certificate, key) = match (&self.certificate, &self.key) {
            (None, None) => return Ok(None),
            (Some(certificate), Some(key)) => (certificate, key),
            (Some(alone), None) => {
                let hint = format!("if the key is in the same file: tls_key = \"{}\"", alone.value);
                reader.report().error(&alone.at, "'tls_certificate' needs 'tls_key'").hint(hint);
                return Err(Reported);
            }
            (None, Some(alone)) => {
                reader.report().error(&alone.at, "'tls_key' needs 'tls_certificate'");
                return Err(Reported);
            }
        };
        // Both, before one is judged missing: one run shows every mistake.
        let chain = files.certificates(reader, certificate);
        let private = files.key(reader, key);
        let identity = Identity::new(chain?, private?).map_err(|error| {
            let (at, message) = match error {
                IdentityError::Key(error) => {
                    (&key.at, format!("the key in {} cannot be used: {error}", key.value))
                }
                IdentityError::Certificate(error) => (
                    &certificate.at,
                    format!("the certificate in {} cannot be used: {error}", certificate.value),
                ),
                IdentityError::Strangers => (
                    &key.at,
                    format!(
                        "the key in {} does not belong to the certificate in {}",
                        key.value, certificate.value
                    ),
                ),
            };
            reader.report().error(at, message);
            Reported
        })?;
        Ok(Some(Arc::new(identity)))
    }
}

fn parse_name(text: &str) -> Result<ServerName<'static>, String> {
    if text.contains('*') {
        return Err(
            "no name of a server: a wildcard stands in certificates, here stands one of its names".to_owned()
        );
    }
    ServerName::try_from(text.to_owned())
        .map_err(|_| "neither a DNS name, such as \"www.example.com\", nor an IP address".to_owned())
}

fn parse_path(text: &str) -> Result<String, String> {
    if Path::new(text).is_absolute() {
        return Ok(text.to_owned());
    }
    Err("not the whole path of a file: it must begin with a slash".to_owned())
}

#[cfg(test)]
mod tests;
