use std::sync::Arc;
use std::time::Duration;

use daemon::diagnostic::Report;
use daemon::testing::TempRoot;

use super::*;
use crate::check::Check;
use crate::config::{load, load_to_check};
use crate::probe::Kind;
use crate::probe::dialog::steps::{Expect, Step, Text};
use crate::probe::pattern::Pattern;

/// The report on one check's text, and the check if there was no error.
fn read(text: &str) -> (String, Option<Arc<Check>>) {
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/x.toml", text);
    let mut report = Report::new();
    let check = load(root.path(), &mut report).checks.get("x").cloned();
    (report.to_string(), check.filter(|_| !report.has_errors()))
}

fn settings(text: &str) -> Settings {
    let (report, check) = read(text);
    match check.map(|check| check.kind.clone()) {
        Some(Kind::Dialog(settings)) => settings,
        _ => panic!("{text}: {report}"),
    }
}

#[track_caller]
fn refused(text: &str, expected: &str) {
    let (report, check) = read(text);
    assert_eq!(check, None, "{text} is taken");
    assert!(report.contains(expected), "{expected:?} is not in:\n{report}");
}

#[test]
fn every_protocol_needs_nothing_but_its_name_and_has_its_own_port() {
    for (word, plain, tls) in [
        ("smtp", 25, Some(465)),
        ("imap", 143, Some(993)),
        ("pop3", 110, Some(995)),
        ("ftp", 21, Some(990)),
        ("nntp", 119, Some(563)),
        ("redis", 6379, Some(6379)),
        ("mysql", 3306, None),
        ("postgresql", 5432, None),
        ("ldap", 389, Some(636)),
    ] {
        let check = read(&format!("type = \"{word}\"\n")).1.unwrap();
        assert_eq!((check.kind.as_str(), check.kind.default_port()), (word, Some(plain)));
        assert!(!check.kind.needs_port());
        // postscreen of Postfix greets after six.
        assert_eq!(check.timeout, Duration::from_secs(if word == "smtp" { 10 } else { 5 }));
        match tls {
            Some(port) => {
                let settings = settings(&format!("type = \"{word}\"\ntls = true\n"));
                assert_eq!((settings.tls, settings.default_port()), (true, Some(port)));
            }
            None => refused(&format!("type = \"{word}\"\ntls = true\n"), "hint: write starttls = true"),
        }
    }
    let check = read("type = \"dialog\"\n[[step]]\nexpect = \"x\"\n").1.unwrap();
    assert!(check.kind.needs_port(), "who knows which");
}

#[test]
fn the_keys_of_the_protocols_are_read() {
    let script = |text: &str| settings(text).script;
    let smtp = Script::Smtp { helo: "check.example.com".into(), starttls: true };
    assert_eq!(script("type = \"smtp\"\nhelo = \"check.example.com\"\nstarttls = true\n"), smtp);
    assert_eq!(script("type = \"smtp\"\n"), Script::Smtp { helo: own_name(), starttls: false });
    let mysql = mysql::Settings { user: Some("checker".into()), starttls: true };
    assert_eq!(script("type = \"mysql\"\nuser = \"checker\"\nstarttls = true\n"), Script::Mysql(mysql));
    let postgresql =
        postgresql::Settings { user: Some("a".into()), database: Some("b".into()), starttls: true };
    assert_eq!(
        script("type = \"postgresql\"\nuser = \"a\"\ndatabase = \"b\"\nstarttls = true\n"),
        Script::Postgresql(postgresql)
    );
    let secret = Secret::new(b"hunter2".to_vec());
    let redis =
        redis::Settings { user: Some("a".into()), password: Some(secret.clone()), role: Some(Role::Replica) };
    assert_eq!(
        script("type = \"redis\"\nuser = \"a\"\npassword = \"hunter2\"\nrole = \"replica\"\n"),
        Script::Redis(redis)
    );
    let ldap =
        ldap::Settings { bind: Some(("cn=a".into(), secret)), base: Some("dc=b".into()), starttls: true };
    assert_eq!(
        script(
            "type = \"ldap\"\nbind_dn = \"cn=a\"\npassword = \"hunter2\"\nbase = \"dc=b\"\nstarttls = true\n"
        ),
        Script::Ldap(ldap)
    );
}

#[test]
fn steps_are_read_in_their_order() {
    let text = r#"
type = "dialog"
farewell = "QUIT\r\n"
[[step]]
expect = "^220 .*\r\n"
reject = "^[45]"
send = "EHLO {host} {address} {\"a\":1}\r\n"
[[step]]
expect_hex = "0d 0a FF"
send_hex = "00ff"
[[step]]
expect = "go"
starttls = true
"#;
    let pattern = |text: &str| Pattern::of_lines(text).unwrap();
    let steps = [
        Step {
            expect: Some(Expect::Text(pattern("^220 .*\r\n"))),
            reject: Some(pattern("^[45]")),
            starttls: false,
            send: Text::Words(format!("EHLO {} {{address}} {{\"a\":1}}\r\n", own_name())),
        },
        Step {
            expect: Some(Expect::Bytes(vec![0x0d, 0x0a, 0xff])),
            send: Text::Bytes(vec![0, 0xff]),
            ..Step::default()
        },
        Step { expect: Some(Expect::Text(pattern("go"))), starttls: true, ..Step::default() },
    ];
    let farewell = Text::Words("QUIT\r\n".into());
    let expected = crate::probe::dialog::steps::Settings { steps: steps.into(), farewell };
    assert_eq!(settings(text), Settings { script: Script::Steps(expected), tls: false });
}

