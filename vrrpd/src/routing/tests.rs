use std::io::Write as _;
use std::process::Command;

use nix::sched::{CloneFlags, unshare};

use super::*;

fn sh(script: &str) {
    let output = Command::new("sh").arg("-c").arg(script).output().unwrap();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Take in what has arrived: how many datagrams, and what changed. What the kernel has to say it says at once.
fn read(monitor: &mut RoutingMonitor, routing: &mut Routing) -> (RoutingChanges, Rest) {
    let interfaces = crate::monitor::dump().unwrap();
    let mut changes = RoutingChanges::default();
    let rest = monitor.read(routing, &interfaces, &mut changes).unwrap();
    (changes, rest)
}

#[test]
fn only_routes_of_ours_reach_us_however_many_others_there_are() {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        let _ = writeln!(io::stderr(), "LEFT OUT (routes of others): a network namespace needs root");
        return;
    }
    sh("ip link set lo up");
    let (mut monitor, mut routing) = (RoutingMonitor::open().unwrap(), Routing::default());
    sh("seq 5000 | sed 's,.*,route add blackhole 10.9.0.0/16 table &,' | ip -batch -");
    let (changes, rest) = read(&mut monitor, &mut routing);
    assert_eq!(
        (changes.objects.len(), changes.doubtful, rest),
        (0, false, Rest::None),
        "not even one datagram"
    );

    sh("ip route add blackhole 10.9.0.0/16 table 6000 proto 112; ip rule add table 7 priority 70
        ip -6 route add blackhole 2001:db8::/32 proto 112; ip -6 rule add table 7 priority 71 proto 112");
    let (changes, _) = read(&mut monitor, &mut routing);
    let names: Vec<String> = changes.objects.iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        [
            "the route 10.9.0.0/16 table 6000",
            "the route 2001:db8::/32",
            "the rule 70 from all table 7",
            "the rule 71 from all (IPv6) table 7",
        ]
    );
    // A look finds the same, and nothing new.
    let mut looked = Routing::default();
    let found = looked.replace(&dump().unwrap(), &crate::monitor::dump().unwrap());
    assert!(changes.objects.is_subset(&found));
    assert_eq!(looked.routes, routing.routes);
    assert_eq!(looked.routes.len(), 2);

    sh("ip route del blackhole 10.9.0.0/16 table 6000; ip rule del table 7 priority 70");
    assert_eq!(read(&mut monitor, &mut routing).0.objects.len(), 2);
    assert_eq!((routing.routes.len(), routing.rules.len()), (1, 1));
}

#[test]
fn lost_events_are_noticed() {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        let _ = writeln!(io::stderr(), "LEFT OUT (lost events): a network namespace needs root");
        return;
    }
    sh("ip link set lo up");
    let mut monitor = RoutingMonitor::open().unwrap();
    monitor.socket.receive_buffer(2048);
    sh("seq 500 | sed 's,.*,route add blackhole 10.9.0.0/16 table & proto 112,' | ip -batch -");
    let (changes, _) = read(&mut monitor, &mut Routing::default());
    assert!(changes.doubtful);
}
