//! checkd against real servers of Debian 13: each is up with its reason, down when it is stopped, and down in its own
//! words when it lives but serves nobody. The servers come from the tree of `tests/image servers`.

mod scripts;
mod site;

use std::io::Read as _;
use std::net::TcpStream;
use std::time::Duration;

use site::Site;

/// Check, its file, its server's script, and why it is up.
const SERVERS: &[(&str, &str, &str, &str)] = &[
    ("smtp", "type = \"smtp\"\n", scripts::POSTFIX, "greeting 220, EHLO 250"),
    ("imap", "type = \"imap\"\n", scripts::DOVECOT, "greeting OK, CAPABILITY"),
    ("pop3", "type = \"pop3\"\n", "", "greeting +OK"),
    ("ftp", "type = \"ftp\"\n", scripts::VSFTPD, "greeting 220"),
    ("redis", "type = \"redis\"\nrole = \"master\"\n", scripts::REDIS, "PING PONG, role master"),
    (
        "mysql",
        "type = \"mysql\"\nuser = \"checker\"\n",
        scripts::MARIADB,
        "version 11.8.*-MariaDB*, let checker in",
    ),
    (
        "postgresql",
        "type = \"postgresql\"\n",
        scripts::POSTGRESQL,
        "accepts connections, asks for a password",
    ),
    ("ldap", "type = \"ldap\"\nbase = \"dc=example,dc=com\"\n", scripts::SLAPD, "bind, entry found"),
    ("steps", STEPS, "", "3 steps passed"),
];

/// Postfix again, as an administrator would write it.
const STEPS: &str = r#"type = "dialog"
port = 25
farewell = "QUIT\r\n"

[[step]]
expect = "^220 .*\r\n"
reject = "^[45]"
send = "EHLO {host}\r\n"

[[step]]
expect = "^250 .*\r\n"
send = "MAIL FROM:<>\r\n"

[[step]]
expect = "^250 .*\r\n"
"#;

/// The same under TLS: check, its file, and why it is up. All with the certificate that each server has.
const SECURED: &[(&str, &str, &str)] = &[
    ("smtp", "type = \"smtp\"\nstarttls = true\n", "greeting 220, EHLO 250, STARTTLS"),
    ("imap", "type = \"imap\"\nstarttls = true\n", "greeting OK, CAPABILITY, STARTTLS"),
    ("imaps", "type = \"imap\"\ntls = true\n", "greeting OK, CAPABILITY"),
    ("pop3", "type = \"pop3\"\nstarttls = true\n", "greeting +OK, STLS"),
    ("pop3s", "type = \"pop3\"\ntls = true\n", "greeting +OK"),
    ("ftp", "type = \"ftp\"\nstarttls = true\n", "greeting 220, AUTH TLS"),
    (
        "mysql",
        "type = \"mysql\"\nuser = \"checker\"\nstarttls = true\n",
        "version 11.8.*, TLS, let checker in",
    ),
    (
        "postgresql",
        "type = \"postgresql\"\nstarttls = true\n",
        "accepts connections, TLS, asks for a password",
    ),
    (
        "ldap",
        "type = \"ldap\"\nstarttls = true\nbind_dn = \"cn=admin,dc=example,dc=com\"\npassword = \"secret\"\n",
        "StartTLS, bind",
    ),
    ("ldaps", "type = \"ldap\"\ntls = true\nbase = \"dc=example,dc=com\"\n", "bind, entry found"),
];

/// Whether `text` is `pattern`, in which a `*` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(tail) = text.strip_prefix(start) else { return false };
    (0..=tail.len()).any(|at| tail.is_char_boundary(at) && fits(rest, &tail[at..]))
}

#[test]
fn every_server_is_up_with_its_reason_and_down_when_it_is_stopped() {
    let checks: Vec<_> = SERVERS.iter().map(|(name, text, _, _)| (*name, *text)).collect();
    let site = Site::new(&checks);
    let scripts = SERVERS.iter().filter(|(_, _, script, _)| !script.is_empty());
    let mut servers: Vec<_> = scripts.map(|(name, _, script, _)| (*name, site.serve(name, script))).collect();
    for (check, _, _, reason) in SERVERS {
        site.wait_for(check, "", "up", |said| fits(reason, said));
    }
    // Its log knows no connection that was lost: QUIT came first.
    let log = servers.iter().find(|(name, _)| *name == "smtp").expect("it runs").1.log();
    assert!(log.contains("disconnect from") && !log.contains("lost connection"), "{log}");
    servers.clear();
    for (check, ..) in SERVERS {
        site.wait_for(check, "", "down", |said| said == "connection refused");
    }
}

