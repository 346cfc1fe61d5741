//! Pings from within the sandbox.

use crate::site::Site;

const RANGE: &str = "net.ipv4.ping_group_range";

/// The range is a setting of the network namespace, which is the machine's own.
#[test]
fn a_ping_takes_a_kernel_that_allows_it_and_where_it_does_not_the_reason_tells_how_to_mend_that() {
    let site = Site::new(&[]);
    site.host.sh(&format!("sysctl -qw {RANGE}='1 0'"));
    let group = site.sh("id -g trivet-checkd");
    let (alone, everybody) = (format!("{group} {group}"), "0 2147483647".to_owned());
    for range in [alone, everybody] {
        for target in ["127.0.0.1", "::1", "10.0.10.51"] {
            let (state, reason) = site.probe("ping", target);
            assert_eq!(state, "unknown", "{reason}");
            let expected =
                format!("could not probe: checkd's group ({group}) may not ping here: {RANGE} leaves it out");
            assert!(reason.starts_with(&expected), "{reason}");
            for words in [
                &format!("'{RANGE} = 0 2147483647'"),
                &format!("'{group} {group}'"),
                "into /etc/sysctl.d/90-ping.conf",
                "run: sysctl --system",
            ] {
                assert!(reason.contains(words), "{words} is not in: {reason}");
            }
        }
        let found = site.host.sh(&format!("sysctl -n {RANGE}"));
        assert_eq!(found.split_whitespace().collect::<Vec<_>>(), ["1", "0"], "checkd sets no sysctl");

        // What the reason says, as it says it; a container's own sysctl(8) may not write, the host's does.
        let file = "etc/sysctl.d/90-ping.conf";
        site.machine().write(file, &format!("{RANGE} = {range}\n"));
        site.host.sh(&format!("sysctl -q -p {}", site.machine().root().join(file).display()));
        for target in ["127.0.0.1", "::1", "10.0.10.51"] {
            site.expect("ping", target, "up", "echo reply");
        }
        site.host.sh(&format!("sysctl -qw {RANGE}='1 0'"));
    }
    let journal = site.journal("checkd");
    assert!(
        journal.contains("probes could not run, their targets keep their states: checkd's group"),
        "{journal}"
    );
}
