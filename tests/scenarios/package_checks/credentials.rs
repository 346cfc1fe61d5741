//! Secrets that stay root's: systemd hands them to checkd, and to the --check of a reload.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait};

use crate::site::Site;

/// Answers as Redis does to AUTH and PING.
const REDIS: &str = r#"use IO::Socket::INET; $| = 1;
my $listener = IO::Socket::INET->new(Listen => 9, LocalAddr => "127.0.0.1:6379", ReuseAddr => 1) or die $!;
while (my $client = $listener->accept) {
    while (my $head = <$client>) {
        my @words;
        for (1 .. substr $head, 1) { <$client>; push @words, <$client> =~ s/\r\n//r }
        print $client $words[0] eq "PING" ? "+PONG\r\n" : $words[-1] eq "sesame" ? "+OK\r\n" : "-WRONGPASS no\r\n";
    }
}
"#;

const ROUTER: &str = "interface = \"eth0\"\nvirtual_router_id = 9\naddresses = [\"10.0.10.59/24\"]\nversion = 2\n\
     [authentication]\ntype = \"pass\"\npassword_credential = ";

#[test]
fn a_secret_that_only_root_can_read_is_a_credential_at_the_start_and_at_every_reload() {
    let site = Site::new(&[]);
    let machine = site.machine();
    machine.write("root/redis.pl", REDIS);
    machine.write("etc/trivet/pass", "sesame\n");
    site.sh("chmod 600 /etc/trivet/pass && systemd-run --quiet --unit=redis perl /root/redis.pl");
    for (daemon, credentials) in [
        ("checkd", "LoadCredential=redis:/etc/trivet/pass\nLoadCredential=pair:/etc/trivet/pair.pem\n"),
        ("vrrpd", "LoadCredential=vrrp:/etc/trivet/pass\n"),
    ] {
        let drop_in = format!("etc/systemd/system/{daemon}.service.d/credentials.conf");
        machine.write(&drop_in, &format!("[Service]\n{credentials}"));
    }
    pair(&site);
    site.sh("systemctl daemon-reload && systemctl restart checkd vrrpd");
    let pair = "/run/credentials/checkd.service/pair";
    site.write("redis", "type = \"redis\"\npassword_credential = \"redis\"\n");
    site.write(
        "tls",
        &format!("type = \"tls\"\ntls_certificate = \"{pair}\"\ntls_key = \"{pair}\"\ntls_ca = \"{pair}\"\n"),
    );
    site.reload();
    site.expect_check("redis");
    site.expect_check("tls");
    let (state, reason) = wait("an answer", PATIENCE, || {
        Some(site.probe("redis", "127.0.0.1:6379")).filter(|(_, reason)| !reason.contains("refused"))
    });
    assert_eq!((state.as_str(), reason.as_str()), ("up", "PING PONG"));
    machine.write("etc/trivet/vrrp.d/x.toml", &format!("{ROUTER}\"vrrp\"\n"));
    site.sh("systemctl reload vrrpd");
    site.trivet.wait_for_property(&Property::router("x", "State"), "s \"Active\"");

    // One that the service does not have fails the reload, and changes nothing.
    site.write("redis", "type = \"redis\"\npassword_credential = \"rediss\"\n");
    machine.write("etc/trivet/vrrp.d/x.toml", &format!("{ROUTER}\"vrrpp\"\n"));
    for (daemon, place) in [("checkd", "redis.toml:2:23: error: "), ("vrrpd", "x.toml:7:23: error: ")] {
        assert!(
            !machine.try_sh(&format!("systemctl reload {daemon}")).0,
            "{daemon}: a reload without its credential"
        );
        let journal = site.journal(daemon);
        assert!(journal.contains(place) && !journal.contains("warning"), "{journal}");
        assert!(!journal.contains("sesame"), "a secret in the journal:\n{journal}");
    }
    site.expect("redis", "127.0.0.1:6379", "up", "PING PONG");
    site.trivet.wait_for_property(&Property::router("x", "State"), "s \"Active\"");

    // And so does one where systemd gave none at all.
    site.sh("rm -r /etc/systemd/system/checkd.service.d && systemctl daemon-reload && rm /etc/trivet/check.d/*.toml && systemctl restart checkd");
    site.write("redis", "type = \"redis\"\npassword_credential = \"redis\"\n");
    assert!(!machine.try_sh("systemctl reload checkd").0, "a reload without any credential");
    let journal = site.journal("checkd");
    assert!(journal.contains("error: there are no credentials"), "{journal}");
}

/// A client certificate with its key, which root alone can read.
fn pair(site: &Site) {
    let make = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=checkd -days 30 -keyout - -out - 2>/dev/null";
    let pem = site.host.sh(make);
    site.machine().write("etc/trivet/pair.pem", &pem);
    site.sh("chmod 600 /etc/trivet/pair.pem");
}