#[test]
fn a_mail_server_that_lets_its_greeting_wait_is_up_by_default() {
    let site = Site::with_defaults(&[("smtp", "type = \"smtp\"\n")]);
    let server = site.serve("postscreen", &scripts::postscreen());
    site.wait_for("smtp", "", "up", |said| said == "greeting 220, EHLO 250");
    let log = server.log();
    assert!(log.contains("PASS NEW [10.0.0.9]"), "it did not wait: {log}");
}

#[test]
fn a_server_that_lives_but_serves_nobody_is_down_in_its_own_words() {
    let site = Site::new(&[
        ("redis", "type = \"redis\"\n"),
        ("secret", "type = \"redis\"\npassword = \"hunter2\"\n"),
        ("wrong", "type = \"redis\"\npassword = \"hunter3\"\n"),
        ("postgresql", "type = \"postgresql\"\n"),
    ]);
    let _servers = [
        site.serve("loading", scripts::REDIS_LOADING),
        site.serve("orphan", scripts::REDIS_ORPHAN),
        site.serve("locked", scripts::REDIS_LOCKED),
        site.serve("starting", scripts::POSTGRESQL_STARTING),
    ];
    for (check, port, state, reason) in [
        ("redis", ":6383", "down", "PING: the server said 'LOADING Redis is loading the dataset in memory'"),
        ("redis", ":6381", "down", "PING: the server said 'MASTERDOWN Link with MASTER is down and *"),
        ("redis", ":6382", "up", "answers, but asks for a password (NOAUTH): more is not known without one"),
        ("secret", ":6382", "up", "PING PONG"),
        ("wrong", ":6382", "down", "AUTH: the server said 'WRONGPASS invalid username-password pair*"),
        (
            "postgresql",
            ":5433",
            "down",
            "the startup message: the server said '57P03 the database system is starting up'",
        ),
    ] {
        site.wait_for(check, port, state, |said| fits(reason, said));
    }
}

#[test]
fn under_tls_every_server_is_up_if_its_certificate_is_the_right_one() {
    let mut checks = Vec::new();
    for (name, text, _) in SECURED {
        checks.push((name.to_string(), format!("{text}tls_ca = \"/etc/trivet/ca.pem\"\n")));
        checks.push((
            format!("other{name}"),
            format!("{text}tls_ca = \"/etc/trivet/ca.pem\"\ntls_name = \"a.b\"\n"),
        ));
    }
    let checks: Vec<_> = checks.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let site = Site::new(&checks);
    let scripts = SERVERS.iter().filter(|(_, _, script, _)| !script.is_empty());
    let _servers: Vec<_> = scripts.map(|(name, _, script, _)| site.serve(name, script)).collect();
    for (check, _, reason) in SECURED {
        site.wait_for(check, "", "up", |said| fits(reason, said));
        site.wait_for(&format!("other{check}"), "", "down", |said| said.contains("certificate"));
    }
}

/// MariaDB blocks an address after five connections that ended before a login (here; 100 by default). checkd's are
/// none of them, whoever it says it is.
#[test]
fn mysql_is_never_brought_to_block_us_and_says_when_it_is_full() {
    let site =
        Site::new(&[("nobody", "type = \"mysql\"\n"), ("checker", "type = \"mysql\"\nuser = \"checker\"\n")]);
    let _server = site.serve("mariadb", scripts::MARIADB);
    site.wait_for("nobody", "", "up", |said| said.ends_with("refuses trivet (1045)"));
    for _ in 0..12 {
        let (state, reason) = site.probe("nobody", "");
        assert_eq!(state, "up", "{reason}");
    }
    site.wait_for("checker", "", "up", |said| said.ends_with("let checker in"));

    // Ten connections are all that it takes, and one more for an administrator; each waits to log in.
    let connect = || site.director().namespace().within(|| TcpStream::connect((site::SERVER, 3306)));
    let held: Vec<TcpStream> = (0..14).map(|_| connect().expect("it listens")).collect();
    site.wait_for("checker", "", "down", |said| {
        said == "greeting: the server said '1040 Too many connections'"
    });
    for mut stream in held {
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a socket");
        let mut greeting = [0; 5];
        stream.read_exact(&mut greeting).expect("a greeting, or an error");
    }
    // Those were more connections without a login than it forgives: now it would block, and it says so.
    let reason = "greeting: the server said '1129 Host * is blocked because of many connection errors*";
    site.wait_for("checker", "", "down", |said| fits(reason, said));
}