#[test]
fn a_step_that_cannot_work_is_refused_with_what_would() {
    let step = |lines: &str| format!("type = \"dialog\"\n[[step]]\n{lines}\n");
    refused("type = \"dialog\"\n", "'step' is missing");
    refused("type = \"dialog\"\nstep = []\n", "'step' is empty: nothing would be said");
    refused("type = \"dialog\"\nstep = \"x\"\n", "'step' must be an array of tables: [[step]]");
    refused("type = \"dialog\"\nexpect = \"x\"\n", "belongs to a step of type = \"dialog\": [[step]]");
    refused(&step(""), "neither expects nor sends anything");
    refused(&step("expect = \"(\""), "'expect' is not a regular expression: unclosed group");
    refused(&step("expect = \"x*\""), "fits nothing at all");
    refused(&step("reject = \"x\""), "'reject' without 'expect'");
    refused(&step("starttls = true\nsend = \"x\""), "'starttls' without 'expect'");
    refused(&step("expect = \"a\"\nexpect_hex = \"00\""), "'expect' and 'expect_hex' are both given");
    refused(&step("send = \"a\"\nsend_hex = \"00\""), "'send' and 'send_hex' are both given");
    refused(&step("send_hex = \"0\""), "'send_hex' is not 1 to 16384 bytes of two digits each");
    refused(&step("send_hex = \"0g\""), "'send_hex' is not hexadecimal: it has 'g' in it");
    refused(&step("send = \"\""), "'send' is not of 1 to 16384 bytes");
    refused(
        &step("send = \"{adress}\""),
        "did you mean {address}? There are {target}, {address}, {port}, {host}",
    );
    refused(&step("receive = \"x\""), "ldirectord's receive is expect = ");
    refused(
        &"[[step]]\nexpect = \"x\"\n".repeat(101).replacen("", "type = \"dialog\"\n", 1),
        "more than 100 steps",
    );
    let (report, check) = read(&step("send = 'QUIT\\r\\n'"));
    assert!(check.is_some() && report.contains("warning: 'send' says a backslash and a letter"), "{report}");
}

#[test]
fn what_belongs_elsewhere_is_answered_with_where() {
    refused("type = \"smtp\"\nstarttls = true\ntls = true\n", "either tls = true or starttls = true");
    refused("type = \"smtp\"\nhelo_name = \"x\"\n", "keepalived's helo_name is helo = ");
    refused("type = \"smtp\"\nhelo = \"a b\"\n", "'helo' is not the name of a host: it has ' ' in it");
    refused("type = \"smtp\"\nhelo = \"\"\n", "leave the key out for this machine's name");
    refused("type = \"tcp\"\nhelo = \"x\"\n", "this key belongs to type = \"smtp\"");
    refused("type = \"imap\"\ndatabase = \"x\"\n", "this key belongs to type = \"postgresql\"");
    refused("type = \"redis\"\nrole = \"slave\"\n", "write \"replica\"");
    refused("type = \"redis\"\nstarttls = true\n", "this key belongs to type = \"smtp\", type = \"imap\"");
    refused("type = \"redis\"\nuser = \"x\"\n", "the password is missing");
    refused("type = \"redis\"\npasswd = \"hunter2\"\n", "ldirectord's passwd is password_file = ");
    refused("type = \"ldap\"\npassword = \"x\"\n", "'bind_dn' is missing");
    refused("type = \"mysql\"\nuser = \"\"\n", "'user' is not a name");
    for (theirs, ours) in [
        ("SMTP_CHECK", "write \"smtp\""),
        ("imaps", "write \"imap\" with \"tls = true\""),
        ("pgsql", "write \"postgresql\""),
        ("pop", "write \"pop3\""),
        ("simpletcp", "write \"dialog\""),
        ("oracle", "write \"dialog\", or \"exec\""),
    ] {
        refused(&format!("type = \"{theirs}\"\n"), ours);
    }
}

#[test]
fn no_password_is_ever_shown() {
    for lines in
        ["password = \"hunter2\"", "password = \"hunter2\"\npassword_file = \"/x\"", "pasword = \"hunter2\""]
    {
        let (report, check) = read(&format!("type = \"redis\"\n{lines}\n"));
        assert!(
            !report.contains("hunter2") && !format!("{check:?}").contains("hunter2"),
            "{report} {check:?}"
        );
    }
    let root = TempRoot::new();
    root.write("etc/trivet/check.d/x.toml", "type = \"redis\"\npassword_credential = \"redis\"\n");
    let (mut used, mut checked) = (Report::new(), Report::new());
    let _ = load(root.path(), &mut used);
    let _ = load_to_check(root.path(), &mut checked);
    assert!(used.has_errors() && !checked.has_errors(), "{used} {checked}");
    assert!(checked.to_string().contains("there are no credentials"), "{checked}");
}

#[test]
fn a_check_is_another_one_with_another_password_in_the_same_file() {
    let fingerprint = |kind: &str, password: &str| {
        let root = TempRoot::new();
        root.write("etc/pass", password);
        root.write("etc/trivet/check.d/x.toml", &format!("{kind}password_file = \"/etc/pass\"\n"));
        let mut report = Report::new();
        let configuration = load(root.path(), &mut report);
        assert!(!report.has_errors(), "{report}");
        let check = &configuration.checks["x"];
        assert!(!format!("{check:?}").contains(password.trim()), "{check:?}");
        check.fingerprint()
    };
    for kind in ["type = \"redis\"\n", "type = \"ldap\"\nbind_dn = \"cn=a\"\n"] {
        assert_eq!(fingerprint(kind, "hunter2"), fingerprint(kind, "hunter2\n"));
        assert_ne!(fingerprint(kind, "hunter2"), fingerprint(kind, "hunter3"));
    }
}
