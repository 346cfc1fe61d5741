//! The lab proves itself: two directors that run Debian's keepalived with the article's own configuration do in it
//! what keepalived is known for. A scenario that fails with Trivet, while this passes, is Trivet's fault.

use trivet_tests::capture::{Capture, Seen};
use trivet_tests::client::{Client, Manner, cost};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::nat_pair::{NatPair, OUTSIDE, SERVERS, SERVICE};
use trivet_tests::{ipvs, keepalived};

const CONFIGURATIONS: [&str; 2] = [
    include_str!("../fixtures/nat-pair/keepalived/lvs1.conf"),
    include_str!("../fixtures/nat-pair/keepalived/lvs2.conf"),
];

#[test]
fn two_keepalived_directors_balance_and_fail_over_in_this_lab() {
    ipvs::require();
    let pair = NatPair::new();
    let mut daemons = Vec::new();
    for (host, configuration) in pair.directors.iter().zip(CONFIGURATIONS) {
        daemons.push(keepalived::start(host, configuration));
    }
    let active = wait("one director holds both addresses", PATIENCE, || pair.active());
    for director in &pair.directors {
        let both = SERVERS.map(|server| (server.to_owned(), 1)).to_vec();
        wait_for("both web servers in the table", &both, || ipvs::weights(director, SERVICE));
    }
    let client = Client::start(&pair.client, NatPair::service(), Manner::default());
    let answers = client.answers(now(), 6);
    assert!(answers.windows(2).all(|two| two[0] != two[1]), "the answers alternate: {answers:?}");

    let capture = Capture::start(&pair.client, "eth0");
    let stopped = now();
    daemons[active].stop();
    let heir = 1 - active;
    wait("the other director takes over", PATIENCE, || (pair.active() == Some(heir)).then_some(()));
    capture.first("its announcement", stopped, |seen| {
        matches!(seen, Seen::Announcement { address: OUTSIDE, .. })
    });
    client.answers(now(), 6);
    eprintln!("keepalived stopped: {:?}", cost(&client.requests(), stopped));
}
