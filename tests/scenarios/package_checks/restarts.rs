//! What checkd knows after a restart and a crash of the real unit.

use trivet_tests::clock::{PATIENCE, wait};

use crate::site::Site;

const RESTARTED: &str = "not probed since checkd's restart; before: ";
const RESULTS: &str = "/run/trivet-checkd/results";

#[test]
fn what_was_known_before_a_restart_and_a_crash_is_known_at_once_after() {
    let web = "type = \"http\"\ninterval = \"1h\"\nfall = 2\n".to_owned();
    let site = Site::new(&[("web", web)]);
    site.sh("systemctl start nginx");
    let known = wait("the server is known", PATIENCE, || {
        site.watch("web", "127.0.0.1:80").filter(|(state, _, _)| state == "up")
    });
    assert_eq!(known.1, "status 200");
    // Whoever is asked from now on says no: what is said after a restart was not seen after it.
    site.sh("systemctl stop nginx");
    wait("its state is in the file", PATIENCE, || {
        site.sh(&format!("cat {RESULTS}")).contains(" up 127.0.0.1:80 ").then_some(())
    });
    assert_eq!(
        site.sh(&format!("stat -c '%U:%G %a' {RESULTS} /run/trivet-checkd")),
        "trivet-checkd:trivet-checkd 600\ntrivet-checkd:trivet-checkd 700"
    );

    for how in [
        "systemctl restart checkd",
        "systemctl kill --kill-whom=main --signal=KILL checkd",
        "systemctl stop checkd && systemctl start checkd",
        "systemctl kill --kill-whom=main --signal=ABRT checkd",
        "dpkg -i /root/trivet.deb",
    ] {
        let before = site.unit("checkd", "MainPID");
        site.sh(how);
        wait(&format!("another checkd after {how}"), PATIENCE, || {
            let now = site.unit("checkd", "MainPID");
            (now != before && now != "0").then_some(())
        });
        // Whatever is answered first: there is no moment in which it is not known.
        let first = wait("an answer", PATIENCE, || site.watch("web", "127.0.0.1:80"));
        assert_eq!(first, ("up".to_owned(), format!("{RESTARTED}status 200"), known.2.clone()), "{how}");
        site.expect_in_journal("checkd", "an earlier run left 1 results, 1 of them");
    }

    // And it still counts for as much as a result: one failure changes nothing, the second does.
    let (state, reason) = site.probe("web", "127.0.0.1:80");
    assert_eq!(
        (state.as_str(), reason.as_str()),
        ("up", "connection refused (failure 1 of 2); before: status 200")
    );
    wait("two failures", PATIENCE, || {
        site.watch("web", "127.0.0.1:80").filter(|(state, _, _)| state == "down")
    });
}
