//! What a check wants of TLS: made when the configuration is read, shared by all its probes.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;

use super::identity::{Identity, Resolver};
use super::store::{Store, provider};
use super::verifier::Verifier;

/// Two are equal if nothing that a server could notice differs: files are compared by what was in them.
pub struct Settings {
    name: Option<ServerName<'static>>,
    store: Option<Arc<Store>>,
    identity: Option<Arc<Identity>>,
    pub(super) verifier: Arc<Verifier>,
    pub(super) resolver: Arc<Resolver>,
    pub(super) config: Arc<ClientConfig>,
}

/// Only what a server could notice, and nothing that probes change: checks are known again by this text and by
/// [`Settings::contents`].
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, store, identity, verifier: _, resolver: _, config: _ } = self;
        f.debug_struct("Settings")
            .field("name", name)
            .field("store", store)
            .field("identity", identity)
            .finish()
    }
}

impl Settings {
    /// `name`: to be sent to the server (SNI, RFC 6066 section 3, unless it is an address) and looked for in its
    /// certificate; `None`: see [`Settings::name_for`]. `store`: who may have signed that certificate; `None`: any
    /// certificate will do. `identity`: for servers that ask for a client certificate.
    pub fn new(
        name: Option<ServerName<'static>>,
        store: Option<Arc<Store>>,
        identity: Option<Arc<Identity>>,
    ) -> Self {
        let verifier = Arc::new(Verifier::new(store.clone()));
        let resolver = Arc::new(Resolver::new(identity.clone()));
        let mut config = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider has cipher suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&verifier) as _)
            .with_client_cert_resolver(Arc::clone(&resolver) as _);
        // A resumed session shows no certificate: one that was replaced or has expired would go unseen.
        config.resumption = Resumption::disabled();
        Self { name, store, identity, verifier, resolver, config: Arc::new(config) }
    }

    /// Digests of what was in the files: of those who may have signed, and of the client certificate with its key; zeros
    /// where there is none.
    pub(crate) fn contents(&self) -> [[u8; 32]; 2] {
        let store = self.store.as_ref().map(|store| store.contents());
        let identity = self.identity.as_ref().map(|identity| identity.contents());
        [store, identity].map(Option::unwrap_or_default)
    }

    /// Whether any certificate will do.
    pub fn is_insecure(&self) -> bool {
        self.store.is_none()
    }

    /// The name that a server's certificate must be for: the one of the settings, else `host` (perhaps with a port) if
    /// that can be in a certificate, else the target's address.
    pub fn name_for(&self, host: Option<&str>, target: IpAddr) -> ServerName<'static> {
        let host = || host.and_then(host_name);
        self.name.clone().or_else(host).unwrap_or_else(|| ServerName::from(target))
    }
}

/// `www.example.com:8080` and `[2001:db8::1]:80` without their ports and brackets. `None`: no certificate can be for it.
pub fn host_name(host: &str) -> Option<ServerName<'static>> {
    let name = match (host.strip_prefix('['), host.split_once(':')) {
        (Some(rest), _) => rest.split(']').next().unwrap_or(rest),
        // An IPv6 address without brackets has more colons.
        (None, Some((name, port))) if !port.contains(':') => name,
        (None, _) => host,
    };
    ServerName::try_from(name.to_owned()).ok()
}

impl PartialEq for Settings {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, &self.store, &self.identity) == (&other.name, &other.store, &other.identity)
    }
}

impl Eq for Settings {}
