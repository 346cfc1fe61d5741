//! Configuration as an administrator changes it: a check that is masked, a mistake, and checks of units of this systemd.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::Site;

#[test]
fn a_link_to_dev_null_disables_the_built_in_tcp_says_so_and_its_removal_brings_it_back() {
    let site = Site::new(&[]);
    site.expect("tcp", "127.0.0.1:9", "down", "connection refused");
    site.sh("ln -s /dev/null /etc/trivet/check.d/tcp.toml");
    site.reload();
    wait("the check is gone", PATIENCE, || {
        site.trivet.property(&Property::check("tcp", "Type")).is_none().then_some(())
    });
    let said = "the check 'tcp' is disabled: check.d/tcp.toml is a link to /dev/null";
    site.expect_in_journal("checkd", said);
    let (success, told) = site.try_probe("tcp", "127.0.0.1:9");
    assert!(!success && told.contains("tcp"), "{told}");
    // Unknown is not down, and the reason is known.
    let (state, reason, _) = site.watch("tcp", "127.0.0.1:9").expect("an answer");
    assert!(state == "unknown" && reason == "no check 'tcp' is configured", "{state}: {reason}");

    // A restart says it again, and who names the check is told at once.
    site.sh("systemctl restart checkd");
    wait("said twice", PATIENCE, || (site.journal("checkd").matches(said).count() == 2).then_some(()));
    let service = "address = \"10.0.10.50:80\"\nprotocol = \"tcp\"\ncheck = \"tcp\"\n\n[[server]]\naddress = \"192.168.100.101:80\"\n";
    site.machine().write("etc/trivet/ipvs.d/web.toml", service);
    let (success, said) = site.machine().try_sh("ipvsd --check");
    assert!(!success && said.contains("the check 'tcp' is disabled by a link to /dev/null"), "{said}");

    site.sh("rm /etc/trivet/check.d/tcp.toml && ipvsd --check");
    site.reload();
    site.expect_check("tcp");
    site.expect("tcp", "127.0.0.1:9", "down", "connection refused");
}

#[test]
fn a_reload_with_a_typo_fails_visibly_and_the_old_checks_go_on() {
    let site = Site::new(&[("web", "type = \"tcp\"\ninterval = \"1h\"\n".to_owned())]);
    let pid = site.unit("checkd", "MainPID");
    let before = wait("a result", PATIENCE, || {
        site.watch("web", "127.0.0.1:9").filter(|(state, _, _)| state == "down")
    });
    site.write("web", "type = \"tcp\"\nintervall = \"2h\"\n");
    site.write("new", "type = \"tcp\"\n");
    let (success, said) = site.machine().try_sh("systemctl reload checkd");
    assert!(!success, "the reload must fail: {said}");
    let journal = site.journal("checkd");
    for words in ["web.toml:2:1: error:", "intervall = \"2h\"", "^", "interval"] {
        assert!(journal.contains(words), "{words} is not in:\n{journal}");
    }
    assert_eq!(
        (site.unit("checkd", "MainPID"), site.unit("checkd", "ActiveState")),
        (pid.clone(), "active".to_owned())
    );
    assert_eq!(site.watch("web", "127.0.0.1:9").as_ref(), Some(&before));
    assert_eq!(site.trivet.property(&Property::check("web", "Interval")).as_deref(), Some("t 3600000000"));
    assert_eq!(site.trivet.property(&Property::check("new", "Interval")), None, "not even what is right");

    site.write("web", "type = \"tcp\"\ninterval = \"2h\"\n");
    site.reload();
    site.trivet.wait_for_property(&Property::check("web", "Interval"), "t 7200000000");
    assert_eq!(site.unit("checkd", "MainPID"), pid);
    site.expect_check("new");
}

#[test]
fn a_check_of_a_unit_follows_this_systemd() {
    let site = Site::new(&[("nginx", "type = \"unit\"\nunit = \"nginx\"\ninterval = \"1h\"\n".to_owned())]);
    let state = || site.watch("nginx", "''").map(|(state, _, _)| state);
    for (command, expected) in [
        ("true", "down"),
        ("systemctl start nginx", "up"),
        ("systemctl kill --signal=KILL nginx", "down"),
        ("systemctl restart nginx", "up"),
        ("systemctl stop nginx", "down"),
    ] {
        site.sh(command);
        wait_for(&format!("what follows from {command}"), &Some(expected.to_owned()), state);
    }
}
