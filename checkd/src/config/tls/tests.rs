use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use daemon::diagnostic::Report;
use daemon::testing::TempRoot;
use rcgen::{CertificateParams, KeyPair};

use crate::check::Check;
use crate::config::load;

/// A root with a certificate and its key, and a key that belongs to no certificate.
fn root() -> TempRoot {
    let root = TempRoot::new();
    write_certificate(&root, "own");
    write_key(&root, "etc/ssl/other.key", &KeyPair::generate().unwrap());
    root.write("etc/ssl/empty.pem", "nothing\n");
    root.write("etc/ssl/broken.pem", "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n");
    root.write("etc/ssl/hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let encrypted = "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n";
    root.write("etc/ssl/locked.key", encrypted);
    std::fs::write(root.path().join("etc/ssl/own.der"), [0x30, 0x03, 0x02, 0x01, 0x00]).unwrap();
    root
}

fn write_certificate(root: &TempRoot, name: &str) {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["x.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    root.write(&format!("etc/ssl/{name}.pem"), &certificate.pem());
    write_key(root, &format!("etc/ssl/{name}.key"), &key);
}

/// For its owner only.
fn write_key(root: &TempRoot, path: &str, key: &KeyPair) {
    root.write(path, &key.serialize_pem());
    set_mode(root, path, 0o600);
}

fn set_mode(root: &TempRoot, path: &str, mode: u32) {
    let permissions = std::fs::Permissions::from_mode(mode);
    std::fs::set_permissions(root.path().join(path), permissions).unwrap();
}

fn read(root: &TempRoot, text: &str) -> (String, Option<Arc<Check>>) {
    root.write("etc/trivet/check.d/web.toml", text);
    let mut report = Report::new();
    let check = load(root.path(), &mut report).checks.get("web").cloned();
    let text = report.to_string().replace(&root.path().display().to_string(), "");
    (text, check.filter(|_| !report.has_errors()))
}

fn good(root: &TempRoot, text: &str) -> Arc<Check> {
    let (report, check) = read(root, text);
    assert_eq!(report, "", "{text}");
    check.unwrap()
}

/// The name that the certificate of the target 192.0.2.1 must be for.
fn name(check: &Check) -> String {
    let name = check.tls.as_ref().unwrap().name_for(check.kind.host(0), "192.0.2.1".parse().unwrap());
    name.to_str().into_owned()
}

#[test]
fn the_name_is_the_key_s_or_the_host_s_or_the_target_s_address() {
    let root = root();
    assert!(good(&root, "type = \"http\"\n").tls.is_none());
    assert!(good(&root, "type = \"http\"\ntls = false\ninsecure = false\n").tls.is_none());
    let tls = "tls_ca = \"/etc/ssl/own.pem\"\n";
    assert_eq!(name(&good(&root, &format!("type = \"tls\"\n{tls}"))), "192.0.2.1");
    assert_eq!(name(&good(&root, &format!("type = \"tls\"\n{tls}tls_name = \"a.example\"\n"))), "a.example");
    let http = format!("type = \"http\"\ntls = true\n{tls}");
    assert_eq!(name(&good(&root, &http)), "192.0.2.1");
    for (host, expected) in [
        ("www.example.com:8443", "www.example.com"),
        ("www.example.com", "www.example.com"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("192.0.2.7:443", "192.0.2.7"),
    ] {
        let with_host = format!("{http}host = \"{host}\"\n");
        assert_eq!(name(&good(&root, &with_host)), expected);
        assert_eq!(name(&good(&root, &format!("{with_host}tls_name = \"b.example\"\n"))), "b.example");
    }
    let (report, _) = read(&root, &format!("{http}host = \"-a.example\"\n"));
    assert!(report.contains("no certificate can be for the host '-a.example'"), "{report}");
    assert!(good(&root, "type = \"tls\"\ninsecure = true\n").tls.as_ref().unwrap().is_insecure());
    assert!(!good(&root, &http).tls.as_ref().unwrap().is_insecure());
}

#[test]
fn every_mistake_about_a_file_is_told_where_the_file_is_named() {
    let root = root();
    let certificate = "tls_certificate = \"/etc/ssl/own.pem\"\n";
    for (keys, expected) in [
        (
            "tls_ca = \"/etc/ssl/gone.pem\"\n",
            "web.toml:2:10: error: cannot use /etc/ssl/gone.pem: No such file",
        ),
        ("tls_ca = \"own.pem\"\n", "web.toml:2:10: error: 'tls_ca' is not the whole path of a file"),
        ("tls_ca = \"/etc/ssl/empty.pem\"\n", "there is no certificate in it (-----BEGIN"),
        ("tls_ca = \"/etc/ssl/own.key\"\n", "there is no certificate in it (-----BEGIN"),
        ("tls_ca = \"/etc/ssl/broken.pem\"\n", "it is no good PEM: "),
        ("tls_ca = \"/etc/ssl/hollow.pem\"\n", "certificate 1 of it cannot be used: "),
        (
            "tls_ca = \"/etc/ssl/own.der\"\n",
            "it is DER, not PEM: openssl x509 -inform der -in /etc/ssl/own.der",
        ),
        ("tls_ca = \"/etc/ssl\"\n", "cannot use /etc/ssl: it is not a regular file"),
        (certificate, "'tls_certificate' needs 'tls_key'"),
        ("tls_key = \"/etc/ssl/own.key\"\n", "'tls_key' needs 'tls_certificate'"),
        (&format!("{certificate}tls_key = \"/etc/ssl/own.pem\"\n"), "there is no private key in it"),
        (
            &format!("{certificate}tls_key = \"/etc/ssl/locked.key\"\n"),
            "the key is encrypted, and there is nobody",
        ),
        (
            &format!("{certificate}tls_key = \"/etc/ssl/other.key\"\n"),
            "web.toml:3:11: error: the key in /etc/ssl/other.key does not belong to the certificate in /etc/ssl/own.pem",
        ),
        ("insecure = true\ntls_ca = \"/etc/ssl/own.pem\"\n", "web.toml:3:10: error: 'tls_ca' has no effect"),
        ("tls_name = \"*.example.com\"\n", "a wildcard stands in certificates"),
        ("tls_name = \"a b\"\n", "'tls_name' is neither a DNS name"),
        ("expires_within = \"900d\"\n", "'expires_within' must be from 0s to "),
        ("ca = \"/etc/ssl/own.pem\"\n", "keepalived's ca is tls_ca ="),
        ("enable_sni = true\n", "always sent"),
    ] {
        let (report, check) = read(&root, &format!("type = \"tls\"\n{keys}"));
        assert!(report.contains(expected) && check.is_none(), "{expected:?} is not in\n{report}");
    }
    let two =
        "tls_certificate = \"/etc/ssl/gone\"\ntls_key = \"/etc/ssl/lost\"\ntls_ca = \"/etc/ssl/away\"\n";
    let (report, _) = read(&root, &format!("type = \"tls\"\n{two}"));
    assert!(
        ["gone", "lost", "away"].iter().all(|file| report.contains(&format!("/etc/ssl/{file}:"))),
        "{report}"
    );
}

#[test]
fn a_key_that_everybody_can_read_is_a_warning_and_a_certificate_is_not() {
    let root = root();
    let check = "type = \"tls\"\ninsecure = true\ntls_certificate = \"/etc/ssl/own.pem\"\n";
    let text = format!("{check}tls_key = \"/etc/ssl/own.key\"\n");
    let warning = "web.toml:4:11: warning: everybody on this machine can read the key in /etc/ssl/own.key";
    let hint = "hint: chmod o-r /etc/ssl/own.key; chgrp trivet-checkd /etc/ssl/own.key";
    for (mode, is_open) in [(0o600, false), (0o640, false), (0o644, true), (0o604, true)] {
        set_mode(&root, "etc/ssl/own.key", mode);
        let (report, check) = read(&root, &text);
        assert!(check.is_some(), "{mode:o}: {report}");
        assert_eq!(report.contains(warning) && report.contains(hint), is_open, "{mode:o}: {report}");
        assert_eq!(report.is_empty(), !is_open, "{mode:o}: {report}");
    }
}

#[test]
fn keys_of_tls_without_tls_are_mistakes() {
    let root = root();
    let keys = "tls_ca = \"/etc/ssl/own.pem\"\ntls_name = \"a.example\"\ninsecure = true\n";
    let (report, _) = read(&root, &format!("type = \"http\"\n{keys}"));
    for key in ["tls_ca", "tls_name", "insecure"] {
        assert!(report.contains(&format!("'{key}' has no effect without TLS")), "{report}");
    }
    assert!(report.contains("hint: add tls = true"), "{report}");
    let (report, _) = read(&root, &format!("type = \"tcp\"\n{keys}"));
    assert!(report.contains("unknown key 'tls_ca'") && report.contains("belongs to TLS"), "{report}");
    let (report, _) = read(&root, &format!("type = \"tsl\"\n{keys}"));
    assert!(report.contains("did you mean \"tls\"?") && !report.contains("unknown key"), "{report}");
}

#[test]
fn a_check_is_the_same_until_something_in_its_files_differs() {
    let root = root();
    write_certificate(&root, "ca");
    let text = "type = \"tls\"\ntls_ca = \"/etc/ssl/ca.pem\"\ntls_certificate = \"/etc/ssl/own.pem\"\n\
                tls_key = \"/etc/ssl/own.key\"\n";
    let first = good(&root, text);
    assert_eq!(good(&root, text), first);
    write_certificate(&root, "ca");
    let second = good(&root, text);
    assert_ne!(second, first, "another authority");
    write_certificate(&root, "own");
    let third = good(&root, text);
    assert_ne!(third, second, "another client certificate");
    assert_eq!(good(&root, text), third);
    assert_ne!(good(&root, &format!("{text}tls_name = \"a.example\"\n")), third, "another name");
    assert_ne!(good(&root, "type = \"tls\"\ninsecure = true\n"), third, "no verification");
}

#[test]
fn the_key_is_in_no_debug_output() {
    let root = root();
    let text = "type = \"tls\"\ninsecure = true\ntls_certificate = \"/etc/ssl/own.pem\"\ntls_key = \"/etc/ssl/own.key\"\n";
    let shown = format!("{:?}", good(&root, text).tls);
    assert!(shown.contains("Identity(1 certificates)"), "{shown}");
    assert!(shown.len() < 5000, "{shown}");
}

#[test]
fn a_check_is_another_one_with_another_certificate_or_key_in_the_same_file() {
    let root = root();
    let text = "type = \"tls\"\ntls_ca = \"/etc/ssl/ca.pem\"\ntls_certificate = \"/etc/ssl/client.pem\"\n\
                tls_key = \"/etc/ssl/client.key\"\n";
    write_certificate(&root, "ca");
    write_certificate(&root, "client");
    let before = good(&root, text);
    assert_eq!(good(&root, text).fingerprint(), before.fingerprint());
    write_certificate(&root, "ca");
    let other_ca = good(&root, text);
    write_certificate(&root, "client");
    let other_client = good(&root, text);
    // A certificate for the same key.
    let key = std::fs::read_to_string(root.path().join("etc/ssl/client.key")).unwrap();
    let params = CertificateParams::new(vec!["x.example".to_owned()]).unwrap();
    let renewed = params.self_signed(&KeyPair::from_pem(&key).unwrap()).unwrap();
    root.write("etc/ssl/client.pem", &renewed.pem());
    let renewed = good(&root, text);
    let insecure = good(&root, "type = \"tls\"\ninsecure = true\n");
    let all = [before, other_ca, other_client, renewed, insecure];
    let fingerprints: std::collections::BTreeSet<u64> = all.iter().map(|check| check.fingerprint()).collect();
    assert_eq!(fingerprints.len(), all.len());
}
