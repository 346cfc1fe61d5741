//! ARCHITECTURE.md section 6, as far as it is about vrrpd, under a real systemd: what the peer, the wire and the journal
//! see of a restart, a crash, a hang, a stop, and of a vrrpd that does not come back.

use std::time::Duration;

use trivet_tests::clock::now;
use trivet_tests::pair_beside_keepalived::PairBesideKeepalived;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_restart_and_an_upgrade_are_no_failover() {
    let pair = PairBesideKeepalived::new(SECOND);
    for how in [
        "systemctl restart vrrpd",
        "systemctl try-restart vrrpd",
        "systemctl restart trivet.target",
        "dpkg -i /root/trivet.deb",
    ] {
        let since = now();
        let before = pair.trivet.unit("vrrpd", "MainPID");
        pair.trivet.machine.sh(how);
        pair.expect_adverts(4);
        assert_ne!(pair.trivet.unit("vrrpd", "MainPID"), before, "{how}: the same process");
        let silence = pair.assert_no_failover(since);
        eprintln!("{how}: no failover, {silence:?} without an advertisement");
    }
    let journal = pair.journal();
    assert!(journal.contains("making room for the next vrrpd"), "{journal}");
    assert!(journal.contains("goes on as Active"), "{journal}");
}
