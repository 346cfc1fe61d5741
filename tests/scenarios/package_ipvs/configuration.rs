//! Mistakes in the configuration, at a reload and at a start.

use trivet_tests::bus::Property;
use trivet_tests::clock::{PATIENCE, wait, wait_for};

use crate::site::{Site, WEB};

#[test]
fn mistakes_are_told_with_their_place_and_reach_nothing() {
    let site = Site::new(&[]);
    a_bad_reload_fails_visibly_says_where_and_changes_nothing(&site);
    a_start_with_a_mistake_fails_once_and_for_all_and_says_where(&site);
}

fn a_bad_reload_fails_visibly_says_where_and_changes_nothing(site: &Site) {
    let pid = site.unit("MainPID");
    // Right by itself, and not taken either.
    site.write("ipvs.d/new.toml", &WEB.replace(":80", ":81"));
    site.write(
        "ipvs.d/web.toml",
        &format!("sheduler = \"rr\"\n{}", WEB.replace("10.0.10.50:80", "10.0.10.50:x")),
    );
    site.write("ipvsd.toml", "[sysctl]\nconntrack = 2\n");
    let said = site.refused("systemctl reload ipvsd");
    assert!(said.contains("Job for ipvsd.service failed"), "{said}");
    let journal = site.journal();
    for words in [
        "/etc/trivet/ipvs.d/web.toml:1:1: error:",
        "sheduler = \"rr\"",
        "^",
        "scheduler",
        "/etc/trivet/ipvs.d/web.toml:2:11: error:",
        "/etc/trivet/ipvsd.toml:2:13: error:",
    ] {
        assert!(journal.contains(words), "{words} is not in:\n{journal}");
    }
    // By the daemon itself as well, where somebody goes round the check.
    site.sh("systemctl kill --signal=HUP ipvsd");
    let refusal = "not reloaded: the configuration has errors; the former one stays in force";
    wait("it says so", PATIENCE, || site.journal().contains(refusal).then_some(()));
    assert_eq!([site.unit("MainPID"), site.unit("ActiveState")], [pid.clone(), "active".to_owned()]);
    site.trivet.wait_for_property(&Property::service("web", "Address"), "s \"10.0.10.50:80\"");
    site.trivet.wait_for_property(&Property::service("web", "Scheduler"), "s \"wlc\"");
    assert_eq!(site.manager("Services"), "u 1");

    site.write("ipvs.d/web.toml", &format!("scheduler = \"rr\"\n{WEB}"));
    site.write("ipvsd.toml", "");
    site.sh("systemctl reload ipvsd");
    site.trivet.wait_for_property(&Property::service("web", "Scheduler"), "s \"rr\"");
    site.expect_service("new");
    assert_eq!(site.unit("MainPID"), pid);
}

fn a_start_with_a_mistake_fails_once_and_for_all_and_says_where(site: &Site) {
    site.write("ipvs.d/web.toml", &WEB.replace("10.0.10.50:80", "10.0.10.500:80"));
    site.refused("systemctl restart ipvsd");
    wait_for("it has failed, and is not tried again", &"failed".to_owned(), || site.unit("ActiveState"));
    assert_eq!([site.unit("ExecMainStatus"), site.unit("NRestarts")], ["78", "0"]);
    let journal = site.journal();
    assert!(journal.contains("/etc/trivet/ipvs.d/web.toml:1:11: error:"), "{journal}");

    site.write("ipvs.d/web.toml", WEB);
    site.sh("systemctl start ipvsd");
    site.expect_service("web");
}
