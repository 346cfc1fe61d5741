//! What follows a virtual router's state into the kernel: addresses of both families with every option, routes and
//! rules. They are there on the Active director and nowhere else, whoever deletes them, takes links down, or kills vrrpd;
//! and what the administrator has is never touched.

use std::net::Ipv4Addr;
use std::process::Command;
use std::time::Duration;

use trivet_tests::bus::Property;
use trivet_tests::capture::{Capture, Seen};
use trivet_tests::clock::{PATIENCE, now, wait, wait_for};
use trivet_tests::host::Host;
use trivet_tests::lab::Lab;
use trivet_tests::stalls::judge;
use trivet_tests::trivet::{Trivet, program};

/// Longer than that a machine may not stand still, or it is a reason to move: two of the intervals.
const BEARABLE: Duration = Duration::from_millis(200);
const FILE: &str = "vrrp.d/gateway.toml";

/// What `ip` shows of the fixture's objects, and the command that shows it.
const OBJECTS: [(&str, &str); 10] = [
    ("ip -o address show dev eth0", "10.0.0.50/24 scope global"),
    ("ip -o address show dev eth1", "10.0.2.51/24 brd 10.0.2.255 scope link noprefixroute eth1:vip"),
    ("ip -o address show dev eth0", "2001:db8::50/64 scope global nodad deprecated"),
    ("ip -o address show dev eth1", "2001:db8:1::51/128 scope global nodad"),
    ("ip route", "default via 10.1.0.254 dev eth1 proto 112"),
    (
        "ip route show table 100",
        "10.9.0.0/16 via 10.0.0.2 dev eth0 proto 112 src 10.0.0.50 metric 50 mtu 1400",
    ),
    ("ip route", "blackhole 10.8.0.0/16 proto 112"),
    ("ip -6 route", "2001:db8:9::/48 via 2001:db8::fe dev eth0 proto 112"),
    ("ip rule", "100: from 10.0.0.0/24 fwmark 0x10/0xff lookup 100 proto 112"),
    ("ip -6 rule", "101: from 2001:db8::/64 unreachable proto 112"),
];

struct Site {
    trivets: [Trivet; 2],
    directors: [Host; 2],
    _lab: Lab,
}

