//! The files that the keys of TLS name, and the system's certificate store: each is read once for all checks of one
//! configuration, the store only if a check needs it.

use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use daemon::cli::below;
use daemon::dropin::read_regular;
use daemon::reader::{Located, Reader};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::Reported;
use crate::config::GROUP;
use crate::transport::tls::store::Store;

/// Debian's whole store in one file has 200 KiB.
const LONGEST: u64 = 4 * 1024 * 1024;

/// What one reading of the configuration has read so far.
#[derive(Debug)]
pub(in crate::config) struct Files<'a> {
    root: &'a Path,
    /// The certificates of this machine, and what went wrong with them.
    load_system: fn() -> (Vec<CertificateDer<'static>>, Vec<String>),
    system: Option<Result<Arc<Store>, String>>,
    stores: HashMap<PathBuf, Result<Arc<Store>, String>>,
}

impl<'a> Files<'a> {
    /// `root`: where the paths of the configuration begin. The system's store is this machine's, whatever the root.
    pub(in crate::config) fn new(root: &'a Path) -> Self {
        Self { root, load_system: native_certificates, system: None, stores: HashMap::new() }
    }

    pub(super) fn system(&mut self, reader: &mut Reader<'_>) -> Result<Arc<Store>, Reported> {
        let load = self.load_system;
        let store = self.system.get_or_insert_with(|| {
            let (certificates, errors) = load();
            Store::system(&certificates).map(Arc::new).map_err(|error| {
                let more: String = errors.iter().take(3).map(|error| format!("; {error}")).collect();
                format!("{error}{more}")
            })
        });
        store.clone().map_err(|error| {
            let message = format!(
                "no certificate could be verified: the system's certificate store is empty ({error})"
            );
            let hint = "install ca-certificates, or name a file with tls_ca, or write insecure = true";
            reader.mistake(message, hint);
            Reported
        })
    }

    pub(super) fn store(
        &mut self,
        reader: &mut Reader<'_>,
        path: &Located<String>,
    ) -> Result<Arc<Store>, Reported> {
        let root = self.root;
        let store = self.stores.entry(path.value.clone().into()).or_insert_with(|| {
            let certificates = certificates(root, &path.value)?;
            Store::file(path.value.clone(), certificates).map(Arc::new)
        });
        store.clone().map_err(|error| report(reader, path, &error))
    }

    /// The certificate in a file and those above it, in the file's order; at least one.
    pub(super) fn certificates(
        &self,
        reader: &mut Reader<'_>,
        path: &Located<String>,
    ) -> Result<Vec<CertificateDer<'static>>, Reported> {
        certificates(self.root, &path.value).map_err(|error| report(reader, path, &error))
    }

    pub(super) fn key(
        &self,
        reader: &mut Reader<'_>,
        path: &Located<String>,
    ) -> Result<PrivateKeyDer<'static>, Reported> {
        let key = key(self.root, &path.value).map_err(|error| report(reader, path, &error))?;
        self.warn_if_world_readable(reader, path);
        Ok(key)
    }

    fn warn_if_world_readable(&self, reader: &mut Reader<'_>, path: &Located<String>) {
        let is_open = |metadata: Metadata| metadata.permissions().mode() & 0o004 != 0;
        if std::fs::metadata(below(self.root, &path.value)).is_ok_and(is_open) {
            let message = format!("everybody on this machine can read the key in {}", path.value);
            let hint = format!("chmod o-r {0}; chgrp {GROUP} {0}", path.value);
            reader.report().warning(&path.at, message).hint(hint);
        }
    }
}

fn report(reader: &mut Reader<'_>, path: &Located<String>, error: &str) -> Reported {
    reader.report().error(&path.at, format!("cannot use {}: {error}", path.value));
    Reported
}

fn certificates(root: &Path, path: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let bytes = read(root, path)?;
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    let certificates = certificates.map_err(|error| format!("it is no good PEM: {error}"))?;
    if certificates.is_empty() {
        return Err(if bytes.first() == Some(&DER_SEQUENCE) {
            format!("it is DER, not PEM: openssl x509 -inform der -in {path} -out NEW")
        } else {
            "there is no certificate in it (-----BEGIN CERTIFICATE-----)".to_owned()
        });
    }
    Ok(certificates)
}

/// How the DER of a certificate or a key begins.
const DER_SEQUENCE: u8 = 0x30;

fn key(root: &Path, path: &str) -> Result<PrivateKeyDer<'static>, String> {
    let bytes = read(root, path)?;
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| {
        let is_encrypted = String::from_utf8_lossy(&bytes).contains("ENCRYPTED");
        if is_encrypted {
            format!("the key is encrypted, and there is nobody to ask for its passphrase: openssl pkey -in {path} -out NEW")
        } else {
            "there is no private key in it (-----BEGIN PRIVATE KEY-----)".to_owned()
        }
    })
}

fn read(root: &Path, path: &str) -> Result<Vec<u8>, String> {
    read_regular(&below(root, path), LONGEST).map_err(|error| error.to_string())
}

fn native_certificates() -> (Vec<CertificateDer<'static>>, Vec<String>) {
    let found = rustls_native_certs::load_native_certs();
    (found.certs, found.errors.iter().map(ToString::to_string).collect())
}
