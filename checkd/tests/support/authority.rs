//! Certificates of every kind, good and bad, signed by an authority of the test's own.

use std::path::PathBuf;

use daemon::testing::TempRoot;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority whose certificate is in a file below a root.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub pem: String,
    folder: PathBuf,
    /// As a check's `tls_ca` names it.
    pub path: &'static str,
}

/// What a certificate is to be like.
#[derive(Clone)]
pub struct Leaf {
    pub names: Vec<String>,
    /// Years on whose first day it begins and ends to be valid.
    pub from: i32,
    pub until: i32,
    pub usage: ExtendedKeyUsagePurpose,
}

impl Leaf {
    pub fn for_name(name: &str) -> Self {
        let usage = ExtendedKeyUsagePurpose::ServerAuth;
        Self { names: vec![name.to_owned()], from: 2020, until: 2090, usage }
    }

    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::new(self.names.clone()).unwrap();
        params.distinguished_name.push(DnType::CommonName, "leaf");
        params.not_before = date_time_ymd(self.from, 1, 1);
        params.not_after = date_time_ymd(self.until, 1, 1);
        params.extended_key_usages = vec![self.usage.clone()];
        params
    }
}

/// A certificate with its key, and those that a server sends with it, as PEM.
pub struct Issued {
    pub chain: String,
    pub key: String,
    /// Of a file with both.
    pub path: PathBuf,
}

impl Authority {
    pub fn new(root: &TempRoot) -> Self {
        Self::named(root, "Test Authority", "/etc/ssl/own-ca.pem")
    }

    pub fn named(root: &TempRoot, name: &str, path: &'static str) -> Self {
        let key = KeyPair::generate().unwrap();
        let params = authority_params(name);
        let pem = params.self_signed(&key).unwrap().pem();
        root.write(path.trim_start_matches('/'), &pem);
        Self { issuer: Issuer::new(params, key), pem, folder: root.path().to_owned(), path }
    }

    /// The line of a check that trusts this authority.
    pub fn keys(&self) -> String {
        format!("tls_ca = \"{}\"\n", self.path)
    }

    pub fn issue(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params().signed_by(&key, &self.issuer).unwrap();
        self.save(certificate.pem(), &key)
    }

    /// Signed by an intermediate authority, which is sent along or not.
    pub fn issue_below(&self, intermediate: &Leaf, leaf: &Leaf, is_sent: bool) -> Issued {
        let middle_key = KeyPair::generate().unwrap();
        let mut params = authority_params("Test Intermediate");
        (params.not_before, params.not_after) =
            (intermediate.params().not_before, intermediate.params().not_after);
        let middle = params.signed_by(&middle_key, &self.issuer).unwrap().pem();
        let key = KeyPair::generate().unwrap();
        let certificate = leaf.params().signed_by(&key, &Issuer::new(params, middle_key)).unwrap();
        let sent = if is_sent { middle } else { String::new() };
        self.save(format!("{}{sent}", certificate.pem()), &key)
    }

    /// Signed by nobody but itself.
    pub fn self_signed(&self, leaf: &Leaf) -> Issued {
        let key = KeyPair::generate().unwrap();
        let mut params = leaf.params();
        // As `openssl req -x509` makes it.
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        self.save(params.self_signed(&key).unwrap().pem(), &key)
    }

    fn save(&self, chain: String, key: &KeyPair) -> Issued {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let path = self.folder.join(format!("issued-{}.pem", NEXT.fetch_add(1, Ordering::Relaxed)));
        let key = key.serialize_pem();
        std::fs::write(&path, format!("{chain}{key}")).unwrap();
        Issued { chain, key, path }
    }
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2095, 1, 1);
    params
}