impl Site {
    /// Two directors, the first of them Active, each with something of its own of every kind.
    fn new() -> Self {
        let lab = Lab::new();
        lab.segment("lan");
        lab.segment("wan");
        let directors = [1, 2].map(|number| {
            let host = lab.host(
                &format!("dir{number}"),
                &[("eth0", "lan", &format!("10.0.0.{number}/24")), ("eth1", "wan", &format!("10.1.0.{number}/24"))],
            );
            host.sh("ip address add 2001:db8:7::1/64 dev eth0 nodad
                     ip route add default via 10.1.0.253 metric 1000 && ip route add 10.7.0.0/16 via 10.0.0.99 table 7
                     ip rule add from 10.7.0.0/16 table 7 priority 700 && ip -6 rule add from fd00::/8 table 7 priority 701");
            wait("the link-local addresses are there", PATIENCE, || {
                let shown = host.sh("ip -6 -o address show dev eth0; ip -6 -o address show dev eth1");
                // With the colons: an interface identifier may have an "fe80" of its own, where the MAC address has 80.
                (shown.matches(" fe80::").count() == 2 && !shown.contains("tentative")).then_some(())
            });
            host
        });
        let start = |number: usize| {
            Trivet::start(&directors[number], &format!("kernel-objects/dir{}", number + 1), &["vrrpd"])
        };
        let site = Self { trivets: [start(0), start(1)], directors, _lab: lab };
        site.trivets[0].wait_for_property(&state(), "s \"Active\"");
        site.trivets[1].wait_for_property(&state(), "s \"Backup\"");
        site.expect_all(0);
        site
    }

    /// Waits until a director has all objects, each as it should be.
    #[track_caller]
    fn expect_all(&self, director: usize) {
        let wanted: Vec<&str> = OBJECTS.iter().map(|(_, wanted)| *wanted).collect();
        wait_for(&format!("dir{} has everything", director + 1), &wanted, || {
            OBJECTS
                .iter()
                .filter(|(show, wanted)| has(&self.directors[director], show, wanted))
                .map(|found| found.1)
                .collect()
        });
    }

    /// Waits until a director has none of them.
    #[track_caller]
    fn expect_none(&self, director: usize) {
        wait_for(&format!("dir{} has nothing left", director + 1), &Vec::<String>::new(), || {
            ours(&self.directors[director])
        });
    }

    fn reason(&self) -> String {
        self.trivets[0].property(&Property::router("gateway", "Reason")).unwrap_or_default()
    }
}

fn state() -> Property {
    Property::router("gateway", "State")
}

/// What a command of iproute2 prints, without what differs between its releases.
fn shown(host: &Host, show: &str) -> Vec<String> {
    let plain = |line: &str| {
        let line = line
            .replace("proto 0x70 ", "")
            .replace(" deprecated nodad", " nodad deprecated")
            .replace("secondary ", "");
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    // A table without routes does not exist, which is an error.
    host.sh(&format!("{show} || true")).lines().map(plain).collect()
}

fn has(host: &Host, show: &str, wanted: &str) -> bool {
    shown(host, show).iter().any(|line| line.contains(wanted))
}

/// Everything that could be ours, whatever its options.
fn ours(host: &Host) -> Vec<String> {
    let all = shown(
        host,
        "ip -o address; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule",
    );
    let ours = |line: &String| {
        ["proto 112", "10.0.0.50", "10.0.2.51", "2001:db8::50", "2001:db8:1::51"]
            .iter()
            .any(|mark| line.contains(mark))
    };
    all.into_iter().filter(ours).collect()
}

/// Everything else.
fn theirs(host: &Host) -> Vec<String> {
    let ours = ours(host);
    let all = shown(
        host,
        "ip -o address; ip route show table all; ip -6 route show table all; ip rule; ip -6 rule",
    );
    // A prefix route of a virtual address comes and goes with it.
    let derived = |line: &String| line.contains("2001:db8::") || line.contains("2001:db8:1:");
    let mut theirs: Vec<String> =
        all.into_iter().filter(|line| !ours.contains(line) && !derived(line)).collect();
    theirs.sort();
    theirs
}

#[test]
fn everything_is_on_the_active_director_moves_with_a_failover_and_leaves_the_rest_alone() {
    let mut site = Site::new();
    site.expect_none(1);
    let before = theirs(&site.directors[1]);
    let (capture, stopped) = (Capture::start(&site.directors[0], "eth1"), now());
    site.trivets[0].stop("vrrpd");
    assert_eq!(ours(&site.directors[0]), Vec::<String>::new(), "when it has ended, all is gone");
    site.expect_all(1);
    let excluded = Ipv4Addr::new(10, 0, 2, 51);
    capture.first(
        "what is not advertised is announced all the same",
        stopped,
        |seen| matches!(seen, Seen::Announcement { address, .. } if *address == excluded),
    );
    assert_eq!(theirs(&site.directors[1]), before);
    assert_eq!(theirs(&site.directors[0]).len(), before.len());
    site.trivets[0].run(&site.directors[0], "vrrpd");
    site.expect_all(0);
    site.expect_none(1);
    assert_eq!(theirs(&site.directors[1]), before);
}

#[test]
fn whatever_somebody_deletes_is_back_at_once() {
    judge(BEARABLE, delete_and_look);
}

fn delete_and_look() {
    let site = Site::new();
    let host = &site.directors[0];
    let deletions = [
        "ip address del 10.0.0.50/24 dev eth0",
        "ip address del 10.0.2.51/24 dev eth1",
        "ip address del 2001:db8::50/64 dev eth0",
        "ip route del default via 10.1.0.254",
        "ip route del 10.9.0.0/16 table 100",
        "ip route del blackhole 10.8.0.0/16",
        "ip -6 route del 2001:db8:9::/48",
        "ip rule del priority 100",
        "ip -6 rule del priority 101",
        "ip route flush table 100; ip rule del priority 100; ip address flush dev eth1 to 10.0.2.51",
    ];
    let mut restored = 0;
    for deletion in deletions {
        host.sh(deletion);
        site.expect_all(0);
        // Each deletion was seen: it is in the log.
        wait(&format!("{deletion} is told"), PATIENCE, || {
            let told = site.trivets[0].process("vrrpd").log().matches("putting it back").count();
            (told > restored).then(|| restored = told)
        });
        assert!(
            site.trivets[1].property(&state()).is_some_and(|state| state == "s \"Backup\""),
            "no failover"
        );
    }
}

#[test]
fn a_reload_changes_what_was_changed_and_touches_nothing_else() {
    judge(BEARABLE, reload_and_look);
}

fn reload_and_look() {
    let site = Site::new();
    let (host, trivet) = (&site.directors[0], &site.trivets[0]);
    let monitor =
        host.spawn("monitor", Command::new("ip").args(["-o", "monitor", "address", "route", "rule"]));
    wait("the monitor listens", PATIENCE, || {
        host.sh("ip route replace blackhole 10.6.0.0/16");
        monitor.log().contains("10.6.0.0/16").then_some(())
    });
    trivet.edit(FILE, "label = \"eth1:vip\"", "label = \"eth1:other\"");
    trivet.edit(FILE, "preferred = true", "preferred = false");
    trivet.edit(FILE, "metric = 50", "metric = 60");
    trivet.edit(FILE, "\"blackhole 10.8.0.0/16\"", "\"prohibit 10.8.0.0/16\"");
    trivet.edit(FILE, "priority = 100,", "priority = 99,");
    trivet.reload("vrrpd");
    for (show, wanted) in [
        ("ip -o address show dev eth1", "10.0.2.51/24 brd 10.0.2.255 scope link noprefixroute eth1:other"),
        ("ip -o address show dev eth1", "2001:db8:1::51/128 scope global nodad deprecated"),
        (
            "ip route show table 100",
            "10.9.0.0/16 via 10.0.0.2 dev eth0 proto 112 src 10.0.0.50 metric 60 mtu 1400",
        ),
        ("ip route", "prohibit 10.8.0.0/16 proto 112"),
        ("ip rule", "99: from 10.0.0.0/24 fwmark 0x10/0xff lookup 100 proto 112"),
    ] {
        wait(wanted, PATIENCE, || has(host, show, wanted).then_some(()));
    }
    wait("what was is gone", PATIENCE, || {
        let gone = ["metric 50", "100: from 10.0.0.0", "eth1:vip"];
        let left = shown(host, "ip route show table 100; ip rule; ip -o address");
        (!left.iter().any(|line| gone.iter().any(|gone| line.contains(gone)))).then_some(())
    });
    for untouched in ["10.0.0.50", "2001:db8::50", "default via 10.1.0.254", "2001:db8:9::/48", "101:"] {
        let log = monitor.log().replace("src 10.0.0.50", "");
        assert!(!log.contains(untouched), "{untouched} was touched:\n{log}");
    }
}

#[test]
fn a_link_that_goes_down_and_comes_up_has_everything_again() {
    let site = Site::new();
    let host = &site.directors[0];
    // So short that nobody need have noticed; IPv6 addresses and all routes are gone nevertheless.
    let flapped = now();
    host.sh("ip link set eth1 down && ip link set eth1 up");
    site.expect_all(0);
    // The routing tables are looked through every 30 s in any case: that must not be what brought the routes back.
    assert!(now() - flapped < Duration::from_secs(20), "only after {:?}", now() - flapped);
    // Long enough for a failover, and back.
    host.sh("ip link set eth0 down");
    site.trivets[0].wait_for_property(&state(), "s \"Fault\"");
    site.expect_all(1);
    site.expect_none(0);
    host.sh("ip link set eth0 up");
    site.trivets[0].wait_for_property(&state(), "s \"Active\"");
    site.expect_all(0);
    site.expect_none(1);
}

#[test]
fn a_route_that_has_to_wait_is_told_in_the_routers_reason_until_it_is_there() {
    let site = Site::new();
    let (host, trivet) = (&site.directors[0], &site.trivets[0]);
    trivet.edit(FILE, "\"blackhole 10.8.0.0/16\"", "\"10.8.0.0/16 via 10.3.0.1\", \"10.6.0.0/16 dev eth7\"");
    trivet.reload("vrrpd");
    trivet.wait_for_text(&Property::router("gateway", "Reason"), "without the route 10.8.0.0/16: ");
    trivet.wait_for_text(&Property::router("gateway", "Reason"), "interface eth7 does not exist");
    host.sh("ip link add eth7 type veth peer name peer7 && ip link set peer7 up && ip link set eth7 up");
    host.sh("ip address add 10.3.0.2/24 dev eth7");
    for wanted in ["10.8.0.0/16 via 10.3.0.1 dev eth7", "10.6.0.0/16 dev eth7"] {
        wait(wanted, PATIENCE, || has(host, "ip route", wanted).then_some(()));
    }
    wait("and the reason says no more of it", PATIENCE, || {
        (!site.reason().contains("without")).then_some(())
    });

    // A route of the administrator's in the same place stays, and is told.
    host.sh("ip link del eth7");
    trivet.edit(FILE, "\"10.6.0.0/16 dev eth7\"", "\"10.5.0.0/16 via 10.0.0.2\"");
    trivet.edit(FILE, "\"10.8.0.0/16 via 10.3.0.1\",", "");
    host.sh("ip route add 10.5.0.0/16 via 10.0.0.77");
    trivet.reload("vrrpd");
    trivet.wait_for_text(&Property::router("gateway", "Reason"), "another route with the same destination");
    assert!(has(host, "ip route", "10.5.0.0/16 via 10.0.0.77"));
    host.sh("ip route del 10.5.0.0/16");
    wait("ours takes its place", PATIENCE, || {
        has(host, "ip route", "10.5.0.0/16 via 10.0.0.2").then_some(())
    });
}

#[test]
fn what_a_killed_vrrpd_left_is_removed_by_release_and_by_the_next_one() {
    let mut site = Site::new();
    let before = theirs(&site.directors[1]).len();
    site.trivets[0].kill("vrrpd");
    assert!(ours(&site.directors[0]).len() >= OBJECTS.len(), "it had no time to clean up");
    let root = site.directors[0].directory().join("root");
    let said =
        site.directors[0].sh(&format!("{} --release --root {}", program("vrrpd").display(), root.display()));
    assert_eq!(ours(&site.directors[0]), Vec::<String>::new(), "{said}");
    assert!(said.contains("the route default") && said.contains("the rule 100 from"), "{said}");
    assert_eq!(theirs(&site.directors[0]).len(), before);

    // The other way: nobody releases, and the next one does not want some of it any more.
    site.trivets[0].run(&site.directors[0], "vrrpd");
    site.expect_all(0);
    site.trivets[0].kill("vrrpd");
    site.trivets[0].edit(FILE, "  \"default via 10.1.0.254 dev eth1\",\n", "");
    site.trivets[0].edit(FILE, "  \"from 2001:db8::/64 unreachable priority 101\",\n", "");
    site.trivets[0].edit(FILE, "  \"2001:db8::50/64\",\n", "");
    site.trivets[0].run(&site.directors[0], "vrrpd");
    wait("what is not wanted any more is removed", PATIENCE, || {
        let left = ours(&site.directors[0]);
        let stray = |line: &&String| {
            ["default via 10.1.0.254", "101: from", "2001:db8::50"].iter().any(|stray| line.contains(stray))
        };
        (left.iter().find(stray).is_none() && left.iter().any(|line| line.contains("10.9.0.0/16")))
            .then_some(())
    });
}

#[test]
fn an_address_of_the_administrators_does_not_go_with_a_virtual_one_before_it() {
    let mut site = Site::new();
    let host = &site.directors[0];
    host.sh("sysctl -qw net.ipv4.conf.all.promote_secondaries=0 net.ipv4.conf.eth1.promote_secondaries=0");
    site.trivets[0].edit(
        FILE,
        "  \"2001:db8::50/64\",\n",
        "  { address = \"10.4.0.50/24\", interface = \"eth1\" },\n",
    );
    site.trivets[0].reload("vrrpd");
    wait("the virtual address", PATIENCE, || has(host, "ip -o address", "10.4.0.50/24").then_some(()));
    host.sh("ip address add 10.4.0.9/24 dev eth1 label eth1:mine");
    assert!(host.sh("ip -o address show dev eth1").contains("10.4.0.9/24 scope global secondary eth1:mine"));
    site.trivets[0].stop("vrrpd");
    assert!(has(host, "ip -o address", "10.4.0.9/24 scope global eth1:mine"), "{}", host.sh("ip -o address"));
    assert!(!has(host, "ip -o address", "10.4.0.50"));
    let log = std::fs::read_to_string(host.directory().join("vrrpd.log")).unwrap_or_default();
    assert!(
        log.contains("removed 10.4.0.9/24 on eth1, which is not ours")
            && log.contains("promote_secondaries = 1"),
        "{log}"
    );
}

#[test]
fn a_second_vrrpd_in_the_same_network_namespace_refuses_to_start() {
    let site = Site::new();
    let host = &site.directors[0];
    let first = site.trivets[0].process("vrrpd").pid();
    let root = host.directory().join("root");
    let said =
        host.sh(&format!("! timeout 20 {} --root {} 2>&1", program("vrrpd").display(), root.display()));
    assert!(said.contains(&format!("another vrrpd (process {first})")), "{said}");
    site.expect_all(0);
}
